"""An engine of ours that does what a real one cannot be made to do: lie, break off, say anything.

It speaks as much of the Engine API as a copy needs, over real HTTP on a loopback socket.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import unquote

DIGEST = "sha256:" + "d" * 64
PULLED = ({"status": "Status: Downloaded newer image for it"},)
PUSHED = ({"status": f"1: digest: {DIGEST} size: 527"},)


class ScriptedEngine:
    """Answers pulls, pushes and `/distribution` as its attributes say.

    `pull` and `push` are the records of the stream; `None` in place of a record breaks the
    connection there, and a number stalls for so many seconds. `silent`: not even the stream's head
    comes. `distribution` and `tag` are a status and a body. `requests` are the ones that came, as
    `POST /v1.41/images/create?…`, `auths` their logins.
    """

    def __init__(self) -> None:
        self.pull: Sequence[object] = PULLED
        self.push: Sequence[object] = PUSHED
        self.distribution: tuple[int, Mapping[str, Any]] = (200, {"Descriptor": {"digest": DIGEST}})
        self.tag: tuple[int, Mapping[str, Any]] = (201, {})
        self.silent = False
        self.requests: list[str] = []
        self.auths: list[str] = []
        self._stop = threading.Event()
        engine = self

        class Handler(_Handler):
            scripted: ClassVar[ScriptedEngine] = engine

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self._server.server_address[1]}"

    def stall(self, seconds: float) -> None:
        self._stop.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    scripted: ClassVar[ScriptedEngine]

    def do_GET(self) -> None:
        path = self._noted()
        if path.endswith("version"):
            version = {"Version": "99", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}
            self._answer(200, version)
        elif path.endswith("info"):
            self._answer(200, {})
        elif "distribution/" in path:
            self._answer(*self.scripted.distribution)
        else:
            self._answer(404, {"message": "No such image"})

    def do_POST(self) -> None:
        path = self._noted()
        if "images/create" in path:
            self._stream(self.scripted.pull)
        elif path.endswith("/push") or "/push?" in path:
            self._stream(self.scripted.push)
        else:
            self._answer(*self.scripted.tag)

    def do_DELETE(self) -> None:
        self._noted()
        self._answer(200, [])

    def _noted(self) -> str:
        path = unquote(self.path)
        self.scripted.requests.append(f"{self.command} {path}")
        self.scripted.auths.append(self.headers.get("X-Registry-Auth", ""))
        return path.partition("?")[0]

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, records: Sequence[object]) -> None:
        if self.scripted.silent:
            self.scripted.stall(60)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for record in records:
            match record:
                case None:  # without the closing chunk: a broken stream
                    self.wfile.flush()
                    self.close_connection = True
                    return
                case int() | float():
                    self.wfile.flush()
                    self.scripted.stall(record)
                case _:
                    line = json.dumps(record).encode() + b"\n"
                    self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""
