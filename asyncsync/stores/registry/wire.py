"""One HTTP request and its answer, bounded or streamed: the only module that opens connections.

Nothing here follows, repeats, logs in or decides: it sends what it is given, byte for byte.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import AsyncGeneratorType, TracebackType
from typing import Any, Self, TypeAlias

import aiohttp
from anyio import fail_after, move_on_after, to_thread
from yarl import URL

from asyncsync.model.access import Access
from asyncsync.model.errors import ConfigurationError, TimedOut, Where
from asyncsync.stores.registry.admission import Admission
from asyncsync.stores.registry.answers import Answer
from asyncsync.stores.registry.hosts import proxy_for, proxy_login, proxy_of
from asyncsync.stores.registry.mishaps import AddressRefused, Dripping, asking
from asyncsync.stores.registry.through import Through
from asyncsync.stores.registry.trust import Reach, allowed, reach, reach_of_name

ERROR_BYTES_MAX = 64 * 1024  # of an error's body; more is no message
HEADER_BYTES_MAX = 64 * 1024  # of one header: signed Locations pass aiohttp's 8 KiB
CONNECT_SECONDS = 10.0  # for TCP and TLS together; behind a closed border it is all lost time
CLOSE_SECONDS = 2.0  # a peer that is gone must not hold up an interrupt
REQUEST_SECONDS = 300.0  # for all of a small answer, however it drips
# A body that comes slower, over so many times the silence that is borne, is no link that is slow:
# of 64 blobs that share one of 1 Mbit/s, each gets twenty times as much.
DRIP_BYTES_A_SECOND = 100
DRIP_WAITS = 5
DIGESTING_SECONDS = 15 * 60.0  # a registry reads gigabytes again before it answers their last byte
_UNHEARD = (
    "It has answered nothing in this run: check that {} is up, and that no firewall, proxy or load "
    "balancer on the way swallows what is asked; then run it again."
)

Body: TypeAlias = bytes | AsyncIterator[bytes]


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


class Wire:
    """Sends requests over connections of its own. Open it with `async with`.

    `idle_seconds`: how long the other side may send nothing while an answer is due.
    """

    def __init__(self, access: Access, *, idle_seconds: float = 60.0) -> None:
        self._access = access
        self._idle_seconds = idle_seconds
        self._sessions: dict[Reach | None, aiohttp.ClientSession] = {}
        self._peers: dict[tuple[str | None, int | None], Reach] = {}
        self._heard: set[str] = set()  # who has answered at all, by host and port
        self._tls: ssl.SSLContext | None = None
        self._through: dict[ssl.SSLContext, Through] = {}
        self._admission = Admission(min(CONNECT_SECONDS, idle_seconds))

    async def __aenter__(self) -> Self:
        # A wrong proxy is told now, not in mid-run; but not one that nobody needs.
        schemes = ("https", *(["http"] if self._access.plain_http else []))
        named = [proxy_of(scheme, self._access.proxies) for scheme in schemes]
        files = [self._access.ca_file] if self._access.ca_file else []
        # Else it is aiohttp's own context, which trusts what the system does.
        if files or any(proxy and proxy.scheme == "https" for proxy in named):
            try:
                self._tls = await to_thread.run_sync(trusting, *files)
            except ConfigurationError as error:
                raise ConfigurationError(f"--ca-file {error}") from error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Shielded: cancelled, the first close would end here and leave the other sessions open.
        with move_on_after(CLOSE_SECONDS, shield=True):
            for session in self._sessions.values():
                await session.close()

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
            await _end(body)

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
        session = self._session(None if proxy else home)
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
                    ssl=self._context(tls, proxy) or True,
                    timeout=_timeout(
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

    def _context(self, tls: ssl.SSLContext | None, proxy: URL | None) -> ssl.SSLContext | None:
        if tls is None or self._tls is None or proxy is None or proxy.scheme != "https":
            return tls or self._tls
        if tls not in self._through:  # kept, or no connection would be used again
            self._through[tls] = Through(proxy.raw_host or "", self._tls, tls)
        return self._through[tls]

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
            taken, cut = await _read(response, ERROR_BYTES_MAX if good is None else good)
            return Answer(status, url, headers, taken, cut)

    def reach_of(self, url: URL) -> Reach:
        """How far away the host of `url` is: by its text, or by where we were connected to."""
        noted = self._peers.get((url.host, url.port))
        return reach_of_name(url.host or "") or noted or Reach.PUBLIC

    def _session(self, home: Reach | None) -> aiohttp.ClientSession:
        if home not in self._sessions:
            # No limit here: work is bounded above, a limit on sockets can deadlock (a request
            # that holds one while it waits for another).
            if home is None:
                connector: aiohttp.TCPConnector = _NotingConnector(self._peers)
            else:
                connector = aiohttp.TCPConnector(limit=0, socket_factory=_Guard(home))
            self._sessions[home] = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,  # unpacking changes bytes, and so digests
                headers={"User-Agent": f"asyncsync/{_version()}", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                requote_redirect_url=False,
                trust_env=False,  # it would read .netrc
                max_field_size=HEADER_BYTES_MAX,
                timeout=_timeout(self._idle_seconds),
            )
        return self._sessions[home]


def trusting(*files: Path) -> ssl.SSLContext:
    """The system's certificates and those in `files` (PEM). Blocks. Raises ConfigurationError."""
    context = ssl.create_default_context()
    for file in files:
        try:
            context.load_verify_locations(cafile=file)
        except ssl.SSLError:  # an OSError too
            raise ConfigurationError(f"{file}: holds no certificate in PEM form") from None
        except OSError as error:
            raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    return context


class _NotingConnector(aiohttp.TCPConnector):
    """Notes how far away each host is to which it has connected."""

    def __init__(self, peers: dict[tuple[str | None, int | None], Reach]) -> None:
        super().__init__(limit=0)
        self._noted = peers

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's own signature
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        if connection.transport is not None and req.proxy is None:
            peer = connection.transport.get_extra_info("peername")
            if peer:
                self._noted[req.url.host, req.url.port] = reach(peer[0])
        return connection


class _Guard:
    """Makes sockets for addresses to which a registry of reach `home` may send us."""

    def __init__(self, home: Reach) -> None:
        self._home = home

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        target = reach(address[0])
        if not allowed(target, self._home):
            # One text for all addresses of a name: of different ones aiohttp makes another error.
            raise AddressRefused(f"which has a {target} address")
        return socket.socket(family, kind, protocol)


def _timeout(read_seconds: float, *, connect: float | None = None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=None, connect=connect, sock_connect=CONNECT_SECONDS, sock_read=read_seconds
    )


async def _end(body: Body | None) -> None:
    """End what is read for a body: where a connection breaks, aiohttp leaves it where it is.

    It would hold its source's connection until it is collected, which may be with the run's end.
    """
    # One that runs is waited for by a task of aiohttp's, which is cancelled: that ends it, too.
    if isinstance(body, AsyncGeneratorType) and not body.ag_running:
        with move_on_after(CLOSE_SECONDS, shield=True):
            await body.aclose()


async def _read(response: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            response.close()  # or aiohttp reads on, to use the connection again
            return bytes(body[:most]), True
    return bytes(body), False


def _version() -> str:
    try:
        return version("asyncsync")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "0"
