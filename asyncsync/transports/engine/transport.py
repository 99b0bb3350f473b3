"""Copies through a Docker Engine: resolve, pull, tag, push, verify; skips what is in place.

The one way that is right on every engine tried: ask the source registry for the manifest of the
platform, pull `repository@digest` (two platforms of one tag do not disturb each other, nothing
local is overwritten), and believe only the target registry.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from anyio import move_on_after

from asyncsync.credentials import Credentials, engine_auth
from asyncsync.model.access import Credential
from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    DigestMismatch,
    EngineLost,
    NoSuchPlatform,
    NotFound,
    RateLimited,
    RegistryUnavailable,
    TimedOut,
    TlsError,
    Where,
)
from asyncsync.model.events import (
    Advised,
    BytesMoved,
    Noted,
    Observe,
    StepEnded,
    StepStarted,
    Waited,
)
from asyncsync.model.foreign import shown
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Copied
from asyncsync.model.place import as_registry
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.retrying import Retrying
from asyncsync.transports.contracts import Manifests, Uploads
from asyncsync.transports.engine.failures import classify, is_local_missing
from asyncsync.transports.engine.names import Held, LocalNames
from asyncsync.transports.engine.queue import ADVICE
from asyncsync.transports.engine.resolving import Resolver, Sighting
from asyncsync.transports.engine.wire import (
    Engine,
    Fault,
    Lost,
    Refused,
    Stalled,
    Unfinished,
)
from asyncsync.transports.refusals import Refusals
from asyncsync.transports.stepping import Steps

# Failures of a target at which no push can succeed, or be confirmed.
_NO_WAY_IN = (
    AuthenticationFailed,
    RateLimited,
    RegistryUnavailable,
    TlsError,
    TimedOut,
    EngineLost,
)
CLEANUP_SECONDS = 3.0  # a stop promises to end within 5
_UNCLEAN = "the engine could not be cleaned"
_WAIT_SECONDS = 1.0  # a shorter wait for another job is not worth a word


@dataclass(slots=True)
class _Work:
    """One job on its way: what it is called in the engine, and how the engine logs in for it."""

    job: CopyJob
    observe: Observe
    pull_name: str
    wanted: Platform | None  # said to the engine where it has to choose by itself
    source_auth: str
    target_auth: str
    secrets: tuple[str, ...]
    asked_from_here: bool  # whether the target answers us, too, and not the engine alone
    tagged: bool = False  # from here on the engine may have the target's name from us
    before: str | None = None  # the local image that had it until then

    @property
    def target_name(self) -> str:
        return f"{self.job.target.name}:{self.job.target.tag}"


class Registries(Manifests, Uploads, Protocol):
    """What is asked from here of the registries between which the engine copies."""


class EngineTransport:
    """A `Copy` through an engine. Many workers call it at once.

    `clean`: take what this run brought into the engine out again, behind each image. `advise`:
    nobody asked for an engine by name, so where another way keeps more, that is said once.
    """

    def __init__(
        self,
        engine: Engine,
        manifests: Registries,
        credentials: Credentials,
        *,
        retrying: Retrying,
        clean: bool = False,
        advise: bool = False,
    ) -> None:
        self._engine, self._credentials = engine, credentials
        self._retrying, self._clean = retrying, clean
        held = None if engine.keeps_manifests else self._config_held
        self._resolver = Resolver(manifests, engine.platform, advise=advise, held=held)
        self._manifests = manifests
        self._names = LocalNames()
        self._refusals = Refusals(manifests)
        self._advised = False
        self._layers: dict[str, int] = {}  # bytes so far by layer: every stream tells shared ones

    async def __call__(self, job: CopyJob, observe: Observe) -> Copied:
        """Bring one image into place. Raises CopyError with image, step and registry."""
        steps = Steps(job, observe, self._retrying)
        try:
            seen = await self._resolver.run(job, steps, observe)
            if seen.unchanged:
                return Copied(seen.unchanged, changed=False)
            work = await steps.run(Step.RESOLVE, lambda: self._work(job, observe, seen))
            if not seen.target_asked:
                await steps.run(Step.RESOLVE, lambda: self._ask_target(work))
            elif self._refusals.by(job.target.place):
                await steps.run(Step.PUSH, lambda: self._refusals.ask(job.target))
            asked = time.monotonic()
            async with self._names.hold(work.pull_name) as held, self._swept(work, held):
                if (waited := time.monotonic() - asked) > _WAIT_SECONDS:
                    observe(Waited(job, "another image of the list is this very one", waited))
                return Copied(await self._copied(work, held, steps))
        except EngineLost as error:  # its retries are over: no other image will do better
            raise error.ending_run() from error

    async def _work(self, job: CopyJob, observe: Observe, seen: Sighting) -> _Work:
        here, there = as_registry(job.source.place), as_registry(job.target.place)
        source = await self._credentials.find(here, job.source.repository)
        target = await self._credentials.find(there, job.target.repository)
        source_auth = engine_auth(source, here)
        target_auth = engine_auth(target, there)
        return _Work(
            job,
            observe,
            pull_name=f"{job.source.name}@{seen.digest}" if seen.digest else str(job.source),
            wanted=None if seen.settled else next(iter(job.platforms), None),
            source_auth=source_auth,
            target_auth=target_auth,
            secrets=(*_secrets(source, source_auth), *_secrets(target, target_auth)),
            asked_from_here=seen.target_asked,
        )

    async def _ask_target(self, work: _Work) -> None:
        """Find out before a pull of gigabytes whether the target can be pushed to and asked at all.

        What lies under the tag does not matter: the push replaces it.
        """
        try:
            await self._through_engine(work, Step.PUSH)
        except _NO_WAY_IN:
            raise
        except CopyError:
            return

    async def _config_held(self, name: str) -> Digest | None:
        with suppress(Fault):  # the registry can be asked as well
            return await self._engine.config_of(name)
        return None

    async def _at_target(self, work: _Work, pushed: Digest) -> Digest | None:
        """The target's own word. Where it answers us with `pushed`, that is one request.

        Whatever else it answers us, the engine is asked: its network and its names are the ones
        that count, but a classic engine needs ten round trips for it.
        """
        if work.asked_from_here:
            with suppress(CopyError):
                seen = await self._manifests.resolve(work.job.target)
                if seen and seen.digest == pushed:
                    return pushed
        return await self._through_engine(work, Step.VERIFY)

    async def _through_engine(self, work: _Work, step: Step) -> Digest | None:
        if self._engine.is_podman:  # it has no /distribution
            seen = await self._manifests.resolve(work.job.target)
            return seen.digest if seen else None
        with _speaking_of(work, step):
            return await self._engine.distribution(work.target_name, work.target_auth)

    async def _copied(self, work: _Work, held: Held, steps: Steps) -> Digest:
        await steps.run(Step.PULL, lambda: self._pull(work, held))
        if self._engine.limits_bind and not self._advised:
            self._advised = True
            work.observe(Advised(ADVICE))
        await steps.run(Step.TAG, lambda: self._tag(work, held))
        with self._refusals.noted(work.job.target.place):
            pushed = await steps.run(Step.PUSH, lambda: self._push(work, held))
        return await steps.run(Step.VERIFY, lambda: self._verify(work, pushed))

    async def _pull(self, work: _Work, held: Held) -> None:
        def moved(layer: str, count: int) -> None:
            more = count - self._layers.get(layer, 0)
            if more > 0:
                self._layers[layer] = count
                work.observe(BytesMoved(work.job, more))

        with _speaking_of(work, Step.PULL):
            # Before the first attempt: a broken one may have brought it. Only cleaning asks.
            if self._clean and held.ours is None:
                held.ours = await self._engine.inspect(work.pull_name) is None
            await self._engine.pull(work.pull_name, work.source_auth, moved, work.wanted)
            if not work.job.platforms:
                return
            image = await self._engine.inspect(work.pull_name) or {}
        variant = str(image.get("Variant") or "") or None
        given = Platform(str(image.get("Os")), str(image.get("Architecture")), variant)
        for platform in work.job.platforms:
            if not platform.admits(given):
                raise NoSuchPlatform(
                    f"{work.job.source} is an image for {shown(str(given))}, not for {platform}",
                    Where(str(work.job.source.place)),
                )

    async def _tag(self, work: _Work, held: Held) -> None:
        target = work.job.target
        with _speaking_of(work, Step.TAG):
            if not work.tagged:
                image = await self._engine.inspect(work.target_name)
                work.before = _id_in(image) if image else None
                work.tagged = True
            try:
                await self._engine.tag(work.pull_name, target.name, str(target.tag))
            except Refused as refused:  # somebody else cleans this engine: once more, from the pull
                if not is_local_missing(refused.text):
                    raise
                await self._pull(work, held)
                await self._engine.tag(work.pull_name, target.name, str(target.tag))

    async def _push(self, work: _Work, held: Held) -> Digest:
        target = work.job.target
        with _speaking_of(work, Step.PUSH):
            push = partial(
                self._engine.push, target.name, str(target.tag), work.target_auth, work.wanted
            )
            try:
                return await push()
            except Refused as refused:
                if not is_local_missing(refused.text):
                    raise
                await self._tag(work, held)
                return await push()

    async def _verify(self, work: _Work, pushed: Digest) -> Digest:
        target = work.job.target
        confirmed: Digest | None = None
        with suppress(NotFound):
            confirmed = await self._at_target(work, pushed)
        if confirmed != pushed:
            raise DigestMismatch(
                f"{target.place} has {confirmed or 'nothing'} under "
                f"{target.repository}:{target.tag}, but {pushed} was pushed",
                Where(str(target.place)),
                transient=confirmed is None,  # a registry of several nodes may need a moment
            )
        return pushed

    @asynccontextmanager
    async def _swept(self, work: _Work, held: Held) -> AsyncIterator[None]:
        """Leave the engine as it is meant to be behind the job, however the job ends."""
        in_place = False
        try:
            yield
            in_place = True
        finally:
            # Shielded: once we are cancelled, the next await would be cancelled too. Bounded: a
            # dead engine must not hold up a stop. Nothing is awaited after it, so that a stop
            # that comes in here cannot turn `copied` into `cancelled`.
            work.observe(StepStarted(work.job, Step.CLEAN))
            begun = time.monotonic()
            with move_on_after(CLEANUP_SECONDS, shield=True) as bound:
                await self._sweep(work, held, in_place=in_place)
            if bound.cancelled_caught:
                work.observe(Noted(work.job, f"{_UNCLEAN}: it took too long"))
            work.observe(StepEnded(work.job, Step.CLEAN, time.monotonic() - begun))

    async def _sweep(self, work: _Work, held: Held, *, in_place: bool) -> None:
        target = work.job.target
        if work.tagged and (self._clean or not in_place):
            # The name goes back to the image that had it, or it would be left without any; but
            # somebody may have cleaned that one away meanwhile, as another run does.
            back = work.before and self._engine.tag(work.before, target.name, str(target.tag))
            if not back or not await self._try(work, back):
                await self._try(work, self._engine.remove(work.target_name))
        if held.ours and held.is_last:  # it was asked only to clean
            await self._try(work, self._engine.remove(work.pull_name))

    async def _try(self, work: _Work, act: Awaitable[None]) -> bool:
        """Do it, or tell why not; whether the engine has the image that it is about."""
        try:
            await act
        except Fault as fault:
            text = fault.text if isinstance(fault, Refused) else str(fault)
            if is_local_missing(text):
                return False
            said = shown(text, secrets=work.secrets)
            work.observe(Noted(work.job, f"{_UNCLEAN}: {said}"))
        return True


def _id_in(image: Mapping[str, object]) -> str:
    """The Id of an image that the engine was asked about; without one it could not be put back."""
    match image.get("Id"):
        case str(name) if name:
            return name
    raise Refused(0, "the engine's answer about the image is not readable")


def _secrets(who: Credential | None, auth: str) -> tuple[str, ...]:
    """What an engine may repeat of a login: podman quotes the whole header in its errors."""
    return (*who.secrets, auth, auth.rstrip("=")) if who else ()


@contextmanager
def _speaking_of(work: _Work, step: Step) -> Iterator[None]:
    """Turn the engine's faults into ours, about the image that this step speaks of."""
    ref: Reference = work.job.source if step in (Step.RESOLVE, Step.PULL) else work.job.target
    where = Where(str(ref.place))
    try:
        yield
    except Refused as refused:
        error = classify(refused.text, step, ref, work.secrets)
        # Engines wait for passing failures, but not for a registry that wants us slower.
        engines_own = refused.retried and not isinstance(error, RateLimited)
        raise (error.given_up() if engines_own else error) from None
    except Unfinished as unfinished:
        raise CopyError(str(unfinished), where, transient=True) from unfinished
    except Stalled as stalled:
        raise TimedOut(str(stalled), where, transient=True) from stalled
    except Lost as lost:
        raise EngineLost(str(lost), where, transient=True) from lost
