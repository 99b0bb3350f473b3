"""Uploads that break off, come too slowly, are too many, or are never ended."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from parts import images
from parts.asking import Answer, ask

from asyncsync.server import Address, Limits, Served, serving

BLOB = os.urandom(700_000)
DIGEST = images.digest_of(BLOB)
OCTETS = {"Content-Type": "application/octet-stream"}
HERE = Address("127.0.0.1", 0)
UPLOADS = "/v2/team/app/blobs/uploads/"


async def asked(
    served: Served, method: str, path: str, body: bytes | None = None, **headers: str
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    call = partial(ask, str(served.address), method, path, body, named)
    return await anyio.to_thread.run_sync(call, limiter=anyio.CapacityLimiter(1))


async def begun(served: Served) -> str:
    answer = await asked(served, "POST", UPLOADS, b"")
    assert answer.status == 202
    return answer.location


async def connected(served: Served) -> SocketStream:
    return await anyio.connect_tcp(served.address.host, served.address.port)


async def sending(served: Served, location: str, data: bytes, *, says: int) -> SocketStream:
    """A PATCH that promises more than it brings, its connection left open."""
    stream = await connected(served)
    head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {says}\r\n\r\n"
    await stream.send(head.encode() + data)
    return stream


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110  it is a folder that changes
            await anyio.sleep(0.01)


def drafts(folder: Path) -> list[str]:
    """What uploads have on the disk."""
    return [path.name for path in (folder / ".asyncsync").iterdir() if path.name != "lock"]


async def test_what_came_before_a_connection_broke_counts_and_the_rest_may_follow(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "layout", HERE) as served:
        location = await begun(served)
        shop = tmp_path / "layout" / ".asyncsync"

        def came() -> int:
            return max(file.stat().st_size for file in shop.iterdir())

        stream = await sending(served, location, BLOB[:300_000], says=len(BLOB))
        await until(lambda: came() == 300_000)
        await anyio.wait_all_tasks_blocked()  # it waits for more; what nobody waits for is lost
        await stream.send(BLOB[300_000:400_000])
        await stream.aclose()
        await until(lambda: came() == 400_000)
        status = await asked(served, "GET", location)
        assert status.status == 204
        got = int(status.headers["Range"].removeprefix("0-")) + 1
        assert got == 400_000
        rest = {**OCTETS, "Content_Range": f"{got}-{len(BLOB) - 1}"}
        closed = await asked(served, "PUT", f"{location}?digest={DIGEST}", BLOB[got:], **rest)
        assert closed.status == 201
        assert (await asked(served, "GET", f"/v2/team/app/blobs/{DIGEST}")).body == BLOB


async def test_who_asks_how_far_it_came_ends_a_request_that_still_hangs(tmp_path: Path) -> None:
    """Its client lost the connection, and no packet ever told us so."""
    async with serving(tmp_path / "layout", HERE) as served:
        location = await begun(served)
        hanging = await sending(served, location, BLOB[:300_000], says=len(BLOB))
        await until(lambda: drafts(tmp_path / "layout") != [])
        status = await asked(served, "GET", location)
        got = int(status.headers["Range"].removeprefix("0-")) + 1
        with anyio.fail_after(20):
            assert (await hanging.receive()).startswith(b"HTTP/1.1 409 ")
        headers = {"Content_Range": f"{got}-{len(BLOB) - 1}"}
        closed = await asked(served, "PUT", f"{location}?digest={DIGEST}", BLOB[got:], **headers)
        assert closed.status == 201
        await hanging.aclose()


async def test_a_body_that_stands_still_is_ended(tmp_path: Path) -> None:
    async with serving(tmp_path / "layout", HERE, limits=Limits(idle_seconds=1)) as served:
        location = await begun(served)
        stream = await sending(served, location, BLOB[:1000], says=len(BLOB))
        with anyio.fail_after(20):
            answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in answer
        await stream.aclose()


async def test_a_body_that_drips_is_ended_although_it_never_stands_still(tmp_path: Path) -> None:
    async with serving(tmp_path / "layout", HERE, limits=Limits(idle_seconds=1)) as served:
        location = await begun(served)
        stream = await sending(served, location, b"", says=len(BLOB))
        with anyio.fail_after(20), pytest.raises((anyio.BrokenResourceError, OSError)):
            while True:
                await stream.send(b"x")
                await anyio.sleep(0.02)
        await stream.aclose()


async def test_uploads_that_nobody_goes_on_with_are_given_up(tmp_path: Path) -> None:
    limits = Limits(upload_seconds=0.1)
    async with serving(tmp_path / "layout", HERE, limits=limits) as served:
        location = await begun(served)
        patched = await asked(served, "PATCH", location, b"some", **OCTETS)
        assert patched.status in (202, 404)
        await until(lambda: len(served.uploads) == 0)
        assert (await asked(served, "GET", location)).codes == ["BLOB_UPLOAD_UNKNOWN"]
        assert drafts(tmp_path / "layout") == []


async def test_their_number_is_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path / "layout", HERE, limits=Limits(uploads=2)) as served:
        first, _ = await begun(served), await begun(served)
        refused = await asked(served, "POST", UPLOADS, b"")
        assert (refused.status, refused.codes) == (429, ["TOOMANYREQUESTS"])
        assert refused.headers["Retry-After"] == "10"
        assert (await asked(served, "DELETE", first)).status == 204
        await begun(served)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_blob_without_end_is_refused(tmp_path: Path, chunked: bool) -> None:
    async with serving(tmp_path / "layout", HERE, limits=Limits(blob_bytes=100_000)) as served:
        location = await begun(served)
        stream = await connected(served)
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(BLOB)}"
        await stream.send(f"PATCH {location} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
        if chunked:
            await stream.send(b"%x\r\n" % 200_000 + BLOB[:200_000])
        with anyio.fail_after(20):
            assert (await stream.receive()).startswith(b"HTTP/1.1 413 ")
        await stream.aclose()


async def test_a_chunked_body_that_is_malformed_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "layout", HERE) as served:
        location = await begun(served)
        stream = await connected(served)
        head = f"PATCH {location} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await stream.send(head.encode() + b"5\r\nabcde\r\nnothing\r\n")
        with anyio.fail_after(20):
            assert b" 400 " in (await stream.receive()).partition(b"\r\n")[0]
        await stream.aclose()


async def test_a_packed_body_is_kept_as_it_came(tmp_path: Path) -> None:
    """Its digest is that of the bytes on the wire."""
    async with serving(tmp_path / "layout", HERE) as served:
        path = f"{UPLOADS}?digest={DIGEST}"
        put = await asked(served, "POST", path, BLOB, **OCTETS, Content_Encoding="gzip")
        assert put.status == 201


async def test_whoever_waits_for_100_continue_is_told_to_go_on_or_not_to(tmp_path: Path) -> None:
    async with serving(tmp_path / "layout", HERE, read_only=False) as served:
        for path, first in (
            (UPLOADS, b"HTTP/1.1 100 "),
            ("/v2/UP/blobs/uploads/", b"HTTP/1.1 400 "),
        ):
            stream = await connected(served)
            head = f"POST {path}?digest={DIGEST} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            await stream.send(f"{head}Content-Length: {len(BLOB)}\r\n\r\n".encode())
            with anyio.fail_after(20):
                assert (await stream.receive()).startswith(first)
                if first.endswith(b"100 "):
                    await stream.send(BLOB)
                    assert (await stream.receive()).startswith(b"HTTP/1.1 201 ")
            await stream.aclose()


async def test_the_end_of_the_server_gives_up_what_is_under_way_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    layout = tmp_path / "layout"
    with anyio.fail_after(20):
        async with serving(layout, HERE) as served:
            idle = await begun(served)
            await asked(served, "PATCH", idle, b"some", **OCTETS)
            location = await begun(served)
            stream = await sending(served, location, BLOB[:300_000], says=len(BLOB))
            await until(lambda: len(drafts(layout)) == 2)
        assert (await stream.receive()).startswith(b"HTTP/1.1 409 ")
        await stream.aclose()
    assert drafts(layout) == []
    assert list((layout / "blobs" / "sha256").iterdir()) == []
    async with serving(layout, HERE) as served:
        assert (await asked(served, "GET", location)).codes == ["BLOB_UPLOAD_UNKNOWN"]


async def test_many_uploads_of_one_blob_at_once_all_end_well(tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    async with serving(layout, HERE) as served, anyio.create_task_group() as group:

        async def push(number: int) -> None:
            path = f"/v2/team/app{number}/blobs/uploads/?digest={DIGEST}"
            call = partial(ask, str(served.address), "POST", path, BLOB, OCTETS)
            assert (await anyio.to_thread.run_sync(call)).status == 201

        for number in itertools.islice(itertools.count(), 24):
            group.start_soon(push, number)
    assert drafts(layout) == []
    assert [path.name for path in (layout / "blobs" / "sha256").iterdir()] == [DIGEST[7:]]
