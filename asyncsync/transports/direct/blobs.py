"""Each distinct blob moves once a run to one target; whoever else needs it waits, then mounts it.

Nobody waits while holding a place in the lanes, and who holds one waits for nobody's blob: so
there is no circle of waiting, whoever fails or is cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from anyio import Event

from asyncsync.model.digest import Digest
from asyncsync.model.place import Place
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.lanes import Lanes


@dataclass(frozen=True, slots=True)
class Need:
    """One blob that one image needs at its target. Both references have its digest."""

    source: Reference
    target: Reference
    size: int  # bytes, as the image's manifest says

    def __post_init__(self) -> None:
        if self.target.digest is None or self.target.digest != self.source.digest:
            raise ValueError(f"{self.source} and {self.target} do not name one blob by its digest")


class Brought(StrEnum):
    """How a blob came to be where an image needs it."""

    MOVED = "moved"
    THERE = "there"  # the target had it
    SHARED = "shared"  # another image of the run brought it here, or where it was mounted from


class Mover(Protocol):
    """Speaks with the registries. Many tasks call it at once."""

    async def mount(self, need: Need, origin: str) -> bool:
        """Ask the target to take the blob from its own repository `origin`. True: it is there now.

        False: it was not mounted. If the answer opened an upload (202), the mover keeps that for
        the `move` of this very need, which follows unless the task is cancelled. Raises CopyError.
        """

    async def move(self, need: Need) -> bool:
        """See that the target has the blob. True: bytes were moved; False: it had it already.

        Raises CopyError.
        """

    def mounts_after_manifest(self, place: Place) -> bool:
        """Whether `place` mounts only blobs of manifests that stand, as ECR does."""


class Blobs:
    """What of a run's blobs is where, and who is moving it. One for a run.

    Of one blob to one target place there is one mover until some repository there has it, and
    never more than one into the same repository.
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        # A blob is small (some 700 bytes) and stays for the run: a later image may need it.
        self._blobs: dict[tuple[Place, Digest | None], _Blob] = {}
        self._mounts: dict[Place, bool] = {}  # what places answered, once they were asked
        self._doubted: set[tuple[Place, str, Digest | None]] = set()  # forgotten at least once

    async def bring(self, need: Need, mover: Mover) -> Brought:
        """See that the blob is in the repository of `need.target`: it is there on return.

        Raises CopyError if this very need could not be met; another's failure is not ours. Then
        one of those who wait becomes the mover, from its own source.
        """
        target = need.target
        blob = self._blob(target.place, target.digest)
        while target.repository not in blob.there:
            if (done := blob.before(target.repository)) is not None:
                await done.wait()  # however it ended: look again
                continue
            with blob.coming_to(target.repository):
                brought = await self._fetch(need, blob, mover)
                # No await between here and the answer that the target has it.
                blob.there[target.repository] = not mover.mounts_after_manifest(target.place)
                return brought
        return Brought.SHARED

    async def _fetch(self, need: Need, blob: _Blob, mover: Mover) -> Brought:
        origin = self._origin(need.target, blob)
        if origin is not None:
            mounted = await mover.mount(need, origin)
            if mounted:
                self._mounts[need.target.place] = True
                return Brought.SHARED
            # A place that has mounted before refuses this blob alone, and is asked for others.
            self._mounts.setdefault(need.target.place, False)
        async with self._lanes.place(need.size):
            return Brought.MOVED if await mover.move(need) else Brought.THERE

    def _origin(self, target: Reference, blob: _Blob) -> str | None:
        """The repository to mount from, if it makes sense to ask."""
        if not self._mounts.get(target.place, True):
            return None
        if (target.place, target.repository, target.digest) in self._doubted:
            return None
        return next((name for name, mountable in blob.there.items() if mountable), None)

    def manifest_stands(self, place: Place, repository: str, digests: Iterable[Digest]) -> None:
        """Take note that `repository` has a manifest that names the blobs `digests`, so has them.

        Places that mount only such blobs are asked to from now on. Nobody waits for this moment:
        two images that each brought what the other needs would wait for each other's manifest.
        """
        for digest in digests:
            self._blob(place, digest).there[repository] = True

    def known(self, target: Reference) -> bool:
        """Whether this run has seen to it already that the blob is in the repository."""
        blob = self._blobs.get((target.place, target.digest))
        return blob is not None and target.repository in blob.there

    def forget(self, place: Place, repository: str, digest: Digest) -> None:
        """Take back that `repository` has the blob: its registry says so (MANIFEST_BLOB_UNKNOWN).

        Whoever needs it there next moves it, without a mount, which may be what went wrong.
        """
        self._blob(place, digest).there.pop(repository, None)
        self._doubted.add((place, repository, digest))

    def _blob(self, place: Place, digest: Digest | None) -> _Blob:
        return self._blobs.setdefault((place, digest), _Blob())


@dataclass(slots=True)
class _Blob:
    """One blob at one target place."""

    there: dict[str, bool] = field(default_factory=dict)  # repository: may it be mounted from?
    coming: dict[str, Event] = field(default_factory=dict)  # repository: set once that has ended

    def before(self, repository: str) -> Event | None:
        """The end of what `repository` has to wait for, if there is anything."""
        if repository in self.coming or self.there:
            return self.coming.get(repository)
        return next(iter(self.coming.values()), None)  # the first mover, whose blob we can mount

    @contextmanager
    def coming_to(self, repository: str) -> Iterator[None]:
        """Inside the block, the blob is on its way to `repository`; all who wait for it wait."""
        ended = self.coming[repository] = Event()
        try:
            yield
        finally:  # failed or cancelled, too: the first of those who wait takes over
            del self.coming[repository]
            ended.set()
