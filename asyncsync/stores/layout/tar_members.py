"""Where the files of a tar are (POSIX ustar and pax, GNU's long names). Nothing of it is unpacked.

Not by `tarfile`: it takes a chain of long names by recursion, numbers in pax headers as they come,
and, in Pythons that are not patched, a megabyte of digits for hours.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

BLOCK = 512  # bytes; all of a tar is made of such
_LONG_HEADER_MAX = 1024 * 1024  # bytes: a hostile one could claim the whole file for it
_HEADERS_MAX = 400_000  # a file may have a second one, with its name
_NUMBER_MAX = 20  # digits
_SPARSE = "GNU.sparse."  # what keys begin with that say where the holes of a file are
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_EMPTY = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
# Of the old form of a sparse file: whether another block of its map follows, and how such a block
# says the same.
_SPARSE_MORE, _MAP_MORE = 482, 504


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a member's bytes are: from `start`, so many."""

    start: int
    size: int


def rounded(size: int, unit: int = BLOCK) -> int:
    """So much room as whole units of a tar take for `size` bytes."""
    return -(-size // unit) * unit


def members(file: int) -> dict[str, Stretch]:
    """Where each file of a tar is. The last of one name counts, as when a tar is unpacked.

    Links, devices and sparse files are passed over. Raises TarError, OSError.
    """
    found: dict[str, Stretch] = {}
    end, at = os.fstat(file).st_size, 0
    said: dict[str, str] = {}  # by the headers before that of a file
    for _ in range(_HEADERS_MAX):
        block = os.pread(file, BLOCK, at)
        if at and not block.strip(b"\0"):  # its end, or that of the file
            return found
        if block == bytes(BLOCK):
            return found  # it has nothing
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        start = at + BLOCK
        if header.type == tarfile.GNUTYPE_SPARSE:
            start = _behind_map(file, block, start)
        size = 0 if header.type in _EMPTY else _number(said.get("size"), header.size)
        at = start + rounded(size)
        if size < 0 or start + size > end:
            raise tarfile.ReadError("it ends before its last file does")
        if header.type == tarfile.GNUTYPE_LONGNAME:
            said["path"] = _text(_long_header(file, start, size).partition(b"\0")[0])
        elif header.type in _PAX:
            said |= _pax(_long_header(file, start, size))
        elif header.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            if header.type in _FILES and _SPARSE not in said:
                found[said.get("path", header.name).removeprefix("./")] = Stretch(start, size)
            said = {}
    raise tarfile.ReadError("it has too many members")


def _behind_map(file: int, block: bytes, at: int) -> int:
    """Where the bytes of a sparse file begin: behind the rest of its map."""
    more = block[_SPARSE_MORE]
    while more:
        block = os.pread(file, BLOCK, at)
        if len(block) < BLOCK:
            raise tarfile.ReadError("it ends within a map")
        more, at = block[_MAP_MORE], at + BLOCK
    return at


def _long_header(file: int, start: int, size: int) -> bytes:
    if size > _LONG_HEADER_MAX:
        raise tarfile.ReadError("a header is too large")
    return os.pread(file, size, start)


def _pax(data: bytes) -> Mapping[str, str]:
    """What a header says (POSIX pax, “Extended Header”): `LENGTH KEY=VALUE` and a line's end.

    Of all that only what is of use here.
    """
    said, at = dict[str, str](), 0
    while at < len(data):
        digits, space, _ = data[at : at + _NUMBER_MAX].partition(b" ")
        length = _number(_text(digits)) if space else 0
        key, equals, value = data[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if not equals or data[at + length - 1 : at + length] != b"\n":
            raise tarfile.ReadError("a pax header is malformed")
        if key in (b"path", b"size"):
            said[_text(key)] = _text(value)
        elif key.startswith(_SPARSE.encode()):
            said[_SPARSE] = ""
        at += length
    return said


def _number(text: str | None, otherwise: int = 0) -> int:
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdigit()) or len(text) > _NUMBER_MAX:
        raise tarfile.ReadError("a number in a header is none")
    return int(text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
