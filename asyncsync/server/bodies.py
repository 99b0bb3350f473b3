"""The body of a request, as it comes: bounded, and not awaited for ever."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp
from aiohttp import web
from anyio import current_time, fail_after

from asyncsync.server.errors import Code, Refused, too_large

_STEP_BYTES = 64 * 1024  # so much has to come in `idle_seconds`: one byte now and then is no life
_BATCH_BYTES = 256 * 1024  # a hop to a thread costs about as much as hashing these


async def pieces(
    request: web.BaseRequest, most: int, idle_seconds: float, what: str
) -> AsyncGenerator[bytes, None]:
    """The body in pieces that are worth a hop to a thread; also what came before it broke off.

    Raises Refused where it is longer than `most`, too slow or malformed; ConnectionError.
    """
    if (length := request.content_length) is not None and length > most:
        raise too_large(what, most)
    batch, total = bytearray(), 0
    broken: Exception | None = None
    async with aclosing(_chunks(request, idle_seconds)) as chunks:
        try:
            async for chunk in chunks:
                total += len(chunk)
                if total > most:
                    raise too_large(what, most)
                batch += chunk
                if len(batch) >= _BATCH_BYTES:
                    yield bytes(batch)
                    batch.clear()
        except (Refused, ConnectionError) as error:
            broken = error
    if batch:
        yield bytes(batch)
    if broken is not None:
        raise broken


async def whole(request: web.BaseRequest, most: int, idle_seconds: float, what: str) -> bytes:
    """All of the body. Raises as `pieces` does."""
    async with aclosing(pieces(request, most, idle_seconds, what)) as parts:
        return b"".join([part async for part in parts])


async def _chunks(request: web.BaseRequest, idle_seconds: float) -> AsyncGenerator[bytes, None]:
    came, deadline = 0, current_time() + idle_seconds
    while True:
        try:
            with fail_after(max(0, deadline - current_time())):
                chunk = await request.content.readany()
        except TimeoutError:
            what = f"nothing more of the body came for {idle_seconds:g} s"
            raise Refused(408, Code.SIZE_INVALID, what, closes=True) from None
        except web.RequestPayloadError:
            what = "the body is malformed, or ended before its end"
            raise Refused(400, Code.SIZE_INVALID, what, closes=True) from None
        except (OSError, aiohttp.ClientError) as error:  # whatever ended the connection
            raise ConnectionResetError("the client went away") from error
        if not chunk:
            return
        came += len(chunk)
        if came >= _STEP_BYTES:
            came, deadline = 0, current_time() + idle_seconds
        yield chunk
