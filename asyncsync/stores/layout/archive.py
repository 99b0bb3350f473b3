"""An OCI layout as one tar (what skopeo calls `oci-archive`), read in place.

Nothing is unpacked: a blob is a stretch of the file.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

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
from asyncsync.stores.layout.tar_members import Stretch, members
from asyncsync.stores.layout.writing import WrongDigest

_DOCKERS_OWN = "manifest.json"  # at the top of what docker save writes; newer ones write both


class LayoutTar:
    """A layout in a tar, to be read by many threads. What fails on the disk raises OSError."""

    def __init__(self, file: int, members: Mapping[str, Stretch]) -> None:
        self.file, self.members = file, members

    @classmethod
    def open(cls, path: Path) -> Self:
        """The layout in the file `path`. Raises ConfigurationError that says what to do."""
        name = shown(str(path))
        try:
            # Not blocking: at a pipe, `open` would wait for whoever writes into it.
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            what = f"There is no file {name}. Name one that an export has written"
            raise ConfigurationError(f"{what}, as oci:./export.tar.") from None
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise unreadable(name, error) from None
        try:
            return cls._read(file, name)
        except BaseException:
            os.close(file)
            raise

    @classmethod
    def _read(cls, file: int, name: str) -> Self:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ConfigurationError(f"{name} is no file. A name in .tar is that of a tar.")
        try:
            archive = cls(file, members(file))
            if _DOCKERS_OWN in archive.members and MARK_NAME not in archive.members:
                what = f"{name} is what docker save wrote before Docker 25, and no OCI layout"
                raise ConfigurationError(f"{what}. Save the images again, with a newer one.")
            check_mark(archive._of(MARK_NAME, MARK_BYTES_MAX), name)
            archive.entries()
        except tarfile.TarError:
            what = f"{name} is no tar, or is damaged"
            raise ConfigurationError(f"{what}. If it is compressed, unpack it first.") from None
        except BrokenLayout as error:
            what = f"{name} is a damaged OCI layout: {shown(str(error))}"
            raise ConfigurationError(f"{what}. Copy it again, or start afresh.") from None
        except OSError as error:
            raise unreadable(name, error) from None
        return archive

    @contextmanager
    def opened(self, digest: Digest) -> Iterator[Extent | None]:
        """A blob to be read, or None."""
        found = self.members.get(blob_name(digest))
        yield Extent(self.file, found.start, found.size) if found else None

    def size(self, digest: Digest) -> int | None:
        """How many bytes a blob has, or None."""
        found = self.members.get(blob_name(digest))
        return found.size if found else None

    def read(self, digest: Digest, most: int = MANIFEST_BYTES_MAX) -> bytes | None:
        """A blob of at most `most` bytes, or None. Raises WrongDigest, BrokenLayout."""
        data = self._of(blob_name(digest), most)
        if data is not None and (found := Digest.of(data, digest.algorithm)) != digest:
            raise WrongDigest(f"{found} is in the place of {digest}")
        return data

    def entry(self, name: str) -> Entry | None:
        """What the index names so. Raises BrokenLayout."""
        return index.named(self.index(), name)

    def entries(self) -> tuple[Entry, ...]:
        """What the index names. Raises BrokenLayout."""
        return index.parse(self.index())

    def index(self) -> bytes:
        """The index as it stands."""
        data = self._of(INDEX_NAME, index.INDEX_BYTES_MAX)
        if data is None:
            raise BrokenLayout(f"it has no {INDEX_NAME}")
        return data

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.file)

    def _of(self, name: str, most: int) -> bytes | None:
        found = self.members.get(name)
        if found is None:
            return None
        if found.size > most:
            raise BrokenLayout(f"{name} is larger than {most} bytes")
        return os.pread(self.file, found.size, found.start)


def blob_name(digest: Digest) -> str:
    """What a blob is called in a tar."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def unreadable(name: str, error: Exception) -> ConfigurationError:
    """Why a tar cannot be used."""
    why = shown((isinstance(error, OSError) and error.strerror) or str(error))
    return ConfigurationError(f"{name} cannot be read: {why}.")


def identity(found: os.stat_result) -> tuple[int, int, int]:
    """Tells one file of the same name from another."""
    return found.st_ino, found.st_size, found.st_mtime_ns
