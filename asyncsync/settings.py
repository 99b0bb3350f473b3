"""How a run is made, and which way of copying follows from that. Pure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import iscoroutinefunction
from types import NoneType
from typing import Any, Literal, Self, TypeAlias, TypedDict

from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.events import Observe, ignore
from asyncsync.model.foreign import quoted
from asyncsync.model.job import Destination, Plan, Shard
from asyncsync.model.place import Layout
from asyncsync.model.platform import Platform

Way: TypeAlias = Literal["engine", "direct"]
Via: TypeAlias = Literal["auto"] | Way
ENGINE_CONCURRENCY = 8  # measured: more gains little through one engine, and costs double uploads
# Measured: 200 tiny images at 50 ms are a fifth faster than with 32, and no slower than with 128.
DIRECT_CONCURRENCY = 64
CONCURRENCY_MAX = 256
RETRIES_MAX = 100  # an hour and more of waiting


class Options(TypedDict, total=False):
    """The keywords of `sync` and `open_sync`; `Settings` has their meaning and their defaults."""

    to: str | Destination
    from_: str | Layout | None
    concurrency: int | None
    fail_fast: bool
    via: Via
    platforms: Sequence[str | Platform]
    credential: Credential | None
    retries: int
    timeout: float | None
    clean: bool
    exact: bool
    limit_rate: float | None
    with_referrers: bool
    access: Access
    engine: str | None
    docker_config: str | os.PathLike[str] | None
    observe: Observe


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_amount(value: Any) -> bool:
    """Whether it is more than nothing and has an end (NaN compares with nothing), or no limit."""
    if value is None or isinstance(value, bool):
        return value is None
    return isinstance(value, int | float) and 0 < value <= sys.float_info.max


def _are_platforms(value: Any) -> bool:
    """Whether it holds them, and as often as it is asked: an iterator would do so once."""
    several = isinstance(value, Collection) and not isinstance(value, str)
    return several and all(map(_is(str, Platform), value))


_YES_OR_NO = (_is(bool), "is True or False")
# What an option takes, and how that is said behind its name.
_TAKES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "to": (_is(str, Destination, NoneType), "is a text, as 'registry.example/team'"),
    "from_": (_is(str, Layout, NoneType), "is a layout, as 'oci:./export'"),
    "concurrency": (
        lambda value: value is None or _is_whole(value, 1, CONCURRENCY_MAX),
        f"is a whole number of images at once, 1 to {CONCURRENCY_MAX}",
    ),
    "fail_fast": _YES_OR_NO,
    "via": (lambda value: value in ("auto", "engine", "direct"), "is 'auto', 'engine' or 'direct'"),
    "platforms": (_are_platforms, "is a list, as ['linux/arm64']"),
    "credential": (_is(Credential, NoneType), "is a Credential('user', 'password')"),
    "retries": (
        lambda value: _is_whole(value, 0, RETRIES_MAX), f"is a whole number, 0 to {RETRIES_MAX}"
    ),
    "timeout": (_is_amount, "is a number of seconds, more than 0, or None for no limit"),
    "clean": _YES_OR_NO,
    "exact": _YES_OR_NO,
    "limit_rate": (_is_amount, "is a number of bytes a second, more than 0, or None for no limit"),
    "with_referrers": _YES_OR_NO,
    "access": (_is(Access), "is an Access(plain_http=['registry.example:5000'])"),
    "engine": (_is(str, NoneType), "is a URL, as 'unix:///var/run/docker.sock'"),
    "docker_config": (_is(str, os.PathLike, NoneType), "is the path of a folder"),
    "observe": (
        lambda value: callable(value) and not iscoroutinefunction(value),
        "is a plain function that takes an event, and is not awaited",
    ),
    "shard": (_is(str, Shard, NoneType), "is a part of the whole, as '2/4'"),
}  # fmt: skip


def check(**options: object) -> None:
    """Raise ConfigurationError for the first value that its option does not take."""
    for name, value in options.items():
        is_taken, what = _TAKES[name]
        if not is_taken(value):
            raise ConfigurationError(f"{name} {what}; not {_told(name, value)}")


def _told(name: str, value: object) -> str:
    if value is None or isinstance(value, int | float):
        return str(value)
    if isinstance(value, str) and name != "credential":  # which may be a password
        return quoted(value)
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a run is made. Raises ConfigurationError for values that make no sense.

    `to`: `registry.example/team`, or an OCI layout, as `oci:./export`. `from_`: a layout that the
    images are read from, by the names that they have there. Either makes the direct way.
    `concurrency`: images at once, 1 to 256; None is what suits the way (engine: 8, direct: 64).
    `fail_fast`: stop at the first failed image. `via`: `engine`, `direct`, or `auto`, which is the
    engine where one answers and can do all that is asked. `platforms`: empty is the engine's own
    one, or with the direct way all; an engine takes at most one. `credential`: for the target's
    registry alone; without one, docker's configuration is asked. `retries`: of one step, after
    transient failures. `timeout`: seconds for one image, waits included. `clean`: take out of the
    engine what the run brought in. `exact`: never adapt an image that the target refuses as it is.
    `limit_rate`: bytes a second for the whole run, and `with_referrers`: signatures, SBOMs and
    attestations come along; both need the direct way. `engine`: the URL of the one to take,
    whatever else answers; None is where docker would look. `docker_config`: a folder in place of
    docker's own. `observe` is called with every event; what it raises ends the run, bare.
    """

    to: str | Destination | None = None
    from_: str | Layout | None = None
    concurrency: int | None = None
    fail_fast: bool = False
    via: Via = "auto"
    platforms: Sequence[str | Platform] = ()
    credential: Credential | None = None
    retries: int = 3
    timeout: float | None = None
    clean: bool = False
    exact: bool = False
    limit_rate: float | None = None
    with_referrers: bool = False
    access: Access = field(default_factory=Access)
    engine: str | None = None
    docker_config: str | os.PathLike[str] | None = None
    observe: Observe = ignore

    def __post_init__(self) -> None:
        check(**{each.name: getattr(self, each.name) for each in fields(Settings)})
        choose(self, self.platforms, self.layouts)

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """Those that are read or written, as far as they are named here."""
        named = (self.from_, self.to.place if isinstance(self.to, Destination) else self.to)
        return tuple(filter(None, map(_layout, named)))

    @property
    def engine_named(self) -> bool:
        """Whether an engine was asked for, and is not just what there is."""
        return self.via == "engine" or bool(self.engine)

    def at_once(self, way: str) -> int:
        """How many images are under way at once, if they go this way."""
        return self.concurrency or concurrency_of(way)


def _layout(named: object) -> Layout | None:
    if isinstance(named, str):
        try:
            named = Destination.parse(named).place
        except ValueError:  # it is said where it is planned with
            return None
    return named if isinstance(named, Layout) else None


@dataclass(frozen=True, slots=True)
class Ends:
    """Where images go, where they are read, and what for, as far as somebody says it."""

    to: Destination | None
    from_: Layout | None
    platforms: tuple[Platform, ...]

    @classmethod
    def read(
        cls,
        to: str | Destination | None,
        from_: str | Layout | None,
        platforms: Collection[str | Platform],
    ) -> Self:
        """Read them where they are texts. Raises ConfigurationError."""
        check(to=to, from_=from_, platforms=platforms)
        try:
            return cls(
                Destination.parse(to) if isinstance(to, str) else to,
                Layout.parse(from_) if isinstance(from_, str) else from_,
                tuple(
                    dict.fromkeys(Platform.parse(p) if isinstance(p, str) else p for p in platforms)
                ),
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from error

    def check_plan(self, plan: Plan) -> None:
        """Raise ConfigurationError for what is said here and is otherwise in the plan.

        The plan alone is carried out: what is said beside it would be passed over.
        """
        for job in plan.jobs:
            if self.to:
                namespace = job.target.repository.rpartition("/")[0]
                _check_same("to", self.to, Destination(job.target.place, namespace))
            if self.from_:
                _check_same("from_", self.from_, job.source.place)
            if self.platforms and {*self.platforms} != {*job.platforms}:
                planned = ", ".join(map(str, job.platforms)) or "none in particular"
                _check_same("platforms", ", ".join(map(str, self.platforms)), planned)


def _check_same(option: str, said: object, planned: object) -> None:
    if said != planned:
        raise ConfigurationError(
            f"{option} is {said}, but the plan was made with {planned}. "
            f"Leave {option}= out, or make another plan with it."
        )


def concurrency_of(way: str) -> int:
    """How many images are under way at once where nobody says another number."""
    return DIRECT_CONCURRENCY if way == "direct" else ENGINE_CONCURRENCY


@dataclass(frozen=True, slots=True)
class Choice:
    """A way, and why it is taken, to stand behind `via=direct: `."""

    via: Way
    why: str


def choose(
    settings: Settings,
    platforms: Sequence[str | Platform],
    layouts: Sequence[Layout] = (),
    *,
    no_engine: str | None = None,
) -> Choice:
    """The way to go: the one that is named, else an engine, unless there is a reason against it.

    `platforms`: the most that one image is wanted for. `layouts`: where images come from, or go to.
    `no_engine`: why none can be reached, once that is known. Raises ConfigurationError if an engine
    is named that cannot do what is asked.
    """
    beyond = " and ".join(_beyond_an_engine(settings, platforms, layouts))
    if settings.via == "direct":
        return Choice("direct", "as asked")
    if settings.engine_named:
        if beyond:
            raise ConfigurationError(
                f"{_named(settings)} cannot do {beyond}. Leave that out, or take --via direct."
            )
        return Choice("engine", "as asked")
    if beyond:
        return Choice("direct", f"no engine can do {beyond}")
    if settings.access.mirrors:  # an engine that is named may have the same ones as its own
        return Choice("direct", "no engine can be told of --mirror")
    if no_engine:
        return Choice("direct", f"{no_engine[0].lower()}{no_engine[1:]}")
    return Choice("engine", "if one answers")


def _named(settings: Settings) -> str:
    return "--via engine" if settings.via == "engine" else "The engine that is named"


def _beyond_an_engine(
    settings: Settings, platforms: Sequence[str | Platform], layouts: Sequence[Layout]
) -> Iterator[str]:
    if layouts:
        yield f"an OCI layout ({', '.join(map(str, dict.fromkeys(layouts)))})"
    distinct = dict.fromkeys(map(str, platforms))
    if len(distinct) > 1:
        yield f"several platforms of an image ({', '.join(distinct)})"
    if settings.with_referrers:
        yield "--with-referrers"
    if settings.limit_rate is not None:
        yield "--limit-rate"
