"""Files of a layout that come to be whole or not at all, whoever is killed when.

A file is written in the layout's own workshop, so on the same file system, and renamed into its
place when it is on the disk. Its writer holds a lock on it: what nobody holds is left from a
process that died, and is swept.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asyncsync.model.digest import Digest

WORKSHOP = ".asyncsync"  # beside blobs/; skopeo and umoci pass it over
_LOCK = "lock"
_NEW = "new-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC
_REREAD_BYTES = 1024 * 1024


class WrongDigest(ValueError):
    """Bytes are not what their digest says."""


@contextmanager
def within(root: Path, *names: str) -> Iterator[int]:
    """A folder below `root`, made where it is missing, as a descriptor. No link is followed.

    Raises OSError.
    """
    at = os.open(root, _FOLDER & ~os.O_NOFOLLOW)  # the layout itself may be named by a link
    try:
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=at)
                to_disk(at)
            inner = os.open(name, _FOLDER, dir_fd=at)
            os.close(at)
            at = inner
        yield at
    finally:
        os.close(at)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Be the only one who changes the layout's index, among processes and threads. Blocks."""
    with within(root, WORKSHOP) as shop:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | _FILE, 0o666, dir_fd=shop)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def sweep(root: Path) -> None:
    """Remove what processes that died have left. Raises OSError."""
    if not os.path.lexists(root / WORKSHOP):  # it is not made for that: the disk may be full
        return
    with within(root, WORKSHOP) as shop:
        for name in os.listdir(shop):
            if name.startswith(_NEW):
                remove_unheld(name, shop)


class Draft:
    """A file on its way, in the workshop. `close` it; it is gone unless it was moved."""

    def __init__(self, root: Path) -> None:
        self._root = root
        with within(root, WORKSHOP) as shop:
            self._file, self._name = new_locked(_NEW, shop)

    def write(self, data: bytes) -> None:
        """Add `data`. Raises OSError, as where the disk is full."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def read(self) -> Iterator[bytes]:
        """All that was written."""
        at = 0
        while chunk := os.pread(self._file, _REREAD_BYTES, at):
            at += len(chunk)
            yield chunk

    def move(self, *path: str) -> None:
        """Give it its place below the root, on the disk when this returns. Raises OSError."""
        os.fsync(self._file)
        *folders, name = path
        with within(self._root, WORKSHOP) as shop, within(self._root, *folders) as there:
            os.rename(self._name, name, src_dir_fd=shop, dst_dir_fd=there)
            self._name = ""
            to_disk(there)

    def close(self) -> None:
        """Let go of it. Never raises."""
        if self._file < 0:
            return
        if self._name:
            with suppress(OSError), within(self._root, WORKSHOP) as shop:
                os.unlink(self._name, dir_fd=shop)
        self._name = ""
        file, self._file = self._file, -1
        with suppress(OSError):
            os.close(file)


class BlobWriter:
    """A blob on its way into a layout. One caller at a time; it may change threads.

    `offset`: how many bytes it has. `algorithm`: what its digest is likely to be made with; with
    another one, `commit` reads all of it again.
    """

    def __init__(self, root: Path, algorithm: str) -> None:
        self.offset = 0
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._draft = Draft(root)

    def write(self, data: bytes) -> None:
        """Add `data`. Raises OSError; then the blob can only be closed."""
        self._draft.write(data)
        self._hash.update(data)
        self.offset += len(data)

    def commit(self, digest: Digest) -> None:
        """Make it the blob `digest`, on the disk when this returns.

        Raises WrongDigest if it is another one, or OSError; then nothing is kept.
        """
        if digest.algorithm != self._algorithm:
            self._algorithm = digest.algorithm
            self._hash = hashlib.new(digest.algorithm, usedforsecurity=False)
            for chunk in self._draft.read():
                self._hash.update(chunk)
        try:
            if (found := self._hash.hexdigest()) != digest.hex:
                raise WrongDigest(f"{digest.algorithm}:{found} came instead of {digest}")
            self._draft.move("blobs", digest.algorithm, digest.hex)
        finally:
            self._draft.close()

    def close(self) -> None:
        """Let go of it; nothing is kept unless it was committed. Never raises."""
        self._draft.close()


def new_locked(prefix: str, folder: int | None = None) -> tuple[int, str]:
    """A new file, locked, and its name: `prefix` and 16 hex digits, in the open `folder`."""
    while True:
        name = f"{prefix}{secrets.token_hex(8)}"
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE, 0o666, dir_fd=folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file, name
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # it was swept before it could be locked


def remove_unheld(name: str, folder: int | None = None) -> None:
    """Remove such a file, in the open `folder`, if nobody holds its lock any more."""
    with suppress(OSError):  # it is held, another one sweeps, too, or it is no file of ours
        file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FILE, dir_fd=folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=folder)
        finally:
            os.close(file)


def to_disk(folder: int) -> None:
    """Bring a folder's names to the disk, where its file system can."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
