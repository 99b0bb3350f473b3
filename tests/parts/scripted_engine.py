"""An engine of ours that does what a real one cannot be made to do: lie, break off, say anything.

It speaks as much of the Engine API as a copy needs, over real HTTP on a loopback socket, and keeps
local names as a real one does.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

DIGEST = "sha256:" + "d" * 64
PULLED = ({"status": "Status: Downloaded newer image for it"},)
PUSHED = ({"status": f"1: digest: {DIGEST} size: 527"},)


class ScriptedEngine:
    """Answers as its attributes say; as they stand, every copy succeeds.

    `pull` and `push` are the records of the stream; `None` in place of a record breaks the
    connection there, a number stalls for so many seconds, a function is called. `silent`: not even
    the stream's head comes. `distribution` is a status and a body, or several, one for each time.
    `images` are local names with their Ids, `nameless` Ids that lost theirs, `odd` what it says of
    each besides or instead, `keeps` why it removes none. `before["tag"]` (`pull`, `push`, `delete`,
    `version`) are called one by one, each before one such request is answered. `requests` are the
    ones that came, as `POST /v1.41/images/create?…`, `auths` their logins.
    """

    def __init__(self) -> None:
        self.version = {"Version": "99", "ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}
        self.info: dict[str, Any] = {}
        self.pull: Sequence[object] = PULLED
        self.push: Sequence[object] = PUSHED
        self.distribution: list[tuple[int, Any]] = [(200, {"Descriptor": {"digest": DIGEST}})]
        self.silent = False
        self.images: dict[str, str] = {}
        self.nameless: set[str] = set()
        self.platform = {"Os": "linux", "Architecture": "amd64"}
        self.odd: dict[str, object] = {}
        self.keeps = ""
        self.before: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)
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
        """Answer nothing for so long, or until the engine is gone."""
        self._stop.wait(seconds)

    def asked(self, part: str) -> list[str]:
        """The requests that have `part` in them."""
        return [request for request in self.requests if part in request]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    scripted: ClassVar[ScriptedEngine]

    def do_GET(self) -> None:
        path, _ = self._noted()
        engine = self.scripted
        if path.endswith("/version"):
            self._happens("version")
            self._answer(200, engine.version)
        elif path.endswith("/info"):
            self._answer(200, engine.info)
        elif "/distribution/" in path:
            several = len(engine.distribution) > 1
            self._answer(*(engine.distribution.pop(0) if several else engine.distribution[0]))
        elif (name := _name(path, "/json")) in engine.images:
            self._answer(200, {"Id": engine.images[name], **engine.platform, **engine.odd})
        else:
            self._answer(404, {"message": f"No such image: {name}"})

    def do_POST(self) -> None:
        path, query = self._noted()
        engine = self.scripted
        if path.endswith("/images/create"):
            self._happens("pull")
            if any(record in PULLED for record in engine.pull):
                engine.images[query["fromImage"]] = f"id of {query['fromImage']}"
            self._stream(engine.pull)
        elif path.endswith("/push"):
            self._happens("push")
            local = f"{_name(path, '/push')}:{query['tag']}" in engine.images
            self._stream(engine.push if local else [{"error": "tag does not exist: it"}])
        else:
            self._happens("tag")
            name = _name(path, "/tag")
            if name not in engine.images and name not in engine.nameless:
                self._answer(404, {"message": f"No such image: {name}"})
                return
            target = f"{query['repo']}:{query['tag']}"
            if target in engine.images:
                engine.nameless.add(engine.images[target])
            engine.images[target] = engine.images.get(name, name)
            self._answer(201, {})

    def do_DELETE(self) -> None:
        path, _ = self._noted()
        self._happens("delete")
        if self.scripted.keeps:
            self._answer(409, {"message": self.scripted.keeps})
            return
        gone = self.scripted.images.pop(_name(path, ""), None)
        self._answer(200, [{"Untagged": gone}]) if gone else self._answer(404, {"message": "gone"})

    def _noted(self) -> tuple[str, dict[str, str]]:
        self.scripted.requests.append(f"{self.command} {unquote(self.path)}")
        self.scripted.auths.append(self.headers.get("X-Registry-Auth", ""))
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        return unquote(url.path), query

    def _happens(self, what: str) -> None:
        if self.scripted.before[what]:
            self.scripted.before[what].pop(0)()

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
                case _ if callable(record):
                    self.wfile.flush()
                    record()
                case _:
                    line = json.dumps(record).encode() + b"\n"
                    self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


def _name(path: str, end: str) -> str:
    return path.partition("/images/")[2].removesuffix(end)
