"""A server from its first connection to its last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import web
from anyio import CancelScope, to_thread

from asyncsync.model.errors import ConfigurationError
from asyncsync.server.access import Access, Open, read_htpasswd
from asyncsync.server.application import Answered, Application, Tell
from asyncsync.server.limits import Limits
from asyncsync.server.listening import BACKLOG, Address, certificate, listen
from asyncsync.server.uploads import Uploads
from asyncsync.stores.layout.folder import LayoutFolder

__all__ = ["Answered", "Served", "serving"]

_EXPIRE_SECONDS = 60.0  # how often it is looked for uploads that nobody goes on with
_HANDSHAKE_SECONDS = 10.0
_FIELD_BYTES_MAX = 8190  # of one line of a header, and of the first; there may be 128
_LINGER_SECONDS = 2.0  # for a client that still sends what was refused, or it would not hear why
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs. `names`: the first images in it, as `repository:tag`."""

    address: Address
    secure: bool
    uploads: Uploads
    names: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where it answers, as `http://127.0.0.1:5000`."""
        return f"http{'s' if self.secure else ''}://{self.address}"


def _ignore(_: Answered) -> None:
    """Tell nobody."""


@asynccontextmanager
async def serving(
    folder: Path,
    address: Address,
    *,
    read_only: bool = False,
    htpasswd: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    limits: Limits | None = None,
    tell: Tell = _ignore,
) -> AsyncIterator[Served]:
    """Serve the layout in `folder` while the block runs; it is made if it is missing.

    Behind the block nobody is answered any more: uploads under way are given up, and what was
    confirmed is on the disk. Raises ConfigurationError.
    """
    limits = limits or Limits()
    context = certificate(tls_cert, tls_key)
    if not address.is_loopback and htpasswd is None and not read_only:
        raise ConfigurationError(
            f"--listen {address} can be reached by others, who could write there. Add --htpasswd "
            "FILE, or --read-only. Docker wants TLS there, too: --tls-cert and --tls-key."
        )
    access: Access = await to_thread.run_sync(read_htpasswd, htpasswd) if htpasswd else Open()
    layout = await to_thread.run_sync(partial(LayoutFolder.open, folder, create=not read_only))
    application = Application(layout, access, read_only=read_only, limits=limits, tell=tell)
    names = await to_thread.run_sync(lambda: tuple(sorted(application.catalog.names())[:3]))
    with listen(address) as socket:
        bound = Address(address.host, socket.getsockname()[1])
        server = _Server(
            application,
            limits.connections,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_FIELD_BYTES_MAX,
            max_field_size=_FIELD_BYTES_MAX,
            auto_decompress=False,  # what a client packs, it has hashed so
            logger=_silent(),
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=limits.stop_seconds)
        await runner.setup()
        # Not aiohttp's SockSite: it cannot say how long a handshake may take.
        patience = min(_HANDSHAKE_SECONDS, limits.idle_seconds) if context else None
        listening = await asyncio.get_running_loop().create_server(
            server, sock=socket, ssl=context, ssl_handshake_timeout=patience, backlog=BACKLOG
        )
        try:
            with _expiring(application.uploads, min(_EXPIRE_SECONDS, limits.upload_seconds)):
                yield Served(bound, context is not None, application.uploads, names)
        finally:
            with CancelScope(shield=True):  # bounded by its own timeout
                listening.close()  # without waiting: newer Pythons would wait for idle clients
                application.uploads.interrupt()
                await runner.cleanup()
                application.uploads.close()


class _Server(web.Server):
    """aiohttp's server, with a bound on connections."""

    def __init__(self, application: Application, most: int, **options: object) -> None:
        super().__init__(application, **options)  # type: ignore[arg-type]
        self._most = most

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take it, or say that there are too many."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._most:
            transport.write(_FULL)
            # In a moment: aiohttp's task for it begins with a connection that is not lost yet.
            asyncio.get_running_loop().call_soon(transport.close)


@contextmanager
def _expiring(uploads: Uploads, seconds: float) -> Iterator[None]:
    """Look after uploads inside the block.

    A timer and no task: a task group would wrap in a group whatever the block raises.
    """
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def look() -> None:
        uploads.expire()
        timers[:] = [loop.call_later(seconds, look)]

    look()
    try:
        yield
    finally:
        timers[0].cancel()


def _silent() -> logging.Logger:
    """A logger that tells nobody: aiohttp's tracebacks hold what clients sent."""
    logger = logging.Logger("asyncsync.server")
    logger.addHandler(logging.NullHandler())
    return logger
