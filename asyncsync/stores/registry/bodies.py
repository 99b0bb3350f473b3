"""Bodies of requests and of answers: bounded, watched while they come, and ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import AsyncGeneratorType
from typing import Self, TypeAlias

import aiohttp
from anyio import move_on_after
from yarl import URL

from asyncsync.model.errors import Where
from asyncsync.stores.registry.answers import Answer
from asyncsync.stores.registry.connections import CLOSE_SECONDS, CONNECT_SECONDS
from asyncsync.stores.registry.mishaps import Dripping, asking

# A body that comes slower, over so many times the silence that is borne, is no link that is slow:
# of 64 blobs that share one of 1 Mbit/s, each gets twenty times as much.
DRIP_BYTES_A_SECOND = 100
DRIP_WAITS = 5

Body: TypeAlias = bytes | AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed(Answer):
    """A good answer whose body is still to come. Whoever gets it closes it."""

    _response: aiohttp.ClientResponse = field(repr=False)
    _where: Where = field(repr=False)
    _proxy: URL | None = field(repr=False)  # with its password
    _idle_seconds: float

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes in. Raises CopyError where it breaks off or stands still."""
        at = self.url.host_port_subcomponent or self._where.registry
        idle = self._idle_seconds
        with asking(
            at,
            self._where,
            idle_seconds=idle,
            connect_seconds=CONNECT_SECONDS,
            proxy=self._proxy,
        ):
            content = self._response.content
            with _Watch(content, idle) as watch:
                while True:
                    watch.waits()
                    part = await content.readany()
                    watch.got(len(part))
                    if not part:
                        return
                    yield part

    def close(self) -> None:
        """Let the connection go: back to the others if the body was read, else away."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class _Watch:
    """Ends a wait for a part of a body where none comes for long, or where they come as drops.

    Not the socket's silence, which ends sooner: bytes may come that are none of the body, as an
    extension of a chunk without end. What counts is the time in which somebody waits: whoever
    reads may take his own, and what came in meanwhile counts as well. One timer for all waits: on
    a slow link there is one for each few kB, and a scope around each takes as long as the hash of
    what comes.
    """

    def __init__(self, content: aiohttp.StreamReader, idle_seconds: float) -> None:
        self._content, self._seconds = content, 2 * idle_seconds
        self._drip_seconds = DRIP_WAITS * idle_seconds
        self._loop = asyncio.get_running_loop()
        self._since = math.inf
        self._waited, self._bytes = 0.0, 0  # since it was last looked at how fast they come

    def __enter__(self) -> Self:
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def waits(self) -> None:
        """From now on, somebody waits."""
        self._since = self._loop.time()

    def got(self, count: int) -> None:
        """Nobody waits any more: so many bytes have come."""
        self._waited += self._loop.time() - self._since
        self._bytes += count
        self._since = math.inf

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._seconds / 4, self._look)
        waiting = self._loop.time() - self._since
        if waiting < 0:  # nobody does
            return
        if waiting >= self._seconds:
            self._content.set_exception(aiohttp.SocketTimeoutError())
        elif (waited := self._waited + waiting) >= self._drip_seconds:
            if self._bytes < DRIP_BYTES_A_SECOND * waited:
                self._content.set_exception(Dripping(self._bytes, waited))
            self._waited, self._bytes = -waiting, 0  # this wait goes on, and is counted once


async def end(body: Body | None) -> None:
    """End what is read for a body: where a connection breaks, aiohttp leaves it where it is.

    It would hold its source's connection until it is collected, which may be with the run's end.
    """
    # One that runs is waited for by a task of aiohttp's, which is cancelled: that ends it, too.
    if isinstance(body, AsyncGeneratorType) and not body.ag_running:
        with move_on_after(CLOSE_SECONDS, shield=True):
            await body.aclose()


async def read(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """At most `most` bytes of a body, and whether there were more."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            response.close()  # or aiohttp reads on, to use the connection again
            return bytes(body[:most]), True
    return bytes(body), False
