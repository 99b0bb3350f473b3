"""An OCI image layout on disk (OCI image-spec, “OCI Image Layout”), for many at once.

It blocks: callers hop to threads. Many threads and processes may use one folder, and any of them
may be killed at any moment: the layout stays valid, and nothing outside the folder is ever touched.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Self, TypeVar

from asyncsync.model.digest import Digest
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown
from asyncsync.model.manifest import MANIFEST_BYTES_MAX
from asyncsync.stores.layout import index
from asyncsync.stores.layout.extent import Extent
from asyncsync.stores.layout.index import (
    INDEX_NAME,
    MARK_BYTES_MAX,
    MARK_NAME,
    BrokenLayout,
    Entry,
    check_mark,
)
from asyncsync.stores.layout.writing import (
    WORKSHOP,
    BlobWriter,
    Draft,
    WrongDigest,
    locked,
    sweep,
    within,
)

T = TypeVar("T")

_AGAIN_SECONDS = (0.001, 0.01, 0.1)

# What a folder may hold that is to become a layout: what a writer that was killed leaves, and what
# a fresh file system brings.
_ON_THE_WAY = frozenset({"blobs", INDEX_NAME, WORKSHOP, "lost+found"})


class LayoutFolder:
    """A layout in a folder. What fails on the disk raises OSError, everywhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real = path.resolve()
        self._guard = Lock()  # for the next, which threads fill and empty
        self._waiting: dict[object, Entry] = {}

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Self:
        """The layout at `path`; `create`: make one where there is none, if nothing else is there.

        Raises ConfigurationError that says what to do.
        """
        name = shown(str(path))
        try:
            _check_blobs(path, name)
            if create and not _has_mark(path):
                _make(path, name)
            elif not path.exists():
                what = f"There is no folder {name}. Name one that an export has written"
                raise ConfigurationError(f"{what}, as oci:./export.")
            elif not path.is_dir():
                raise ConfigurationError(f"{name} is no folder. Name a folder, or a name in .tar.")
            check_mark(_read(path / MARK_NAME, MARK_BYTES_MAX), name)
            layout = cls(path)
            if create and not os.access(path, os.W_OK | os.X_OK):
                what = f"{name} cannot be written: it is write-protected"
                raise ConfigurationError(f"{what}. Name another folder, or give us the right.")
            layout.entries()
            if create:  # at once: a run with nothing to write would leave it all
                sweep(path)
        except BrokenLayout as error:
            what = f"{name} is a damaged OCI layout: {shown(str(error))}"
            raise ConfigurationError(f"{what}. Copy it again, or start afresh.") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            why = shown((isinstance(error, OSError) and error.strerror) or str(error))
            does = "written" if create else "read"
            raise ConfigurationError(f"{name} cannot be {does}: {why}.") from None
        return layout

    def blob(self, digest: Digest) -> Path | None:
        """The file of a blob, or None. Links that lead out of the layout are not followed."""
        path = self._real / "blobs" / digest.algorithm / digest.hex
        try:
            real = path.resolve(strict=True)
            regular = stat.S_ISREG(real.lstat().st_mode)
        except RuntimeError:  # how Python before 3.13 tells a circle of links
            return None
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        return real if regular and real.is_relative_to(self._real) else None

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has, or None."""
        path = self.blob(digest)
        with suppress(FileNotFoundError):
            return path.stat().st_size if path else None
        return None

    def read(self, digest: Digest, most: int = MANIFEST_BYTES_MAX) -> bytes | None:
        """A blob of at most `most` bytes, or None. Its digest is checked: raises WrongDigest.

        Raises BrokenLayout if it is larger.
        """
        path = self.blob(digest)
        data = _read(path, most) if path else None
        if data is not None and (found := Digest.of(data, digest.algorithm)) != digest:
            raise WrongDigest(f"{found} is in the file of {digest}")
        return data

    @contextmanager
    def writing(self, algorithm: str = "sha256") -> Iterator[BlobWriter]:
        """A blob to be written; gone with the block unless it was committed.

        `algorithm`: of the digest that is expected, which spares reading it again.
        """
        writer = self.begin(algorithm)
        try:
            yield writer
        finally:
            writer.close()

    def begin(self, algorithm: str = "sha256") -> BlobWriter:
        """The same, for who closes it by himself."""
        return BlobWriter(self._real, algorithm)

    @contextmanager
    def opened(self, digest: Digest) -> Iterator[Extent | None]:
        """A blob to be read, or None."""
        path = self.blob(digest)
        if path is None:
            yield None
            return
        with open(path, "rb") as file:
            yield Extent(file.fileno(), 0, os.fstat(file.fileno()).st_size)

    def entries(self) -> tuple[Entry, ...]:
        """What the index names, as it stands now. Raises BrokenLayout."""
        return index.parse(self._index())

    def entry(self, name: str) -> Entry | None:
        """What the index names so, as it stands now. Raises BrokenLayout."""
        return index.named(self._index(), name)

    def put_entry(self, entry: Entry) -> None:
        """Name a manifest that is there, on the disk when this returns. Raises BrokenLayout.

        It takes the place of an entry of the same name; an unnamed one, of the unnamed one of its
        digest. Those who come while another writes are written together.
        """
        ours = object()
        with self._guard:
            self._waiting[ours] = entry
        try:
            with locked(self._real):
                with self._guard:
                    together = dict(self._waiting)
                if ours not in together:
                    return  # who held the lock before has written it
                self._change(lambda data: index.merged(data, together.values()))
                with self._guard:
                    for written in together:
                        del self._waiting[written]
        finally:
            with self._guard:
                self._waiting.pop(ours, None)

    def drop_entries(self, gone: Callable[[Entry], bool]) -> int:
        """Take out of the index what `gone` says; how many there were. Raises BrokenLayout."""
        with locked(self._real):
            count = sum(map(gone, self.entries()))
            if count:
                self._change(lambda data: index.without(data, gone))
            return count

    def _index(self) -> bytes:
        try:
            return patiently(lambda: _content(self._real / INDEX_NAME, index.INDEX_BYTES_MAX))
        except FileNotFoundError:
            raise BrokenLayout(f"it has no {INDEX_NAME}") from None

    def _change(self, how: Callable[[bytes], bytes]) -> None:
        before = self._index()
        after = how(before)
        if after != before:
            _replace(self._real, INDEX_NAME, after)


def patiently(read: Callable[[], T]) -> T:
    """Read of a file that others replace meanwhile. Raises OSError.

    Where the file system is a program (FUSE, as for NTFS and exFAT on a stick), one that is just
    being replaced is said for a moment not to be there.
    """
    for wait in _AGAIN_SECONDS:
        with suppress(FileNotFoundError):
            return read()
        time.sleep(wait)
    return read()


def _check_blobs(path: Path, name: str) -> None:
    """Tell whoever keeps the blobs elsewhere that no link there is followed."""
    blobs = path / "blobs"
    if not blobs.is_symlink():
        return
    # Not by `resolve`: it raises RuntimeError at a circle of links.
    if not Path(os.path.realpath(blobs)).is_relative_to(os.path.realpath(path)):
        what = f"{name}/blobs is a link that leads out of the folder, and is not followed"
        raise ConfigurationError(f"{what}. Move all of the folder to where the blobs are.")


def _has_mark(path: Path) -> bool:
    return (path / MARK_NAME).is_file()


def _make(path: Path, name: str) -> None:
    """Make a layout. The mark comes last: without it, nobody takes the folder for one."""
    if path.exists() and not path.is_dir():
        raise ConfigurationError(f"{name} is no folder. Name a folder, or a name in .tar.")
    path.mkdir(parents=True, exist_ok=True)
    if strange := sorted(set(os.listdir(path)) - _ON_THE_WAY - {MARK_NAME}):
        what = f"{name} is no OCI layout, and holds other things ({shown(strange[0], limit=100)})"
        raise ConfigurationError(f"{what}. Name an empty folder, or a new one.")
    with locked(path):
        if _has_mark(path):  # another one was faster
            return
        if not (path / INDEX_NAME).exists():
            _replace(path, INDEX_NAME, index.EMPTY)
        with within(path, "blobs", "sha256"):
            pass
        _replace(path, MARK_NAME, index.MARK)


def _read(path: Path, most: int) -> bytes | None:
    """What a file holds. None if there is none; BrokenLayout if it is no file, or too large."""
    with suppress(FileNotFoundError):
        return _content(path, most)
    return None


def _content(path: Path, most: int) -> bytes:
    # Not blocking: at a pipe, `open` would wait for whoever writes into it.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise BrokenLayout(f"{path.name} is no file")
        data = opened.read(most + 1)
    if len(data) > most:
        raise BrokenLayout(f"{path.name} is larger than {most} bytes")
    return data


def _replace(root: Path, name: str, data: bytes) -> None:
    """Put a file in its place: who reads it sees the old one or this one, never half."""
    draft = Draft(root)
    try:
        draft.write(data)
        draft.move(name)
    finally:
        draft.close()
