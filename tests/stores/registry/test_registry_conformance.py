"""The client's half of OCI distribution-spec 1.1: each end-point with each status.

Those that the specification allows, and those that real registries, and the proxies before them,
give instead. A row: what is asked for, what a real server on a socket answers, what comes of it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from scripted import (
    MANIFEST,
    MANIFEST_TYPE,
    Bytes,
    Scripted,
    digest_of,
    played,
    reply,
    reset,
    scripted,
)

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access, Credential
from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    BlobsUnknown,
    CopyError,
    DigestMismatch,
    NotFound,
    PermissionDenied,
    RateLimited,
    RefusedByTarget,
    RegistryUnavailable,
    TargetClosed,
    TargetFull,
    TypeRefused,
    UnsupportedManifest,
)
from asyncsync.model.job import Step
from asyncsync.model.manifest import RawManifest
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.stores.registry.quirks import Quirks, Way, quirks

BLOB = b"0123456789"
DIGEST = digest_of(BLOB)
OTHER = digest_of(b"other")
RAW = RawManifest(MANIFEST_TYPE, MANIFEST, Digest.of(MANIFEST))
ALICE = Credential("alice", password="c4nary-s3cret")

REPOSITORY = "/v2/team/app"
MANIFEST_AT = f"{REPOSITORY}/manifests/1"
BLOB_AT = f"{REPOSITORY}/blobs/{DIGEST}"
UPLOADS = f"{REPOSITORY}/blobs/uploads/"
HEAD, GET, PUT_MANIFEST = (f"{method} {MANIFEST_AT}" for method in ("HEAD", "GET", "PUT"))
HEAD_BLOB, GET_BLOB = f"HEAD {BLOB_AT}", f"GET {BLOB_AT}"
POST = f"POST {UPLOADS}"
TELL = f"{POST}?mount={DIGEST}&from=team/app"  # a mount from itself: HEAD and POST in one
MOUNT = f"{POST}?mount={DIGEST}&from=team/base"
PUT, PATCH, STATUS, CANCEL = (f"{method} /up/1" for method in ("PUT", "PATCH", "GET", "DELETE"))
CLOSE = f"{PUT}?digest={DIGEST}"

FOUND = {"Content-Type": MANIFEST_TYPE, "Docker-Content-Digest": digest_of(MANIFEST)}
IMAGE = reply(200, MANIFEST.decode(), **FOUND)
HTML = "<html><head><title>x</title></head><body>Welcome to the proxy</body></html>"
PAGE = reply(200, HTML, Content_Type="text/html")
BEGUN = reply(202, Location="/up/1", Range="0-0", Docker_Upload_UUID="1")
TAKEN = reply(202, Location="/up/1")
CREATED = reply(201, Location=BLOB_AT)
WANTS_TOKEN = reply(
    401, WWW_Authenticate='Bearer realm="http://{host}/token",service="s",scope="x"'
)
TOKEN = reply(200, '{"token": "t0ken-c4nary"}')
IN_CHUNKS = Quirks(ways=(Way.CHUNKS,), chunk_bytes=4)


def error(code: str, message: str = "", detail: Any = None) -> str:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]})


GONE = reply(404, error("BLOB_UPLOAD_INVALID", "gone"))
FULL_DISK = error("UNKNOWN", "unknown error", "write /var/x/data: no space left on device")
_SYSTEM: dict[str, object] = {"Op": "write", "Path": "/var/lib/registry/x"}  # distribution's detail
ENOSPC, EIO = (
    error(
        "UNKNOWN", "unknown error", {"DriverName": "filesystem", "Enclosed": {**_SYSTEM, "Err": n}}
    )
    for n in (28, 5)
)

Client, Ref = RegistryClient, Reference
Do = Callable[[Client, Ref], Awaitable[object]]


@dataclass(frozen=True)
class Row:
    """What is done, what the registry answers, and the value or the error that comes of it.

    `says`: a pattern of the message; `passing`: the error is worth another try; `asked`: all that
    was asked, in order, with the query; none: it does not matter.
    """

    name: str
    does: Do
    script: dict[str, Any]
    gives: object
    says: str = ""
    passing: bool = False
    asked: Sequence[str] = ()
    known: Quirks = field(default_factory=Quirks)
    who: Credential | None = None


def rows(*table: Row) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", table, ids=[row.name for row in table])


@asynccontextmanager
async def asking(server: Scripted, row: Row) -> AsyncIterator[RegistryClient]:
    access = Access(plain_http=frozenset({server.host}))
    credentials = Credentials({server.host: row.who} if row.who else {}, environ={})
    known = {server.host: row.known}.__getitem__
    async with RegistryClient(access, credentials, idle_seconds=5, known=known) as client:
        yield client


async def judge(row: Row) -> None:
    async with scripted(played(row.script)) as server, asking(server, row) as client:
        ref = Reference.parse(f"{server.host}/team/app:1")
        if isinstance(row.gives, type) and issubclass(row.gives, CopyError):
            with pytest.raises(CopyError, match=row.says) as caught:
                await row.does(client, ref)
            assert (type(caught.value), caught.value.transient) == (row.gives, row.passing)
            assert "c4nary" not in str(caught.value)
        else:
            assert await row.does(client, ref) == row.gives
    asked = [f"{seen.method} {seen.path}" for seen in server.requests]
    assert {request.partition("?")[0] for request in asked} <= row.script.keys()
    assert not row.asked or asked == list(row.asked)


async def resolve(client: Client, ref: Ref) -> object:
    found = await client.resolve(ref)
    return found and (found.media_type, str(found.digest), found.size)


async def read_manifest(client: Client, ref: Ref) -> object:
    return (await client.manifest(ref)).data


def read(start: int = 0, stop: int | None = None) -> Do:
    async def does(client: Client, ref: Ref) -> object:
        async with client.blob(ref.by_digest(Digest.parse(DIGEST)), start, stop) as chunks:
            return b"".join([chunk async for chunk in chunks])

    return does


def begin(origin: str | None = None) -> Do:
    async def does(client: Client, ref: Ref) -> object:
        begun = await client.begin(ref.by_digest(Digest.parse(DIGEST)), origin)
        return "begun" if begun else "there"

    return does


def upload(start: int = 0, origin: str | None = None) -> Do:
    async def does(client: Client, ref: Ref) -> object:
        begun = await client.begin(ref.by_digest(Digest.parse(DIGEST)), origin)
        assert begun is not None
        await begun.send(Bytes(BLOB), start)
        return "sent"

    return does


async def offset(client: Client, ref: Ref) -> object:
    begun = await client.begin(ref.by_digest(Digest.parse(DIGEST)))
    assert begun is not None
    return await begun.offset()


async def cancel(client: Client, ref: Ref) -> object:
    begun = await client.begin(ref.by_digest(Digest.parse(DIGEST)))
    assert begun is not None
    await begun.cancel()
    return "cancelled"


async def put(client: Client, ref: Ref) -> object:
    return str((await client.put(ref, RAW)).digest)


async def missing_blobs(client: Client, ref: Ref) -> object:
    with pytest.raises(BlobsUnknown) as caught:
        await client.put(ref, RAW)
    located = caught.value.located("image", Step.COPY)  # as the transport sees it
    return [str(digest) for digest in located.missing]


async def broken_off(request: web.BaseRequest) -> web.StreamResponse:
    return await reset(request, sent=BLOB[:4])


async def endless_blob(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()  # of no known length
    await response.prepare(request)
    await response.write(BLOB + b"and more")
    return response


THERE = (MANIFEST_TYPE, digest_of(MANIFEST), len(MANIFEST))


@rows(
    Row("200", resolve, {HEAD: IMAGE}, THERE, asked=[HEAD]),
    Row("404", resolve, {HEAD: reply(404)}, None, asked=[HEAD]),
    Row("405", resolve, {HEAD: reply(405), GET: IMAGE}, THERE, asked=[HEAD, GET]),
    Row(
        "200 without a digest",
        resolve,
        {HEAD: reply(200, MANIFEST.decode(), Content_Type=MANIFEST_TYPE), GET: IMAGE},
        THERE,
        asked=[HEAD, GET],
    ),
    Row(
        "a login page, to GET as well",
        resolve,
        {HEAD: PAGE, GET: PAGE},
        RegistryUnavailable,
        "answered with text/html that is no manifest",
    ),
    Row("307", resolve, {HEAD: reply(307, Location="/m"), "HEAD /m": IMAGE}, THERE),
    Row("403", resolve, {HEAD: reply(403)}, PermissionDenied, "refuses us"),
    Row("429", resolve, {HEAD: reply(429, Retry_After="7")}, RateLimited, "429", passing=True),
    Row("503", resolve, {HEAD: reply(503)}, RegistryUnavailable, "503", passing=True),
)
async def test_a_head_of_a_manifest(row: Row) -> None:
    await judge(row)


@rows(
    Row("200", read_manifest, {GET: IMAGE}, MANIFEST, asked=[GET]),
    Row(
        "200 without digest and type",
        read_manifest,
        {GET: reply(200, MANIFEST.decode(), Content_Type="application/json")},
        MANIFEST,
    ),
    Row("307", read_manifest, {GET: reply(307, Location="/m?s=%2F"), "GET /m": IMAGE}, MANIFEST),
    Row(
        "404 MANIFEST_UNKNOWN",
        read_manifest,
        {GET: reply(404, error("MANIFEST_UNKNOWN"))},
        NotFound,
        "team/app has no tag 1",
    ),
    Row(
        "404 NAME_UNKNOWN",
        read_manifest,
        {GET: reply(404, error("NAME_UNKNOWN"))},
        NotFound,
        "has no repository team/app",
    ),
    Row(
        "another digest than its bytes",
        read_manifest,
        {GET: reply(200, MANIFEST.decode(), **{**FOUND, "Docker-Content-Digest": OTHER})},
        DigestMismatch,
        f"sent {digest_of(MANIFEST)} for .*, not {OTHER}",
    ),
    Row(
        "larger than 4 MiB",
        read_manifest,
        {GET: reply(200, " " * (4 * 1024 * 1024 + 1), Content_Type=MANIFEST_TYPE)},
        UnsupportedManifest,
        "larger than 4 MiB",
    ),
    Row("a login page", read_manifest, {GET: PAGE}, RegistryUnavailable, "no manifest"),
    Row("403", read_manifest, {GET: reply(403)}, PermissionDenied, "refuses us"),
    Row("500", read_manifest, {GET: reply(500)}, RegistryUnavailable, "500", passing=True),
)
async def test_a_get_of_a_manifest(row: Row) -> None:
    await judge(row)


REST = reply(206, "456789", Content_Range="bytes 4-9/10")
WHOLE = reply(200, BLOB.decode())


@rows(
    Row("200", read(), {GET_BLOB: WHOLE}, BLOB),
    Row("200 of no bytes", read(), {GET_BLOB: reply(200)}, b""),
    Row("206", read(4), {GET_BLOB: REST}, b"456789"),
    Row("206 that begins earlier", read(6), {GET_BLOB: REST}, b"6789"),
    Row(
        "206 of a part",
        read(4, 7),
        {GET_BLOB: reply(206, "456", Content_Range="bytes 4-6/10")},
        b"456",
    ),
    Row("206 that goes on behind the end", read(4, 7), {GET_BLOB: REST}, b"456"),
    Row("200 to a range", read(4), {GET_BLOB: WHOLE}, b"456789"),
    Row("200 to a part", read(4, 7), {GET_BLOB: WHOLE}, b"456"),
    Row(
        "206 of another part",
        read(3),
        {GET_BLOB: REST},
        RegistryUnavailable,
        "sent another part",
        passing=True,
    ),
    Row(
        "206 without Content-Range",
        read(4),
        {GET_BLOB: reply(206, "456789")},
        RegistryUnavailable,
        "sent another part",
        passing=True,
    ),
    Row(
        "packed although asked for plain",
        read(),
        {GET_BLOB: reply(200, "as it came", Content_Encoding="gzip")},
        b"as it came",
    ),
    Row(
        "shorter than it says",
        read(),
        {GET_BLOB: broken_off},
        RegistryUnavailable,
        "broke the connection off",
        passing=True,
    ),
    Row("longer than the blob", read(), {GET_BLOB: endless_blob}, BLOB + b"and more"),
    Row("longer than a part", read(0, 10), {GET_BLOB: endless_blob}, BLOB),
    Row(
        "404",
        read(),
        {GET_BLOB: reply(404, error("BLOB_UNKNOWN"))},
        NotFound,
        f"does not have the blob {DIGEST} that team/app is made of",
    ),
    Row("416", read(4), {GET_BLOB: reply(416, "x" * 33)}, CopyError, "416"),
    Row("204", read(), {GET_BLOB: reply(204)}, CopyError, "204"),
    Row("403", read(), {GET_BLOB: reply(403)}, PermissionDenied, "refuses us"),
    Row("429", read(), {GET_BLOB: reply(429)}, RateLimited, "429", passing=True),
    Row("503", read(), {GET_BLOB: reply(503)}, RegistryUnavailable, "503", passing=True),
    Row(
        "307 to a signed URL, kept byte for byte",
        read(4),
        {GET_BLOB: reply(307, Location="/cdn/%2Fb?sig=a%2Bb%2F%3D&t=%7E"), "GET /cdn/%2Fb": REST},
        b"456789",
        asked=[GET_BLOB, "GET /cdn/%2Fb?sig=a%2Bb%2F%3D&t=%7E"],
    ),
    Row(
        "307 to a URL that has ended",
        read(),
        {GET_BLOB: reply(307, Location="/cdn?sig=c4nary"), "GET /cdn": reply(403, "Expired")},
        PermissionDenied,
        "Expired",
    ),
    Row("307 to nowhere", read(), {GET_BLOB: reply(307)}, CopyError, "refused"),
)
async def test_a_get_of_a_blob(row: Row) -> None:
    await judge(row)


@rows(
    Row("201: it is there", begin(), {POST: reply(201)}, "there", asked=[TELL]),
    Row("202: it is not", begin(), {POST: BEGUN}, "begun", asked=[TELL]),
    *(
        Row(
            f"{status}: it tells nothing by a mount, and HEAD {head}",
            begin(),
            {POST: [reply(status), BEGUN], HEAD_BLOB: reply(head, Location="https://cdn.example/")},
            gives,
            asked=[TELL, HEAD_BLOB, *([POST] if gives == "begun" else ())],
        )
        for status in (400, 403, 404, 405, 415)
        for head, gives in ((200, "there"), (307, "there"), (404, "begun"))
    ),
    *(
        Row(
            f"400, and HEAD {status}",
            begin(),
            {POST: reply(400), HEAD_BLOB: reply(status)},
            kind,
            str(status),
            passing=True,
            asked=[TELL, HEAD_BLOB],
        )
        for status, kind in ((429, RateLimited), (502, RegistryUnavailable))
    ),
    Row(
        "404 NAME_UNKNOWN, with what helps there",
        begin(),
        {POST: reply(404, error("NAME_UNKNOWN", "no such repository")), HEAD_BLOB: reply(404)},
        NotFound,
        "NAME_UNKNOWN: no such repository. Create the repository in ECR",
        known=quirks("123456789012.dkr.ecr.eu-central-1.amazonaws.com"),
    ),
    Row(
        "403 DENIED, with what helps there",
        begin(),
        {POST: reply(403, error("DENIED", "requested access")), HEAD_BLOB: reply(403)},
        PermissionDenied,
        "DENIED: requested access. Aliyun says this of four things",
        known=quirks("registry.cn-hangzhou.aliyuncs.com"),
    ),
    Row(
        "429 with Retry-After",
        begin(),
        {POST: reply(429, "<h1>slow</h1>", Retry_After="7")},
        RateLimited,
        "429 Too Many Requests: slow",
        passing=True,
        asked=[TELL],
    ),
    Row("503", begin(), {POST: reply(503)}, RegistryUnavailable, "503", passing=True),
    Row("507", begin(), {POST: reply(507)}, TargetFull, "has no room left .507", asked=[TELL]),
    Row("500 and ENOSPC", begin(), {POST: reply(500, ENOSPC)}, TargetFull, "no room left .500"),
    Row(
        "405 (a cache, or in maintenance)",
        begin(),
        {POST: reply(405, error("UNSUPPORTED", "The operation is unsupported.")), HEAD_BLOB: GONE},
        TargetClosed,
        "takes no pushes .405 Method Not Allowed.: UNSUPPORTED: The operation is unsupported .127",
    ),
    Row("200 of a login page", begin(), {POST: PAGE}, CopyError, "200 OK: Welcome to the proxy"),
    Row("307", begin(), {POST: reply(307, Location="/other")}, CopyError, "307", asked=[TELL]),
)
async def test_a_post_that_begins_an_upload(row: Row) -> None:
    await judge(row)


FROM_BASE = begin("team/base")


@rows(
    Row("201: mounted", FROM_BASE, {POST: CREATED}, "there", asked=[MOUNT]),
    Row("202: an upload instead", FROM_BASE, {POST: BEGUN}, "begun", asked=[MOUNT]),
    *(
        Row(
            f"{status}: a plain upload",
            FROM_BASE,
            {POST: [reply(status), BEGUN]},
            "begun",
            asked=[MOUNT, POST],
        )
        for status in (400, 403, 404, 405, 422)
    ),
    Row("429", FROM_BASE, {POST: reply(429)}, RateLimited, "429", passing=True, asked=[MOUNT]),
    Row(
        "500",
        FROM_BASE,
        {POST: reply(500)},
        RegistryUnavailable,
        "500",
        passing=True,
        asked=[MOUNT],
    ),
    Row(
        "401 to a password that may push",
        FROM_BASE,
        {
            POST: [
                reply(401, WWW_Authenticate="Basic"),
                reply(401, WWW_Authenticate="Basic"),
                BEGUN,
            ]
        },
        "begun",
        who=ALICE,
        asked=[MOUNT, MOUNT, POST],
    ),
    Row(
        "401: a token for both repositories",
        FROM_BASE,
        {POST: [WANTS_TOKEN, CREATED], "GET /token": TOKEN},
        "there",
        asked=[
            MOUNT,
            "GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
            "&scope=repository%3Ateam%2Fbase%3Apull",
            MOUNT,
        ],
    ),
    Row(
        "401 to that as well: a plain upload with the one scope",
        FROM_BASE,
        {POST: [WANTS_TOKEN, WANTS_TOKEN, WANTS_TOKEN, BEGUN], "GET /token": TOKEN},
        "begun",
        asked=[
            MOUNT,
            "GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
            "&scope=repository%3Ateam%2Fbase%3Apull",
            MOUNT,
            POST,
            "GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull%2Cpush",
            POST,
        ],
    ),
    Row(
        "no mount where one scope of several is heard",
        FROM_BASE,
        {POST: BEGUN},
        "begun",
        asked=[POST],
        known=quirks("registry.gitlab.com"),
    ),
    Row(
        "a token server that is down is not the end of mounts",
        FROM_BASE,
        {POST: WANTS_TOKEN, "GET /token": reply(503)},
        RegistryUnavailable,
        "token server .* 503",
        passing=True,
        asked=[
            MOUNT,
            "GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
            "&scope=repository%3Ateam%2Fbase%3Apull",
        ],
    ),
)
async def test_a_post_that_mounts(row: Row) -> None:
    await judge(row)


@rows(
    *(
        Row(
            name,
            upload(),
            {POST: reply(202, Location=location), f"PUT {path.partition('?')[0]}": CREATED},
            "sent",
            asked=[TELL, f"PUT {path}{'&' if '?' in path else '?'}digest={DIGEST}"],
        )
        for name, location, path in (
            ("relative to the path", "1", f"{UPLOADS}1"),
            ("relative to the root", "/up/1", "/up/1"),
            ("absolute", "http://{host}/up/1", "/up/1"),
            ("without a scheme", "//{host}/up/1", "/up/1"),
            ("with its port lost", "http://127.0.0.1/up/1", "/up/1"),
            ("with an empty query", "/up/1?", "/up/1"),
            ("with a fragment", "/up/1#here", "/up/1"),
            (
                "signed, kept byte for byte",
                "/up/1%2F%7E?_state=a%2Bb%2Fc%3D&t=%7E&q=%41+x&e=",
                "/up/1%2F%7E?_state=a%2Bb%2Fc%3D&t=%7E&q=%41+x&e=",
            ),
            (
                "absolute and signed",
                "http://{host}/up/1%2F?_state=a%2Bb%2Fc%3D",
                "/up/1%2F?_state=a%2Bb%2Fc%3D",
            ),
        )
    ),
    *(
        Row(
            f"refused: {name}",
            upload(),
            {POST: reply(202, **({"Location": location} if location is not None else {}))},
            CopyError,
            "sends us to .*: refused",
            asked=[TELL],
        )
        for name, location in (
            ("none", None),
            ("empty", ""),
            ("no address", "http://[::1"),
            ("no port", "http://127.0.0.1:x/up"),
            ("another scheme", "ftp://127.0.0.1/up"),
            ("blanks", "/up/1 2"),
            ("a user's name", "http://u:c4nary@127.0.0.1/up"),
            ("the metadata of a cloud", "http://169.254.169.254/latest/c4nary"),
            ("a private address", "http://10.0.0.1/c4nary"),
        )
    ),
)
async def test_a_location(row: Row) -> None:
    await judge(row)


WRONG = reply(400, error("DIGEST_INVALID", "provided digest did not match"))
ONE_WAY = Quirks(ways=(Way.PUT,))


IMMUTABLE = "the tag 1 is immutable"


def closing(name: str, answer: Any, gives: object, says: str = "", *, passing: bool = False) -> Row:
    script = {POST: BEGUN, PUT: answer}
    return Row(name, upload(), script, gives, says, passing, asked=[TELL, CLOSE], known=ONE_WAY)


@rows(
    closing("201", CREATED, "sent"),
    closing("204", reply(204), "sent"),
    closing("200 of a login page", PAGE, CopyError, "200 OK: Welcome to the proxy"),
    closing("202", reply(202), CopyError, "202 Accepted"),
    closing("307", reply(307, Location="/other"), CopyError, "307"),
    closing("400 DIGEST_INVALID", WRONG, DigestMismatch, f"other bytes for {DIGEST}", passing=True),
    closing("400", reply(400, error("UNSUPPORTED", "no")), CopyError, "UNSUPPORTED: no"),
    closing("403", reply(403, error("DENIED", "no")), PermissionDenied, "DENIED: no"),
    closing("404 BLOB_UPLOAD_INVALID", GONE, RegistryUnavailable, "gone", passing=True),
    closing("411", reply(411), CopyError, "411"),
    closing("413", reply(413, HTML), RefusedByTarget, "Raise its limit .*client_max_body_size"),
    closing("416", reply(416), RegistryUnavailable, "416", passing=True),
    closing("429", reply(429, Retry_After="7"), RateLimited, "429", passing=True),
    closing("500", reply(500), RegistryUnavailable, "500", passing=True),
    closing("507", reply(507), TargetFull, "has no room left .507"),
    closing("500 and a full disk", reply(500, FULL_DISK), TargetFull, "has no room left .500"),
    closing("500 and ENOSPC", reply(500, ENOSPC), TargetFull, "has no room left .500"),
    closing("500 and another error", reply(500, EIO), RegistryUnavailable, "500", passing=True),
    closing("503 and a full disk", reply(503, "No space left on device"), TargetFull, "No space"),
    closing("500 and a quota", reply(500, error("UNKNOWN", "QuotaExceeded")), TargetFull, "Quota"),
    closing("403 and a quota", reply(403, error("DENIED", "quota exceeded")), TargetFull, "quota"),
    closing("413 and a quota", reply(413, "Storage quota exceeded"), TargetFull, "Storage quota"),
    closing("429 and a quota", reply(429, "Quota exceeded"), RateLimited, "Quota", passing=True),
    closing("405", reply(405), TargetClosed, "takes no pushes .405"),
    closing("409", reply(409, error("CONFLICT", "a rule")), RefusedByTarget, "a rule"),
    closing("412", reply(412, error("PRECONDITION", "a rule")), RefusedByTarget, "a rule"),
    closing("403 and a rule", reply(403, error("DENIED", IMMUTABLE)), RefusedByTarget, "Remove"),
    closing("a broken connection", reset, RegistryUnavailable, "broke", passing=True),
)
async def test_a_put_that_closes_an_upload(row: Row) -> None:
    await judge(row)


def chunked(name: str, patch: Any, put: Any, gives: object, says: str = "", **more: Any) -> Row:
    script = {POST: BEGUN, PATCH: patch, PUT: put}
    known = more.pop("known", IN_CHUNKS)
    return Row(name, upload(), script, gives, says, known=known, **more)


IN_THREE = [TELL, PATCH, PATCH, CLOSE]


@rows(
    *(
        chunked(f"{status}", reply(status, Location="/up/1"), CREATED, "sent", asked=IN_THREE)
        for status in (201, 202, 204)
    ),
    chunked("202 without Location", reply(202), CREATED, "sent", asked=IN_THREE),
    chunked(
        "202, and its Range stays at the first chunk",
        reply(202, Location="/up/1", Range="0-3"),
        CREATED,
        "sent",
        asked=IN_THREE,
    ),
    Row(
        "a new Location each time",
        upload(),
        {
            POST: reply(202, Location="/up/1?n=0"),
            PATCH: [reply(202, Location=f"/up/1?n={n}%2F") for n in (1, 2)],
            PUT: CREATED,
        },
        "sent",
        asked=[
            TELL,
            f"{PATCH}?n=0",
            f"{PATCH}?n=1%2F",
            f"{PUT}?n=2%2F&digest={DIGEST}",
        ],
        known=IN_CHUNKS,
    ),
    Row(
        "chunks of the length that the registry wants",
        upload(),
        {
            POST: reply(202, Location="/up/1", OCI_Chunk_Min_Length="6"),
            PATCH: TAKEN,
            PUT: CREATED,
        },
        "sent",
        asked=[TELL, PATCH, CLOSE],
        known=IN_CHUNKS,
    ),
    chunked("200 of a login page", PAGE, CREATED, CopyError, "200 OK: Welcome"),
    chunked("404", GONE, CREATED, RegistryUnavailable, "gone", passing=True),
    chunked("416", [TAKEN, reply(416)], CREATED, RegistryUnavailable, "416", passing=True),
    chunked("403", reply(403), CREATED, PermissionDenied, "refuses us"),
    chunked("500", reply(500), CREATED, RegistryUnavailable, "500", passing=True),
    chunked("a wrong digest at the end", TAKEN, WRONG, DigestMismatch, "other bytes", passing=True),
)
async def test_a_patch_of_a_chunk(row: Row) -> None:
    await judge(row)


@rows(
    *(
        Row(name, offset, {POST: BEGUN, STATUS: answer}, has, asked=[TELL, STATUS])
        for name, answer, has in (
            ("204", reply(204, Location="/up/1", Range="0-3"), 4),
            ("204 with nothing", reply(204, Location="/up/1", Range="0-0"), 0),
            ("204 without Range", reply(204, Location="/up/1"), 0),
            ("204 with another Range", reply(204, Range="4-7"), 0),
            ("204 that leads inside", reply(204, Location="http://10.0.0.1/", Range="0-3"), 0),
            ("200 of a login page", PAGE, 0),
            ("404", GONE, 0),
            ("416", reply(416), 0),
            ("403", reply(403), 0),
            ("500", reply(500), 0),
        )
    ),
    Row("a broken connection", offset, {POST: BEGUN, STATUS: reset}, 0),
    Row(
        "not asked where it is known to be stale",
        offset,
        {POST: BEGUN},
        0,
        asked=[TELL],
        known=quirks("ghcr.io"),
    ),
)
async def test_a_get_of_an_uploads_offset(row: Row) -> None:
    await judge(row)


@rows(
    *(
        Row(name, cancel, {POST: BEGUN, CANCEL: answer}, "cancelled", asked=[TELL, CANCEL])
        for name, answer in (
            ("204", reply(204)),
            ("202", reply(202)),
            ("404", GONE),
            ("403", reply(403)),
            ("405", reply(405)),
            ("500", reply(500)),
        )
    ),
)
async def test_a_delete_of_an_upload(row: Row) -> None:
    await judge(row)


MOVED = "Docker-Content-Digest"
PUT_THERE = digest_of(MANIFEST)
TOO_MANY = "adding 1 GiB of storage resource, which when updated to 11 GiB will exceed 10 GiB"


def putting(name: str, answer: Any, gives: object, says: str = "", **more: Any) -> Row:
    return Row(name, put, {PUT_MANIFEST: answer}, gives, says, asked=[PUT_MANIFEST], **more)


@rows(
    putting("201 with the digest", reply(201, **{MOVED: PUT_THERE}), PUT_THERE),
    putting(
        "201 with the digest in another algorithm",
        reply(201, **{MOVED: str(Digest.of(MANIFEST, "sha512"))}),
        str(Digest.of(MANIFEST, "sha512")),
    ),
    putting("201 with another", reply(201, **{MOVED: OTHER}), DigestMismatch, f"has {OTHER}"),
    Row(
        "201 without one, confirmed by HEAD",
        put,
        {PUT_MANIFEST: reply(201), HEAD: IMAGE},
        PUT_THERE,
        asked=[PUT_MANIFEST, HEAD],
    ),
    Row(
        "201 without one, and HEAD tells another",
        put,
        {
            PUT_MANIFEST: reply(201),
            HEAD: reply(200, "x", Content_Type=MANIFEST_TYPE, Docker_Content_Digest=OTHER),
        },
        DigestMismatch,
        f"has {OTHER} under team/app:1",
    ),
    Row(
        "201 without one, and HEAD tells of nothing",
        put,
        {PUT_MANIFEST: reply(201), HEAD: reply(404)},
        DigestMismatch,
        "has nothing under team/app:1",
    ),
    putting("200 of a login page", PAGE, CopyError, "200 OK: Welcome to the proxy"),
    putting("202", reply(202), CopyError, "202"),
    putting("400 MANIFEST_INVALID", reply(400, error("MANIFEST_INVALID", "no")), TypeRefused, "no"),
    putting("400 without a word", reply(400), TypeRefused, "400"),
    putting("415", reply(415), TypeRefused, "415"),
    putting(
        "403 unknown manifest class (Aliyun)",
        reply(403, error("DENIED", "unknown manifest class for application/vnd.oci.empty.v1+json")),
        TypeRefused,
        "unknown manifest class",
    ),
    putting(
        "400 fail to parse (Huawei)",
        reply(400, error("UNKNOWN", "Invalid image, fail to parse 'manifest.json'")),
        TypeRefused,
        "fail to parse",
    ),
    putting("400 TAG_INVALID", reply(400, error("TAG_INVALID")), RefusedByTarget, "TAG_INVALID"),
    putting(
        "400 DIGEST_INVALID", reply(400, error("DIGEST_INVALID")), RefusedByTarget, "DIGEST_INVALID"
    ),
    putting("409", reply(409, error("DENIED", "a rule")), RefusedByTarget, "a rule"),
    putting("412", reply(412, error("PRECONDITION", "immutable")), RefusedByTarget, "immutable"),
    putting("413", reply(413, HTML), RefusedByTarget, "413.*Raise its limit on bodies"),
    putting("405", reply(405), TargetClosed, "takes no pushes .405"),
    putting("403 and a quota", reply(403, error("DENIED", TOO_MANY)), TargetFull, "exceed"),
    putting("507", reply(507), TargetFull, "has no room left .507"),
    putting("500 and ENOSPC", reply(500, ENOSPC), TargetFull, "has no room left .500"),
    putting(
        "400 and an immutable tag",
        reply(400, error("TAG_EXISTS", "the tag is immutable")),
        RefusedByTarget,
        "immutable",
    ),
    putting(
        "403",
        reply(403, error("DENIED", "no")),
        PermissionDenied,
        "DENIED: no. Create the namespace in Tencent's console",
        known=quirks("ccr.ccs.tencentyun.com"),
    ),
    putting(
        "404 NAME_UNKNOWN",
        reply(404, error("NAME_UNKNOWN")),
        NotFound,
        "Begin the namespace with the key",
        known=quirks("team.jfrog.io"),
    ),
    putting(
        "429 that speaks of a quota a minute",
        reply(429, error("UNKNOWN", "Quota exceeded for quota metric"), Retry_After="7"),
        RateLimited,
        "Quota exceeded",
        passing=True,
    ),
    putting(
        "503 that speaks of a quota",
        reply(503, "quota service down"),
        RegistryUnavailable,
        "503",
        passing=True,
    ),
    putting(
        "400 MANIFEST_BLOB_UNKNOWN",
        reply(400, error("MANIFEST_BLOB_UNKNOWN", "blob unknown", {"digest": OTHER})),
        BlobsUnknown,
        "blob unknown",
    ),
    Row(
        "400 MANIFEST_BLOB_UNKNOWN names what is missing",
        missing_blobs,
        {
            PUT_MANIFEST: reply(
                400,
                json.dumps(
                    {
                        "errors": [
                            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": {"Digest": DIGEST}},
                            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": f"unknown: {OTHER}"},
                            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": None},
                            {"code": "MANIFEST_BLOB_UNKNOWN", "detail": {"digest": DIGEST}},
                        ]
                    }
                ),
            )
        },
        [DIGEST, OTHER],
    ),
)
async def test_a_put_of_a_manifest(row: Row) -> None:
    await judge(row)


async def referrers(client: Client, ref: Ref) -> object:
    found = await client.referrers(ref.by_digest(Digest.parse(DIGEST)))
    return [(str(each.digest), each.artifact_type) for each in found]


REFERRERS_AT = f"{REPOSITORY}/referrers/{DIGEST}"
REFERRERS = f"GET {REFERRERS_AT}"
TAG_AT = f"{REPOSITORY}/manifests/{DIGEST.replace(':', '-')}"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


def referring(*digests: str) -> str:
    entries = [
        {"mediaType": MANIFEST_TYPE, "digest": digest, "size": 7, "artifactType": "a/b"}
        for digest in digests
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})


def index_of(body: str, link: str = "", kind: str = INDEX_TYPE) -> Any:
    more = {"Link": link} if link else {}
    return reply(
        200, body, Content_Type=kind, Docker_Content_Digest=digest_of(body.encode()), **more
    )


ONE, NO_LIST = referring(OTHER), '{"manifests": 7}'
AT_TAG = f"HEAD {TAG_AT}"
AT_DIGEST = f"GET {REPOSITORY}/manifests/{digest_of(ONE.encode())}"
FOUND_ONE = [(OTHER, "a/b")]


def refers(name: str, answer: Any, gives: object, says: str = "", **more: Any) -> Row:
    return Row(name, referrers, {REFERRERS: answer, **more.pop("then", {})}, gives, says, **more)


@rows(
    refers("200", index_of(ONE), FOUND_ONE, asked=[REFERRERS]),
    refers("200 without any", index_of(referring()), [], asked=[REFERRERS]),
    refers("200 of a general type", index_of(ONE, kind="application/json"), FOUND_ONE),
    refers(
        "200 in pages",
        [index_of(ONE, '<?page=2>; rel="next"'), index_of(referring(DIGEST, OTHER))],
        [(OTHER, "a/b"), (DIGEST, "a/b")],
        asked=[REFERRERS, f"{REFERRERS}?page=2"],
    ),
    *(
        refers(
            f"a next page, {name}",
            [index_of(ONE, f'<{link}>; rel="next"'), index_of(referring(DIGEST))],
            [(OTHER, "a/b"), (DIGEST, "a/b")],
            asked=[REFERRERS, f"{REFERRERS}?last=a%2F"],
        )
        for name, link in (
            ("absolute", f"http://{{host}}{REFERRERS_AT}?last=a%2F"),
            ("of the root", f"{REFERRERS_AT}?last=a%2F"),
            ("relative", "?last=a%2F"),
            ("with its port lost", f"http://127.0.0.1{REFERRERS_AT}?last=a%2F"),
        )
    ),
    refers(
        "a page that is no next one",
        index_of(ONE, '</v2/x>; rel="prev"'),
        FOUND_ONE,
        asked=[REFERRERS],
    ),
    refers(
        "a page without any, and more to come",
        [index_of(referring(), '<?page=2>; rel="next"'), index_of(ONE)],
        FOUND_ONE,
        asked=[REFERRERS, f"{REFERRERS}?page=2"],
    ),
    refers(
        "a page that leads to itself",
        index_of(ONE, '<?page=2>; rel="next"'),
        RegistryUnavailable,
        "leads back to one of its pages",
        asked=[REFERRERS, f"{REFERRERS}?page=2"],
    ),
    *(
        refers(
            f"a next page {name}",
            index_of(ONE, f"<{link}>; rel=next"),
            kind,
            says,
            asked=[REFERRERS],
        )
        for name, link, kind, says in (
            ("elsewhere", "https://8.8.8.8/c4nary", RegistryUnavailable, "goes on elsewhere"),
            ("inside", "http://169.254.169.254/c4nary", CopyError, "refused"),
            ("of another scheme", "file:///etc/c4nary", CopyError, "refused"),
        )
    ),
    refers("200 without end", index_of(" " * (4 << 20) + "{"), RegistryUnavailable, "more bytes"),
    refers("200 nested too deeply", index_of("[" * 100_000), UnsupportedManifest, "is none"),
    refers(
        "a page that is not there",
        [index_of(ONE, '<?page=2>; rel="next"'), reply(404)],
        NotFound,
        "404",
    ),
    refers("200 of what is no index", index_of(NO_LIST), UnsupportedManifest, "is none"),
    refers(
        "200 of a wrong descriptor",
        index_of('{"manifests": [{"digest": "sha256:../.."}]}'),
        UnsupportedManifest,
        "is none",
    ),
    refers(
        "200 of an image in an index's clothes",
        index_of('{"manifests": [], "layers": []}'),
        UnsupportedManifest,
        "index and an image at once",
    ),
    *(
        refers(
            f"{name}: the tag of the specification",
            answer,
            FOUND_ONE,
            then={AT_TAG: index_of(ONE), AT_DIGEST: index_of(ONE)},
            asked=[REFERRERS, AT_TAG, AT_DIGEST],
        )
        for name, answer in (
            ("404", reply(404, "404 page not found")),
            ("400", reply(400)),
            ("405", reply(405)),
            ("406", reply(406)),
            ("501", reply(501)),
            ("200 of a login page", PAGE),
        )
    ),
    refers("404, and no such tag", reply(404), [], then={AT_TAG: reply(404)}),
    refers(
        "404, and an image at the tag",
        reply(404),
        [],
        then={AT_TAG: IMAGE},
        asked=[REFERRERS, AT_TAG],
    ),
    refers(
        "404, and no readable list at the tag",
        reply(404),
        UnsupportedManifest,
        "is none",
        then={
            AT_TAG: index_of(NO_LIST),
            f"GET {REPOSITORY}/manifests/{digest_of(NO_LIST.encode())}": index_of(NO_LIST),
        },
    ),
    refers(
        "404, and 503 at the tag",
        reply(404),
        RegistryUnavailable,
        "503",
        passing=True,
        then={AT_TAG: reply(503)},
    ),
    refers(
        "404 where such a tag is read as the digest",
        reply(404),
        [],
        asked=[REFERRERS],
        known=quirks("registry.gitlab.com"),
    ),
    refers("403", reply(403), PermissionDenied, "refuses us"),
    refers("429", reply(429), RateLimited, "429", passing=True, asked=[REFERRERS]),
    refers("500", reply(500), RegistryUnavailable, "500", passing=True, asked=[REFERRERS]),
)
async def test_a_get_of_referrers(row: Row) -> None:
    await judge(row)


async def lists_subject(client: Client, ref: Ref) -> object:
    taken = await client.put(ref, RAW)
    return taken.subject and str(taken.subject)


PUT_AND = {MOVED: PUT_THERE}


@rows(
    *(
        Row(name, lists_subject, {PUT_MANIFEST: reply(201, **PUT_AND, **told)}, gives)
        for name, told, gives in (
            ("OCI-Subject", {"OCI_Subject": OTHER}, OTHER),
            ("none", {}, None),
            ("one that is no digest", {"OCI_Subject": "yes"}, None),
        )
    ),
)
async def test_what_a_put_tells_of_the_subject(row: Row) -> None:
    await judge(row)
