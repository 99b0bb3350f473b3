"""Connections to registries: with which TLS, through which proxy, to which addresses at all."""

from __future__ import annotations

import socket
import ssl
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import aiohttp
from anyio import move_on_after, to_thread
from yarl import URL

from asyncsync.model.access import Access
from asyncsync.model.errors import ConfigurationError
from asyncsync.stores.registry.hosts import proxy_of
from asyncsync.stores.registry.mishaps import AddressRefused
from asyncsync.stores.registry.through import Through
from asyncsync.stores.registry.trust import Reach, allowed, reach, reach_of_name

HEADER_BYTES_MAX = 64 * 1024  # of one header: signed Locations pass aiohttp's 8 KiB
CONNECT_SECONDS = 10.0  # for TCP and TLS together; behind a closed border it is all lost time
CLOSE_SECONDS = 2.0  # a peer that is gone must not hold up an interrupt


class Connections:
    """All connections of a run to registries. `open` it, and `close` it at the end.

    `idle_seconds`: how long the other side may send nothing while an answer is due.
    """

    def __init__(self, access: Access, idle_seconds: float) -> None:
        self._access, self._idle_seconds = access, idle_seconds
        self._sessions: dict[Reach | None, aiohttp.ClientSession] = {}
        self._peers: dict[tuple[str | None, int | None], Reach] = {}
        self._tls: ssl.SSLContext | None = None
        self._through: dict[ssl.SSLContext, Through] = {}

    async def open(self) -> None:
        """Be ready to connect. Raises ConfigurationError for a wrong proxy or CA file."""
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

    async def close(self) -> None:
        """Close all of them, within 2 seconds."""
        # Shielded: cancelled, the first close would end here and leave the other sessions open.
        with move_on_after(CLOSE_SECONDS, shield=True):
            for session in self._sessions.values():
                await session.close()

    def reach_of(self, url: URL) -> Reach:
        """How far away the host of `url` is: by its text, or by where we were connected to."""
        noted = self._peers.get((url.host, url.port))
        return reach_of_name(url.host or "") or noted or Reach.PUBLIC

    def session(self, home: Reach | None) -> aiohttp.ClientSession:
        """Asks with connections to every address; with `home`, to those that are as near alone."""
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
                timeout=timeout(self._idle_seconds),
            )
        return self._sessions[home]

    def tls(self, own: ssl.SSLContext | None, proxy: URL | None) -> ssl.SSLContext | bool:
        """How TLS is spoken: as `own` says where a registry has one, but never with a proxy."""
        if own is None or self._tls is None or proxy is None or proxy.scheme != "https":
            return own or self._tls or True
        if own not in self._through:  # kept, or no connection would be used again
            name = (proxy.raw_host or "").rstrip(".")  # as aiohttp asks for it: certificates' form
            self._through[own] = Through(name, self._tls, own)
        return self._through[own]


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


def timeout(read_seconds: float, *, connect: float | None = None) -> aiohttp.ClientTimeout:
    """How long may be waited for a connection, and for each part of an answer."""
    return aiohttp.ClientTimeout(
        total=None, connect=connect, sock_connect=CONNECT_SECONDS, sock_read=read_seconds
    )


def _version() -> str:
    try:
        return version("asyncsync")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "0"
