"""What `serve` does: open the folder, tell where it is, answer until a signal comes."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from asyncsync.cli.files import reason
from asyncsync.cli.output import Output
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown
from asyncsync.reporting.log import Level, LogFormat, open_log
from asyncsync.server import Address, Answered, Limits, Served, serving

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from asyncsync.cli.ending import Ending

_FILES_OF_OURS = 64  # open whoever is connected: modules, streams, threads at the index
_OPEN_FILES = 8192  # a connection and a file for each of the clients that are let in, and more


def run(
    ending: Ending,
    folder: Path,
    address: Address,
    *,
    read_only: bool,
    htpasswd: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    log_format: LogFormat,
    verbose: int,
) -> int:
    """Carry out `asyncsync serve` and return its exit code. Raises AsyncsyncError."""
    level = (Level.WARNING, Level.INFO, Level.DEBUG)[min(verbose, 2)]
    log = open_log(Output(sys.stderr), log_format=log_format, level=level)
    ending.traceback = level == Level.DEBUG
    if log_format == "json":
        ending.tell = lambda line: log.error("refused", reason=line.strip())
    limits, files = Limits(), _open_files()
    if files is not None:
        # A connection may have a file, too; and without one left nobody is answered.
        most = max(1, (files - _FILES_OF_OURS) // 2)
        limits = replace(limits, connections=min(limits.connections, most))
    opening = partial(
        serving,
        folder,
        address,
        read_only=read_only,
        htpasswd=htpasswd,
        tls_cert=tls_cert,
        tls_key=tls_key,
        limits=limits,
        tell=partial(_tell_answered, log),
    )
    anyio.run(_serve, ending, opening, shown(str(folder)), read_only, htpasswd is not None, log)
    return ending.interruption.exit_code


async def _serve(
    ending: Ending,
    opening: partial[Any],
    folder: str,
    read_only: bool,  # noqa: FBT001  handed on
    locked: bool,  # noqa: FBT001
    log: FilteringBoundLogger,
) -> None:
    loop, stopped = asyncio.get_running_loop(), anyio.Event()
    # asyncio would write a traceback where a connection could not be taken.
    loop.set_exception_handler(lambda _, told: log.debug("failed_inside", reason=told["message"]))
    with ending.interruption.calling(lambda: loop.call_soon_threadsafe(stopped.set)):
        async with opening() as served:
            if not served.address.is_loopback and not served.secure:
                readable = " and passwords can be read on the way" if locked else ""
                log.warning("advised", text=f"It speaks no TLS{readable}. {_INSECURE}")
            out = Output(sys.stdout)
            out.line(_told(served, folder, read_only=read_only))
            if out.failed:
                raise ConfigurationError(f"stdout cannot be written: {reason(out.failed)}.")
            await stopped.wait()
            log.warning("interrupted", uploads=len(served.uploads))


_INSECURE = (
    "Docker takes it only with insecure-registries in its daemon.json; --tls-cert and --tls-key "
    "need none."
)


def _told(served: Served, folder: str, *, read_only: bool) -> str:
    """Where it listens, and what to type there."""
    address = served.address
    host = f"{socket.gethostname()}:{address.port}" if address.is_any else str(address)
    if served.names:
        typed = f"docker pull {host}/{served.names[0]}"
    else:
        typed = f"docker {'pull' if read_only else 'push'} {host}/NAME:TAG"
    return f"Serving {folder} at {served.url}. Type: {typed}"


def _tell_answered(log: FilteringBoundLogger, told: Answered) -> None:
    if told.problem:
        log.error("refused", reason=f"{told.method} {told.path}: {told.problem}")
    log.info(
        "answered",
        client=told.client,
        method=told.method,
        path=told.path,
        status=told.status,
        bytes=told.bytes,
        seconds=round(told.seconds, 3),
    )


def _open_files() -> int | None:
    """Take what the system allows: it may begin with as few as 1024, or 256. None: any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    with suppress(OSError, ValueError):
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return None if soft == resource.RLIM_INFINITY else soft
