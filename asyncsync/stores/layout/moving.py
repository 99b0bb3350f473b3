"""The bytes of a blob on their way out of a layout, and into one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from anyio import CancelScope, to_thread

from asyncsync.model.digest import Digest
from asyncsync.model.place import Place
from asyncsync.stores.content import Content
from asyncsync.stores.layout.extent import Extent
from asyncsync.stores.layout.index import Entry

T = TypeVar("T")

READ_BYTES = 256 * 1024  # a hop to a thread costs as much as hashing some 200 KiB
WRITE_BYTES = 1024 * 1024


class Writer(Protocol):
    """A blob on its way."""

    def write(self, data: bytes) -> None: ...
    def commit(self, digest: Digest) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pen:
    """How a shelf is written."""

    begin: Callable[[Digest, int], Writer]
    put_entry: Callable[[Entry], None]
    finish: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of a blob as they come, unchecked."""

    place: Place
    _chunks: AsyncIterator[bytes]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    def distrust(self) -> bool:
        """Nobody else has the bytes of a layout."""
        return False

    @property
    def goes_on(self) -> bool:
        """A file that is too short stays so."""
        return False


class Run(Protocol):
    """Does what blocks in a thread."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


class LayoutUpload:
    """A blob on its way into a layout."""

    def __init__(self, run: Run, pen: Pen) -> None:
        self._run, self._pen = run, pen

    async def send(self, content: Content, start: int = 0) -> None:  # noqa: ARG002  always 0
        """Write all of `content`; then it is there. Raises CopyError, and what its reader does."""
        run = self._run
        writer = await run(lambda: self._pen.begin(content.digest, content.size))
        try:
            held = bytearray()
            async for chunk in content.read(0, content.size):
                held += chunk
                if len(held) >= WRITE_BYTES:
                    await run(partial(writer.write, bytes(held)))
                    held.clear()
            await run(partial(_ended, writer, bytes(held), content.digest))
        finally:
            with CancelScope(shield=True):  # what it wrote is unlinked: that does not take long
                await to_thread.run_sync(writer.close)

    async def offset(self) -> int:
        """Nothing is kept of what was broken off: a disk that failed once is not gone on with."""
        return 0

    async def cancel(self) -> None:
        """There is nobody to tell."""


def _ended(writer: Writer, data: bytes, digest: Digest) -> None:
    writer.write(data)
    writer.commit(digest)


async def chunks(run: Run, extent: Extent, start: int, stop: int | None) -> AsyncIterator[bytes]:
    """The bytes of a blob from `start`, up to `stop` where given."""
    end = extent.size if stop is None else min(stop, extent.size)
    while start < end:
        chunk = await run(partial(extent.read, start, min(READ_BYTES, end - start)))
        if not chunk:  # the file became shorter while it was read
            return
        start += len(chunk)
        yield chunk
