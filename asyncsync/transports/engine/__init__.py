"""The engine way: pull, tag and push through a running Docker Engine (or podman's socket)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from asyncsync.model.foreign import shown
from asyncsync.transports.engine.finding import Endpoint, find, open_client, reason, unavailable
from asyncsync.transports.engine.transport import EngineTransport
from asyncsync.transports.engine.wire import Engine, Fault, Idle, Lost, Refused

__all__ = ["Engine", "EngineTransport", "connected"]


@asynccontextmanager
async def connected(
    url: str | None = None, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[tuple[Engine, str]]:
    """A connection to the engine at `url`, or to the one that docker would use; and its address.

    Raises EngineUnavailable if nobody answers, ConfigurationError if the address makes no sense.
    """
    endpoint = Endpoint(url) if url else find(environ)
    # The session is ours (no limit on sockets), and aiodocker closes only its own.
    async with open_client(endpoint) as docker, docker.session:
        try:
            engine = await Engine.ask(docker, Idle())
        except Fault as fault:
            raise unavailable(endpoint, _why(fault)) from fault
        yield engine, endpoint.url


def _why(fault: Fault) -> str:
    match fault:
        case Refused(status=status, text=text):
            said = shown(text, limit=200)
            told = ": ".join(filter(None, (str(status or ""), said)))  # 0 is ours, and no status
            return f"what answers refuses, or is no engine ({told})"
        case Lost():
            return reason(fault)
    return str(fault)
