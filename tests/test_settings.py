"""Which way a run goes, from what is asked and from what is there."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields
from pathlib import Path

import anyio
import pytest

from asyncsync.model.access import Access
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.place import Layout
from asyncsync.model.platform import Platform
from asyncsync.settings import Options, Settings, Via, choose

NO_ENGINE = "No Docker Engine answers at unix:///var/run/docker.sock (no such file)"
SEVERAL = ("linux/amd64", "linux/arm64")


@pytest.mark.parametrize("no_engine", [None, NO_ENGINE])
def test_who_names_a_way_gets_that_one(no_engine: str | None) -> None:
    for via in ("engine", "direct"):
        assert choose(Settings(via=via), (), no_engine=no_engine).via == via


def test_who_names_an_engine_goes_through_it() -> None:
    named = Settings(engine="tcp://engine.example:2376")
    assert choose(named, (), no_engine=NO_ENGINE).via == "engine"


def test_an_engine_that_just_answers_was_not_asked_for() -> None:
    assert Settings(via="engine").engine_named
    assert Settings(engine="tcp://engine.example:2376").engine_named
    assert not Settings().engine_named
    assert not Settings(via="direct").engine_named


def test_an_engine_is_taken_where_one_may_answer_and_else_the_direct_way_says_why() -> None:
    assert choose(Settings(), ()).via == "engine"
    choice = choose(Settings(), (), no_engine=NO_ENGINE)
    assert choice.via == "direct"
    assert choice.why == "no Docker Engine answers at unix:///var/run/docker.sock (no such file)"


@pytest.mark.parametrize(
    ("settings", "platforms", "why"),
    [
        (Settings(platforms=SEVERAL), SEVERAL,
         "no engine can do several platforms of an image (linux/amd64, linux/arm64)"),
        (Settings(with_referrers=True), (), "no engine can do --with-referrers"),
        (Settings(limit_rate=1e6), (), "no engine can do --limit-rate"),
        (Settings(limit_rate=1e6, with_referrers=True), ("linux/amd64",),
         "no engine can do --with-referrers and --limit-rate"),
        (Settings(access=Access(mirrors={"docker.io": ("https://mirror.example",)})), (),
         "no engine can be told of --mirror"),
    ],
)  # fmt: skip
def test_what_no_engine_can_do_makes_it_direct_and_is_told(
    settings: Settings, platforms: tuple[str, ...], why: str
) -> None:
    choice = choose(settings, platforms)
    assert (choice.via, choice.why) == ("direct", why)


def test_one_platform_named_twice_is_one() -> None:
    assert choose(Settings(), ("linux/amd64", "linux/amd64")).via == "engine"


def test_a_plan_for_several_platforms_is_none_for_an_engine_that_is_named() -> None:
    for named in (Settings(via="engine"), Settings(engine="unix:///engine.sock")):
        assert choose(named, SEVERAL[:1]).via == "engine"
        with pytest.raises(
            ConfigurationError, match=r"cannot do several platforms .* --via direct"
        ):
            choose(named, SEVERAL)


VIAS: tuple[Via, ...] = ("auto", "engine", "direct")


@pytest.mark.parametrize("via", VIAS)
def test_the_engine_that_nobody_finds_is_never_chosen_by_ourselves(via: Via) -> None:
    """Whatever is asked: an engine that is not there is gone to only where it is named."""
    for platforms, referrers, rate in itertools.product(
        ((), SEVERAL[:1], SEVERAL), (False, True), (None, 1.0)
    ):
        try:
            settings = Settings(
                via=via, platforms=platforms, with_referrers=referrers, limit_rate=rate
            )
        except ConfigurationError:
            assert via == "engine"
            continue
        chosen = choose(settings, platforms, no_engine=NO_ENGINE).via
        assert chosen == ("engine" if via == "engine" else "direct")


NO_NUMBERS = (0, -1, math.inf, -math.inf, math.nan, 10**400, True, "8", "5s", "20MiB/s", [8])
AMISS: dict[str, tuple[object, ...]] = {
    "to": (5, b"r.example", ["r.example"]),
    "from_": (5, b"oci:./x"),
    "concurrency": (*NO_NUMBERS, 257, 1.5),
    "fail_fast": ("no", 1, None),
    "via": ("telepathy", None, ["direct"]),
    "platforms": ("linux/amd64", None, [None], [b"linux/amd64"], iter(["linux/amd64"])),
    "credential": (("me", "s3cret"), "s3cret", {"me": "s3cret"}),
    "retries": (*(each for each in NO_NUMBERS if each != 0), 101, 1.5, None),
    "timeout": NO_NUMBERS,
    "clean": ("yes", 0),
    "exact": ("yes", 0),
    "limit_rate": NO_NUMBERS,
    "with_referrers": ("yes", 0),
    "access": ({}, None),
    "engine": (5, b"unix:///engine.sock"),
    "docker_config": (5, ["/etc/docker"]),
    "observe": (None, "print", anyio.sleep),
}


def test_what_an_option_does_not_take_is_told_with_what_it_takes_and_shows_no_login() -> None:
    options = {each.name for each in fields(Settings)}
    assert AMISS.keys() == Options.__annotations__.keys() == options
    for option, values in AMISS.items():
        for value in values:
            with pytest.raises(ConfigurationError, match=f"^{option} is .+; not ") as caught:
                Settings(**{option: value})  # type: ignore[arg-type]
            assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("concurrency", "8", "concurrency is a whole number of images at once, 1 to 256; not '8'"),
        ("timeout", math.inf,
         "timeout is a number of seconds, more than 0, or None for no limit; not inf"),
        ("platforms", "linux/arm64", "platforms is a list, as ['linux/arm64']; not 'linux/arm64'"),
        ("access", {}, "access is an Access(plain_http=['registry.example:5000']); not a dict"),
    ],
)  # fmt: skip
def test_the_message_shows_what_was_given(option: str, value: object, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**{option: value})  # type: ignore[arg-type]
    assert str(caught.value) == told


def test_numbers_and_platforms_of_any_kind_that_make_sense_are_taken() -> None:
    Settings(concurrency=256, retries=0, timeout=0.5, limit_rate=1, docker_config=Path("x"))
    Settings(timeout=60, limit_rate=1e300, platforms=[Platform("linux", "arm64")])
    Settings(platforms={"linux/arm64"}, observe=[].append)  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [{"to": "oci:./x"}, {"from_": "oci:./x"}], ids=["to", "from"])
def test_a_layout_on_either_side_makes_the_direct_way(at: dict[str, str]) -> None:
    layouts = Settings(**at).layouts  # type: ignore[arg-type]
    assert layouts == (Layout("./x"),)
    choice = choose(Settings(**at), (), layouts)  # type: ignore[arg-type]
    assert (choice.via, choice.why) == ("direct", "no engine can do an OCI layout (oci:./x)")
    with pytest.raises(ConfigurationError, match=r"cannot do an OCI layout \(oci:\./x\)\. Leave"):
        Settings(via="engine", **at)  # type: ignore[arg-type]


def test_a_registry_is_no_layout() -> None:
    assert Settings(to="r.example/team").layouts == ()
    assert Settings(to="oci:5000/team").layouts == ()
