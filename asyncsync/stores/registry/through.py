"""TLS through a proxy that speaks TLS itself: two handshakes on one connection.

aiohttp takes one context for both. What holds for a registry alone, though, as its certificate that
is not checked, must not hold for the proxy, which gets a login of its own.
"""

from __future__ import annotations

import ssl
from typing import Any, Self


class Through(ssl.SSLContext):
    """Speaks TLS with the host `proxy` as `outer` does, and with any other as `inner`."""

    _proxy: str
    _outer: ssl.SSLContext
    _inner: ssl.SSLContext

    def __new__(cls, proxy: str, outer: ssl.SSLContext, inner: ssl.SSLContext) -> Self:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made._proxy, made._outer, made._inner = proxy, outer, inner
        return made

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  as the standard library calls it
        server_hostname: str | bytes | None = None,
        session: Any = None,
    ) -> ssl.SSLObject:
        """Begin a handshake: the name that is asked for tells which of the two it is."""
        context = self._outer if server_hostname == self._proxy else self._inner
        return context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
