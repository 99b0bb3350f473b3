"""The engine way: pull, tag and push through a running Docker Engine (or podman's socket)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from asyncsync.transports.engine.finding import Endpoint, find, open_client, unavailable
from asyncsync.transports.engine.transport import EngineTransport
from asyncsync.transports.engine.wire import Engine, Fault, Idle

__all__ = ["Engine", "EngineTransport", "connected"]


@asynccontextmanager
async def connected(
    url: str | None = None, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[tuple[Engine, str]]:
    """A connection to the engine at `url`, or to the one that docker would use; and its address.

    Raises EngineUnavailable if nobody answers, ConfigurationError if the address makes no sense.
    """
    endpoint = Endpoint(url) if url else find(environ, Path.home())
    # The session is ours (no limit on sockets), and aiodocker closes only its own.
    async with open_client(endpoint) as docker, docker.session:
        try:
            engine = await Engine.ask(docker, Idle())
        except Fault as fault:
            raise unavailable(endpoint, fault) from fault
        yield engine, endpoint.url
