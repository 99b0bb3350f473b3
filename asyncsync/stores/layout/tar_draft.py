"""A tar on its way: beside the one that it is to replace, until all of it is on the disk."""

from __future__ import annotations

import errno
import os
import re
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

from asyncsync.stores.layout.tar_members import BLOCK, Stretch, rounded
from asyncsync.stores.layout.writing import new_locked, remove_unheld, to_disk, within

_RECORD = 20 * BLOCK  # its length is a multiple of this (POSIX ustar)
_COPY_BYTES = 1024 * 1024
_DRAFTED = re.compile(r"[0-9a-f]{16}")  # as `new_locked` ends a name
_PREFIX_MAX = 50  # characters of up to 4 bytes: a file's name has at most 255 bytes


class TarDraft:
    """The tar that is being written, beside the one that it is to replace.

    It is locked as long as it is: one that nobody holds is left from a process that died.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.file, draft = new_locked(str(path.with_name(_prefix(path))))
        self._draft = Path(draft)
        self.members: dict[str, Stretch] = {}
        self._lock = Lock()
        self._end = 0
        self._finished = False

    def reserved(self, name: str, size: int) -> Stretch:
        """A stretch of the file for a member, to be filled or released."""
        with self._lock:
            start = self._end + len(_header(name, size))
            self._end = start + rounded(size)
            return Stretch(start, size)

    def fill(self, name: str, gap: Stretch) -> None:
        """Make what was written into a stretch a member."""
        header = _header(name, gap.size)
        put_at(self.file, header, gap.start - len(header))
        self.members[name] = gap

    def release(self, name: str, gap: Stretch) -> None:
        """Give up a stretch: its room is free at once if it is the last, else at the end."""
        with self._lock:
            if self._end == gap.start + rounded(gap.size):
                self._end = gap.start - len(_header(name, gap.size))
                os.ftruncate(self.file, self._end)

    def take_over(self, file: int, members: Mapping[str, Stretch]) -> None:
        """Copy the blobs of another tar."""
        for name, stretch in members.items():
            if name.startswith("blobs/"):
                gap = self.reserved(name, stretch.size)
                _copy(file, stretch, self.file, gap.start)
                self.fill(name, gap)

    def finish(self, more: Mapping[str, bytes]) -> None:
        """Add `more`, and put it in its place, on the disk when this returns."""
        self._close_gaps()
        for name, data in more.items():
            gap = self.reserved(name, len(data))
            put_at(self.file, data, gap.start)
            self.fill(name, gap)
        os.ftruncate(self.file, rounded(self._end + 2 * BLOCK, _RECORD))
        os.fsync(self.file)
        os.rename(self._draft, self._path)
        self._finished = True
        with within(self._path.parent) as folder:
            to_disk(folder)

    def _close_gaps(self) -> None:
        """Move every member up to the one before it: no room is lost to what came to nothing.

        In the file itself, since the disk may be full.
        """
        end, moved = 0, dict[str, Stretch]()
        for name, stretch in sorted(self.members.items(), key=lambda pair: pair[1].start):
            header = _header(name, stretch.size)
            to = Stretch(end + len(header), stretch.size)
            if to.start != stretch.start:
                _copy(self.file, stretch, self.file, to.start)
                put_at(self.file, header, end)
            moved[name] = to
            end = to.start + rounded(to.size)
        self.members, self._end = moved, end
        os.ftruncate(self.file, end)

    def close(self) -> None:
        """Let go of it; it is gone unless it was finished."""
        if not self._finished:
            with suppress(OSError):
                self._draft.unlink()
        os.close(self.file)


def _prefix(path: Path) -> str:
    return f".{path.name[:_PREFIX_MAX]}."


def sweep(path: Path) -> None:
    """Remove what processes that died have left beside `path`."""
    for left in path.parent.iterdir():
        ending = left.name.removeprefix(_prefix(path))
        if ending != left.name and _DRAFTED.fullmatch(ending):
            remove_unheld(str(left))


def _header(name: str, size: int) -> bytes:
    """What stands before a member. Nothing in it changes from run to run."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def put_at(file: int, data: bytes, at: int) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, at)
        at, view = at + count, view[count:]


def _copy(source: int, stretch: Stretch, target: int, at: int) -> None:
    """Copy a stretch of one file into another."""
    done = 0
    while done < stretch.size:
        data = os.pread(source, min(_COPY_BYTES, stretch.size - done), stretch.start + done)
        if not data:
            raise OSError(errno.EIO, "the old tar became shorter")
        put_at(target, data, at + done)
        done += len(data)
