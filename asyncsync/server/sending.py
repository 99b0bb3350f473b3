"""Contents as answers: a blob's file by the kernel's own hand, or a part of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from aiohttp import web
from anyio import fail_after

from asyncsync.model.digest import Digest
from asyncsync.server.disk import Disk
from asyncsync.server.ranges import asked

ALWAYS = {
    "Server": "asyncsync",
    "Docker-Distribution-API-Version": "registry/2.0",  # docker asks for it before it logs in
    "X-Content-Type-Options": "nosniff",  # what others have pushed is no page of ours
}
_STEP_BYTES = 64 * 1024  # as for bodies that come: so much in `idle_seconds`
_PIECE_BYTES = 1024 * 1024  # looked after each: a reader who does not read is not waited for
_CHUNK_BYTES = 256 * 1024


def content_headers(digest: Digest, media_type: str, size: int) -> dict[str, str]:
    """What every answer with content, or about it, says of it."""
    return {
        "Content-Type": media_type,
        "Content-Length": str(size),
        "Docker-Content-Digest": str(digest),
        "Etag": f'"{digest}"',
        **ALWAYS,
    }


def not_modified(request: web.BaseRequest, digest: Digest) -> web.Response | None:
    """The answer to who has it already (RFC 9110 §13.1.2)."""
    known = [each.strip() for each in request.headers.get("If-None-Match", "").split(",")]
    if f'"{digest}"' not in known:
        return None
    headers = {"Docker-Content-Digest": str(digest), "Etag": f'"{digest}"'}
    return web.Response(status=304, headers=headers)


def part_of(request: web.BaseRequest, digest: Digest, size: int) -> range | None:
    """The bytes that are asked for; None is all of them. Raises Refused (416)."""
    if request.headers.get("If-Range", f'"{digest}"') != f'"{digest}"':
        return None  # RFC 9110 §13.1.5: it goes on with something else
    return asked(request.headers.get("Range"), size)


async def send_file(
    request: web.BaseRequest,
    path: Path,
    part: range,
    *,
    status: int,
    headers: Mapping[str, str],
    idle_seconds: float,
    disk: Disk,
) -> web.StreamResponse:
    """Answer with a part of a file. Raises ConnectionError if its reader goes, or does not read.

    Not aiohttp's FileResponse: it makes ETags and types of its own, may send another file (`.gz`),
    and waits for a reader for ever.
    """
    file = await disk(lambda: path.open("rb"))
    with file, letting_go(request):
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        by_kernel = request.transport is not None and not request.secure
        at = part.start
        while at < part.stop:
            count = min(_PIECE_BYTES, part.stop - at)
            with fail_after(idle_seconds * max(1, count // _STEP_BYTES)):
                if by_kernel:
                    by_kernel = await _sendfile(request, file, at, count)
                    sent = count if by_kernel else 0
                else:
                    data = await disk(lambda: _read(file, at, min(_CHUNK_BYTES, count)))  # noqa: B023
                    await response.write(data)
                    sent = len(data)
            at += sent
        await response.write_eof()
    return response


@contextmanager
def letting_go(request: web.BaseRequest) -> Iterator[None]:
    """Let go of a client who takes nothing in time (TimeoutError). Raises ConnectionError."""
    try:
        yield
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("nobody reads what was asked for") from None


async def _sendfile(request: web.BaseRequest, file: IO[bytes], at: int, count: int) -> bool:
    """Send it without reading it; False where this event loop cannot (uvloop)."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client went away")
    try:
        sent = await asyncio.get_running_loop().sendfile(transport, file, at, count, fallback=False)
    except (NotImplementedError, RuntimeError):
        return False
    if sent < count:
        raise ConnectionResetError("the file is shorter than it was")
    return True


def _read(file: IO[bytes], at: int, count: int) -> bytes:
    file.seek(at)
    data = file.read(count)
    if not data:
        raise ConnectionResetError("the file is shorter than it was")
    return data
