"""Clients that send too much, too slowly, in another language, or that do not listen."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from parts import images
from parts.asking import ask
from parts.serve import ServedFolder

from asyncsync.server import Address, Answered, Limits, Served, serving

HERE = Address("127.0.0.1", 0)


async def connected(served: Served) -> SocketStream:
    return await anyio.connect_tcp(served.address.host, served.address.port)


async def read_all(stream: SocketStream) -> bytes:
    """What comes until the server closes."""
    data = b""
    with anyio.fail_after(30):
        try:
            while True:
                data += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return data


async def test_a_tls_hello_on_the_plain_port_gets_a_plain_400(tmp_path: Path) -> None:
    """Engines fall back to plain HTTP on an answer that begins with HTTP/, not on a bare close."""
    async with serving(tmp_path / "layout", HERE) as served:
        context = ssl.create_default_context()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            hello.do_handshake()
        async with await connected(served) as stream:
            await stream.send(outgoing.read())
            answer = await read_all(stream)
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v2/" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 1\r\n" * 1000 + b"\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-No-End: " + b"a" * 200_000,
    ],
    ids=["line", "header", "headers", "header without end"],
)
async def test_giant_headers_are_refused(tmp_path: Path, request_head: bytes) -> None:
    async with serving(tmp_path / "layout", HERE) as served:
        async with await connected(served) as stream:
            with suppress(anyio.BrokenResourceError):  # it was refused before its end
                await stream.send(request_head)
            answer = await read_all(stream)
        assert b" 400 " in answer.partition(b"\r\n")[0]
        assert len(answer) < 20_000


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /v2/ HTTP/1.1\r\nHost", b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"],
    ids=["nothing", "half a head", "one request and no more"],
)
async def test_a_connection_of_no_use_is_closed(tmp_path: Path, sent: bytes) -> None:
    limits = Limits(idle_seconds=0.2)
    async with (
        serving(tmp_path / "layout", HERE, limits=limits) as served,
        await connected(served) as stream,
    ):
        if sent:
            await stream.send(sent)
        answer = await read_all(stream)
    assert answer.startswith(b"HTTP/1.1 200 ") == sent.endswith(b"\r\n\r\n")


async def test_a_head_that_drips_is_closed(tmp_path: Path) -> None:
    limits = Limits(idle_seconds=0.3)
    async with (
        serving(tmp_path / "layout", HERE, limits=limits) as served,
        await connected(served) as stream,
    ):
        await stream.send(b"GET /v2/ HTTP/1.1\r\nHost: ")
        with anyio.fail_after(30), pytest.raises(anyio.BrokenResourceError):
            while True:
                await stream.send(b"x")
                await anyio.sleep(0.02)


async def test_a_reader_who_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    blob = os.urandom(32 * 1024 * 1024)
    digest = images.digest_of(blob)
    path = f"/v2/team/app/blobs/uploads/?digest={digest}"
    async with serving(tmp_path / "layout", HERE) as served:
        put = await anyio.to_thread.run_sync(ask, str(served.address), "POST", path, blob)
        assert put.status == 201
    told: list[Answered] = []
    limits = Limits(idle_seconds=0.05)
    async with serving(tmp_path / "layout", HERE, limits=limits, tell=told.append) as served:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with reader:
            reader.connect((served.address.host, served.address.port))
            reader.send(f"GET /v2/team/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            with anyio.fail_after(30):
                while not told:  # noqa: ASYNC110  told by a plain function
                    await anyio.sleep(0.02)
    assert (told[0].method, told[0].status) == ("GET", 499)


async def test_more_connections_than_are_taken_are_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "layout", HERE, limits=Limits(connections=2)) as served:
        async with await connected(served) as first, await connected(served) as second:
            for stream in (first, second):
                await stream.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await stream.receive()).startswith(b"HTTP/1.1 200 ")
            async with await connected(served) as third:
                assert (await read_all(third)).startswith(b"HTTP/1.1 503 ")
        with anyio.fail_after(20):
            while True:
                async with await connected(served) as again:
                    await again.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    if (await read_all(again)).startswith(b"HTTP/1.1 200 "):
                        break


async def test_500_connections_are_answered_at_once(tmp_path: Path) -> None:
    with ServedFolder(tmp_path / "served") as served:
        image = served.put_image("team/app", "1", layers=1, size=100_000)
        host, _, port = served.host.partition(":")
        path = f"/v2/team/app/blobs/{image.layer_digests[0]}"
        streams = [await anyio.connect_tcp(host, int(port)) for _ in range(500)]
        for stream in streams:
            await stream.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode())
        assert ask(served.host, "GET", "/v2/").status == 200  # in between
        for stream in streams:
            await stream.send(b"Connection: close\r\n\r\n")
        answers: list[bytes] = []

        async def read(stream: SocketStream) -> None:
            answers.append(await read_all(stream))

        async with anyio.create_task_group() as group:
            for stream in streams:
                group.start_soon(read, stream)
        for stream in streams:
            await stream.aclose()
    bodies = {images.digest_of(answer.partition(b"\r\n\r\n")[2]) for answer in answers}
    assert bodies == {image.layer_digests[0]}


async def test_requests_that_come_before_their_answers_are_answered_in_order(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "layout", HERE) as served, await connected(served) as stream:
        one = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /v2/a/tags/list HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        await stream.send(one * 50 + last)
        answer = await read_all(stream)
    assert answer.count(b"HTTP/1.1 200 ") == 50
    assert answer.rpartition(b"HTTP/1.1 ")[2].startswith(b"404 ")


async def test_answers_that_nobody_reads_do_not_keep_a_connection(tmp_path: Path) -> None:
    told: list[Answered] = []
    limits = Limits(idle_seconds=1)
    async with serving(tmp_path / "layout", HERE, limits=limits, tell=told.append) as served:
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(20)
        with reader:
            reader.connect((served.address.host, served.address.port))
            request = b"GET /v2/a/manifests/" + b"b" * 100 + b" HTTP/1.1\r\nHost: x\r\n\r\n"

            def ask_on() -> None:
                while True:
                    reader.sendall(request * 100)

            with pytest.raises(ConnectionError):
                await anyio.to_thread.run_sync(ask_on)
    assert told[-1].status == 499


def test_an_event_loop_that_cannot_send_files_reads_them(tmp_path: Path) -> None:
    blob = os.urandom(3_000_000)
    digest = images.digest_of(blob)

    async def served_by_uvloop() -> bytes:
        async with serving(tmp_path / "layout", HERE) as served:
            host = str(served.address)
            path = f"/v2/a/blobs/uploads/?digest={digest}"
            put = await anyio.to_thread.run_sync(ask, host, "POST", path, blob)
            assert put.status == 201
            got = await anyio.to_thread.run_sync(ask, host, "GET", f"/v2/a/blobs/{digest}")
            return got.body

    assert anyio.run(served_by_uvloop, backend_options={"use_uvloop": True}) == blob
