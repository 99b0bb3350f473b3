"""Variables: an empty one is unset, and whose credentials are whose."""

from __future__ import annotations

import pytest

from asyncsync.cli.environment import Variables, credential, destination, variable
from asyncsync.model.access import Credential
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.job import Destination

HERE = Destination.parse("r.example/team")
LOGIN = {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": "hunter2"}


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_variable_is_an_unset_one(text: str) -> None:
    assert variable({"N": text}, "N", int) is None
    assert variable({}, "N", int) is None


def test_a_wrong_variable_is_named() -> None:
    def refuse(text: str) -> int:
        raise ValueError(f"{text} is wrong")

    with pytest.raises(ConfigurationError, match=r"^N: 5 is wrong$"):
        variable({"N": "5"}, "N", refuse)


@pytest.mark.parametrize(
    ("variables", "to"),
    [
        ({"REGISTRY": "r.example"}, "r.example"),
        ({"REGISTRY": "r.example/", "NAMESPACE": "/team/"}, "r.example/team"),
        ({"REGISTRY": "r.example:5000", "NAMESPACE": "a/b"}, "r.example:5000/a/b"),
        ({"REGISTRY": "r.example", "REGISTRY_NAMESPACE": "old"}, "r.example/old"),
        ({"REGISTRY": "r.example", "NAMESPACE": "new", "REGISTRY_NAMESPACE": "old"},
         "r.example/new"),
        ({"REGISTRY": "r.example", "NAMESPACE": "", "REGISTRY_NAMESPACE": "old"}, "r.example/old"),
        ({"REGISTRY": "r.example/team"}, "r.example/team"),
        ({"REGISTRY": "docker.io", "NAMESPACE": "me"}, "docker.io/me"),
        ({"REGISTRY": "index.docker.io/", "REGISTRY_NAMESPACE": "me"}, "docker.io/me"),
        ({"REGISTRY": " r.example\n"}, "r.example"),
        ({"REGISTRY": "", "NAMESPACE": "team"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_registry_and_namespace_are_the_destination(variables: Variables, to: str | None) -> None:
    found = destination(variables)
    assert (str(found) if found else None) == to


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"REGISTRY": "https://r.example/"}, "REGISTRY: "),
        ({"REGISTRY": "docker.io"}, "REGISTRY: Docker Hub needs a namespace"),
        (
            {"REGISTRY": "hub.docker.com", "NAMESPACE": "me"},
            "REGISTRY: hub.docker.com is a website",
        ),
        ({"REGISTRY": "r.example", "NAMESPACE": "Team"}, "NAMESPACE: .+ Write team$"),
        ({"REGISTRY": "r.example", "NAMESPACE": "r.example/team/x"}, "NAMESPACE: .+ Write team/x$"),
        ({"REGISTRY": "r.example", "NAMESPACE": "https://r.example/x/"}, "NAMESPACE: .+ Write x$"),
        ({"REGISTRY": "r.example", "NAMESPACE": "r.example"}, "NAMESPACE: .+ Leave it empty$"),
        ({"REGISTRY": "r.example", "REGISTRY_NAMESPACE": "Team"}, "REGISTRY_NAMESPACE: "),
    ],
)
def test_a_wrong_destination_names_the_variable(variables: Variables, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{told}"):
        destination(variables)


@pytest.mark.parametrize(
    "variables",
    [LOGIN, {**LOGIN, "REGISTRY": "r.example"}, {**LOGIN, "REGISTRY": "r.example/other"}],
)
def test_the_variables_credentials_go_to_their_own_host(variables: Variables) -> None:
    assert credential(variables, HERE) == Credential("me", "hunter2")


@pytest.mark.parametrize("registry", ["elsewhere.example", "r.example:5000"])
def test_they_go_to_no_other_host(registry: str) -> None:
    assert credential({**LOGIN, "REGISTRY": registry}, HERE) is None
    # nor are they half of somebody else's
    with pytest.raises(ConfigurationError):
        credential({**LOGIN, "REGISTRY": registry}, HERE, user="you")


def test_an_unreadable_registry_stops_before_they_are_sent_to_a_wrong_host() -> None:
    with pytest.raises(ConfigurationError, match=r"^REGISTRY: "):
        credential({**LOGIN, "REGISTRY": "https://r.example"}, HERE)


def test_options_beat_variables() -> None:
    assert credential(LOGIN, HERE, user="you", password="pw") == Credential("you", "pw")
    assert credential(LOGIN, HERE, user="you") == Credential("you", "hunter2")
    assert credential(LOGIN, HERE, password="pw") == Credential("me", "pw")


@pytest.mark.parametrize(
    ("variables", "lacking"),
    [
        ({"REGISTRY_USER": "me"}, "REGISTRY_PASSWORD"),
        ({"REGISTRY_USER": "me", "REGISTRY_PASSWORD": ""}, "REGISTRY_PASSWORD"),
        ({"REGISTRY_PASSWORD": "hunter2"}, "REGISTRY_USER"),
    ],
)
def test_one_without_the_other_is_told_without_the_secret(
    variables: Variables, lacking: str
) -> None:
    with pytest.raises(ConfigurationError, match=lacking) as told:
        credential(variables, HERE)
    assert "hunter2" not in str(told.value)


def test_without_any_there_is_no_credential() -> None:
    assert credential({"REGISTRY_USER": "", "REGISTRY_PASSWORD": ""}, HERE) is None


def test_a_password_is_taken_as_it_is() -> None:
    variables = {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": " p w "}
    assert credential(variables, HERE) == Credential("me", " p w ")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_the_line_break_behind_a_pasted_secret_is_no_part_of_it(end: str) -> None:
    """As with --password-stdin; a key of several lines (Google's) keeps those within."""
    variables = {"REGISTRY_USER": f"me{end}", "REGISTRY_PASSWORD": f'{{\n  "key": 1\n}}{end}'}
    assert credential(variables, HERE) == Credential("me", '{\n  "key": 1\n}')
    assert credential({"REGISTRY_USER": end, "REGISTRY_PASSWORD": end}, HERE) is None


def test_docker_hubs_variables_belong_to_it_though_its_namespace_is_apart() -> None:
    variables = {**LOGIN, "REGISTRY": "docker.io", "NAMESPACE": "me"}
    assert credential(variables, Destination.parse("docker.io/me")) == Credential("me", "hunter2")
    assert credential(variables, HERE) is None


def test_a_layout_is_no_registry() -> None:
    with pytest.raises(ConfigurationError, match=r"^REGISTRY: an OCI layout is no registry"):
        destination({"REGISTRY": "oci:./export", "NAMESPACE": "team"})


def test_a_layout_gets_no_login() -> None:
    folder = Destination.parse("oci:./export")
    assert credential(LOGIN, folder) is None
    with pytest.raises(ConfigurationError, match="--user and --password-stdin are for a registry"):
        credential({}, folder, user="me", password="hunter2")
