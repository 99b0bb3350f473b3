"""One blob into a target, as a stream: nothing is kept but a chunk.

A target that breaks is asked how far it came, and where it cannot say so the blob starts again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from anyio import CancelScope, move_on_after

from asyncsync.model.errors import CopyError, TimedOut, Where
from asyncsync.model.job import Step
from asyncsync.model.place import Place
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.blobs import Need
from asyncsync.transports.direct.contracts import Source, Target, Upload
from asyncsync.transports.direct.idling import IDLE_SECONDS
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.stream import Stream
from asyncsync.transports.stepping import Steps
from asyncsync.transports.together import both, every

CLOSE_SECONDS = 1.0  # for all that an image has begun; a stop promises to end within 5
# So much is in the reader's buffer before anybody could stop it: nothing is lost but these bytes.
EARLY_BYTES_MAX = 64 * 1024
_NOTHING: Mapping[Reference, bytes] = MappingProxyType({})


class Relay:
    """Moves the blobs of one image (`blobs.Mover`). Its failures are this image's alone.

    `held`: blobs that were read already, and are right. `early`: the target is not likely to have
    anything, so small blobs are read while it is asked. `idle_seconds`: how long the target may
    take no byte that is ready for it.
    """

    def __init__(
        self,
        source: Source,
        target: Target,
        steps: Steps,
        pace: Pace,
        moved: Callable[[int], None],
        *,
        held: Mapping[Reference, bytes] = _NOTHING,
        early: bool = False,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._source, self._target, self._idle_seconds = source, target, idle_seconds
        self._held, self._early = held, early
        self._steps, self._pace, self._moved = steps, pace, moved
        self._begun: dict[Need, Upload] = {}  # by a mount that was answered with an upload
        self._doubted: set[Need] = set()

    async def mount(self, need: Need, origin: str) -> bool:
        """Ask the target to take the blob from its repository `origin`. True: it is there now."""
        upload = await self._steps.part(Step.COPY, lambda: self._target.begin(need.target, origin))
        if upload is None:
            return True
        self._begun[need] = upload
        return False

    async def move(self, need: Need) -> bool:
        """See that the target has the blob. True: bytes were moved; False: it had it already."""
        content = Stream(
            self._source,
            need.source,
            need.size,
            self._steps,
            self._pace,
            self._moved,
            whole=self._held.get(need.source, b""),
            idle_seconds=self._idle_seconds,
        )
        begin = self._target.begin_anew if need in self._doubted else self._target.begin
        early = self._early and need.size <= EARLY_BYTES_MAX
        transfer = _Transfer(need, begin, content, self._begun.pop(need, None), early=early)
        try:
            return await self._steps.part(Step.COPY, transfer.attempt)
        except BaseException:
            await transfer.take_back()
            raise
        finally:
            content.tell()

    def doubt(self, need: Need) -> None:
        """Move it whatever the target says that it has: it was wrong about it once."""
        self._doubted.add(need)

    async def close(self) -> None:
        """Take back the uploads that were begun and never came to be: the image has ended.

        At once and not for long: what a target that stands still keeps, it purges by itself.
        """
        uploads = tuple(self._begun.values())
        self._begun.clear()
        with move_on_after(CLOSE_SECONDS, shield=True):
            await every(upload.cancel() for upload in uploads)

    def mounts_after_manifest(self, place: Place) -> bool:
        """Whether `place` mounts only blobs of manifests that stand."""
        return self._target.mounts_after_manifest(place)


@dataclass(slots=True)
class _Transfer:
    """What one attempt leaves for the next: an upload that can go on, and where."""

    need: Need
    begin: Callable[[Reference], Awaitable[Upload | None]]
    content: Stream
    upload: Upload | None
    early: bool
    start: int = 0

    async def attempt(self) -> bool:
        if self.upload is None:
            self.start = 0
            await self._begin()
        if self.upload is None:
            return False
        try:
            await self._send(self.upload)
        except CopyError as error:
            failed = self.content.failure
            if failed is None:  # the target did
                await self._keep(self.upload, error)
                raise
            await self.take_back()
            if self.content.renew(failed):
                return await self.attempt()
            raise failed.given_up() from None  # its reader has tried again, so nobody else does
        return True

    async def take_back(self) -> None:
        """Cancel the upload that is under way, or waits for another attempt that will not come."""
        upload, self.upload = self.upload, None
        if upload is not None:
            await upload.cancel()

    async def _keep(self, upload: Upload, error: CopyError) -> None:
        """Keep the upload for the next attempt if it can go on, else take it back."""
        self.start = await upload.offset() if error.transient else 0
        if not 0 < self.start <= self.content.given:
            await self.take_back()

    async def _begin(self) -> None:
        """Begin the upload; a small blob comes in meanwhile, which saves a round trip."""
        fetching = CancelScope()

        async def begun() -> None:
            try:
                self.upload = await self.begin(self.need.target)
            finally:
                if self.upload is None:  # nobody wants the bytes
                    fetching.cancel()

        async def fetched() -> None:
            with fetching:
                await self.content.fetch()

        await (both(begun(), fetched()) if self.early else begun())

    async def _send(self, upload: Upload) -> None:
        where = Where(str(self.need.target.place))
        with self.content.watch.over() as watched:
            await upload.send(self.content, self.start)
        if watched.cancelled_caught:
            what = f"{where.registry} took no more of {self.need.target.digest} and said nothing"
            raise TimedOut(what, where, transient=True)
