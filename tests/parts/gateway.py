"""An HTTP gateway before a real registry: it passes all on, but for what a test says itself.

    async def busy(request: web.BaseRequest) -> web.StreamResponse | None:
        return web.Response(status=429) if request.method == "PUT" else None

    async with gateway(registry.host, busy) as server:
        ...  # server.host is the registry, with a fault

Bodies are held in memory, and have to be below a MiB.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from scripted import Scripted, scripted
from yarl import URL

Fault: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse | None]]

_OF_THE_CONNECTION = frozenset({"connection", "transfer-encoding", "keep-alive"})


@asynccontextmanager
async def gateway(to: str, *faults: Fault) -> AsyncIterator[Scripted]:
    """Serve the registry at `to`, after the first of `faults` that has an answer of its own."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            for fault in faults:
                if (own := await fault(request)) is not None:
                    return own
            return await passed_on(session, to, request)

        async with scripted(answer) as server:
            yield server


async def passed_on(
    session: aiohttp.ClientSession, to: str, request: web.BaseRequest
) -> web.Response:
    """What the registry at `to` answers to this request."""
    url = URL(f"http://{to}{request.raw_path}", encoded=True)
    headers = _kept(request.headers)
    async with session.request(
        request.method, url, headers=headers, data=await request.read(), allow_redirects=False
    ) as answer:
        body = await answer.read()
        return web.Response(status=answer.status, headers=_kept(answer.headers), body=body or None)


def _kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """All but the connection's own, each as often as it came: engines send Accept line by line."""
    return CIMultiDict(
        (name, text) for name, text in headers.items() if name.lower() not in _OF_THE_CONNECTION
    )


def fault(
    method: str,
    path: str,
    answer: Callable[[web.BaseRequest], web.StreamResponse],
    *,
    times: int = 1000,
) -> Fault:
    """An `answer` of its own to the first `times` requests of this method with `path` in them."""
    left = [times]

    async def faulty(request: web.BaseRequest) -> web.StreamResponse | None:
        if request.method != method or path not in request.raw_path or not left[0]:
            return None
        left[0] -= 1
        return answer(request)

    return faulty


def error(
    status: int, code: str, detail: object = None, *, message: str = "", **headers: str
) -> web.Response:
    """An answer with a registry's error document (OCI distribution-spec, “Error Codes”)."""
    told = {"code": code, "message": message or code.lower(), "detail": detail}
    body = {"errors": [told]}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response(body, status=status, headers=named)
