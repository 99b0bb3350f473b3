"""Writes an OCI layout as one tar: beside the old one, and in its place when all is on the disk.

Blobs come in at once and in any order, and each has its own stretch of the file from the start, so
nothing is written twice. What the old tar has is copied over here, and not moved again.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Self

from asyncsync.model.digest import Digest
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown
from asyncsync.model.manifest import MANIFEST_BYTES_MAX
from asyncsync.stores.layout import index
from asyncsync.stores.layout.archive import LayoutTar, blob_name, identity, unreadable
from asyncsync.stores.layout.extent import Extent
from asyncsync.stores.layout.index import INDEX_NAME, MARK_NAME, BrokenLayout, Entry
from asyncsync.stores.layout.tar_draft import TarDraft, put_at, sweep
from asyncsync.stores.layout.writing import WrongDigest


class WrittenMeanwhile(OSError):
    """The old tar is another one than when we began: to replace it would lose what it has."""


class LayoutTarWriter:
    """A layout in a tar, to be written: what the old one has, and more. Many threads at once.

    `finish` puts it in the place of the old one; `close` lets go of it, finished or not.
    """

    def __init__(self, path: Path, old: LayoutTar | None) -> None:
        self._path, self._old = path, old
        self._lock = Lock()
        self._index = old.index() if old else index.EMPTY
        self._draft: TarDraft | None = None
        self._failed: OSError | None = None  # what the old tar could not be copied over for

    @classmethod
    def open(cls, path: Path) -> Self:
        """To write `path`, which need not be there. Raises ConfigurationError."""
        name, real = shown(str(path)), Path(os.path.realpath(path))
        if not real.parent.is_dir():
            inside = shown(str(real.parent))
            raise ConfigurationError(f"{name} cannot be written: there is no folder {inside}.")
        if not os.access(real.parent, os.W_OK | os.X_OK):
            raise ConfigurationError(f"{name} cannot be written: its folder is write-protected.")
        try:
            sweep(real)
            return cls(real, LayoutTar.open(real) if os.path.lexists(real) else None)
        except OSError as error:
            raise unreadable(name, error) from None

    @contextmanager
    def opened(self, digest: Digest) -> Iterator[Extent | None]:
        """A blob to be read, or None."""
        yield self._found(digest)

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has, or None."""
        found = self._found(digest)
        return found.size if found else None

    def read(self, digest: Digest, most: int = MANIFEST_BYTES_MAX) -> bytes | None:
        """A blob of at most `most` bytes, or None. Raises WrongDigest, BrokenLayout."""
        with self.opened(digest) as extent:
            if extent is None:
                return None
            if extent.size > most:
                raise BrokenLayout(f"{digest} is larger than {most} bytes")
            data = extent.read(0, most)
        if (found := Digest.of(data, digest.algorithm)) != digest:
            raise WrongDigest(f"{found} is in the place of {digest}")
        return data

    def entry(self, name: str) -> Entry | None:
        """What the index is to name so."""
        return index.named(self._index, name)

    def begin(self, digest: Digest, size: int) -> TarBlobWriter:
        """A blob of so many bytes to be written. Raises OSError."""
        with self._lock:
            return TarBlobWriter(self._begun(), digest, size)

    def put_entry(self, entry: Entry) -> None:
        """Name a manifest that is there; it takes the place of the one of its name."""
        with self._lock:
            after = index.merged(self._index, [entry])
            if after != self._index:
                self._begun()
                self._index = after

    def finish(self) -> None:
        """Put what was written in the place of the old file. Raises OSError."""
        with self._lock:
            if self._draft is None:  # nothing is new
                return
            if self._standing() != (identity(os.fstat(self._old.file)) if self._old else None):
                raise WrittenMeanwhile(errno.ESTALE, "another process has written it meanwhile")
            self._draft.finish({MARK_NAME: index.MARK, INDEX_NAME: self._index})

    def close(self) -> None:
        """Let go of all files."""
        if self._draft:
            self._draft.close()
        if self._old:
            self._old.close()

    def _begun(self) -> TarDraft:
        """The file to write into, which begins with all blobs of the old one."""
        if self._failed:  # once: it may be large, and no image has a better chance
            raise OSError(self._failed.errno, self._failed.strerror)
        if self._draft is None:
            draft = TarDraft(self._path)
            try:
                if self._old:
                    draft.take_over(self._old.file, self._old.members)
            except OSError as error:
                self._failed = error.with_traceback(None)
                draft.close()
                raise
            self._draft = draft
        return self._draft

    def _found(self, digest: Digest) -> Extent | None:
        name = blob_name(digest)
        for each in (self._draft, self._old):
            if each and (stretch := each.members.get(name)):
                return Extent(each.file, stretch.start, stretch.size)
        return None

    def _standing(self) -> tuple[int, int, int] | None:
        try:
            return identity(os.stat(self._path))
        except FileNotFoundError:
            return None


class TarBlobWriter:
    """A blob on its way into a tar. One caller at a time; it may change threads."""

    def __init__(self, draft: TarDraft, digest: Digest, size: int) -> None:
        self.offset, self._committed = 0, False
        self._draft, self._digest, self._size = draft, digest, size
        self._gap = draft.reserved(blob_name(digest), size)
        self._hash = hashlib.new(digest.algorithm, usedforsecurity=False)

    def write(self, data: bytes) -> None:
        """Add `data`. Raises OSError, or WrongDigest where it is more than was said."""
        if self.offset + len(data) > self._size:
            raise WrongDigest(f"more than {self._size} bytes came for {self._digest}")
        put_at(self._draft.file, data, self._gap.start + self.offset)
        self._hash.update(data)
        self.offset += len(data)

    def commit(self, digest: Digest) -> None:
        """Make it the blob `digest`. Raises WrongDigest if it is another one, or OSError."""
        found = self._hash.hexdigest()
        if digest != self._digest or found != digest.hex or self.offset != self._size:
            raise WrongDigest(f"{self._digest.algorithm}:{found} came instead of {digest}")
        self._draft.fill(blob_name(digest), self._gap)
        self._committed = True

    def close(self) -> None:
        """Let go of it; nothing is kept unless it was committed. Never raises."""
        if not self._committed:
            with suppress(OSError):
                self._draft.release(blob_name(self._digest), self._gap)
