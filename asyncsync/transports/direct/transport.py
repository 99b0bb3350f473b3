"""Copies from registry to registry: what is missing moves as streams, the tag is put last.

For each image: ask both registries what they have, walk the image's graph once, bring its blobs
(each distinct one once a run), then put its manifests from leaf to root. A reader of the target
never sees half an image, and only the target's word makes one `copied`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field

from asyncsync.model.errors import (
    BlobsUnknown,
    CopyError,
    NoSuchPlatform,
    NotFound,
    TypeRefused,
    Where,
)
from asyncsync.model.events import BytesMoved, Noted, Observe, Spared, Walked
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
from asyncsync.model.reference import Digest, Reference
from asyncsync.retrying import Retrying
from asyncsync.transports.direct.adapting import other_form, other_forms
from asyncsync.transports.direct.blobs import Blobs, Brought, Need
from asyncsync.transports.direct.choosing import known_by_root
from asyncsync.transports.direct.contracts import Source, Target
from asyncsync.transports.direct.graph import Graph, Node, levels
from asyncsync.transports.direct.lanes import Lanes
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.relay import Relay
from asyncsync.transports.direct.stream import IDLE_SECONDS
from asyncsync.transports.direct.walking import walk
from asyncsync.transports.stepping import Steps
from asyncsync.transports.together import both, every


class DirectTransport:
    """A `Copy` from registry to registry. Many workers call it at once.

    `exact`: never adapt an image that the target refuses. `idle_seconds`: how long a target may
    take no byte of a blob.
    """

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        retrying: Retrying,
        pace: Pace,
        exact: bool = False,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._source, self._target = source, target
        self._retrying, self._pace, self._exact = retrying, pace, exact
        self._idle_seconds = idle_seconds
        self._blobs = Blobs(Lanes())

    async def __call__(self, job: CopyJob, observe: Observe) -> Copied:
        """Bring one image into place. Raises CopyError with image, step and registry."""
        steps = Steps(job, observe, self._retrying)
        with steps.within(Step.RESOLVE):
            found, there = await self._look(job, steps)
            if not job.platforms and there and there.digest == found.digest:
                return Copied(found.digest, changed=False)
            root = await self._read(job, found, steps)
            if there and there.digest in self._known(job, root):
                return Copied(there.digest, changed=False)
            config = await self._checked_config(job, root, steps)
            graph = await self._graph(job, root, steps)
            if there and there.digest in self._forms(graph):
                return Copied(there.digest, changed=False)
        observe(Walked(job, graph.breadth))
        relay = Relay(
            self._source,
            self._target,
            steps,
            self._pace,
            lambda count: observe(BytesMoved(job, count)),
            early=there is None,
            held=config,
            idle_seconds=self._idle_seconds,
        )
        placing = _Placing(self._blobs, relay, self._target, job, steps, observe, there is not None)
        with steps.within(Step.COPY):
            try:
                digest = await self._placed(placing, graph, observe)
            except BaseException:
                await relay.close()
                raise
        return Copied(digest)

    async def _look(self, job: CopyJob, steps: Steps) -> tuple[Descriptor, Descriptor | None]:
        """What both registries have. Each is asked again by itself."""
        found, there = await both(
            steps.part(Step.RESOLVE, lambda: self._source.resolve(job.source)),
            steps.part(Step.RESOLVE, lambda: self._target.look(job.target)),
        )
        if found is None:
            kind = "manifest" if job.source.digest else "tag"
            what = f"{job.source.name} has no {kind} {job.source.identifier}"
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

    def _forms(self, graph: Graph) -> Set[Digest]:
        """What had to be made of the image, perhaps, for this target in an earlier run."""
        return set() if self._exact else {form.root.raw.digest for form in other_forms(graph)}

    async def _placed(self, placing: _Placing, graph: Graph, observe: Observe) -> Digest:
        job, form, tried = placing.job, graph, {graph.root.raw.digest}
        while True:
            try:
                digest = await placing.put(form.root, job.target)
                break
            except TypeRefused:
                # Always a form of the image itself: then the next run knows it. A second one is
                # tried where what is said about an image was refused before the image itself.
                refused = placing.refused
                other = None if self._exact or refused is None else other_form(graph, refused)
                if other is None or other.root.raw.digest in tried:
                    raise
                tried.add(other.root.raw.digest)
                form = other
        if form is not graph:
            observe(Noted(job, f"adapted: {job.target.place} refuses it as it is"))
        for words in form.left_out:
            observe(Noted(job, words))
        return digest


@contextmanager
def _resolving(job: CopyJob) -> Iterator[None]:
    """Add image and step to what is found out about the image itself, in no request."""
    try:
        yield
    except CopyError as error:
        raise error.located(str(job.source), Step.RESOLVE) from None


@dataclass(slots=True)
class _Placing:
    """One image on its way: its blobs, then its manifests from leaf to root."""

    blobs: Blobs
    relay: Relay
    target: Target
    job: CopyJob
    steps: Steps
    observe: Observe
    update: bool  # the target has another image under the tag, perhaps with the same parts
    refused: Node | None = None
    told: set[Digest] = field(default_factory=set)  # blobs: many come twice, in two manifests

    async def put(self, node: Node, ref: Reference) -> Digest:
        """See that all of `node` is at the target, under `ref`. Raises CopyError."""
        if self.update and ref.digest and await self._has(ref):
            self._stands(node, ref)
            return ref.digest
        await every(
            [
                *(self._bring(blob, ref) for blob in node.blobs),
                *(self.put(child, ref.by_digest(child.raw.digest)) for child in node.children),
            ]
        )
        try:
            digest = await self._put(node, ref)
        except BlobsUnknown as unknown:
            await self._again(node, ref, unknown.missing)
            digest = await self._put(node, ref)
        names = (blob.digest for blob in node.blobs)
        self.blobs.manifest_stands(ref.place, ref.repository, names)
        return digest

    async def _bring(self, blob: Descriptor, ref: Reference) -> None:
        self._tell(blob, await self.blobs.bring(self._need(blob, ref), self.relay))

    def _stands(self, node: Node, ref: Reference) -> None:
        """Tell of all that `node` is made of: it is there, from before or from another image."""
        for blob in (blob for level in levels(node) for part in level for blob in part.blobs):
            ours = self.blobs.known(ref.by_digest(blob.digest))
            self._tell(blob, Brought.SHARED if ours else Brought.THERE)

    def _tell(self, blob: Descriptor, brought: Brought) -> None:
        if blob.digest not in self.told:
            self.told.add(blob.digest)
            if brought is not Brought.MOVED:
                self.observe(Spared(self.job, blob.size, shared=brought is Brought.SHARED))

    def _need(self, blob: Descriptor, ref: Reference) -> Need:
        source, target = self.job.source.by_digest(blob.digest), ref.by_digest(blob.digest)
        return Need(source, target, blob.size)

    async def _put(self, node: Node, ref: Reference) -> Digest:
        try:
            taken = await self.steps.part(Step.COPY, lambda: self.target.put(ref, node.raw))
            return taken.digest
        except TypeRefused:
            self.refused = node
            raise

    async def _again(self, node: Node, ref: Reference, missing: tuple[Digest, ...]) -> None:
        """Bring once more what was believed to be there: its registry says that it is not."""
        for blob in node.blobs:
            if not missing or blob.digest in missing:
                self.blobs.forget(ref.place, ref.repository, blob.digest)
                self.relay.doubt(self._need(blob, ref))
        await every(self._bring(blob, ref) for blob in node.blobs)

    async def _has(self, ref: Reference) -> bool:
        return await self.steps.part(Step.COPY, lambda: self.target.look(ref)) is not None
