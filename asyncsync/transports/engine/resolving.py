"""What a job has to do at all: asks both registries over HTTP before the engine moves a byte."""

from __future__ import annotations

from dataclasses import dataclass

from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    NoSuchPlatform,
    NotFound,
    RegistryUnavailable,
    TimedOut,
    TlsError,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.events import Noted, Observe
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.manifest import Descriptor, ImageManifest, Index, parse_manifest
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Digest, Reference
from asyncsync.transports.contracts import Manifests
from asyncsync.transports.stepping import Steps

# The engine may reach a registry that we cannot: its proxy, its mirror, its certificates.
_UNREACHABLE = (RegistryUnavailable, TlsError, TimedOut)
_REDUCED = "an engine copies one of an image's platforms, here {}, of this and of every other image"
_CONSEQUENCE = {
    False: "it cannot be asked from here, so the engine pulls by tag",
    True: "it cannot be asked from here, so nothing can be skipped as unchanged",
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the registries say. `digest`: the manifest to pull, None if the source told nothing.

    `unchanged`: the digest that the target has already, if that is the wanted image.
    """

    digest: Digest | None
    unchanged: Digest | None = None
    target_asked: bool = True  # False: the target cannot be reached from here


class Resolver:
    """Finds the manifest to pull, and whether the target has it already."""

    def __init__(self, manifests: Manifests, own: Platform) -> None:
        self._manifests, self._own = manifests, own
        self._reduced = False
        self._unreachable: set[str] = set()  # hosts that cannot be asked from here; asked once

    async def run(self, job: CopyJob, steps: Steps, observe: Observe) -> Sighting:
        """Look at source and target. Raises CopyError with image, step and registry."""
        while True:  # at most once more for each of the two
            try:
                return await steps.run(Step.RESOLVE, lambda: self._look(job, observe))
            except _UNREACHABLE as error:
                host = error.where.registry
                if host not in self._unreachable:  # many jobs find out at once; one says so
                    self._unreachable.add(host)
                    observe(
                        Noted(job, f"{error.what}: {_CONSEQUENCE[host == str(job.target.place)]}")
                    )

    async def _look(self, job: CopyJob, observe: Observe) -> Sighting:
        target_asked = str(job.target.place) not in self._unreachable
        if str(job.source.place) in self._unreachable:
            return Sighting(job.source.digest, target_asked=target_asked)
        found = await self._manifests.resolve(job.source)
        if found is None:
            raise _not_found(job.source)
        chosen = await self._chosen(job, found, observe) if found.is_index else found
        there = await self._at_target(job) if target_asked else None
        same = {chosen.digest} if job.platforms else {chosen.digest, found.digest}
        if there and (there.digest in same or await self._same_config(job, chosen, there)):
            return Sighting(chosen.digest, unchanged=there.digest)
        return Sighting(chosen.digest, target_asked=target_asked)

    async def _chosen(self, job: CopyJob, found: Descriptor, observe: Observe) -> Descriptor:
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
            observe(Noted(job, f"it has {len(parsed.images)} platforms; {_REDUCED.format(wanted)}"))
        return chosen

    async def _at_target(self, job: CopyJob) -> Descriptor | None:
        """What the target has. That it will not say is no obstacle to a push; a bad login is."""
        try:
            return await self._manifests.resolve(job.target)
        except (AuthenticationFailed, *_UNREACHABLE):
            raise  # the push would fail too, after a pull of gigabytes
        except CopyError:
            return None

    async def _same_config(self, job: CopyJob, chosen: Descriptor, there: Descriptor) -> bool:
        """Whether the target's image is the same one, packed anew by a classic engine's push."""
        if there.is_index:
            return False
        try:
            ours = await self._parsed(job.source.by_digest(chosen.digest))
            theirs = await self._parsed(job.target.by_digest(there.digest))
        except CopyError:
            return False  # best effort: copying again is never wrong
        return (
            isinstance(ours, ImageManifest)
            and isinstance(theirs, ImageManifest)
            and ours.config.digest == theirs.config.digest
        )

    async def _parsed(self, ref: Reference) -> Index | ImageManifest:
        raw = await self._manifests.manifest(ref)
        try:
            return parse_manifest(raw)
        except ValueError as error:
            raise UnsupportedManifest(f"{ref}: {error}", Where(str(ref.place))) from error


def _not_found(ref: Reference) -> NotFound:
    what = f"{ref.name} has no {'manifest' if ref.digest else 'tag'} {ref.identifier}"
    return NotFound(what, Where(str(ref.place)))
