"""Options beat variables, variables beat defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncsync import settings as library
from asyncsync.cli.settings import Given, how_to_log, settings
from asyncsync.cli.sync import sync
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.events import ignore
from asyncsync.model.job import Destination
from asyncsync.model.place import Layout
from asyncsync.model.platform import Platform
from asyncsync.reporting.log import Level

TO = Destination.parse("r.example/team")


def given(**options: Any) -> Given:
    """What the command gives where nothing but these is written."""
    written = sync.make_context("sync", []).params
    del written["images"]
    return {**written, "to": TO, **options}  # type: ignore[typeddict-item]


def test_the_command_gives_each_of_its_options_and_no_other() -> None:
    assert given().keys() == Given.__annotations__.keys()


def test_without_any_word_the_defaults_hold() -> None:
    chosen = settings(given(), {})
    assert (chosen.concurrency, chosen.fail_fast, chosen.via, chosen.retries) == (
        None, False, "auto", 3,
    )  # fmt: skip
    assert (chosen.exact, chosen.with_referrers, chosen.limit_rate) == (False, False, None)
    assert (chosen.timeout, chosen.clean, chosen.platforms, chosen.credential) == (
        None, False, (), None,
    )  # fmt: skip
    assert (chosen.succeeded_log, chosen.failed_list) == (Path("succeeded.log"), None)


@pytest.mark.parametrize(
    ("name", "variable", "text", "value", "option"),
    [
        ("concurrency", "ASYNCSYNC_CONCURRENCY", "4", 4, 2),
        ("fail_fast", "ASYNCSYNC_FAIL_FAST", "yes", True, False),
        ("via", "ASYNCSYNC_VIA", "engine", "engine", "auto"),
        ("retries", "ASYNCSYNC_RETRIES", "5", 5, 0),
        ("timeout", "ASYNCSYNC_TIMEOUT", "20m", 1200.0, 90.0),
        ("clean", "ASYNCSYNC_CLEAN", "1", True, False),
        ("exact", "ASYNCSYNC_EXACT", "on", True, False),
        ("succeeded_log", "ASYNCSYNC_SUCCEEDED_LOG", "v.log", Path("v.log"), Path("o.log")),
        ("failed_list", "ASYNCSYNC_FAILED_LIST", "v.yaml", Path("v.yaml"), Path("o.yaml")),
        ("platforms", "ASYNCSYNC_PLATFORM", "linux/arm64, linux/amd64",
         (Platform("linux", "arm64"), Platform("linux", "amd64")), (Platform("linux", "amd64"),)),
    ],
)  # fmt: skip
def test_a_variable_does_what_its_option_does_and_the_option_wins(
    name: str, variable: str, text: str, value: object, option: object
) -> None:
    assert getattr(settings(given(), {variable: text}), name) == value
    assert getattr(settings(given(**{name: option}), {variable: text}), name) == option
    assert getattr(settings(given(), {variable: ""}), name) == getattr(settings(given(), {}), name)


def test_the_library_is_told_all_that_was_chosen_and_who_listens() -> None:
    told = settings(given(retries=5, exact=True, limit_rate=1.5), {}).options(print)
    asked = library.Settings(to=TO, retries=5, exact=True, limit_rate=1.5, observe=print)
    assert library.Settings(**told) == asked


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ASYNCSYNC_CONCURRENCY", "0"),
        ("ASYNCSYNC_FAIL_FAST", "maybe"),
        ("ASYNCSYNC_VIA", "telepathy"),
        ("ASYNCSYNC_RETRIES", "-1"),
        ("ASYNCSYNC_TIMEOUT", "soon"),
        ("ASYNCSYNC_CLEAN", "2"),
        ("ASYNCSYNC_EXACT", "2"),
        ("ASYNCSYNC_PLATFORM", "linux"),
    ],
)
def test_a_wrong_variable_is_named_in_one_message(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: "):
        settings(given(), {variable: text})


def test_the_destination_option_beats_registry_and_namespace_together() -> None:
    variables = {"REGISTRY": "https://wrong/", "NAMESPACE": "Wrong"}
    assert settings(given(), variables).to == TO


def test_no_destination_names_both_ways_to_give_one() -> None:
    with pytest.raises(ConfigurationError) as told:
        settings(given(to=None), {"NAMESPACE": "team"})
    assert "--to" in str(told.value)
    assert "REGISTRY" in str(told.value)


def test_an_engine_takes_one_platform_however_often_it_is_named() -> None:
    amd64, arm64 = Platform("linux", "amd64"), Platform("linux", "arm64")
    once = settings(given(platforms=(amd64, amd64), via="engine"), {})
    assert once.platforms == (amd64,)
    assert settings(given(platforms=(amd64, arm64)), {}).platforms == (amd64, arm64)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"platforms": (Platform("linux", "amd64"), Platform("linux", "arm64"))},
         r"several platforms of an image \(linux/amd64, linux/arm64\)"),
        ({"with_referrers": True}, "--with-referrers"),
        ({"limit_rate": 1000.0}, "--limit-rate"),
        ({"with_referrers": True, "limit_rate": 1000.0}, "--with-referrers and --limit-rate"),
    ],
)  # fmt: skip
def test_what_an_engine_cannot_do_is_told_once_where_the_engine_is_named(
    options: dict[str, object], named: str
) -> None:
    for chosen, variables in ((given(via="engine"), {}), (given(), {"ASYNCSYNC_VIA": "engine"})):
        with pytest.raises(ConfigurationError, match=f"^--via engine cannot do {named}. Leave"):
            settings({**chosen, **options}, variables)  # type: ignore[typeddict-item]
    for via in (None, "auto", "direct"):
        assert settings(given(via=via, **options), {})


def test_access_is_made_of_options_and_proxies() -> None:
    access = settings(
        given(
            plain_http=("r.example", "r.example"),
            ca_file=Path("ca.pem"),
            insecure_skip_verify=("own.example:5000",),
            mirrors=(
                ("docker.io", "https://b.example"),
                ("quay.io", "https://q.example"),
                ("docker.io", "https://a.example"),
            ),
        ),
        {},
        proxies={"https": "http://proxy:3128"},
    ).access
    assert access.plain_http == {"r.example"}
    assert access.ca_file == Path("ca.pem")
    assert access.proxies == {"https": "http://proxy:3128"}
    assert access.insecure == {"own.example:5000"}
    assert access.mirrors == {
        "docker.io": ("https://b.example", "https://a.example"),
        "quay.io": ("https://q.example",),
    }


def test_whatever_a_run_was_told_the_library_is_told() -> None:
    told: dict[str, Any] = {
        "from_": Layout.parse("oci:./export"), "platforms": (Platform("linux", "amd64"),),
        "concurrency": 3, "fail_fast": True, "via": "direct", "retries": 5, "timeout": 90.0,
        "clean": True, "exact": True, "with_referrers": True, "limit_rate": 1000.0,
    }  # fmt: skip
    chosen = settings(given(user="me", **told), {}, password="hunter2")
    told |= {"to": TO, "credential": chosen.credential, "access": chosen.access, "observe": ignore}
    assert chosen.options(ignore).items() >= told.items()


def test_a_mirror_without_tls_has_to_be_named_as_one() -> None:
    mirror = ("docker.io", "http://mirror.example:81/hub")
    with pytest.raises(ConfigurationError, match=r"add --plain-http mirror\.example:81"):
        settings(given(mirrors=(mirror,)), {})
    access = settings(given(mirrors=(mirror,), plain_http=("mirror.example:81",)), {}).access
    assert access.mirrors == {"docker.io": ("http://mirror.example:81/hub",)}


def test_no_repr_holds_the_password() -> None:
    chosen = settings(given(user="me"), {}, password="hunter2")
    assert chosen.credential is not None
    assert chosen.credential.password == "hunter2"
    assert "hunter2" not in repr(chosen)


def test_the_log_gets_more_with_every_v_and_less_with_q() -> None:
    assert how_to_log(given(), {}) == ("console", Level.WARNING)
    assert how_to_log(given(verbose=1), {}) == ("console", Level.INFO)
    assert how_to_log(given(verbose=5), {}) == ("console", Level.DEBUG)
    assert how_to_log(given(quiet=True), {}) == ("console", Level.ERROR)
    assert how_to_log(given(), {"ASYNCSYNC_LOG_FORMAT": "json"})[0] == "json"
    assert how_to_log(given(quiet=True, log_format="json"), {}) == ("json", Level.ERROR)
    assert how_to_log(given(log_format="console"), {"ASYNCSYNC_LOG_FORMAT": "json"})[0] == "console"
    with pytest.raises(ConfigurationError, match="ASYNCSYNC_LOG_FORMAT"):
        how_to_log(given(), {"ASYNCSYNC_LOG_FORMAT": "xml"})
    with pytest.raises(ConfigurationError, match="-q and -v"):
        how_to_log(given(quiet=True, verbose=1), {})
