"""The library's three functions. The only module that wires the rooms together."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import anyio
import anyio.to_thread

from asyncsync import lists, planning
from asyncsync.model.errors import ConfigurationError, CopyError, EngineUnavailable
from asyncsync.model.events import Chosen, Copy, Warned
from asyncsync.model.foreign import shown
from asyncsync.model.job import Destination, Plan, Shard, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.place import Layout, Place, Registry
from asyncsync.model.platform import Platform
from asyncsync.scheduling import Run, running
from asyncsync.settings import Ends, Options, Settings, check, choose

if TYPE_CHECKING:
    from asyncsync.credentials import Credentials
    from asyncsync.stores.layout.store import LayoutStore

_WHERE_TO = "where to? Say to='registry.example/team'"
_ENGINE_GAINS_TO = 16  # measured: from here on one engine only uploads more of the same twice


class SyncRun:
    """A sync under way. Iterate for outcomes as images end: exactly one for every job.

    Whoever iterates takes them: of two who do so, each has a part. `report` has all of them,
    `plan` is what is carried out, and `via` the way that it goes: `engine` or `direct`.
    """

    def __init__(self, plan: Plan, via: str, run: Run) -> None:
        self.plan, self.via = plan, via
        self._run, self._started = run, time.monotonic()
        self._seconds: float | None = None
        self._unwritten = plan.tar  # what is copied is in place only with it
        self._failure: CopyError | None = None

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
        return Report(self.via, seconds, tuple(map(self._as_it_is, self._run.told)))

    async def _keep(self, layout: LayoutStore) -> None:
        """Put a tar in its place, unless the run was stopped: then the old one stays."""
        if any(outcome.status is Status.CANCELLED for outcome in self._run.told):
            return
        try:
            await layout.finish()
            self._unwritten = None
        except CopyError as error:
            self._failure = error

    def _as_it_is(self, outcome: Outcome) -> Outcome:
        """The same, but nothing is in place that came for a tar which is not in its place."""
        if self._unwritten is None or outcome.status is not Status.COPIED:
            return outcome
        if self._failure:
            error = self._failure.located(str(outcome.job.source), Step.COPY)
            return replace(outcome, status=Status.FAILED, digest=None, error=error)
        note = f"{self._unwritten} is as it was before the run"
        notes = (*outcome.notes, note)
        return replace(outcome, status=Status.CANCELLED, digest=None, notes=notes)

    def _ended(self) -> None:
        self._seconds = time.monotonic() - self._started


async def sync(
    images: str | os.PathLike[str] | Iterable[str] | Plan, **options: Unpack[Options]
) -> Report:
    """Bring all `images` to `to`; the report has one outcome for each, in the order of the list.

    `images` is the path of a list, an iterable of entries, or a plan, which has its own `to`,
    `from_` and `platforms`: one that says otherwise is refused. A failed image is an outcome,
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
    before the call returns; errors arrive bare. Raises what `sync` raises. An async generator that
    yields inside the block is left through `contextlib.aclosing`: Python ends an abandoned one in
    another task, which cancels the one that made it.
    """
    settings = Settings(**options)
    if isinstance(images, Plan):
        Ends.read(settings.to, settings.from_, settings.platforms).check_plan(images)
    else:
        if settings.to is None:
            raise ConfigurationError(_WHERE_TO)
        images = await plan(
            images, to=settings.to, from_=settings.from_, platforms=settings.platforms
        )
    async with AsyncExitStack() as ways:
        yield await _begin(images, settings, ways)


async def _begin(plan: Plan, settings: Settings, ways: AsyncExitStack) -> SyncRun:
    """Open the way that the settings choose, for as long as `ways` is open."""
    platforms = max((job.platforms for job in plan.jobs), key=len, default=())
    layouts = [place for place in _places(plan) if isinstance(place, Layout)]
    choice = choose(settings, platforms, layouts)
    if choice.via == "engine":
        try:
            return await ways.enter_async_context(_engine_way(plan, settings))
        except EngineUnavailable as error:
            # Nothing has begun: from the first copy on, an engine that goes away is an EngineLost.
            choice = choose(settings, platforms, layouts, no_engine=error.what)
            if choice.via == "engine":
                raise
    return await ways.enter_async_context(_direct_way(plan, settings, choice.why))


async def plan(
    images: str | os.PathLike[str] | Iterable[str],
    *,
    to: str | Destination,
    from_: str | Layout | None = None,
    platforms: Sequence[str | Platform] = (),
    shard: str | Shard | None = None,
) -> Plan:
    """What would go where. Asks no engine and no registry.

    `from_="oci:./export"`: the images are in that layout, and named as it names them.

    `shard="2/4"` is the second of four parts of it, so that four runs can share the work.

    Raises ListError or PlanError with every mistake and its position, ConfigurationError.
    """
    check(shard=shard)
    ends = Ends.read(to, from_, platforms)
    if ends.to is None:
        raise ConfigurationError(_WHERE_TO)
    try:
        part = Shard.parse(shard) if isinstance(shard, str) else shard
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if isinstance(images, str | os.PathLike):
        name = os.fspath(images)
        data = await anyio.to_thread.run_sync(list_bytes, name, ends.from_)
        specs = lists.read(lists.decode(data, name), name, ends.from_)
    else:
        specs = lists.entries(images, ends.from_)
    whole = planning.plan(specs, [ends.to], ends.platforms)
    return planning.part(whole, part) if part else whole


def list_bytes(name: str, layout: Layout | None = None) -> bytes:
    """What the file of a list holds, up to a byte more than a list may have. Blocks.

    Raises ConfigurationError that says what to do. `layout`: where the images are, and perhaps
    their list as well.
    """
    try:
        with open(name, "rb") as file:
            return file.read(lists.LIST_BYTES_MAX + 1)
    except FileNotFoundError:
        why = f"There is no list {shown(name)}. Write one with an image a line, as nginx:1.27."
        if layout and (other := Path(layout.path, name)).is_file():
            there = f"but {shown(str(layout))} holds one. Name that: {shown(str(other))}."
            why = f"There is no list {shown(name)}, {there}"
        if ":" in name:  # the name of an image, perhaps
            why += " An image itself goes in by stdin (LIST is -), or to a call in a list of them."
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
    from asyncsync.retrying import Retrying
    from asyncsync.stores.registry.client import RegistryClient
    from asyncsync.transports.engine import EngineTransport, connected
    from asyncsync.transports.hiding import hiding

    credentials = _credentials(plan, settings)
    config = settings.docker_config
    environ = {**os.environ, "DOCKER_CONFIG": os.fspath(config)} if config else os.environ
    async with (
        connected(settings.engine, environ) as (engine, address),
        RegistryClient(settings.access, credentials, warn=_warning(settings)) as manifests,
    ):
        settings.observe(Chosen("engine", f"{engine.name} answers at {address}{_advice(settings)}"))
        transport = EngineTransport(
            engine,
            manifests,
            credentials,
            retrying=Retrying(settings.retries),
            clean=settings.clean,
            advise=not settings.engine_named,
        )
        copy = hiding(transport, manifests.hidden)
        async with _running(plan, "engine", copy, settings) as run:
            yield run


def _advice(settings: Settings) -> str:
    if settings.at_once("engine") <= _ENGINE_GAINS_TO:
        return ""
    return f"; an engine gains nothing above {_ENGINE_GAINS_TO} at once"


@asynccontextmanager
async def _direct_way(plan: Plan, settings: Settings, why: str) -> AsyncIterator[SyncRun]:
    from asyncsync.retrying import Retrying
    from asyncsync.stores.registry.client import RegistryClient
    from asyncsync.transports.direct.pace import Pace
    from asyncsync.transports.direct.transport import DirectTransport
    from asyncsync.transports.hiding import hiding

    credentials = _credentials(plan, settings)
    async with AsyncExitStack() as stores:
        registries = await stores.enter_async_context(
            RegistryClient(settings.access, credentials, warn=_warning(settings))
        )
        source = await _layout(stores, [job.source.place for job in plan.jobs])
        target = await _layout(stores, [job.target.place for job in plan.jobs], create=True)
        settings.observe(Chosen("direct", why))
        transport = DirectTransport(
            source or registries,
            target or registries,
            retrying=Retrying(settings.retries),
            pace=Pace(settings.limit_rate),
            exact=settings.exact,
            with_referrers=settings.with_referrers,
        )
        copy = hiding(transport, registries.hidden)
        async with _running(plan, "direct", copy, settings) as run:
            yield run
        if target:
            await run._keep(target)


async def _layout(
    stores: AsyncExitStack, places: Iterable[Place], *, create: bool = False
) -> LayoutStore | None:
    """The one layout that all `places` are, or None if they are registries."""
    distinct = set(places)
    layouts = [place for place in distinct if isinstance(place, Layout)]
    if not layouts:
        return None
    if len(distinct) > 1:
        raise ConfigurationError("a run has one layout, or registries: make a plan for each")
    from asyncsync.stores.layout.store import opened

    return await stores.enter_async_context(opened(layouts[0], create=create))


def _places(plan: Plan) -> tuple[Place, ...]:
    """Each once, in the order of the list: what is told of them is the same in every run."""
    found = (place for job in plan.jobs for place in (job.source.place, job.target.place))
    return tuple(dict.fromkeys(found))


def _warning(settings: Settings) -> Callable[[str, str], None]:
    return lambda registry, text: settings.observe(Warned(registry, text))


def _credentials(plan: Plan, settings: Settings) -> Credentials:
    from asyncsync.credentials import Credentials

    hosts = {str(job.target.place) for job in plan.jobs if isinstance(job.target.place, Registry)}
    explicit = dict.fromkeys(hosts, settings.credential) if settings.credential else {}
    config = Path(settings.docker_config) if settings.docker_config else None
    if config and not config.is_dir():
        raise ConfigurationError(f"docker_config: there is no folder {shown(str(config))}")
    return Credentials.load(explicit, docker_config=config)


@asynccontextmanager
async def _running(plan: Plan, via: str, copy: Copy, settings: Settings) -> AsyncIterator[SyncRun]:
    async with running(
        plan.jobs,
        copy,
        concurrency=settings.at_once(via),
        fail_fast=settings.fail_fast,
        timeout=settings.timeout,
        observe=settings.observe,
    ) as run:
        watched = SyncRun(plan, via, run)
        try:
            yield watched
        finally:
            watched._ended()
