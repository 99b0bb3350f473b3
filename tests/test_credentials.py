from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, fail_after

from asyncsync.credentials import Credentials, engine_auth
from asyncsync.credentials.docker_helper import ask_helper
from asyncsync.model.access import Credential
from asyncsync.model.errors import AuthenticationFailed, ConfigurationError
from asyncsync.model.job import Step
from asyncsync.model.place import Registry

HUB = Registry("docker.io")
GHCR = Registry("ghcr.io")
PATH = "/usr/local/bin:/usr/bin:/bin"
ALICE = Credential(username="alice", password="pa:ss")


def auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


class Home:
    """A home folder with docker's and podman's files and helpers of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"HOME": str(folder), "PATH": f"{folder / 'bin'}:{PATH}"}

    def write(self, name: str, body: Mapping[str, Any] | str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body if isinstance(body, str) else json.dumps(body))
        return file

    def docker(self, body: Mapping[str, Any] | str) -> Path:
        return self.write(".docker/config.json", body)

    def helper(self, name: str, script: str) -> None:
        """A helper program; each run leaves a line with the server that it was asked for."""
        program = self.write(
            f"bin/docker-credential-{name}",
            f'#!/bin/sh\nserver=$(cat)\necho "$1 $server" >> {self.folder}/asked\n{script}\n',
        )
        program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def credentials(self, explicit: Mapping[str, Credential] | None = None) -> Credentials:
        return Credentials.load(explicit or {}, environ=self.environ)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


async def test_without_any_file_we_are_nobody(home: Home) -> None:
    assert await home.credentials().find(GHCR, "team/app") is None


async def test_docker_login_is_found_and_a_password_may_hold_colons(home: Home) -> None:
    home.docker({"auths": {"ghcr.io": auth("alice", "pa:ss\0\0")}})
    assert await home.credentials().find(GHCR, "team/app") == ALICE


@pytest.mark.parametrize(
    "key",
    ["docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"],
)
async def test_docker_hub_is_found_under_each_of_its_names(home: Home, key: str) -> None:
    home.docker({"auths": {key: auth("alice", "pa:ss")}})
    assert await home.credentials().find(HUB, "library/redis") == ALICE


@pytest.mark.parametrize(
    "key", ["https://ghcr.io", "http://ghcr.io/", "https://ghcr.io/v1/", "ghcr.io/v2", "GHCR.io"]
)
async def test_old_forms_of_a_key_mean_the_same_host(home: Home, key: str) -> None:
    home.docker({"auths": {key: auth("alice", "pa:ss")}})
    assert await home.credentials().find(GHCR, "team/app") == ALICE


async def test_a_plain_key_beats_an_old_form_of_it(home: Home) -> None:
    home.docker({"auths": {"ghcr.io": auth("alice", "pa:ss"), "https://ghcr.io": auth("old", "p")}})
    assert await home.credentials().find(GHCR, "team/app") == ALICE


@pytest.mark.parametrize(
    ("repository", "user"),
    [("team/app", "app"), ("team/other", "team"), ("team/app/part", "app"), ("else", "host")],
)
async def test_the_most_specific_login_wins(home: Home, repository: str, user: str) -> None:
    logins = {"ghcr.io": "host", "ghcr.io/team": "team", "ghcr.io/team/app": "app"}
    home.docker({"auths": {key: auth(user, "secret") for key, user in logins.items()}})
    found = await home.credentials().find(GHCR, repository)
    assert found is not None
    assert found.username == user


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "alice", "password": "pa:ss"}, ALICE),
        ({**auth("alice", ""), "identitytoken": "id"}, Credential("alice", identity_token="id")),
        ({"registrytoken": "ready"}, Credential(registry_token="ready")),
        (auth("<token>", "id"), Credential("<token>", identity_token="id")),
        ({}, None),
        (None, None),
        ({"auth": ""}, None),
    ],
)
async def test_an_entry_may_hold_a_password_or_either_token(
    home: Home, entry: dict[str, str] | None, expected: Credential | None
) -> None:
    home.docker({"auths": {"ghcr.io": entry}})
    assert await home.credentials().find(GHCR, "team/app") == expected


async def test_what_the_caller_says_wins_for_its_host_alone(home: Home) -> None:
    home.docker({"auths": {"ghcr.io": auth("file", "p"), "docker.io": auth("file", "p")}})
    credentials = home.credentials({"index.docker.io": ALICE})
    assert await credentials.find(HUB, "library/redis") == ALICE
    assert await credentials.find(GHCR, "team/app") == Credential("file", "p")


@pytest.mark.parametrize(
    ("variable", "value", "file"),
    [
        ("REGISTRY_AUTH_FILE", "{home}/own.json", "own.json"),
        ("XDG_RUNTIME_DIR", "{home}/run", "run/containers/auth.json"),
        ("XDG_CONFIG_HOME", "{home}/cfg", "cfg/containers/auth.json"),
        ("DOCKER_CONFIG", "{home}/docker", "docker/config.json"),
        ("HOME", "{home}", ".config/containers/auth.json"),
    ],
)
async def test_each_place_of_docker_and_podman_is_read(
    home: Home, variable: str, value: str, file: str
) -> None:
    home.write(file, {"auths": {"ghcr.io": auth("alice", "pa:ss")}})
    home.environ[variable] = value.format(home=home.folder)
    assert await home.credentials().find(GHCR, "team/app") == ALICE


async def test_a_file_that_is_named_beats_dockers_which_beats_podmans(home: Home) -> None:
    home.write(".config/containers/auth.json", {"auths": {"ghcr.io": auth("podman", "p")}})
    home.docker({"auths": {"ghcr.io": auth("docker", "p")}})
    home.write("own.json", {"auths": {"ghcr.io": auth("own", "p")}})
    users = []
    for named in ({}, {"REGISTRY_AUTH_FILE": str(home.folder / "own.json")}):
        found = await Credentials.load(environ=home.environ | named).find(GHCR, "team/app")
        users.append(found and found.username)
    assert users == ["docker", "own"]


async def test_the_variable_of_gitlab_holds_the_json_itself(home: Home) -> None:
    home.environ["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"ghcr.io": auth("alice", "pa:ss")}})
    assert await home.credentials().find(GHCR, "team/app") == ALICE


@pytest.mark.parametrize("name", ["given", "given/config.json"])
async def test_a_folder_or_file_in_place_of_the_search_is_the_only_one(
    home: Home, name: str
) -> None:
    home.docker({"auths": {"docker.io": auth("elsewhere", "p")}})
    home.write("given/config.json", {"auths": {"ghcr.io": auth("alice", "pa:ss")}})
    found = Credentials.load(docker_config=home.folder / name, environ=home.environ)
    assert await found.find(GHCR, "team/app") == ALICE
    assert await found.find(HUB, "library/redis") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n  "auths": {,}\n}', ":2:13: this is no JSON"),
        ("[]", "no JSON object"),
        ('{"auths": []}', None),
        ('{"auths": [1]}', "auths is no JSON object"),
        ('{"auths": {"ghcr.io": "text"}}', "the login for 'ghcr.io' is no JSON object"),
        ('{"auths": {"ghcr.io": {"auth": "%%s3cret%%"}}}', "auth of 'ghcr.io' is no base64"),
        ('{"auths": {"ghcr.io": {"auth": "czNjcmV0"}}}', "auth of 'ghcr.io' is no base64"),
        ('{"auths": {"r.example": {"registrytoken": "s3cret\\n"}}}', "r.example' cannot be sent"),
        ('{"auths": {"r.example": {"password": "\\ud800s3cret"}}}', "r.example' cannot be sent"),
        ('{"credsStore": "../../bin/sh"}', "a credential helper is named by the end"),
        ('{"credHelpers": {"ghcr.io": "a/b"}}', "a credential helper is named by the end"),
        ("[" * 100_000, "nested too deeply"),
        (" " * (1024 * 1024) + "{}", "no file of logins"),
    ],
)
def test_a_broken_file_is_named_and_its_content_is_not_shown(
    home: Home, text: str, message: str | None
) -> None:
    file = home.docker(text)
    if message is None:  # an empty list is how some tools write nothing
        home.credentials()
        return
    with pytest.raises(ConfigurationError, match=message) as caught:
        home.credentials()
    assert str(caught.value).startswith(str(file))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "czNjcmV0" not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_no_text_is_named(home: Home) -> None:
    file = home.docker("")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="no UTF-8"):
        home.credentials()


async def test_a_helper_is_asked_as_docker_asks_it(home: Home) -> None:
    home.docker({"credsStore": "desk"})
    home.helper("desk", """echo '{"ServerURL":"x","Username":"alice","Secret":"pa:ss"}'""")
    credentials = home.credentials()
    assert await credentials.find(HUB, "library/redis") == ALICE
    assert await credentials.find(GHCR, "team/app") == ALICE
    assert home.asked == ["get https://index.docker.io/v1/", "get ghcr.io"]


async def test_a_helper_runs_once_for_each_host_however_many_ask(home: Home) -> None:
    home.docker({"credsStore": "desk"})
    home.helper("desk", """sleep 0.1; echo '{"Username":"alice","Secret":"pa:ss"}'""")
    credentials, found = home.credentials(), []

    async def ask(number: int) -> None:
        found.append(await credentials.find(GHCR, f"team/app-{number}"))

    async with create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, number)
    assert found == [ALICE] * 20
    assert home.asked == ["get ghcr.io"]


async def test_a_helper_of_a_host_beats_the_store_of_all(home: Home) -> None:
    home.docker({"credsStore": "desk", "credHelpers": {"https://ghcr.io": "ghcr"}})
    home.helper("ghcr", """echo '{"Username":"<token>","Secret":"id"}'""")
    home.helper("desk", "exit 9")
    found = await home.credentials().find(GHCR, "team/app")
    assert found == Credential("<token>", identity_token="id")


async def test_an_empty_entry_is_looked_up_in_the_store(home: Home) -> None:
    home.docker({"credsStore": "desk", "auths": {"ghcr.io": {}}})
    home.helper("desk", """echo '{"Username":"alice","Secret":"pa:ss"}'""")
    assert await home.credentials().find(GHCR, "team/app") == ALICE


async def test_a_helper_that_keeps_no_login_makes_us_nobody(home: Home) -> None:
    home.docker({"credsStore": "desk"})
    home.helper("desk", "echo 'credentials not found in native keychain'; exit 1")
    assert await home.credentials().find(GHCR, "team/app") is None


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'vault is sealed'; printf '\\033[31mnow' >&2; exit 3", "exit code 3.*sealed.*now"),
        ("exit 1", "without a word"),
        ('echo \'{"Username":"s3cret"}\'', "something that is no login"),
        ("echo s3cret", "something that is no login"),
        (
            r"""printf '{"Username": "u", "Secret": "\\ud800s3cret"}'""",
            "a login that cannot be sent",
        ),
        ("yes s3cret", "wrote more than 65536 bytes"),
    ],
)
async def test_a_helper_that_fails_is_named_with_what_it_said(
    home: Home, script: str, message: str
) -> None:
    file = home.docker({"credsStore": "desk"})
    home.helper("desk", script)
    credentials = home.credentials()
    # Not docker login, which asks the same helper.
    advice = f"Mend docker-credential-desk, or take it out of {file} (credHelpers or credsStore)."
    for _ in range(2):
        with pytest.raises(AuthenticationFailed, match=message) as caught:
            await credentials.find(GHCR, "team/app")
        assert "docker-credential-desk" in str(caught.value)
        assert caught.value.where.registry == "ghcr.io"
        assert caught.value.advice() == advice
        assert "\033" not in str(caught.value)
    assert home.asked == ["get ghcr.io"]  # a failure is not asked for again


async def test_no_output_of_a_helper_that_succeeds_is_ever_shown(home: Home) -> None:
    home.docker({"credsStore": "desk"})
    home.helper("desk", 'echo \'{"Username":"s3cret", "Secret": 1}\'')
    with pytest.raises(AuthenticationFailed) as caught:
        await home.credentials().find(GHCR, "team/app")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


async def test_a_helper_that_is_not_installed_is_named_with_its_file(home: Home) -> None:
    file = home.docker({"credsStore": "absent"})
    with pytest.raises(AuthenticationFailed, match="docker-credential-absent") as caught:
        await home.credentials().find(GHCR, "team/app")
    assert str(file) in str(caught.value)


async def test_a_helper_that_is_not_installed_is_installed_or_taken_out(home: Home) -> None:
    file = home.docker({"credHelpers": {"ghcr.io": "absent"}})
    credentials = home.credentials()
    advice = f"Install docker-credential-absent, or take it out of {file} (credHelpers or "
    for _ in range(2):  # the second is told what the first was told
        with pytest.raises(AuthenticationFailed) as caught:
            await credentials.find(GHCR, "team/app")
        for error in (caught.value, caught.value.located("ghcr.io/team/app:1", Step.RESOLVE)):
            assert error.advice().startswith(advice)
            assert "docker login" not in error.advice()


async def test_a_helper_that_waits_for_a_person_is_ended(home: Home) -> None:
    home.helper("desk", "exec sleep 60")
    with fail_after(10), pytest.raises(AuthenticationFailed, match="did not answer wi") as caught:
        await ask_helper("desk", GHCR, named_in="x", environ=home.environ, seconds=0.3)
    assert caught.value.advice().startswith("Mend docker-credential-desk, or take it out of x (")


async def test_a_helper_that_reads_nothing_is_no_error_of_ours(home: Home) -> None:
    program = home.write(
        "bin/docker-credential-deaf",
        '#!/bin/sh\nexec <&-\necho \'{"Username":"alice","Secret":"pa:ss"}\'\n',
    )
    program.chmod(0o755)
    found = await ask_helper("deaf", GHCR, named_in="x", environ=home.environ)
    assert found == ALICE


async def test_an_error_for_many_is_one_for_each_and_keeps_its_cause(home: Home) -> None:
    home.docker({"credsStore": "absent"})
    credentials = home.credentials()
    errors = []
    for _ in range(2):
        with pytest.raises(AuthenticationFailed) as caught:
            await credentials.find(GHCR, "team/app")
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert [type(error.__cause__) for error in errors] == [FileNotFoundError] * 2


@pytest.mark.parametrize(
    ("credential", "place", "expected"),
    [
        (None, GHCR, {}),
        (
            ALICE,
            GHCR,
            {"username": "alice", "password": "pa:ss", "serveraddress": "ghcr.io"},
        ),
        (
            ALICE,
            HUB,
            {
                "username": "alice",
                "password": "pa:ss",
                "serveraddress": "https://index.docker.io/v1/",
            },
        ),
        (
            Credential("u", identity_token="id"),
            GHCR,
            {"identitytoken": "id", "serveraddress": "ghcr.io"},
        ),
        (Credential(registry_token="ready"), GHCR, {"registrytoken": "ready"}),
    ],
)
def test_an_engine_is_told_who_we_are_in_its_own_form(
    credential: Credential | None, place: Registry, expected: dict[str, str]
) -> None:
    assert json.loads(base64.urlsafe_b64decode(engine_auth(credential, place))) == expected
