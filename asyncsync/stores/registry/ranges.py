"""Byte ranges as registries speak them, in both directions. Pure."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

from asyncsync.model.errors import RegistryUnavailable, Where
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.answers import Answer

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_NUMBER = re.compile(r"[0-9]{1,18}")
_OFFSET = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


def byte_range(start: int, stop: int | None) -> Mapping[str, str]:
    """The header that asks for bytes from `start` up to, without, `stop` (RFC 9110 §14.2)."""
    if stop is not None:
        return {"Range": f"bytes={start}-{stop - 1}"}
    return {"Range": f"bytes={start}-"} if start else {}


def chunk_range(start: int, stop: int) -> str:
    """The Content-Range of a chunk (OCI distribution-spec, “Pushing a blob in chunks”).

    Not RFC 9110's: it has neither a unit nor a total.
    """
    return f"{start}-{stop - 1}"


def skipped(answer: Answer, ref: Reference, start: int) -> int:
    """How many bytes to drop from the front of a good answer, so that it begins at `start`.

    Raises RegistryUnavailable for a range that was not asked for.
    """
    if answer.status == 200:  # the whole: it knows no ranges
        return start
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or not int(match[1]) <= start <= int(match[2]):
        what = f"{ref.place} sent another part of {ref.digest} than was asked for"
        raise RegistryUnavailable(what, Where(str(ref.place)), transient=True)
    return start - int(match[1])


async def between(
    chunks: AsyncIterator[bytes], skip: int, length: int | None
) -> AsyncIterator[bytes]:
    """`chunks` without their first `skip` bytes, and no more than `length` of them if it is set.

    A server that knows no ranges sends on behind the end that was asked for.
    """
    left = length
    async for chunk in chunks:
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        part = chunk[skip:] if skip else chunk
        skip = 0
        if left is None:
            yield part
            continue
        yield part if len(part) <= left else part[:left]
        left -= len(part)
        if left <= 0:
            return


def chunk_length(headers: Mapping[str, str], ours: int) -> int:
    """How long the chunks of an upload are: `ours`, or what its beginning asks for if it is more.

    (OCI distribution-spec, “Pushing a blob in chunks”, OCI-Chunk-Min-Length: only the last may be
    shorter.)
    """
    text = headers.get("OCI-Chunk-Min-Length", "")
    return max(ours, int(text)) if _NUMBER.fullmatch(text) else ours


def offset_of(headers: Mapping[str, str]) -> int | None:
    """How many bytes an upload has, as its `Range: 0-<last>` tells; None where it does not.

    `0-0` is what an upload without a byte says, too: it counts as none, since sending one byte
    again is what the digest then refuses, and believing in one that is not there as well.
    """
    match = _OFFSET.fullmatch(headers.get("Range", ""))
    if match is None:
        return None
    return int(match[1]) + 1 if match[1] != "0" else 0
