"""One HTTP request and its answer, bounded or streamed.

Nothing here follows, repeats, logs in or decides: it sends what it is given, byte for byte.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from anyio import fail_after
from yarl import URL

from asyncsync.model.access import Access
from asyncsync.model.errors import TimedOut, Where
from asyncsync.stores.registry.admission import Admission
from asyncsync.stores.registry.answers import Answer
from asyncsync.stores.registry.bodies import Body, Streamed, end, read
from asyncsync.stores.registry.connections import CONNECT_SECONDS, Connections, timeout
from asyncsync.stores.registry.hosts import proxy_for, proxy_login
from asyncsync.stores.registry.mishaps import asking
from asyncsync.stores.registry.trust import Reach

ERROR_BYTES_MAX = 64 * 1024  # of an error's body; more is no message
REQUEST_SECONDS = 300.0  # for all of a small answer, however it drips
DIGESTING_SECONDS = 15 * 60.0  # a registry reads gigabytes again before it answers their last byte
_UNHEARD = (
    "It has answered nothing in this run: check that {} is up, and that no firewall, proxy or load "
    "balancer on the way swallows what is asked; then run it again."
)


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. `most`: bytes of a good answer's body that we take; None streams it.

    `body` is called when it is sent, so that the same request can be sent again. `closes`: what
    was sent before is read again before the answer comes, as it is behind a body of gigabytes.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(repr=False)
    most: int | None
    body: Callable[[], Body] | None = None
    closes: bool = False


class Wire:
    """Sends requests over connections of its own. Open it with `async with`.

    `idle_seconds`: how long the other side may send nothing while an answer is due.
    """

    def __init__(self, access: Access, *, idle_seconds: float = 60.0) -> None:
        self._access = access
        self._idle_seconds = idle_seconds
        self._connections = Connections(access, idle_seconds)
        self._heard: set[str] = set()  # who has answered at all, by host and port
        self._admission = Admission(min(CONNECT_SECONDS, idle_seconds))

    async def __aenter__(self) -> Self:
        await self._connections.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.close()

    def reach_of(self, url: URL) -> Reach:
        """How far away the host of `url` is: by its text, or by where we were connected to."""
        return self._connections.reach_of(url)

    async def ask(
        self,
        request: Request,
        where: Where,
        *,
        home: Reach | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send `request` and read its answer, whatever its status. Raises CopyError.

        `home`: set for a host that a registry of this reach names; then a private address that is
        not as near is refused at connect, when its name is resolved. `tls`: in place of our own.
        """
        body = request.body() if request.body else None
        try:
            return await self._asked(request, body, where, home, tls)
        finally:
            await end(body)

    async def _asked(
        self,
        request: Request,
        body: Body | None,
        where: Where,
        home: Reach | None,
        tls: ssl.SSLContext | None,
    ) -> Answer:
        url, secs = request.url, self._idle_seconds
        at = url.host_port_subcomponent or where.registry
        proxy = proxy_for(url, self._access.proxies)
        # Through a proxy, the only address that we connect to is the proxy's, which the user chose.
        session = self._connections.session(None if proxy else home)
        sends = request.closes or not isinstance(body, bytes | None)
        plain = url.scheme == "http" and at in self._access.plain_http
        # A proxy waits for its own connection, and may say nothing meanwhile.
        connect = 2 * secs if proxy else CONNECT_SECONDS
        login = proxy_login(proxy) if proxy else {}
        # Into a tunnel the proxy's login does not go: that ends at the registry.
        headers = {**request.headers, **login} if url.scheme == "http" else request.headers
        with (
            self._unheard(at),
            asking(
                at,
                where,
                idle_seconds=secs,
                connect_seconds=connect,
                said_plain=plain,
                proxy=proxy,
            ),
            # A body of gigabytes has no bound but its mover's, who sees it move.
            fail_after(None if sends else max(REQUEST_SECONDS, 2 * secs)),
        ):
            async with self._admission.trying(proxy):
                response = await session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    proxy=proxy.with_user(None) if proxy else None,
                    proxy_headers=login,
                    ssl=self._connections.tls(tls, proxy),
                    timeout=timeout(
                        DIGESTING_SECONDS if sends else secs, connect=connect if proxy else None
                    ),
                )
                if proxy and response.status == 407:  # to a tunnel, aiohttp raises it
                    response.close()
                    raise aiohttp.ClientHttpProxyError(
                        response.request_info, (), status=407, headers=response.headers
                    )
            self._heard.add(at)
            return await self._answer(response, request, where, proxy)

    @contextmanager
    def _unheard(self, at: str) -> Iterator[None]:
        """Mark the silence of who has never answered: others are overloaded, and answer later."""
        try:
            yield
        except TimedOut as error:
            if error.transient and at not in self._heard:
                error.being_away().advising(_UNHEARD.format(at))
            raise

    async def _answer(
        self, response: aiohttp.ClientResponse, request: Request, where: Where, proxy: URL | None
    ) -> Answer:
        status, url, headers = response.status, request.url, response.headers
        if request.most is None and status in (200, 206):
            idle = self._idle_seconds
            return Streamed(
                status,
                url,
                headers,
                _response=response,
                _where=where,
                _proxy=proxy,
                _idle_seconds=idle,
            )
        async with response:
            good = request.most if status == 200 else None
            taken, cut = await read(response, ERROR_BYTES_MAX if good is None else good)
            return Answer(status, url, headers, taken, cut)
