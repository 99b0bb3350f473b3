"""HTTP over a unix socket, as engines speak it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any

from parts.processes import PartFailed

_CONNECTED = "03"  # /proc/net/unix, column St: SS_CONNECTED


def ask(
    path: Path, method: str, target: str, body: Any = None, *, expect: Collection[int] = (200,)
) -> Any:
    """Ask the server at the socket `path`, JSON to JSON. Raises PartFailed at other answers."""
    data = None if body is None else json.dumps(body).encode()
    text = send(path, method, target, data, "application/json", expect)
    return json.loads(text) if text.strip() else None


def send(
    path: Path,
    method: str,
    target: str,
    body: bytes | None,
    content_type: str,
    expect: Collection[int] = (200,),
) -> str:
    """Send one request and return the whole answer. Raises PartFailed, OSError."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, target, body, {"Content-Type": content_type})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status not in expect:
        raise PartFailed(f"{method} {target}: {response.status} {text[:500]}")
    return text


def answers(path: Path, target: str | None = None) -> bool | None:
    """Whether somebody listens at `path`, and answers `target`; None where not."""
    try:
        if target is None:
            connection = _UnixConnection(path)
            connection.connect()
            connection.close()
        else:
            send(path, "GET", target, None, "text/plain")
    except (OSError, http.client.HTTPException, PartFailed):
        return None
    return True


def open_connections(path: Path) -> int:
    """How many connections to the socket are open now, those of all clients together."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return sum(row[5] == _CONNECTED and row[7:] == [str(path)] for row in rows)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.close()
            raise
