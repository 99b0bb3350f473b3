"""What a job has to do at all: asks both registries over HTTP before the engine moves a byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    NoSuchPlatform,
    NotFound,
    RateLimited,
    RegistryUnavailable,
    TimedOut,
    TlsError,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.events import Noted, Observe
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.manifest import (
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
    parse_manifest,
    platform_of,
)
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.transports.contracts import ONE_FOR_AN_INDEX, Manifests
from asyncsync.transports.stepping import Steps
from asyncsync.transports.together import both

# The engine may reach a registry that we cannot: its proxy, its mirror, its certificates.
_UNREACHABLE = (RegistryUnavailable, TlsError, TimedOut)
# Images in a row that could not ask a host, before the others go without asking it. One answer of
# 503 must not cost a thousand images their “unchanged”.
_MISSES_MAX = 3
_REDUCED = "an engine copies one of an image's platforms, here {}, of this and of every other image"
_ADVICE = "; --via direct copies all of them, and moves no layer that the target has"
_CONSEQUENCE = {
    False: "it cannot be asked from here, so the engine pulls by tag",
    True: "it cannot be asked from here, so nothing can be skipped as unchanged",
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the registries say. `digest`: the manifest to pull, None if only the tag is known.

    `settled`: that manifest is the one of the platform; else the engine has to choose by itself.
    `unchanged`: the digest that the target has already, if that is the wanted image.
    """

    digest: Digest | None
    settled: bool = True
    unchanged: Digest | None = None
    target_asked: bool = True


class Resolver:
    """Finds the manifest to pull, and whether the target has it already.

    `advise`: nobody asked for an engine by name, so where another way keeps more, that is said.
    `held`: of an engine that packs layers anew, so that digests alone do not tell: the digest of
    the config of the image that it has under a name, if it has one.
    """

    def __init__(
        self,
        manifests: Manifests,
        own: Platform,
        *,
        advise: bool = False,
        held: Callable[[str], Awaitable[Digest | None]] | None = None,
    ) -> None:
        self._manifests, self._own, self._advise, self._held = manifests, own, advise, held
        self._reduced = False
        self._misses: Counter[str] = Counter()
        self._noted: set[str] = set()

    async def run(self, job: CopyJob, steps: Steps, observe: Observe) -> Sighting:
        """Look at source and target. Raises CopyError with image, step and registry."""
        without: set[str] = set()  # hosts that this job goes without
        while True:  # at most once more for each of the two
            try:
                return await steps.run(Step.RESOLVE, lambda: self._look(job, without, observe))
            except _UNREACHABLE as error:
                host = error.where.registry
                if host not in (str(job.source.place), str(job.target.place)):
                    raise
                without.add(host)
                passing = error.transient or isinstance(error, TimedOut)
                self._misses[host] += 1 if passing else _MISSES_MAX
                if host not in self._noted:  # many jobs find out at once; one says so
                    self._noted.add(host)
                    consequence = _CONSEQUENCE[host != str(job.source.place)]
                    remedy = f". {error.advice()}" if isinstance(error, TlsError) else ""
                    observe(Noted(job, f"{error.what}: {consequence}{remedy}"))

    async def _look(self, job: CopyJob, without: set[str], observe: Observe) -> Sighting:
        given_up = {host for host, misses in self._misses.items() if misses >= _MISSES_MAX}
        if str(job.source.place) in without | given_up:
            return Sighting(job.source.digest, settled=False, target_asked=False)
        target_asked = str(job.target.place) not in without | given_up
        found, there = await both(
            self._resolved(job.source), self._at_target(job) if target_asked else _nothing()
        )
        if found is None:
            raise _not_found(job.source)
        chosen = await self._chosen(job, found, observe)
        same = {chosen.digest} if job.platforms else {chosen.digest, found.digest}
        if there and (there.named.digest in same or await self._same_config(job, chosen, there)):
            return Sighting(chosen.digest, unchanged=there.named.digest)
        if there and there.named.is_index:
            observe(Noted(job, ONE_FOR_AN_INDEX))
        return Sighting(chosen.digest, target_asked=target_asked)

    async def _resolved(self, ref: Reference) -> Descriptor | None:
        found = await self._manifests.resolve(ref)
        del self._misses[str(ref.place)]
        return found

    async def _chosen(self, job: CopyJob, found: Descriptor, observe: Observe) -> Descriptor:
        """The manifest of the platform asked for, or of the engine's own."""
        if not found.is_index:
            for platform in job.platforms:
                await self._check_platform(job.source, found, platform)
            return found
        wanted = next(iter(job.platforms), self._own)
        parsed = await self._parsed(job.source.by_digest(found.digest))
        if not isinstance(parsed, Index):
            raise UnsupportedManifest(
                f"{job.source} is announced as an index, but is none", Where(str(job.source.place))
            )
        chosen = parsed.choose(wanted)
        if chosen is None:
            has = ", ".join(sorted({str(child.platform) for child in parsed.images})[:12])
            raise NoSuchPlatform(
                f"{job.source} has no image for {wanted}; it has {has or 'none at all'}",
                Where(str(job.source.place)),
            )
        if len(parsed.images) > 1 and not job.platforms and not self._reduced:
            self._reduced = True  # once a run: it is true of every image
            told = f"it has {len(parsed.images)} platforms; {_REDUCED.format(wanted)}"
            observe(Noted(job, f"{told}{_ADVICE if self._advise else ''}"))
        return chosen

    async def _check_platform(self, ref: Reference, found: Descriptor, wanted: Platform) -> None:
        """A single image says in its config what it runs on. One without a word is left to run."""
        image = await self._parsed(ref.by_digest(found.digest))
        if not isinstance(image, ImageManifest):
            return
        try:
            config = await self._manifests.config(ref.by_digest(image.config.digest))
        except (AuthenticationFailed, RateLimited):
            raise
        except CopyError:
            return  # the engine will see it, after the pull
        given = platform_of(config)
        if given and not wanted.admits(given):
            raise NoSuchPlatform(
                f"{ref} is an image for {given}, not for {wanted}", Where(str(ref.place))
            )

    async def _at_target(self, job: CopyJob) -> _There | None:
        """What the target has. That it will not say is no obstacle to a push; a bad login is."""
        try:
            return await (self._named(job.target) if self._held is None else self._all(job.target))
        except (AuthenticationFailed, RateLimited, *_UNREACHABLE):
            raise  # the push would fail too, after a pull of gigabytes
        except CopyError as error:
            if error.transient and self._held is not None:  # all of it was to be compared
                raise
            return None

    async def _named(self, ref: Reference) -> _There | None:
        found = await self._resolved(ref)
        return _There(found) if found else None

    async def _all(self, ref: Reference) -> _There | None:
        """Its manifest at once, where the digest would not tell: that saves a round trip."""
        try:
            raw = await self._manifests.manifest(ref)
        except NotFound:
            raw = None
        del self._misses[str(ref.place)]
        if raw is None:
            return None
        return _There(Descriptor(raw.media_type, raw.digest, len(raw.data)), raw)

    async def _same_config(self, job: CopyJob, chosen: Descriptor, there: _There) -> bool:
        """Whether the target's image is the same one, packed anew by a classic engine's push."""
        if there.named.is_index:
            return False
        at_target = job.target.by_digest(there.named.digest)
        try:
            ours = await self._config(job.source.by_digest(chosen.digest))
            theirs = _read(there.raw, at_target) if there.raw else await self._parsed(at_target)
        except CopyError as error:
            if error.transient:
                raise
            return False  # best effort: copying again is never wrong
        return isinstance(theirs, ImageManifest) and theirs.config.digest == ours

    async def _config(self, source: Reference) -> Digest | None:
        """The digest of an image's config; a source may count it if that is asked (Docker Hub)."""
        held = await self._held(str(source)) if self._held else None
        if held:
            return held
        image = await self._parsed(source)
        return image.config.digest if isinstance(image, ImageManifest) else None

    async def _parsed(self, ref: Reference) -> Index | ImageManifest:
        return _read(await self._manifests.manifest(ref), ref)


@dataclass(frozen=True, slots=True)
class _There:
    """What a target has under the tag; `raw`: all of it, if that was asked for."""

    named: Descriptor
    raw: RawManifest | None = None


def _read(raw: RawManifest, ref: Reference) -> Index | ImageManifest:
    try:
        return parse_manifest(raw)
    except ValueError as error:
        raise UnsupportedManifest(f"{ref}: {error}", Where(str(ref.place))) from error


async def _nothing() -> None:
    return None


def _not_found(ref: Reference) -> NotFound:
    what = f"{ref.name} has no {'manifest' if ref.digest else 'tag'} {ref.identifier}"
    return NotFound(what, Where(str(ref.place)))
