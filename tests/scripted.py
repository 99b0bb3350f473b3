"""A real HTTP server on a loopback socket that a test scripts, for what healthy servers never do.

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=503, headers={"Retry-After": "7"})

    async with scripted(answer) as server:
        ...  # let the code under test ask server.host
        assert [seen.method for seen in server.requests] == ["HEAD"]

A handler may also break the connection (`reset`), send without end (`endless`) or wait on an
event of the test's: what still runs is cancelled when the block ends.
"""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from anyio import create_task_group, create_tcp_listener
from anyio.abc import SocketAttribute, SocketStream
from multidict import CIMultiDictProxy

from asyncsync.model.digest import Digest

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = {"digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "size": 2}
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **_EMPTY},
        "layers": [],
    }
).encode()


def digest_of(data: bytes) -> str:
    """The sha256 digest of `data`, as registries write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in. `path` has the query, both byte for byte."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes


class Bytes:
    """The bytes of a blob, given out in pieces as a relay does; `read_from` is where, each time."""

    def __init__(self, data: bytes, piece: int = 4) -> None:
        self.data, self.piece = data, piece
        self.digest, self.size = Digest.of(data), len(data)
        self.read_from: list[int] = []

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        self.read_from.append(start)
        for at in range(start, stop, self.piece):
            yield self.data[at : min(at + self.piece, stop)]


@dataclass(slots=True)
class Scripted:
    """A running server: where it listens, and what it was asked, in order."""

    host: str
    requests: list[Seen] = field(default_factory=list)

    def seen(self, method: str, path: str = "") -> list[Seen]:
        """The requests of this method whose path begins with `path`."""
        return [r for r in self.requests if r.method == method and r.path.startswith(path)]


@asynccontextmanager
async def scripted(
    answer: Handler, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
) -> AsyncIterator[Scripted]:
    """Serve `answer` on a port of the kernel's choice, over TLS if `tls` is given."""
    listening = socket.create_server((address, 0))
    server = Scripted(f"{address}:{listening.getsockname()[1]}")

    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        server.requests.append(Seen(request.method, request.raw_path, request.headers, body))
        return await answer(request)

    runner = web.ServerRunner(
        web.Server(serve, access_log=None), handle_signals=False, shutdown_timeout=0.1
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listening, ssl_context=tls).start()
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def speaking(speak: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """The host and port of a server that does with each connection what `speak` does."""
    async with (
        await create_tcp_listener(local_host="127.0.0.1") as listener,
        create_task_group() as group,
    ):
        group.start_soon(listener.serve, speak)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"  # noqa: S610  no Django here
        group.cancel_scope.cancel()


def manifest_answer(data: bytes = MANIFEST, kind: str = MANIFEST_TYPE) -> web.Response:
    """What a healthy registry answers to HEAD and GET of a manifest."""
    headers = {"Content-Type": kind, "Docker-Content-Digest": digest_of(data)}
    return web.Response(body=data, headers=headers)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a script; `{host}` in body and headers is where the server listens."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, host: str) -> web.Response:
        headers = {name: text.replace("{host}", host) for name, text in self.headers.items()}
        body = self.body.replace("{host}", host).encode()
        return web.Response(status=self.status, body=body, headers=headers)


def reply(status: int, body: str = "", **headers: str) -> Reply:
    """An answer; `Content_Range="…"` is the header Content-Range."""
    return Reply(status, body, {name.replace("_", "-"): text for name, text in headers.items()})


Script = Mapping[str, "Reply | Handler | list[Reply | Handler]"]


def played(script: Script) -> Handler:
    """Answer a request, named as in `GET /v2/`, by its answers in order, then by the last again.

    The name has no query. A request that the script does not have is answered 501.
    """
    times: Counter[str] = Counter()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        name = f"{request.method} {request.raw_path.partition('?')[0]}"
        steps = script.get(name, reply(501, f"the script has no {name}"))
        steps = steps if isinstance(steps, list) else [steps]
        step = steps[min(times[name], len(steps) - 1)]
        times[name] += 1
        if isinstance(step, Reply):
            return step.answer(request.headers["Host"])
        return await step(request)

    return answer


async def endless(request: web.BaseRequest, kind: str, status: int = 200) -> web.StreamResponse:
    """Send a body until the other side has had enough."""
    response = web.StreamResponse(status=status, headers={"Content-Type": kind})
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def reset(request: web.BaseRequest, *, sent: bytes = b"") -> web.StreamResponse:
    """Promise a body, send `sent` of it, and reset the connection."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    if sent:
        await response.prepare(request)
        await response.write(sent)
    if request.transport is not None:
        request.transport.abort()
    return response


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 and localhost, and a server's context for it."""

    file: Path
    context: ssl.SSLContext


def self_signed(folder: Path) -> Certificate:
    """Make a certificate in `folder` with openssl."""
    file, key = folder / "cert.pem", folder / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=scripted -addext subjectAltName=IP:127.0.0.1,DNS:localhost"
    )
    files = ["-out", str(file), "-keyout", str(key)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, context)
