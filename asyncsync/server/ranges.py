"""Byte ranges as clients ask for them, and as their chunks are named. Pure."""

from __future__ import annotations

import re

from asyncsync.server.errors import Code, Refused

_RANGE = re.compile(r"bytes=\s*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))\s*")
_CHUNK = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


def asked(header: str | None, size: int) -> range | None:
    """The bytes that a Range asks for, of a content of `size`; None: the whole (RFC 9110 §14.2).

    Also where it cannot be read or names several parts, as a server may. Raises Refused (416) if
    there are no such bytes.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        found = range(max(0, size - int(suffix)), size)
    elif last is not None and int(last) < int(first):
        return None
    else:
        found = range(int(first), size if last is None else min(int(last) + 1, size))
    if not found:
        headers = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
        raise Refused(
            416, Code.SIZE_INVALID, f"there are no such bytes: it has {size}", headers=headers
        )
    return found


def chunk(header: str | None, length: int | None) -> range | None:
    """The bytes that a chunk brings, as its Content-Range says; None if it says nothing.

    (OCI distribution-spec, “Pushing a blob in chunks”: without unit and total.) Raises Refused if
    it cannot be read, or is not as long as the body.
    """
    if header is None:
        return None
    match = _CHUNK.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise Refused(400, Code.BLOB_UPLOAD_INVALID, "a Content-Range is written 0-99")
    found = range(int(match[1]), int(match[2]) + 1)
    if length is not None and length != len(found):
        what = f"the Content-Range has {len(found)} bytes, and the body {length}"
        raise Refused(400, Code.SIZE_INVALID, what)
    return found


def received(offset: int) -> str:
    """The Range that tells how far an upload came; without a byte it is `0-0`, as with one."""
    return f"0-{max(0, offset - 1)}"
