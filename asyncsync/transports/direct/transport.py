"""Copies from registry to registry: what is missing moves as streams, the tag is put last.

For each image: ask both registries what they have, walk the image's graph once, bring its blobs
(each distinct one once a run), then put its manifests from leaf to root. A reader of the target
never sees half an image, and only the target's word makes one `copied`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    CopyError,
    NoSuchPlatform,
    NotFound,
    TypeRefused,
    Where,
)
from asyncsync.model.events import BytesMoved, Noted, Observe, Walked
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.manifest import (
    INDEX_TYPES,
    Descriptor,
    ImageManifest,
    RawManifest,
    parse_manifest,
    platform_of,
)
from asyncsync.model.outcome import Copied
from asyncsync.model.place import Registry
from asyncsync.model.reference import Reference
from asyncsync.retrying import Retrying
from asyncsync.transports.contracts import ONE_FOR_AN_INDEX
from asyncsync.transports.direct.adapting import other_form, other_forms
from asyncsync.transports.direct.blobs import Blobs
from asyncsync.transports.direct.choosing import known_by_root
from asyncsync.transports.direct.contracts import Source, Target
from asyncsync.transports.direct.fallback import Fallbacks
from asyncsync.transports.direct.graph import Graph
from asyncsync.transports.direct.idling import IDLE_SECONDS
from asyncsync.transports.direct.lanes import Lanes
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.placing import Placing
from asyncsync.transports.direct.referrers import Bringing, Placed
from asyncsync.transports.direct.relay import Relay
from asyncsync.transports.direct.walking import manifests_under, walk
from asyncsync.transports.refusals import Refusals
from asyncsync.transports.stepping import Steps
from asyncsync.transports.together import both

_WITHOUT_EXACT = "Without --exact, another form of it would be tried."


class DirectTransport:
    """A `Copy` from registry to registry. Many workers call it at once.

    `exact`: never adapt an image that the target refuses. `with_referrers`: bring along what refers
    to it. `idle_seconds`: how long a target may take no byte of a blob.
    """

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        retrying: Retrying,
        pace: Pace,
        exact: bool = False,
        with_referrers: bool = False,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._source, self._target = source, target
        self._retrying, self._pace, self._exact = retrying, pace, exact
        self._idle_seconds = idle_seconds
        self._blobs = Blobs(Lanes())
        self._refusals = Refusals(target)
        self._fallbacks = Fallbacks(target) if with_referrers else None

    async def __call__(self, job: CopyJob, observe: Observe) -> Copied:
        """Bring one image into place. Raises CopyError with image, step and registry."""
        steps = Steps(job, observe, self._retrying)
        with steps.within(Step.RESOLVE):
            found, there = await self._look(job, steps)
            known = await self._resolved(job, found, there, steps)
        if isinstance(known, _Wanted):
            observe(Walked(job, known.graph.breadth))
            if there and there.is_index and known.graph.root.raw.media_type not in INDEX_TYPES:
                observe(Noted(job, ONE_FOR_AN_INDEX))
        elif self._fallbacks is None:
            return Copied(known.target, changed=False)
        relay = Relay(
            self._source,
            self._target,
            steps,
            self._pace,
            lambda count: observe(BytesMoved(job, count)),
            # A layout answers at once: what it has need not be read in vain.
            early=there is None and isinstance(job.target.place, Registry),
            held=known.held if isinstance(known, _Wanted) else {},
            idle_seconds=self._idle_seconds,
        )
        placing = Placing(self._blobs, relay, self._target, job, steps, observe, there is not None)
        with steps.within(Step.COPY), self._refusals.noted(job.target.place):
            try:
                image = (
                    known if isinstance(known, Placed) else await self._placed(placing, known.graph)
                )
                if self._fallbacks is not None:
                    whole = replace(placing, update=False)
                    await Bringing(self._source, self._fallbacks, whole).bring(image)
            except BaseException:
                await relay.close()
                raise
        return Copied(image.target, changed=isinstance(known, _Wanted))

    async def _resolved(
        self, job: CopyJob, found: Descriptor, there: Descriptor | None, steps: Steps
    ) -> Placed | _Wanted:
        """Where the image stands already, else what is to be copied."""
        if there and not job.platforms and there.digest == found.digest:
            return await self._standing(job, found, there, steps)
        # What has the tag may be the image in another form, for which nothing has to be let in.
        if there is None and self._refusals.by(job.target.place):
            await steps.part(Step.COPY, lambda: self._refusals.ask(job.target))
        root = await self._read(job, found, steps)
        config = await self._checked_config(job, root, steps)  # before the target is believed
        if there and there.digest in self._known(job, root):
            return await self._standing(job, found, there, steps)
        graph = await self._graph(job, root, steps)
        if there and there.digest in self._forms(graph):
            return await self._standing(job, found, there, steps)
        return _Wanted(graph, config)

    async def _look(self, job: CopyJob, steps: Steps) -> tuple[Descriptor, Descriptor | None]:
        """What both registries have. Each is asked again by itself."""
        found, there = await both(
            steps.part(Step.RESOLVE, lambda: self._source.resolve(job.source)),
            steps.part(Step.RESOLVE, lambda: self._target.look(job.target)),
        )
        if found is None:
            kind = "manifest" if job.source.digest else "tag"
            what = f"{job.source.name} has no {kind} {job.source.identifier}"
            if not job.source.digest and (instead := self._source.instead(job.source)):
                what = f"{what}; {instead}"
            raise NotFound(what, Where(str(job.source.place), str(job.source), Step.RESOLVE))
        return found, there

    async def _read(self, job: CopyJob, named: Descriptor, steps: Steps) -> RawManifest:
        ref = job.source.by_digest(named.digest)
        return await steps.part(Step.RESOLVE, lambda: self._source.manifest(ref))

    def _known(self, job: CopyJob, root: RawManifest) -> Sequence[Digest]:
        """What the target may have of the image, as far as its root alone tells."""
        with _resolving(job):
            known = known_by_root(root, job.source, job.platforms)
        return known[:1] if self._exact else known

    async def _graph(self, job: CopyJob, root: RawManifest, steps: Steps) -> Graph:
        with _resolving(job):
            return await walk(
                root, lambda named: self._read(job, named, steps), job.source, job.platforms
            )

    async def _checked_config(
        self, job: CopyJob, raw: RawManifest, steps: Steps
    ) -> Mapping[Reference, bytes]:
        """What was read of a single image to see that it is for the platforms asked for.

        It says in its config what it runs on; one without a word is taken.
        """
        if not job.platforms or raw.media_type in INDEX_TYPES:
            return {}
        try:
            image = parse_manifest(raw)
        except ValueError:
            return {}  # `walk` says what is wrong with it
        if not isinstance(image, ImageManifest):
            return {}
        ref = job.source.by_digest(image.config.digest)
        config = await steps.part(Step.RESOLVE, lambda: self._source.config(ref))
        given = platform_of(config)
        if given and not any(wanted.admits(given) for wanted in job.platforms):
            wanted = " or ".join(map(str, job.platforms))
            what = f"{job.source} is an image for {given}, not for {wanted}"
            raise NoSuchPlatform(what, Where(str(job.source.place), str(job.source), Step.RESOLVE))
        return {ref: config} if len(config) == image.config.size else {}

    async def _standing(
        self, job: CopyJob, found: Descriptor, there: Descriptor, steps: Steps
    ) -> Placed:
        """The image as it stands; which manifests that are is read where somebody wants it."""
        if self._fallbacks is None:
            return Placed(found.digest, there.digest)

        async def read(named: Descriptor) -> RawManifest:
            # From the target: the source may count each reading (Docker Hub).
            ref = job.target.by_digest(named.digest)
            return await steps.part(Step.RESOLVE, lambda: self._target.manifest(ref))

        with _resolving(job):
            under = await manifests_under(there, read, job.target)
        return Placed(found.digest, there.digest, under)

    def _forms(self, graph: Graph) -> Set[Digest]:
        """What had to be made of the image, perhaps, for this target in an earlier run."""
        return set() if self._exact else {form.root.raw.digest for form in other_forms(graph)}

    async def _placed(self, placing: Placing, graph: Graph) -> Placed:
        job, form, tried = placing.job, graph, {graph.root.raw.digest}
        while True:
            try:
                taken = await placing.put(form.root, job.target)
                break
            except TypeRefused as error:
                # Always a form of the image itself: then the next run knows it. A second one is
                # tried where what is said about an image was refused before the image itself.
                refused = placing.refused
                other = None if refused is None else other_form(graph, refused)
                if other is None or other.root.raw.digest in tried:
                    raise
                if self._exact:
                    error.advising(_WITHOUT_EXACT)
                    raise
                tried.add(other.root.raw.digest)
                form = other
        if form is not graph:
            placing.observe(Noted(job, f"adapted: {job.target.place} refuses it as it is"))
        for words in form.left_out:
            placing.observe(Noted(job, words))
        of_source = {raw.digest for raw in graph.manifests()}
        same = (raw.digest for raw in form.manifests() if raw.digest in of_source)
        return Placed(graph.source, taken.digest, tuple(same))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An image that is to be copied; `held` are blobs of it that were read already."""

    graph: Graph
    held: Mapping[Reference, bytes]


@contextmanager
def _resolving(job: CopyJob) -> Iterator[None]:
    """Add image and step to what is found out about the image itself, in no request."""
    try:
        yield
    except CopyError as error:
        raise error.located(str(job.source), Step.RESOLVE) from None
