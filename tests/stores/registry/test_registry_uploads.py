"""How a blob gets into a registry: the three ways, what is learnt of them, where it may go."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anyio import (
    CancelScope,
    EndOfStream,
    Event,
    create_task_group,
    fail_after,
)
from anyio.abc import SocketStream
from parts.clock import Clock
from scripted import (
    Bytes,
    Handler,
    Reply,
    Scripted,
    digest_of,
    played,
    reply,
    reset,
    scripted,
    self_signed,
    speaking,
)

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access, Credential
from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    CopyError,
    DigestMismatch,
    PermissionDenied,
    RefusedByTarget,
    RegistryUnavailable,
    TargetFull,
    Where,
)
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.stores.registry.quirks import Quirks, Way

ALICE = Credential("alice", password="c4nary-s3cret")
BASIC = f"Basic {base64.b64encode(b'alice:c4nary-s3cret').decode()}"
BLOB = b"0123456789"
DIGEST = digest_of(BLOB)

UPLOADS = "/v2/team/app/blobs/uploads/"
POST = f"POST {UPLOADS}"
TELL = f"{POST}?mount={DIGEST}&from=team/app"
PUT, PATCH, CANCEL = (f"{method} /up" for method in ("PUT", "PATCH", "DELETE"))
CLOSE = f"{PUT}?digest={DIGEST}"
BEGUN = reply(202, Location="/up")
TAKEN = reply(202, Location="/up", Range="0-3")
CREATED = reply(201)
WANTS_TOKEN = reply(401, WWW_Authenticate='Bearer realm="http://{host}/token",service="s"')
SMALL = Quirks(chunk_bytes=4)


def only(way: Way) -> Quirks:
    return Quirks(ways=(way,), chunk_bytes=4)


@asynccontextmanager
async def asking(
    server: Scripted,
    known: Quirks = SMALL,
    *,
    who: Credential | None = None,
    access: Access | None = None,
    idle_seconds: float = 5,
) -> AsyncIterator[RegistryClient]:
    access = access or Access(plain_http=frozenset({server.host}))
    credentials = Credentials({server.host: who} if who else {}, environ={})
    async with RegistryClient(
        access, credentials, idle_seconds=idle_seconds, known=lambda host: known
    ) as client:
        yield client


def blob(server: Scripted, data: bytes = BLOB, repository: str = "team/app") -> Reference:
    return Reference.parse(f"{server.host}/{repository}:1").by_digest(Digest.of(data))


async def send(
    client: RegistryClient, server: Scripted, content: Bytes | None = None, start: int = 0
) -> None:
    content = content or Bytes(BLOB)
    upload = await client.begin(blob(server).by_digest(content.digest))
    assert upload is not None
    await upload.send(content, start)


def asked(server: Scripted) -> list[str]:
    return [f"{seen.method} {seen.path}" for seen in server.requests]


def length_and_range(server: Scripted, method: str) -> list[tuple[str | None, str | None, bytes]]:
    return [
        (seen.headers.get("Content-Length"), seen.headers.get("Content-Range"), seen.body)
        for seen in server.seen(method, "/up")
    ]


async def test_a_put_has_the_whole_and_its_length_and_is_no_chunk() -> None:
    script = {POST: BEGUN, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server) as client:
        await send(client, server)
    assert asked(server) == [TELL, CLOSE]
    assert length_and_range(server, "PUT") == [("10", None, BLOB)]
    (put,) = server.seen("PUT")
    assert put.headers["Content-Type"] == "application/octet-stream"
    assert "Transfer-Encoding" not in put.headers
    assert "Expect" not in put.headers  # some servers never say 100


async def test_chunks_have_their_length_and_the_place_of_their_first_and_last_byte() -> None:
    script = {POST: BEGUN, PATCH: TAKEN, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server, only(Way.CHUNKS)) as client:
        await send(client, server)
    assert length_and_range(server, "PATCH") == [("4", "0-3", b"0123"), ("4", "4-7", b"4567")]
    assert length_and_range(server, "PUT") == [("2", "8-9", b"89")]
    for seen in (*server.seen("PATCH"), *server.seen("PUT")):
        assert seen.headers["Content-Type"] == "application/octet-stream"
        assert "Transfer-Encoding" not in seen.headers


@pytest.mark.parametrize("way", Way)
async def test_a_registry_may_read_all_again_before_it_says_that_the_blob_is_there(
    way: Way,
) -> None:
    clock = Clock()

    async def late(request: web.BaseRequest) -> web.Response:
        await clock.pass_by(60)
        return web.Response(status=201)

    script = {POST: BEGUN, PATCH: TAKEN, PUT: late}
    async with (
        scripted(played(script)) as server,
        asking(server, only(way), idle_seconds=5) as client,
    ):
        with clock.of_the_loop():
            await send(client, server)
    assert len(server.seen("PUT")) == 1


@pytest.mark.parametrize(("way", "patches"), [(Way.CHUNKS, ["", "?state=1"]), (Way.PATCH, [""])])
async def test_each_part_goes_to_the_location_that_the_last_answer_told(
    way: Way, patches: list[str]
) -> None:
    told = [reply(202, Location=f"/up?state={number + 1}") for number in range(len(patches))]
    script = {POST: BEGUN, PATCH: [*told], PUT: CREATED}
    async with scripted(played(script)) as server, asking(server, only(way)) as client:
        await send(client, server)
    closing = f"{PUT}?state={len(patches)}&digest={DIGEST}"
    assert asked(server) == [TELL, *(f"{PATCH}{state}" for state in patches), closing]


async def test_the_last_way_is_one_patch_of_unknown_length_and_an_empty_put() -> None:
    script = {POST: BEGUN, PATCH: TAKEN, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server, only(Way.PATCH)) as client:
        await send(client, server)
    assert asked(server) == [TELL, PATCH, CLOSE]
    assert length_and_range(server, "PATCH") == [(None, None, BLOB)]
    assert length_and_range(server, "PUT") == [("0", None, b"")]
    assert server.seen("PATCH")[0].headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("size", [0, 1, 4, 5, 8])
async def test_every_size_arrives_whole_in_every_way(way: Way, size: int) -> None:
    content = Bytes(BLOB[:size])
    script = {POST: BEGUN, PATCH: TAKEN, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server, only(way)) as client:
        await send(client, server, content)
    sent = [seen for seen in server.requests if seen.method in ("PATCH", "PUT")]
    assert b"".join(seen.body for seen in sent) == content.data
    assert all(seen.headers.get("Content-Length") for seen in server.seen("PUT"))
    assert all(seen.headers.get("Content-Range") != "0--1" for seen in sent)


@pytest.mark.parametrize("status", [400, 411, 413, 416])
async def test_a_body_that_is_refused_goes_the_next_way_in_a_new_upload(status: int) -> None:
    script = {
        POST: [BEGUN, reply(202, Location="/new")],
        PUT: reply(status, "<html>no such bodies</html>"),
        CANCEL: reply(204),
        "PATCH /new": reply(202, Location="/new"),
        "PUT /new": CREATED,
    }
    async with scripted(played(script)) as server, asking(server) as client:
        await send(client, server)
    assert asked(server) == [
        *(TELL, CLOSE, CANCEL, POST),
        *("PATCH /new", "PATCH /new", f"PUT /new?digest={DIGEST}"),
    ]


async def test_the_way_that_worked_is_the_first_for_what_follows() -> None:
    script = {
        POST: BEGUN,
        PUT: [reply(413), CREATED],
        PATCH: [reply(416), TAKEN],
        CANCEL: reply(204),
    }
    async with scripted(played(script)) as server, asking(server) as client:
        await send(client, server)
        in_all_ways = len(server.requests)
        await send(client, server)
    assert asked(server)[:in_all_ways] == [
        *(TELL, CLOSE),
        *(CANCEL, POST, PATCH),
        *(CANCEL, POST, PATCH, CLOSE),
    ]
    assert asked(server)[in_all_ways:] == [TELL, PATCH, CLOSE]


async def test_a_blob_that_is_refused_in_every_way_says_nothing_about_the_next() -> None:
    script = {
        POST: BEGUN,
        PUT: [reply(413), CREATED],
        PATCH: reply(413),
        CANCEL: reply(204),
    }
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(RefusedByTarget, match="client_max_body_size"):
            await send(client, server)
        before = len(server.requests)
        await send(client, server)
    assert asked(server)[before:] == [TELL, CLOSE]


async def test_a_way_that_failed_for_another_reason_is_not_remembered_as_the_one() -> None:
    script = {
        POST: BEGUN,
        PUT: [reply(413), CREATED],
        PATCH: reply(500),
        CANCEL: reply(204),
    }
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable):
            await send(client, server)
        before = len(server.requests)
        await send(client, server)
    assert asked(server)[before:] == [TELL, CLOSE]


@pytest.mark.parametrize("status", [200, 202, 307, 403, 404, 405, 415, 422, 429, 500, 507])
async def test_no_other_answer_is_a_reason_to_try_another_way(status: int) -> None:
    script = {POST: BEGUN, PUT: reply(status, Location="/elsewhere")}
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(CopyError, match=str(status)):
            await send(client, server)
    assert asked(server) == [TELL, CLOSE]


async def test_wrong_bytes_are_wrong_in_any_way() -> None:
    wrong = '{"errors": [{"code": "DIGEST_INVALID"}]}'
    script = {POST: BEGUN, PUT: reply(400, wrong)}
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(DigestMismatch) as caught:
            await send(client, server)
        assert caught.value.transient, "it was its wire or its disk: we had checked them"
    assert asked(server) == [TELL, CLOSE]


@pytest.mark.parametrize("status", [400, 413])
async def test_where_there_is_no_room_left_no_other_way_is_tried(status: int) -> None:
    full = '{"errors": [{"code": "DENIED", "message": "quota exceeded"}]}'
    script = {POST: BEGUN, PUT: reply(status, full)}
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(TargetFull):
            await send(client, server)
    assert asked(server) == [TELL, CLOSE]


@pytest.mark.parametrize("status", [404, 416])
async def test_an_upload_that_is_gone_at_its_end_may_be_begun_anew(status: int) -> None:
    script = {POST: BEGUN, PATCH: TAKEN, PUT: reply(status), CANCEL: reply(204)}
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable) as caught:
            await send(client, server)
    assert caught.value.transient


async def test_uploads_that_find_out_at_once_all_come_through() -> None:
    first_is_done, both_put = Event(), Event()
    puts = 0

    async def refused(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal puts
        puts += 1
        if puts == 2:
            both_put.set()
            await first_is_done.wait()
        await both_put.wait()
        return web.Response(status=413)

    script = {
        POST: BEGUN,
        PUT: [refused, refused, CREATED],
        PATCH: [reply(416), TAKEN],
        CANCEL: reply(204),
    }

    async with scripted(played(script)) as server, asking(server) as client:

        async def one() -> None:
            await send(client, server)
            first_is_done.set()

        with fail_after(10):
            async with create_task_group() as group:
                group.start_soon(one)
                group.start_soon(one)


async def test_a_mount_that_is_refused_once_is_not_asked_for_again() -> None:
    script = {POST: [reply(400), BEGUN]}
    async with scripted(played(script)) as server, asking(server) as client:
        for _ in range(2):
            assert await client.begin(blob(server), "team/base") is not None
    assert asked(server) == [f"{POST}?mount={DIGEST}&from=team/base", POST, POST]


async def test_a_mount_that_is_answered_with_an_upload_is_that_upload() -> None:
    script = {POST: BEGUN, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server) as client:
        upload = await client.begin(blob(server), "team/base")
        assert upload is not None
        await upload.send(Bytes(BLOB))
    assert asked(server) == [f"{POST}?mount={DIGEST}&from=team/base", CLOSE]


@pytest.mark.parametrize("origin", ["team/app", "team/base"])
@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_mount_that_fails_for_the_moment_is_no_reason_to_ask_for_none(
    status: int, origin: str
) -> None:
    script = {POST: [reply(status), CREATED]}
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(CopyError) as caught:
            await client.begin(blob(server), origin)
        assert caught.value.transient
        assert await client.begin(blob(server), origin) is None
    assert asked(server) == [f"{POST}?mount={DIGEST}&from={origin}"] * 2


async def test_where_a_token_has_one_scope_nothing_is_mounted_from_another_repository() -> None:
    known = Quirks(one_scope=True)
    async with scripted(played({POST: BEGUN})) as server, asking(server, known) as client:
        assert await client.begin(blob(server), "team/base") is not None
    assert asked(server) == [POST]


async def test_a_registry_that_tells_nothing_by_a_mount_is_asked_by_head() -> None:
    head = f"HEAD /v2/team/app/blobs/{DIGEST}"
    script = {POST: [reply(400), BEGUN], head: reply(404)}
    async with scripted(played(script)) as server, asking(server) as client:
        for _ in range(2):
            assert await client.begin(blob(server)) is not None
    assert asked(server) == [TELL, head, POST, head, POST]


@pytest.mark.parametrize("status", [200, 307])
async def test_where_a_head_says_that_the_blob_is_there_nothing_is_begun_or_followed(
    status: int,
) -> None:
    head = f"HEAD /v2/team/app/blobs/{DIGEST}"
    script = {POST: reply(404), head: reply(status, Location="/elsewhere")}
    async with scripted(played(script)) as server, asking(server) as client:
        assert await client.begin(blob(server)) is None
    assert asked(server) == [TELL, head]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_head_that_fails_for_the_moment_is_no_word_that_the_blob_is_missing(
    status: int,
) -> None:
    head = f"HEAD /v2/team/app/blobs/{DIGEST}"
    script = {POST: reply(404), head: [reply(status), reply(200)]}
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(CopyError) as caught:
            await client.begin(blob(server))
        assert caught.value.transient
        assert await client.begin(blob(server)) is None
    assert asked(server) == [TELL, head, TELL, head]


async def test_whatever_is_asked_before_an_upload_is_asked_with_the_right_to_write() -> None:
    head = f"HEAD /v2/team/app/blobs/{DIGEST}"
    script = {
        POST: [reply(404), WANTS_TOKEN, BEGUN],
        head: [WANTS_TOKEN, reply(404)],
        "GET /token": reply(200, '{"token": "t"}'),
    }
    async with scripted(played(script)) as server, asking(server, who=ALICE) as client:
        assert await client.begin(blob(server)) is not None
    scopes = [seen.path for seen in server.seen("GET", "/token")]
    assert len(scopes) == 2
    assert all("repository%3Ateam%2Fapp%3Apull%2Cpush" in scope for scope in scopes)


async def test_a_new_repository_that_cannot_mount_from_itself_may_mount_from_others() -> None:
    head = f"HEAD /v2/team/app/blobs/{DIGEST}"
    script = {POST: [reply(404), BEGUN, CREATED], head: reply(404)}
    async with scripted(played(script)) as server, asking(server) as client:
        assert await client.begin(blob(server)) is not None
        assert await client.begin(blob(server), "team/base") is None
    assert asked(server)[-1] == f"{POST}?mount={DIGEST}&from=team/base"


async def test_a_repository_that_is_closed_to_us_says_nothing_about_the_others() -> None:
    closed = "/v2/closed/app/blobs"
    script = {
        f"POST {closed}/uploads/": reply(403),
        f"HEAD {closed}/{DIGEST}": reply(403),
        POST: CREATED,
    }
    async with scripted(played(script)) as server, asking(server) as client:
        with pytest.raises(PermissionDenied):
            await client.begin(blob(server, repository="closed/app"))
        assert await client.begin(blob(server)) is None
        with pytest.raises(PermissionDenied):
            await client.begin(blob(server, repository="closed/app"), "team/base")
        assert await client.begin(blob(server), "team/base") is None
    assert asked(server)[-1] == f"{POST}?mount={DIGEST}&from=team/base"


async def test_a_password_that_may_not_cancel_or_mount_may_still_push() -> None:
    no = reply(401, WWW_Authenticate="Basic")
    script = {POST: [no, BEGUN, no, BEGUN], CANCEL: no, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server, who=ALICE) as client:
        upload = await client.begin(blob(server))
        assert upload is not None
        await upload.cancel()
        upload = await client.begin(blob(server), "secret/base")
        assert upload is not None
        await upload.send(Bytes(BLOB))
    assert asked(server)[-1] == CLOSE


async def test_a_token_that_ends_between_chunks_is_renewed_and_that_chunk_sent_again() -> None:
    tokens = [reply(200, f'{{"token": "t{n}"}}') for n in (1, 2)]
    script = {
        POST: [WANTS_TOKEN, BEGUN],
        "GET /token": tokens,
        PATCH: [TAKEN, WANTS_TOKEN, TAKEN],
        PUT: CREATED,
    }
    content = Bytes(BLOB)
    async with scripted(played(script)) as server, asking(server, only(Way.CHUNKS)) as client:
        await send(client, server, content)
    assert content.read_from == [0, 4, 4, 8]
    with_tokens = [seen.headers.get("Authorization") for seen in server.seen("PATCH")]
    assert with_tokens == ["Bearer t1", "Bearer t1", "Bearer t2"]
    assert server.seen("PUT")[0].headers["Authorization"] == "Bearer t2"
    assert len(server.seen("GET", "/token")) == 2


async def test_a_token_that_ends_before_the_closing_put_costs_no_second_body() -> None:
    script = {
        POST: [WANTS_TOKEN, BEGUN],
        "GET /token": [reply(200, f'{{"token": "t{n}"}}') for n in (1, 2)],
        PATCH: TAKEN,
        PUT: [WANTS_TOKEN, CREATED],
    }
    content = Bytes(BLOB)
    async with scripted(played(script)) as server, asking(server, only(Way.PATCH)) as client:
        await send(client, server, content)
    assert content.read_from == [0]
    assert [seen.headers["Authorization"] for seen in server.seen("PUT")] == [
        "Bearer t1",
        "Bearer t2",
    ]


@pytest.mark.parametrize(
    ("start", "patches", "put"),
    [
        (2, [("4", "2-5", b"2345")], ("4", "6-9", b"6789")),
        (8, [], ("2", "8-9", b"89")),
        (10, [], ("0", None, b"")),
    ],
)
async def test_an_upload_goes_on_where_the_registry_is(
    start: int, patches: list[tuple[str, str, bytes]], put: tuple[str, str | None, bytes]
) -> None:
    script = {POST: BEGUN, PATCH: TAKEN, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server) as client:
        await send(client, server, start=start)
    assert length_and_range(server, "PATCH") == patches
    assert length_and_range(server, "PUT") == [put]


async def test_an_upload_goes_on_at_the_location_that_its_status_tells() -> None:
    script = {
        POST: BEGUN,
        "GET /up": reply(204, Location="/up?n=2%2F", Range="0-7"),
        PUT: CREATED,
    }
    async with scripted(played(script)) as server, asking(server) as client:
        upload = await client.begin(blob(server))
        assert upload is not None
        await upload.send(Bytes(BLOB), await upload.offset())
    assert asked(server) == [TELL, "GET /up", f"{PUT}?n=2%2F&digest={DIGEST}"]
    assert length_and_range(server, "PUT") == [("2", "8-9", b"89")]


@pytest.mark.parametrize(
    "told",
    [reply(204, Location="/up"), reply(204, Range="0-0"), reply(404), reply(500), reset],
    ids=["no range", "nothing", "it is gone", "it is ill", "it breaks"],
)
async def test_a_registry_that_cannot_say_how_far_an_upload_came_has_nothing_of_it(
    told: Reply | Handler,
) -> None:
    async with scripted(played({POST: BEGUN, "GET /up": told})) as server, asking(server) as client:
        upload = await client.begin(blob(server))
        assert upload is not None
        assert await upload.offset() == 0
    assert asked(server)[:2] == [TELL, "GET /up"]


async def test_a_registry_that_is_known_to_tell_wrong_offsets_is_not_asked_for_one() -> None:
    known = Quirks(trust_offset=False)
    async with scripted(played({POST: BEGUN})) as server, asking(server, known) as client:
        upload = await client.begin(blob(server))
        assert upload is not None
        assert await upload.offset() == 0
    assert asked(server) == [TELL]


async def test_an_upload_that_is_closed_with_204_is_there() -> None:
    async with scripted(played({POST: BEGUN, PUT: reply(204)})) as server, asking(server) as client:
        await send(client, server)
    assert asked(server) == [TELL, CLOSE]


async def test_where_going_on_is_refused_the_whole_is_sent_anew() -> None:
    script = {
        POST: [BEGUN, reply(202, Location="/new")],
        PATCH: reply(416),
        CANCEL: reply(404),
        "PUT /new": CREATED,
    }
    async with scripted(played(script)) as server, asking(server) as client:
        await send(client, server, start=2)
    assert asked(server) == [TELL, PATCH, CANCEL, POST, f"PUT /new?digest={DIGEST}"]
    assert server.seen("PUT")[0].body == BLOB


async def test_a_reader_that_fails_ends_the_body_without_closing_it() -> None:
    class Broken(Bytes):
        async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
            yield self.data[:4]
            raise RegistryUnavailable("the source broke", Where("source.example"))

    script = {POST: BEGUN, PUT: CREATED}
    async with scripted(played(script)) as server, asking(server) as client:
        with fail_after(5), pytest.raises(CopyError):
            await send(client, server, Broken(BLOB))
    assert asked(server) == [TELL]  # no whole request came after it


class Zeros:
    """Many bytes without memory for them; `given` is how many were taken."""

    digest, size, given = Digest.parse(DIGEST), 256 * 1024 * 1024, 0

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        piece = bytes(64 * 1024)
        while self.given < self.size:
            self.given += len(piece)
            yield piece


async def test_an_answer_before_the_body_has_ended_ends_it() -> None:
    got = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal got
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            if head.startswith(b"POST"):
                length = b"Content-Length: 0\r\nConnection: close"
                await stream.send(b"HTTP/1.1 202 Accepted\r\nLocation: /up\r\n" + length)
                await stream.send(b"\r\n\r\n")
                return
            await stream.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            try:
                while True:  # an answer is all that it does: it would read on to the end
                    got += len(await stream.receive())
            except EndOfStream:
                return

    content = Zeros()
    async with speaking(serve) as host:
        server = Scripted(host)
        async with asking(server, only(Way.PUT)) as client:
            upload = await client.begin(blob(server))
            assert upload is not None
            with pytest.raises(RefusedByTarget, match="413"):
                await upload.send(content)
    assert content.given < content.size / 8
    assert got <= content.given


async def test_an_upload_is_taken_back_although_the_run_is_stopped() -> None:
    script = {POST: BEGUN, CANCEL: reply(204)}
    async with scripted(played(script)) as server, asking(server) as client:
        upload = await client.begin(blob(server))
        assert upload is not None
        with CancelScope() as run:
            run.cancel()
            await upload.cancel()
    assert asked(server) == [TELL, CANCEL]


def locked(location: Callable[[], str] | str) -> Any:
    """A registry that wants a password for uploads, and says where they go."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.headers.get("Authorization") != BASIC:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        if request.method != "POST":
            return web.Response(status=201)
        to = location if isinstance(location, str) else location()
        return web.Response(status=202, headers={"Location": to})

    return answer


async def test_an_upload_at_another_host_goes_there_without_our_login() -> None:
    script = {PATCH: reply(202, Location="/up?n=2%2F"), PUT: CREATED}
    async with (
        scripted(played(script)) as storage,
        scripted(locked(f"http://{storage.host}/up?s=%2F")) as server,
        asking(server, only(Way.PATCH), who=ALICE) as client,
    ):
        await send(client, server)
    assert asked(storage) == [f"{PATCH}?s=%2F", f"{PUT}?n=2%2F&digest={DIGEST}"]
    assert all("Authorization" not in seen.headers for seen in storage.requests)


@pytest.mark.parametrize("challenge", ["Basic", 'Bearer realm="https://r.example/token"', ""])
async def test_another_host_that_wants_a_login_for_an_upload_gets_none(challenge: str) -> None:
    refused = reply(401, "you sent c4nary-s3cret", WWW_Authenticate=challenge)
    async with (
        scripted(played({PUT: refused})) as storage,
        scripted(locked(f"http://{storage.host}/up?sig=c4nary")) as server,
        asking(server, only(Way.PUT), who=ALICE, access=behind_a_dead_proxy(server)) as client,
    ):
        with pytest.raises(CopyError) as caught:
            await send(client, server)
    assert all("Authorization" not in seen.headers for seen in storage.requests)
    assert "c4nary" not in str(caught.value)


def behind_a_dead_proxy(server: Scripted) -> Access:
    """Plain HTTP with `server`; what leads away from this machine ends at once."""
    proxies = {"https": "http://127.0.0.1:9", "no": "127.0.0.1"}
    return Access(plain_http=frozenset({server.host}), proxies=proxies)


async def test_what_a_storage_host_says_is_told_as_its_own_and_without_its_signature() -> None:
    denied = reply(403, "<Error>Signature c4nary-s3cret has expired</Error>")
    async with (
        scripted(played({PUT: denied})) as storage,
        scripted(locked(f"http://{storage.host}/up?sig=c4nary")) as server,
        asking(server, only(Way.PUT), who=ALICE) as client,
    ):
        with pytest.raises(PermissionDenied, match="has expired") as caught:
            await send(client, server)
    assert f"{storage.host}, where {server.host} sends us, refuses us" in str(caught.value)
    assert "c4nary" not in str(caught.value)


async def test_an_upload_is_not_redirected_with_its_body() -> None:
    async with scripted(played({PUT: CREATED})) as storage:
        moved = reply(307, Location=f"http://{storage.host}/up")
        script = {POST: BEGUN, PUT: moved}
        async with scripted(played(script)) as server, asking(server) as client:
            with pytest.raises(CopyError, match="307"):
                await send(client, server)
    assert storage.requests == []


async def test_behind_tls_a_location_of_our_own_host_is_asked_by_tls(tmp_path: Path) -> None:
    own, host = self_signed(tmp_path), ""
    async with scripted(locked(lambda: f"http://{host}/up?s=%2F"), tls=own.context) as server:
        host = server.host
        async with asking(server, who=ALICE, access=Access(ca_file=own.file)) as client:
            await send(client, server)
            host = server.host.partition(":")[0]  # and its port is lost
            await send(client, server)
    puts = server.seen("PUT")
    assert [seen.path for seen in puts] == [f"/up?s=%2F&digest={DIGEST}"] * 2
    assert {seen.headers["Authorization"] for seen in puts} == {BASIC}


async def test_behind_tls_an_upload_never_goes_to_another_host_in_plain(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    async with (
        scripted(played({PUT: CREATED})) as storage,
        scripted(locked(f"http://{storage.host}/up?c4nary"), tls=own.context) as server,
        asking(server, who=ALICE, access=Access(ca_file=own.file)) as client,
    ):
        with pytest.raises(CopyError, match="is not https: refused") as caught:
            await send(client, server)
    assert storage.requests == []
    assert "c4nary" not in str(caught.value)


async def test_behind_tls_a_later_location_in_plain_is_refused_too(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    async with scripted(played({PUT: CREATED})) as storage:
        script = {POST: BEGUN, PATCH: reply(202, Location=f"http://{storage.host}/up")}
        async with (
            scripted(played(script), tls=own.context) as server,
            asking(server, only(Way.PATCH), access=Access(ca_file=own.file)) as client,
        ):
            with pytest.raises(CopyError, match="is not https: refused"):
                await send(client, server)
    assert storage.requests == []


async def test_a_registry_on_the_internet_cannot_have_an_upload_sent_inside(inside: str) -> None:
    async with scripted(played({PUT: CREATED})) as storage:
        port = storage.host.rpartition(":")[2]
        script = {
            f"POST http://r.example{UPLOADS}": reply(202, Location=f"http://{inside}:{port}/up")
        }
        async with scripted(played(script)) as proxy:  # so that the registry is nowhere near
            access = Access(
                plain_http=frozenset({"r.example"}),
                proxies={"http": f"http://{proxy.host}", "no": inside},
            )
            async with RegistryClient(access, Credentials(environ={})) as client:
                ref = Reference.parse("r.example/team/app:1").by_digest(Digest.of(BLOB))
                upload = await client.begin(ref)
                assert upload is not None
                with pytest.raises(CopyError, match="which has a loopback address: refused"):
                    await upload.send(Bytes(BLOB))
    assert storage.requests == []
