"""The library's three functions. The only module that wires the rooms together."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, Unpack

import anyio
import anyio.to_thread

from asyncsync import lists, planning
from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.events import Chosen, Observe, ignore
from asyncsync.model.foreign import shown
from asyncsync.model.job import Destination, Plan, Shard
from asyncsync.model.outcome import Outcome, Report
from asyncsync.model.platform import Platform
from asyncsync.scheduling import Run, running

Via: TypeAlias = Literal["auto", "engine"]
CONCURRENCY = 8  # measured: more gains little through one engine, and costs duplicate uploads
CONCURRENCY_MAX = 256
RETRIES_MAX = 100  # an hour and more of waiting
ENGINE_CONCURRENCY = 16  # measured: from here on one engine only uploads more of the same twice


class Options(TypedDict, total=False):
    """The keywords of `sync` and `open_sync`; `Settings` has their meaning and their defaults."""

    to: str | Destination
    concurrency: int
    fail_fast: bool
    via: Via
    platforms: Sequence[str | Platform]
    credential: Credential | None
    retries: int
    timeout: float | None
    clean: bool
    access: Access
    engine: str | None
    docker_config: str | os.PathLike[str] | None
    observe: Observe


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a run is made. Raises ConfigurationError for values that make no sense.

    `concurrency`: images at once, 1 to 256. `fail_fast`: stop at the first failed image. `via`:
    `auto` or `engine`. `platforms`: at most one; empty is the engine's own. `credential`: for the
    target's registry alone; without one, docker's configuration is asked. `retries`: of one step,
    after transient failures. `timeout`: seconds for one image, waits included. `clean`: take out
    of the engine what the run brought in. `engine`: its URL; None is where docker would look.
    `docker_config`: a folder in place of docker's own. `observe` is called with every event.
    """

    to: str | Destination | None = None
    concurrency: int = CONCURRENCY
    fail_fast: bool = False
    via: Via = "auto"
    platforms: Sequence[str | Platform] = ()
    credential: Credential | None = None
    retries: int = 3
    timeout: float | None = None
    clean: bool = False
    access: Access = field(default_factory=Access)
    engine: str | None = None
    docker_config: str | os.PathLike[str] | None = None
    observe: Observe = ignore

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= CONCURRENCY_MAX:
            raise ConfigurationError(
                f"concurrency is 1 to {CONCURRENCY_MAX} images at once, not {self.concurrency}"
            )
        if self.via not in ("auto", "engine"):
            raise ConfigurationError(f"via is 'auto' or 'engine', not {self.via!r}")
        if not 0 <= self.retries <= RETRIES_MAX:
            raise ConfigurationError(f"retries are 0 to {RETRIES_MAX}, not {self.retries}")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigurationError(f"timeout is more than 0 seconds, not {self.timeout}")
        if isinstance(self.platforms, str):
            raise ConfigurationError(f"platforms is a list, as [{self.platforms!r}]")
        if iscoroutinefunction(self.observe):
            raise ConfigurationError("observe is called and not awaited: give a plain function")
        if len(self.platforms) > 1:
            raise ConfigurationError(
                "an engine copies one platform of an image; name one platform, not "
                + ", ".join(str(platform) for platform in self.platforms)
            )


class SyncRun:
    """A sync under way. Iterate for outcomes as images end: exactly one for every job."""

    def __init__(self, plan: Plan, via: str, run: Run) -> None:
        self.plan, self.via = plan, via
        self._run, self._started = run, time.monotonic()
        self._seconds: float | None = None

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self._run.__aiter__()

    def stop(self) -> None:
        """Start nothing more and cancel what is under way; every job is still told."""
        self._run.stop()

    def drain(self) -> None:
        """Start nothing more; what is under way goes on to its end. Every job is still told."""
        self._run.drain()

    @property
    def report(self) -> Report:
        """What is known so far, in the order of the list; complete once the block is left."""
        seconds = time.monotonic() - self._started if self._seconds is None else self._seconds
        return Report(self.via, seconds, self._run.told)

    def _ended(self) -> None:
        self._seconds = time.monotonic() - self._started


async def sync(
    images: str | os.PathLike[str] | Iterable[str] | Plan, **options: Unpack[Options]
) -> Report:
    """Bring all `images` to `to`; the report has one outcome for each, in the order of the list.

    `images` is the path of a list, an iterable of entries, or a plan. A failed image is an outcome,
    not an exception: see `Report.ok` and `Report.raise_for_failures`. `Settings` has the options.

        report = await asyncsync.sync("images.yaml", to="registry.example/team", concurrency=8)
        report.raise_for_failures()

    Raises ListError, PlanError, ConfigurationError or EngineUnavailable before anything moves.
    """
    async with open_sync(images, **options) as run:
        async for _ in run:
            pass
    return run.report


@asynccontextmanager
async def open_sync(
    images: str | os.PathLike[str] | Iterable[str] | Plan, **options: Unpack[Options]
) -> AsyncIterator[SyncRun]:
    """Start bringing `images` to `to`, and watch it.

        async with asyncsync.open_sync(["nginx:1.27"], to="registry.example/team") as run:
            async for outcome in run:
                print(outcome.job.source, outcome.status)
        run.report.raise_for_failures()

    Leaving the block, an exception or a cancellation ends every worker and closes every connection
    before the call returns; errors arrive bare. Raises what `sync` raises.
    """
    settings = Settings(**options)
    if not isinstance(images, Plan):
        if settings.to is None:
            raise ConfigurationError("where to? Say to='registry.example/team'")
        images = await plan(images, to=settings.to, platforms=settings.platforms)
    async with _engine_way(images, settings) as run:
        yield run


async def plan(
    images: str | os.PathLike[str] | Iterable[str],
    *,
    to: str | Destination,
    platforms: Sequence[str | Platform] = (),
    shard: str | Shard | None = None,
) -> Plan:
    """What would go where. Asks no engine and no registry.

    `shard="2/4"` is the second of four parts of it, so that four runs can share the work.

    Raises ListError or PlanError with every mistake and its position, ConfigurationError.
    """
    if isinstance(images, str | os.PathLike):
        name = os.fspath(images)
        data = await anyio.to_thread.run_sync(list_bytes, name)
        specs = lists.read(lists.decode(data, name), name)
    else:
        specs = lists.entries(images)
    try:
        destination = to if isinstance(to, Destination) else Destination.parse(to)
        wanted = tuple(p if isinstance(p, Platform) else Platform.parse(p) for p in platforms)
        part = Shard.parse(shard) if isinstance(shard, str) else shard
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    whole = planning.plan(specs, [destination], wanted)
    return planning.part(whole, part) if part else whole


def list_bytes(name: str) -> bytes:
    """What the file of a list holds, up to a byte more than a list may have. Blocks.

    Raises ConfigurationError that says what to do.
    """
    try:
        with open(name, "rb") as file:
            return file.read(lists.LIST_BYTES_MAX + 1)
    except FileNotFoundError:
        why = f"There is no list {shown(name)}. Write one with an image a line, as nginx:1.27."
        raise ConfigurationError(why) from None
    except IsADirectoryError:
        inside = shown(str(Path(name) / "images.yaml"))
        raise ConfigurationError(
            f"{shown(name)} is a folder. Name the list in it, as {inside}."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ConfigurationError(f"{shown(name)} cannot be read: {shown(why)}.") from None


@asynccontextmanager
async def _engine_way(plan: Plan, settings: Settings) -> AsyncIterator[SyncRun]:
    # Here, not above: `import asyncsync` and `asyncsync plan` need no HTTP.
    from asyncsync.credentials import Credentials
    from asyncsync.retrying import Retrying
    from asyncsync.stores.registry.client import RegistryClient
    from asyncsync.transports.engine import EngineTransport, connected

    hosts = {str(job.target.place) for job in plan.jobs}
    explicit = dict.fromkeys(hosts, settings.credential) if settings.credential else {}
    config = Path(settings.docker_config) if settings.docker_config else None
    credentials = Credentials.load(explicit, docker_config=config)
    if config and not config.is_dir():
        raise ConfigurationError(f"docker_config: there is no folder {shown(str(config))}")
    environ = {**os.environ, "DOCKER_CONFIG": str(config)} if config else os.environ
    async with (
        connected(settings.engine, environ) as (engine, address),
        RegistryClient(settings.access, credentials) as manifests,
    ):
        settings.observe(Chosen("engine", f"{engine.name} answers at {address}{_advice(settings)}"))
        transport = EngineTransport(
            engine,
            manifests,
            credentials,
            retrying=Retrying(settings.retries),
            clean=settings.clean,
        )
        async with running(
            plan.jobs,
            transport,
            concurrency=settings.concurrency,
            fail_fast=settings.fail_fast,
            timeout=settings.timeout,
            observe=settings.observe,
        ) as run:
            watched = SyncRun(plan, "engine", run)
            try:
                yield watched
            finally:
                watched._ended()


def _advice(settings: Settings) -> str:
    if settings.concurrency <= ENGINE_CONCURRENCY:
        return ""
    return f"; an engine gains nothing above {ENGINE_CONCURRENCY} at once"
