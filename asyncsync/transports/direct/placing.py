"""Puts what was read into the target: blobs first, then manifests from leaf to root."""

from __future__ import annotations

from dataclasses import dataclass, field

from asyncsync.model.digest import Digest
from asyncsync.model.errors import BlobsUnknown, TypeRefused
from asyncsync.model.events import Observe, Spared
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.manifest import Descriptor, Taken
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.blobs import Blobs, Brought, Need
from asyncsync.transports.direct.contracts import Target
from asyncsync.transports.direct.graph import Node, levels
from asyncsync.transports.direct.relay import Relay
from asyncsync.transports.stepping import Steps
from asyncsync.transports.together import every


@dataclass(slots=True)
class Placing:
    """One image on its way: its blobs, then its manifests from leaf to root.

    `refused`: the manifest of which the target takes no such type, where that ended it.
    """

    blobs: Blobs
    relay: Relay
    target: Target
    job: CopyJob
    steps: Steps
    observe: Observe
    update: bool  # the target has another image under the tag, perhaps with the same parts
    refused: Node | None = None
    told: set[Digest] = field(default_factory=set)  # blobs: many come twice, in two manifests

    async def put(self, node: Node, ref: Reference) -> Taken:
        """See that all of `node` is at the target, under `ref`. Raises CopyError."""
        *below, _ = levels(node)
        for level in below:
            await every(self._place(each, ref.by_digest(each.raw.digest)) for each in level)
        return await self._place(node, ref)

    async def _place(self, node: Node, ref: Reference) -> Taken:
        """See that one manifest is there with its blobs; what else it names is there before it."""
        if self.update and ref.digest and await self.has(ref):
            self._stands(node, ref)
            return Taken(ref.digest)
        await every(self._bring(blob, ref) for blob in node.blobs)
        try:
            taken = await self._put(node, ref)
        except BlobsUnknown as unknown:
            await self._again(node, ref, unknown.missing)
            taken = await self._put(node, ref, brought_anew=True)
        names = (blob.digest for blob in node.blobs)
        self.blobs.manifest_stands(ref.place, ref.repository, names)
        return taken

    async def has(self, ref: Reference) -> bool:
        """Whether the target has a manifest of this name."""
        return await self.steps.part(Step.COPY, lambda: self.target.look(ref)) is not None

    async def _bring(self, blob: Descriptor, ref: Reference) -> None:
        self._tell(blob, await self.blobs.bring(self._need(blob, ref), self.relay))

    def _stands(self, node: Node, ref: Reference) -> None:
        """Tell of the blobs of `node`: they are there, from before or from another image."""
        for blob in node.blobs:
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

    async def _put(self, node: Node, ref: Reference, *, brought_anew: bool = False) -> Taken:
        async def put() -> Taken:
            try:
                return await self.target.put(ref, node.raw)
            except BlobsUnknown as unknown:
                if not brought_anew:
                    raise
                # A registry that has just confirmed them may miss them for a moment, as where
                # another run sends the same ones there (distribution rewrites its links in place).
                raise unknown.passing() from unknown

        try:
            return await self.steps.part(Step.COPY, put)
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
