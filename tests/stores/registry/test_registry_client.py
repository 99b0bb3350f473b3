from __future__ import annotations

import base64
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from anyio import (
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    Event,
    create_memory_object_stream,
    create_task_group,
    fail_after,
    sleep,
    sleep_forever,
    wait_all_tasks_blocked,
)
from anyio.abc import SocketStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream
from multidict import CIMultiDict
from parts.clock import Clock
from scripted import (
    MANIFEST,
    MANIFEST_TYPE,
    Bytes,
    Scripted,
    digest_of,
    endless,
    manifest_answer,
    reset,
    scripted,
    self_signed,
    speaking,
)
from yarl import URL

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access, Credential
from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    ConfigurationError,
    CopyError,
    DigestMismatch,
    NotFound,
    RateLimited,
    RegistryUnavailable,
    TimedOut,
    TlsError,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.job import Step
from asyncsync.model.manifest import ACCEPTED_TYPES
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.stores.registry.notices import NOTICES_MAX, TEXT_MAX, Warn, nobody, warnings_in
from asyncsync.stores.registry.wire import Request, Wire

DIGEST = Digest.parse(digest_of(MANIFEST))


def reference(server: Scripted, tag: str = "1") -> Reference:
    return Reference.parse(f"{server.host}/team/app:{tag}")


@asynccontextmanager
async def asking(
    server: Scripted,
    *,
    who: Credential | None = None,
    idle_seconds: float = 5,
    access: Access | None = None,
    warn: Warn = nobody,
) -> AsyncIterator[RegistryClient]:
    """A client that speaks plain HTTP with `server`, as `who`."""
    credentials = Credentials({server.host: who} if who else {}, environ={})
    access = access or Access(plain_http=frozenset({server.host}))
    async with RegistryClient(access, credentials, idle_seconds=idle_seconds, warn=warn) as client:
        yield client


CANARY_HEX = "c4" * 32  # a password that could be a digest


def always(
    response: Callable[[], web.Response],
) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    async def answer(request: web.BaseRequest) -> web.Response:
        return response()

    return answer


async def test_a_head_tells_what_a_tag_names_and_names_all_four_types() -> None:
    async with scripted(always(manifest_answer)) as server, asking(server) as client:
        found = await client.resolve(reference(server))
    assert found is not None
    assert (found.media_type, found.digest, found.size) == (MANIFEST_TYPE, DIGEST, len(MANIFEST))
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("HEAD", "/v2/team/app/manifests/1")
    assert set(seen.headers["Accept"].split(", ")) == set(ACCEPTED_TYPES)
    assert seen.headers["Accept-Encoding"] == "identity"
    assert seen.headers["User-Agent"].startswith("asyncsync/")
    assert "Authorization" not in seen.headers


async def test_a_get_brings_the_exact_bytes_with_all_four_types_named() -> None:
    async with scripted(always(manifest_answer)) as server, asking(server) as client:
        raw = await client.manifest(reference(server).by_digest(DIGEST))
    assert (raw.data, raw.digest, raw.media_type) == (MANIFEST, DIGEST, MANIFEST_TYPE)
    (seen,) = server.requests
    assert (seen.method, seen.path) == ("GET", f"/v2/team/app/manifests/{DIGEST}")
    assert set(seen.headers["Accept"].split(", ")) == set(ACCEPTED_TYPES)


@pytest.mark.parametrize(
    "head",
    [
        lambda: web.Response(headers={"Content-Type": MANIFEST_TYPE}),
        lambda: web.Response(text="<html>Welcome</html>", content_type="text/html"),
        lambda: web.Response(status=405),
    ],
    ids=["no digest", "a page", "not allowed"],
)
async def test_a_head_that_tells_too_little_is_followed_by_a_get(
    head: Callable[[], web.Response],
) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return head() if request.method == "HEAD" else manifest_answer()

    async with scripted(answer) as server, asking(server) as client:
        found = await client.resolve(reference(server))
    assert found is not None
    assert (found.digest, found.size) == (DIGEST, len(MANIFEST))
    assert [seen.method for seen in server.requests] == ["HEAD", "GET"]


async def test_a_tag_that_is_not_there_resolves_to_nothing_and_has_no_manifest() -> None:
    async with (
        scripted(always(lambda: web.Response(status=404))) as server,
        asking(server) as client,
    ):
        assert await client.resolve(reference(server, "7.99")) is None
        with pytest.raises(NotFound) as caught:
            await client.manifest(reference(server, "7.99"))
    assert caught.value.what == f"{server.host}/team/app has no tag 7.99"
    assert caught.value.where == Where(server.host)


async def test_nothing_behind_a_head_that_is_not_allowed_is_nothing() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=405 if request.method == "HEAD" else 404)

    async with scripted(answer) as server, asking(server) as client:
        assert await client.resolve(reference(server)) is None


async def test_docker_hub_is_asked_at_its_own_host_and_library_is_in_the_path() -> None:
    async with scripted(always(manifest_answer)) as proxy:
        access = Access(
            plain_http=frozenset({"docker.io"}), proxies={"http": f"http://{proxy.host}"}
        )
        async with RegistryClient(access, Credentials(environ={})) as client:
            await client.resolve(Reference.parse("redis:7"))
    (seen,) = proxy.requests
    assert seen.headers["Host"] == "registry-1.docker.io"
    assert seen.path.endswith("/v2/library/redis/manifests/7")


async def test_a_login_page_in_place_of_a_manifest_is_no_success() -> None:
    page = lambda: web.Response(text="<html>Welcome</html>", content_type="text/html")  # noqa: E731
    async with scripted(always(page)) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable, match="text/html that is no manifest"):
            await client.resolve(reference(server))


async def test_bytes_that_are_not_what_the_registry_says_are_refused() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        response = manifest_answer()
        response.headers["Docker-Content-Digest"] = digest_of(b"something else")
        return response

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(DigestMismatch, match=server.host):
            await client.manifest(reference(server))


async def test_a_manifest_without_end_is_given_up_after_4_mib() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await endless(request, MANIFEST_TYPE)

    async with scripted(answer) as server, asking(server) as client:
        with fail_after(10), pytest.raises(UnsupportedManifest, match="larger than 4 MiB"):
            await client.manifest(reference(server))


async def test_an_error_without_end_is_still_that_error() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await endless(request, "text/plain", status=503)

    async with scripted(answer) as server, asking(server) as client:
        with fail_after(10), pytest.raises(RegistryUnavailable, match="503 Service") as caught:
            await client.manifest(reference(server))
    assert len(str(caught.value)) < 1000


async def test_a_packed_manifest_is_not_unpacked_behind_our_back() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        response = manifest_answer(b"\x1f\x8b not for us")
        response.headers["Content-Encoding"] = "gzip"
        return response

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable, match="no manifest"):
            await client.manifest(reference(server))


async def test_a_busy_registry_is_asked_once_and_its_wish_to_wait_is_told() -> None:
    busy = lambda: web.Response(status=429, headers={"Retry-After": "7"})  # noqa: E731
    async with scripted(always(busy)) as server, asking(server) as client:
        with pytest.raises(RateLimited) as caught:
            await client.resolve(reference(server))
    assert (caught.value.transient, caught.value.retry_after) == (True, 7)
    assert len(server.requests) == 1


async def test_a_connection_that_is_reset_inside_a_body_is_worth_repeating() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await reset(request, sent=MANIFEST[:50])

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable, match="broke the connection off") as caught:
            await client.manifest(reference(server))
    assert caught.value.transient


async def test_a_registry_that_falls_silent_is_left() -> None:
    silent = Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        await silent.wait()
        return manifest_answer()

    async with scripted(answer) as server, asking(server, idle_seconds=0.2) as client:
        with fail_after(10), pytest.raises(TimedOut, match="sent nothing for") as caught:
            await client.resolve(reference(server))
        silent.set()
    assert caught.value.transient


async def test_silence_tells_a_registry_that_has_never_answered_from_an_overloaded_one() -> None:
    heard: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        heard.append(request)
        if len(heard) != 2:
            await sleep_forever()
        return web.Response(status=503)

    async with scripted(answer) as server, asking(server, idle_seconds=0.2) as client:

        async def failure() -> CopyError:
            with fail_after(10), pytest.raises(CopyError) as caught:
                await client.resolve(reference(server))
            return caught.value

        first, second, third = [await failure() for _ in range(3)]
    assert isinstance(first, TimedOut)
    assert first.away
    assert first.advice().startswith(
        f"It has answered nothing in this run: check that {server.host} is"
    )
    assert isinstance(second, RegistryUnavailable), "it says that it is overloaded"
    assert isinstance(third, TimedOut)
    assert third.what == first.what
    assert not third.away
    assert third.advice().startswith("Run it again")


async def test_a_token_server_that_never_answers_is_told_apart_from_its_registry(
    tmp_path: Path,
) -> None:
    own, realm = self_signed(tmp_path), ""

    async def swallow(request: web.BaseRequest) -> web.Response:
        await sleep_forever()
        return web.Response()

    async def challenge(request: web.BaseRequest) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})

    async with scripted(challenge) as server, scripted(swallow, tls=own.context) as tokens:
        realm = f"https://{tokens.host}/token"
        access = Access(plain_http=frozenset({server.host}), ca_file=own.file)
        async with asking(server, access=access, idle_seconds=0.2) as client:
            with fail_after(10), pytest.raises(TimedOut) as caught:
                await client.resolve(reference(server))
    assert caught.value.away
    assert caught.value.where.registry == server.host
    assert caught.value.what == f"{tokens.host} sent nothing for 0 s"
    assert f"check that {tokens.host} is up" in caught.value.advice()


@pytest.mark.parametrize(
    ("head", "more"),
    [(b"4;", b"an-extension"), (b"4\r\nblob\r\n0\r\n", b"X-Trailer: 1\r\n")],
    ids=["an extension of a chunk", "trailers"],
)
async def test_a_registry_that_sends_all_but_the_blob_is_left(head: bytes, more: bytes) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        request.transport.write(chunked + head)
        while not request.transport.is_closing():
            request.transport.write(more)
            await sleep(0.05)  # so the line is hardly ever silent for as long as one waits
        return web.Response()

    async with scripted(answer) as server, asking(server, idle_seconds=0.3) as client:
        blob = reference(server).by_digest(Digest.of(b"blob"))
        with fail_after(10), pytest.raises(TimedOut) as caught:
            async with client.blob(blob) as reading:
                assert [chunk async for chunk in reading] == [b"blob"]
    assert caught.value.transient


class Dripping:
    """A registry that sends `count` bytes, one by one: the next one once the last was `taken`.

    `seconds` pass in between, of the loop's time.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self.count, self.seconds = count, seconds
        self.clock = Clock()
        self._took, self._taken = create_memory_object_stream[None](count)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(self.count)})
        await response.prepare(request)
        for _ in range(self.count):
            await response.write(b"x")
            await self._taken.receive()
            self.clock.advance(self.seconds)
        return response

    def taken(self) -> None:
        self._took.send_nowait(None)

    def close(self) -> None:
        self._took.close()
        self._taken.close()


async def test_a_registry_that_sends_drops_is_left_although_it_is_never_silent() -> None:
    with closing(Dripping(10_000, seconds=0.3)) as drops:
        async with scripted(drops) as server, asking(server, idle_seconds=1) as client:
            with (
                drops.clock.of_the_loop(),
                pytest.raises(TimedOut, match=r" sent only \d+ bytes in ") as caught,
            ):
                async with client.blob(reference(server).by_digest(DIGEST)) as reading:
                    async for _ in reading:
                        drops.taken()
    assert caught.value.transient


async def test_the_time_that_the_reader_takes_for_himself_makes_no_body_slow() -> None:
    with closing(Dripping(50, seconds=0.05)) as drops:
        async with scripted(drops) as server, asking(server, idle_seconds=1) as client:
            with drops.clock.of_the_loop():
                async with client.blob(reference(server).by_digest(DIGEST)) as reading:
                    count = given = 0
                    async for chunk in reading:
                        if not count:  # his own time: more than is waited for a silent registry
                            for _ in range(20):
                                drops.taken()
                                given += 1
                                for _ in range(100):  # in which the next one comes in
                                    await checkpoint()
                                await drops.clock.pass_by(0.3)
                        count += len(chunk)
                        while given < count:
                            drops.taken()
                            given += 1
    assert count == 50


async def test_a_port_where_nothing_listens_is_named() -> None:
    async with scripted(always(manifest_answer)) as server:
        pass
    async with asking(server) as client:
        with pytest.raises(RegistryUnavailable) as caught:
            await client.resolve(reference(server))
    assert caught.value.what == f"nothing listens at {server.host} (connection refused)"
    assert caught.value.away
    assert caught.value.transient


async def test_a_port_that_nobody_wrote_is_named_too() -> None:
    nowhere = Scripted("127.99.99.99")
    async with asking(nowhere) as client:
        with pytest.raises(RegistryUnavailable, match=r"at 127\.99\.99\.99 on port 80 "):
            await client.resolve(reference(nowhere))
    async with asking(nowhere, access=Access()) as client:
        with pytest.raises(RegistryUnavailable, match=r"at 127\.99\.99\.99 on port 443 "):
            await client.resolve(reference(nowhere))


async def test_something_that_speaks_no_http_is_told() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        return await reset(request)

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable, match=server.host):
            await client.resolve(reference(server))


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_no_secret_and_no_escape_code_comes_back_from_a_registry(status: int) -> None:
    secret = "c4nary&s3cret"

    async def answer(request: web.BaseRequest) -> web.Response:
        shown = request.headers.get("Authorization")
        if shown is None:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        page = f"<html>\033[31m::error::{secret} c4nary&amp;s3cret {shown}</html>"
        return web.Response(status=status, text=page, content_type="text/html")

    async with scripted(answer) as server, asking(server, who=Credential("u", secret)) as client:
        with pytest.raises(CopyError) as caught:
            await client.manifest(reference(server))
    error = caught.value
    told = [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
    (authorization,) = {r.headers["Authorization"] for r in server.requests[1:]}
    for canary in (secret, "c4nary", authorization.removeprefix("Basic ").rstrip("=")):
        assert canary not in "".join(told)
    assert "\033" not in str(error)


@pytest.mark.parametrize(
    "odd",
    [
        {"Content-Type": "c4nary-S3cret"},
        {"Content-Type": MANIFEST_TYPE, "Docker-Content-Digest": f"sha256:{CANARY_HEX}"},
        {"Location": "https://c4nary-s3cret.example/x", "status": "307"},
    ],
    ids=["type", "digest", "host"],
)
@pytest.mark.parametrize("secret", ["c4nary-S3cret", CANARY_HEX])
async def test_a_login_that_is_quoted_as_something_else_is_not_told(
    odd: dict[str, str], secret: str
) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        headers = {key: value for key, value in odd.items() if key != "status"}
        return web.Response(status=int(odd.get("status", 200)), body=b"<p>", headers=headers)

    async with scripted(answer) as server, asking(server, who=Credential("u", secret)) as client:
        ref = reference(server).by_digest(DIGEST)
        for ask in (client.manifest, client.look, client.config, client.begin):
            with pytest.raises(CopyError) as caught:
                await ask(ref)
            told = "".join(traceback.format_exception(caught.value))
            assert secret not in told
            assert secret.lower() not in told


async def test_a_header_that_breaks_the_parser_does_not_bring_our_secret_back() -> None:
    secret = "c4nary-s3cret"

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        assert request.transport is not None
        line = b"HTTP/1.1 200 OK\r\n" + secret.encode() + b" bad header\r\n\r\n"
        request.transport.write(line)
        return await reset(request)

    async with scripted(answer) as server, asking(server, who=Credential("u", secret)) as client:
        with pytest.raises(RegistryUnavailable) as caught:
            await client.manifest(reference(server))
    assert secret not in "".join(traceback.format_exception(caught.value))


async def test_no_more_than_64_requests_of_a_kind_are_under_way_to_one_registry() -> None:
    gate, now, most = Event(), 0, 0

    async def answer(request: web.BaseRequest) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await gate.wait()
        now -= 1
        return manifest_answer()

    async with scripted(answer) as server, asking(server) as client, create_task_group() as group:
        for number in range(100):
            group.start_soon(client.resolve, reference(server, f"t{number}"))
        while len(server.requests) < 64:
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        gate.set()
    assert most == 64
    assert len(server.requests) == 100


async def test_a_cancelled_question_leaves_the_client_usable() -> None:
    gate = Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path.endswith("/slow"):
            await gate.wait()
        return manifest_answer()

    async with scripted(answer) as server, asking(server) as client:
        with CancelScope() as scope:
            async with create_task_group() as group:
                group.start_soon(client.resolve, reference(server, "slow"))
                while not server.requests:
                    await wait_all_tasks_blocked()
                scope.cancel()
        assert await client.resolve(reference(server)) is not None
        gate.set()


async def test_a_loopback_host_without_tls_is_asked_in_plain_http_after_one_try() -> None:
    async with (
        scripted(always(manifest_answer)) as server,
        asking(server, access=Access()) as client,
        create_task_group() as group,
    ):
        for number in range(20):
            group.start_soon(client.resolve, reference(server, f"t{number}"))
    assert len(server.requests) == 20  # the try by TLS is no HTTP request


async def test_a_loopback_host_that_hangs_up_on_tls_is_asked_in_plain_http() -> None:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: {MANIFEST_TYPE}\r\n"
        f"Docker-Content-Digest: {DIGEST}\r\nContent-Length: {len(MANIFEST)}\r\n"
        "Connection: close\r\n\r\n"
    )

    hellos = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal hellos
        async with stream:
            if (await stream.receive()).startswith(b"HEAD "):
                await stream.send(head.encode())
            else:
                hellos += 1

    async with speaking(serve) as host:
        server = Scripted(host)
        async with asking(server, access=Access()) as client, create_task_group() as asks:
            for number in range(20):
                asks.start_soon(client.resolve, reference(server, f"t{number}"))
    assert hellos == 1


async def test_a_certificate_of_nobody_we_know_is_no_reason_for_plain_http(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    async with (
        scripted(always(manifest_answer), tls=own.context) as server,
        asking(server, access=Access()) as client,
    ):
        with pytest.raises(TlsError, match="not trusted here") as caught:
            await client.resolve(reference(server))
    assert not caught.value.transient
    assert server.requests == []


async def test_a_certificate_in_the_ca_file_is_trusted(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    async with (
        scripted(always(manifest_answer), tls=own.context) as server,
        asking(server, access=Access(ca_file=own.file)) as client,
    ):
        assert await client.resolve(reference(server)) is not None


async def test_with_a_ca_file_there_is_no_plain_http(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    async with (
        scripted(always(manifest_answer)) as server,
        asking(server, access=Access(ca_file=own.file)) as client,
    ):
        with pytest.raises(TlsError, match="speaks no TLS") as caught:
            await client.resolve(reference(server))
    assert server.requests == []
    advice = caught.value.located("registry.example/app:1", Step.RESOLVE).advice()
    assert advice.startswith(f"If it is meant to speak none: --plain-http {server.host},")


async def test_a_host_that_is_said_to_be_plain_gets_no_tls(tmp_path: Path) -> None:
    context: ssl.SSLContext = self_signed(tmp_path).context
    async with scripted(always(manifest_answer), tls=context) as server, asking(server) as client:
        with pytest.raises(CopyError):
            await client.resolve(reference(server))


async def test_a_host_that_is_said_to_be_plain_and_answers_in_tls_is_said_so_no_more() -> None:
    async def alert(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"\x15\x03\x01\x00\x02\x02\x46\r\n")  # RFC 8446 §6

    async with speaking(alert) as host:
        server = Scripted(host)
        async with asking(server) as client:
            with pytest.raises(RegistryUnavailable, match="is no HTTP") as caught:
                await client.resolve(reference(server))
    error = caught.value.located(f"{server.host}/team/app:1", Step.RESOLVE)
    assert f"leave out --plain-http {server.host};" in str(error)


async def test_a_host_that_is_said_to_be_plain_and_hangs_up_may_want_tls() -> None:
    async with scripted(reset) as server, asking(server) as client:
        with pytest.raises(RegistryUnavailable, match="broke the connection off") as caught:
            await client.manifest(reference(server))
    assert f"leave out --plain-http {server.host};" in caught.value.advice()
    async with scripted(reset) as server, asking(server, access=Access()) as client:
        with pytest.raises(RegistryUnavailable, match="broke the connection off") as caught:
            await client.manifest(reference(server))
    assert "--plain-http" not in caught.value.advice()


@pytest.mark.parametrize("text", ["", "no certificate"])
async def test_a_ca_file_without_a_certificate_is_named_at_once(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        async with RegistryClient(Access(ca_file=file), Credentials(environ={})):
            raise AssertionError("it opened")


async def test_a_ca_file_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"ca\.pem: cannot be read"):
        async with RegistryClient(Access(ca_file=tmp_path / "ca.pem"), Credentials(environ={})):
            raise AssertionError("it opened")


async def test_a_proxy_of_another_kind_is_told_before_anything_is_asked() -> None:
    access = Access(proxies={"https": "socks5://p.example"})
    with pytest.raises(ConfigurationError, match="socks5"):
        async with RegistryClient(access, Credentials(environ={})):
            raise AssertionError("it opened")


async def test_a_proxy_of_another_kind_that_nobody_needs_is_no_obstacle() -> None:
    proxies = {"https": "http://p.example", "all": "socks5://p.example"}  # http: none is asked so
    async with RegistryClient(Access(proxies=proxies), Credentials(environ={})):
        pass
    access = Access(proxies=proxies, plain_http={"r.example"})
    with pytest.raises(ConfigurationError, match="socks5"):
        async with RegistryClient(access, Credentials(environ={})):
            raise AssertionError("it opened")


async def test_a_proxy_is_asked_for_hosts_elsewhere() -> None:
    async with scripted(always(manifest_answer)) as proxy:
        access = Access(
            plain_http=frozenset({"r.example"}), proxies={"http": f"http://{proxy.host}"}
        )
        async with RegistryClient(access, Credentials(environ={})) as client:
            found = await client.resolve(Reference.parse("r.example/team/app:1"))
    assert found is not None
    assert proxy.requests[0].headers["Host"] == "r.example"


async def test_a_proxy_that_refuses_is_told() -> None:
    async with scripted(always(lambda: web.Response(status=403))) as proxy:
        access = Access(proxies={"https": f"http://u:c4nary@{proxy.host}"})
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(RegistryUnavailable, match=r"proxy before r\.example") as caught:
                await client.resolve(Reference.parse("r.example/team/app:1"))
    assert "c4nary" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.advice().startswith("Check the proxy that HTTPS_PROXY or HTTP_PROXY names")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_gets_its_login_and_the_registry_behind_it_does_not(scheme: str) -> None:
    async with scripted(always(lambda: web.Response(status=502))) as proxy:
        access = Access(
            plain_http=frozenset({"r.example"} if scheme == "http" else ()),
            proxies={scheme: f"http://j%C3%BCrg:%E2%82%AC@{proxy.host}"},
        )
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(RegistryUnavailable):
                await client.resolve(Reference.parse("r.example/team/app:1"))
    (seen,) = proxy.requests
    assert seen.method == ("HEAD" if scheme == "http" else "CONNECT")
    sent = base64.b64encode("jürg:€".encode()).decode()
    assert seen.headers["Proxy-Authorization"] == f"Basic {sent}"
    assert "Authorization" not in seen.headers


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("login", "offered", "what", "advice"),
    [
        ("", ["Basic realm=x"], "wants a login", "Write user and password into HTTPS_PROXY or"),
        ("u:c4nary@", ["Negotiate", "Basic"], "refuses the login in its URL", "Write user and"),
        ("u:c4nary@", ["Negotiate", "NTLM"], "takes no login by user and password", "Name one in"),
    ],
)
async def test_a_proxy_that_wants_a_login_is_told_and_not_the_registry_behind_it(
    scheme: str, login: str, offered: list[str], what: str, advice: str
) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        headers = CIMultiDict(("Proxy-Authenticate", challenge) for challenge in offered)
        return web.Response(status=407, headers=headers, text="who are you?")

    async with scripted(refuse) as proxy:
        access = Access(
            plain_http=frozenset({"r.example"} if scheme == "http" else ()),
            proxies={scheme: f"http://{login}{proxy.host}"},
        )
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(RegistryUnavailable) as caught:
                await client.resolve(Reference.parse("r.example/team/app:1"))
    told = f"the proxy before r.example {what} (407 Proxy Authentication Required)"
    assert (caught.value.what, caught.value.transient) == (told, False)
    assert caught.value.advice().startswith(advice)
    assert "c4nary" not in "".join(traceback.format_exception(caught.value))


async def test_a_proxy_that_reaches_nobody_says_so_in_its_own_name() -> None:
    async with scripted(always(lambda: web.Response(status=503))) as proxy:
        access = Access(proxies={"https": f"http://{proxy.host}"})
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(RegistryUnavailable) as caught:
                await client.resolve(Reference.parse("r.example/team/app:1"))
    assert caught.value.what == "the proxy before r.example answered 503 Service Unavailable"
    assert caught.value.transient
    assert caught.value.advice().startswith("Check that r.example is up and that the proxy reaches")


@pytest.mark.parametrize(
    ("answer", "speaker"),
    [
        (lambda: web.Response(status=403, text="blocked"), "r.example, or the proxy before it,"),
        (lambda: registrys_word(web.Response(status=403)), "r.example"),
        (lambda: web.json_response({"errors": [{"code": "DENIED"}]}, status=403), "r.example"),
    ],
    ids=["a page", "with the registry's header", "a registry's document"],
)
async def test_an_answer_that_came_by_a_proxy_may_be_of_the_proxy_unless_a_registry_shows(
    answer: Callable[[], web.Response], speaker: str
) -> None:
    async with scripted(always(answer)) as proxy:
        access = Access(
            plain_http=frozenset({"r.example"}), proxies={"http": f"http://{proxy.host}"}
        )
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(CopyError) as caught:
                await client.manifest(Reference.parse("r.example/team/app:1"))
    assert caught.value.what.startswith(f"{speaker} refuses us (403 Forbidden)")


def registrys_word(answer: web.Response) -> web.Response:
    answer.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
    return answer


async def test_what_breaks_off_or_shows_a_certificate_through_a_proxy_may_be_the_proxy(
    tmp_path: Path,
) -> None:
    """A proxy that looks into TLS shows a certificate by a CA of its own."""
    tunnels = {"broken.example": b"", "looked-into.example": b"HTTP/1.1 200 OK\r\n\r\n"}

    async def tunnel(connection: SocketStream) -> None:
        async with connection:
            host = (await connection.receive()).split()[1].split(b":")[0].decode()
            if not tunnels[host]:
                return
            await connection.send(tunnels[host])
            with suppress(BrokenResourceError):
                await TLSStream.wrap(
                    connection, server_side=True, ssl_context=self_signed(tmp_path).context
                )

    async with speaking(tunnel) as host:
        access = Access(proxies={"https": f"http://{host}"})
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(RegistryUnavailable) as broken:
                await client.resolve(Reference.parse("broken.example/team/app:1"))
            with pytest.raises(TlsError) as unknown:
                await client.resolve(Reference.parse("looked-into.example/team/app:1"))
    assert broken.value.what == ("broken.example, or the proxy before it, broke the connection off")
    assert unknown.value.what.startswith(
        "looked-into.example, or the proxy before it, shows a certificate that is not trusted here"
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("proxy", "what"),
    [
        ("https://u:c4nary@{plain}", "the proxy before r.example speaks no TLS"),
        ("https://u:c4nary@{secure}", "the proxy before r.example shows a certificate that is not"),
        ("http://u:c4nary@{nobody}", "the proxy before r.example does not answer"),
        ("http://u:c4nary@p.example", "the name of the proxy before r.example cannot be resolved"),
    ],
)
async def test_a_proxy_that_cannot_be_asked_is_told_and_not_the_registry_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str, what: str, scheme: str
) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "p.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    plain_http = frozenset({"r.example"} if scheme == "http" else ())
    async with (
        scripted(always(manifest_answer)) as plain,
        scripted(always(manifest_answer), tls=self_signed(tmp_path).context) as secure,
    ):
        url = proxy.format(plain=plain.host, secure=secure.host, nobody=nobody)
        access = Access(plain_http=plain_http, proxies={scheme: url})
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(RegistryUnavailable, match=f"^{what}") as caught:
                await client.resolve(Reference.parse("r.example/team/app:1"))
    assert "c4nary" not in "".join(traceback.format_exception(caught.value))
    advice = caught.value.advice()
    assert advice.startswith("Check the proxy that HTTPS_PROXY or HTTP_PROXY names; NO_PROXY names")
    assert ("is written with http://" in advice) is proxy.startswith("https")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost."])  # a certificate names no dot
async def test_a_host_that_is_not_checked_leaves_no_proxy_unchecked_that_speaks_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *args, **_s: real("127.0.0.1", *args))
    (tmp_path / "inside").mkdir()
    outer, inner = self_signed(tmp_path), self_signed(tmp_path / "inside")
    asked: list[bytes] = []

    async def tunnel(raw: SocketStream) -> None:
        async with raw:
            with suppress(BrokenResourceError, EndOfStream):
                around = await TLSStream.wrap(raw, server_side=True, ssl_context=outer.context)
                asked.append(await around.receive())
                await around.send(b"HTTP/1.1 200 OK\r\n\r\n")
                within = await TLSStream.wrap(around, server_side=True, ssl_context=inner.context)
                while await within.receive():
                    await within.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with speaking(tunnel) as host:
        proxies = {"https": f"https://u:c4nary@{host.replace('127.0.0.1', name)}"}
        app = Reference.parse("r.example/team/app:1")
        access = Access(proxies=proxies, insecure={"r.example"})
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(RegistryUnavailable, match=r"^the proxy before r\.example shows a "):
                await client.resolve(app)
        assert not asked  # nor told our login
        access = Access(proxies=proxies, insecure={"r.example"}, ca_file=outer.file)
        async with RegistryClient(access, Credentials(environ={})) as client:
            assert await client.resolve(app) is None
    assert [line.split()[:2] for line in asked] == [[b"CONNECT", b"r.example:443"]]


@pytest.mark.parametrize("path", ["/v2/", "/token"])
async def test_a_proxy_that_shows_our_login_does_not_bring_it_back(path: str) -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        if request.path.startswith(path):
            return web.Response(status=403, text=request.headers["Proxy-Authorization"])
        header = 'Bearer realm="http://r.example/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": header})

    async with scripted(refuse) as proxy:
        access = Access(
            plain_http=frozenset({"r.example"}), proxies={"http": f"http://u:c4nary@{proxy.host}"}
        )
        async with RegistryClient(access, Credentials(environ={})) as client:
            with pytest.raises(CopyError, match=r"Basic \*\*\*") as caught:
                await client.manifest(Reference.parse("r.example/team/app:1"))
    assert "dTpjNG5hcn" not in str(caught.value)


@pytest.mark.parametrize("body", [None, Bytes(b"blob")], ids=["nothing", "a body"])
async def test_a_proxy_that_takes_a_connection_and_says_nothing_is_left(body: Bytes | None) -> None:
    async def accept(connection: SocketStream) -> None:
        async with connection:
            await sleep_forever()

    async with speaking(accept) as host:
        access = Access(proxies={"https": f"http://{host}"})
        async with Wire(access, idle_seconds=0.2) as wire:
            read = (lambda: body.read(0, body.size)) if body else None
            request = Request("PUT", URL("https://r.example/v2/"), {}, 1000, read)
            with fail_after(10), pytest.raises(TimedOut, match=r"^r\.example, or the proxy"):
                await wire.ask(request, Where("r.example"))


@pytest.mark.parametrize("status", [None, 413], ids=["breaks off", "answers early"])
async def test_what_is_read_for_a_body_ends_with_its_request(status: int | None) -> None:
    """Else it holds the connection to its source until it is collected."""
    ended = Event()

    async def read() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(65536)
        finally:
            ended.set()

    async def refuse(connection: SocketStream) -> None:
        async with connection:
            await connection.receive()
            if status:
                await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    async with speaking(refuse) as host, Wire(Access()) as wire:
        url = URL(f"http://{host}/v2/")
        request = Request("PUT", url, {"Content-Length": str(2**40)}, 1000, read)
        if status:
            assert (await wire.ask(request, Where("r.example"))).status == status
        else:
            with pytest.raises(RegistryUnavailable, match="broke the connection off"):
                await wire.ask(request, Where("r.example"))
        assert ended.is_set()


CONFIG = b'{"os": "linux", "architecture": "amd64"}'


@asynccontextmanager
async def asking_a_mirror(
    server: Scripted, mirror: Scripted
) -> AsyncIterator[tuple[RegistryClient, Reference]]:
    """A client that asks `mirror` before `server`, and a reference to ask for."""
    access = Access(
        plain_http=frozenset({server.host}), mirrors={server.host: (f"http://{mirror.host}",)}
    )
    async with asking(server, access=access) as client:
        yield client, reference(server)


async def with_config(request: web.BaseRequest) -> web.Response:
    return web.Response(body=CONFIG) if "/blobs/" in request.path else manifest_answer()


@pytest.mark.parametrize("first", ["manifest", "config"])
async def test_a_mirror_that_sends_wrong_bytes_is_asked_for_nothing_more(first: str) -> None:
    async def lie(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b'{"schemaVersion": 2}', content_type=MANIFEST_TYPE)

    async with (
        scripted(lie) as mirror,
        scripted(with_config) as server,
        asking_a_mirror(server, mirror) as (client, ref),
    ):
        for what in (first, "manifest", "config"):
            if what == "manifest":
                assert (await client.manifest(ref.by_digest(DIGEST))).data == MANIFEST
            else:
                assert await client.config(ref.by_digest(Digest.of(CONFIG))) == CONFIG
    assert len(mirror.requests) == 1
    assert len(server.requests) == 3


async def test_a_mirror_that_fails_is_told_once_and_one_that_lacks_something_is_not() -> None:
    told: list[tuple[str, str]] = []

    async def fail(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404 if request.path.endswith("/2") else 403)

    async with scripted(fail) as mirror, scripted(with_config) as server:
        access = Access(
            plain_http=frozenset({server.host}), mirrors={server.host: (f"http://{mirror.host}",)}
        )
        warn = lambda *heard: told.append(heard)  # noqa: E731
        async with asking(server, access=access, warn=warn) as client:
            for tag in ("2", "1", "1"):
                assert await client.resolve(reference(server, tag)) is not None
    ((of, text),) = told
    assert of == mirror.host
    assert text.startswith(f"the mirror fails, so {server.host} itself is asked: ")


async def test_a_mirror_that_fails_for_each_repository_in_other_words_is_told_once() -> None:
    told: list[str] = []

    async def login(request: web.BaseRequest) -> web.Response:
        return web.Response(status=401, text=request.path, headers={"WWW-Authenticate": "Basic"})

    async def refuse(request: web.BaseRequest) -> web.Response:
        said = {"errors": [{"code": "DENIED", "message": f"not {request.path}"}]}
        return web.json_response(said, status=403)

    async with scripted(login) as first, scripted(refuse) as other, scripted(with_config) as server:
        access = Access(
            plain_http=frozenset({server.host}),
            mirrors={server.host: (f"http://{first.host}", f"http://{other.host}")},
        )
        async with asking(server, access=access, warn=lambda of, _: told.append(of)) as client:
            for tag in ("1", "2"):
                await client.manifest(reference(server, tag))
    assert told == [first.host, other.host]


@pytest.mark.parametrize("status", [404, 403])
async def test_a_mirror_that_fails_three_times_in_a_row_is_left_out(status: int) -> None:
    answers = [status, status, 200, status, status, status]

    async def now_and_then(request: web.BaseRequest) -> web.Response:
        good = answers.pop(0) == 200
        return manifest_answer() if good else web.Response(status=status)

    async with (
        scripted(now_and_then) as mirror,
        scripted(with_config) as server,
        asking_a_mirror(server, mirror) as (client, ref),
    ):
        for _ in range(8):
            assert (await client.manifest(ref)).data == MANIFEST
    assert (len(mirror.requests), len(server.requests)) == (6, 7)


async def test_what_a_mirror_has_no_tag_for_is_asked_of_the_next_and_of_the_registry() -> None:
    async def nothing(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404)

    async with scripted(nothing) as first, scripted(nothing) as other, scripted(nothing) as server:
        access = Access(
            plain_http=frozenset({server.host}),
            mirrors={server.host: (f"http://{first.host}", f"http://{other.host}")},
        )
        async with asking(server, access=access) as client:
            for _ in range(5):  # it answers, so it is no failing mirror
                assert await client.resolve(reference(server)) is None
    assert [len(each.requests) for each in (first, other, server)] == [5, 5, 5]


async def test_a_mirror_whose_bytes_are_distrusted_is_told() -> None:
    told: list[tuple[str, str]] = []
    async with scripted(with_config) as mirror, scripted(with_config) as server:
        access = Access(
            plain_http=frozenset({server.host}), mirrors={server.host: (f"http://{mirror.host}",)}
        )
        warn = lambda *heard: told.append(heard)  # noqa: E731
        async with asking(server, access=access, warn=warn) as client:
            for _ in range(2):
                ref = reference(server).by_digest(Digest.of(CONFIG))
                async with client.blob(ref) as reading:
                    reading.distrust()
    why = f"the mirror fails, so {server.host} itself is asked: it sends wrong bytes, or breaks off"
    assert told == [(mirror.host, why)]


async def test_a_mirror_whose_bytes_are_distrusted_is_asked_for_nothing_more() -> None:
    async with (
        scripted(with_config) as mirror,
        scripted(with_config) as server,
        asking_a_mirror(server, mirror) as (client, ref),
    ):
        async with client.blob(ref.by_digest(Digest.of(CONFIG))) as reading:
            assert str(reading.place) == mirror.host
            assert reading.distrust()
        async with client.blob(ref.by_digest(Digest.of(CONFIG))) as reading:
            assert str(reading.place) == server.host
            assert not reading.distrust()
            assert b"".join([chunk async for chunk in reading]) == CONFIG
        assert await client.resolve(ref) is not None
    assert len(mirror.requests) == 1


async def test_a_good_answer_that_was_under_way_brings_no_distrusted_mirror_back() -> None:
    asked, distrusted = Event(), Event()

    async def slowly(request: web.BaseRequest) -> web.Response:
        if request.method == "HEAD":
            asked.set()
            await distrusted.wait()
        return await with_config(request)

    async with (
        scripted(slowly) as mirror,
        scripted(with_config) as server,
        asking_a_mirror(server, mirror) as (client, ref),
    ):
        with fail_after(20):
            async with create_task_group() as group:
                group.start_soon(client.resolve, ref)
                await asked.wait()
                async with client.blob(ref.by_digest(Digest.of(CONFIG))) as reading:
                    assert reading.distrust()
                distrusted.set()
        assert await client.resolve(ref) is not None
    assert [request.method for request in mirror.requests] == ["HEAD", "GET"]
    assert [request.method for request in server.requests] == ["HEAD"]


async def test_a_config_is_fetched_by_its_digest_and_checked() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=CONFIG if request.path.endswith("1") else b"something else")

    async with scripted(answer) as server, asking(server) as client:
        ref = reference(server).by_digest(Digest.parse(digest_of(CONFIG)))
        with pytest.raises(DigestMismatch, match="something else for the config"):
            await client.config(ref)
        assert server.requests[-1].path == f"/v2/team/app/blobs/{ref.digest}"


async def test_a_config_that_is_right_is_given_byte_for_byte() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=CONFIG)

    async with scripted(answer) as server, asking(server) as client:
        ref = reference(server).by_digest(Digest.parse(digest_of(CONFIG)))
        assert await client.config(ref) == CONFIG


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (503, RegistryUnavailable), (429, RateLimited)]
)
async def test_a_config_that_is_refused_is_the_error_that_it_is(
    status: int, kind: type[CopyError]
) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(kind):
            await client.config(reference(server).by_digest(DIGEST))


async def test_a_config_without_end_is_refused() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return await endless(request, "application/octet-stream")

    async with scripted(answer) as server, asking(server) as client:
        with pytest.raises(UnsupportedManifest, match="larger than 4 MiB"):
            await client.config(reference(server).by_digest(DIGEST))


async def test_passwords_of_a_netrc_are_nobodys_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password of-the-netrc\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return manifest_answer()

    async with scripted(answer) as server, asking(server) as client:
        await client.manifest(reference(server))
        assert "Authorization" not in server.requests[-1].headers


@pytest.mark.parametrize(
    ("headers", "texts"),
    [
        (['299 - "this tag will go"'], ["this tag will go"]),
        (['299 - "one", 299 - "two"', '299 - "three"'], ["one", "two", "three"]),
        ([r'299 - "say \"please\", or \\ not"'], [r'say "please", or \ not']),
        (['110 - "Response is Stale"'], []),
        (['299 cache.example "not from here"'], []),
        (['110 - "stale", 299 - "and this"'], ["and this"]),
        (["299 - never quoted"], []),
        (['299 - "never ended'], []),
        (['299 - ""'], [""]),
        ([f'299 - "{"x" * 5000}"'], []),
        ([], []),
    ],
    ids=range(11),
)
def test_a_warning_is_of_the_one_kind_that_registries_send(
    headers: list[str], texts: list[str]
) -> None:
    assert list(warnings_in(headers)) == texts


def warning(*texts: str) -> web.Response:
    """A manifest, with these Warning headers."""
    answer = manifest_answer()
    for text in texts:
        answer.headers.add("Warning", f'299 - "{text}"')
    return answer


async def test_what_a_registry_warns_of_is_told_once_for_each_text() -> None:
    told: list[tuple[str, str]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return warning("all of this ends", f"{request.method} is old")

    async with (
        scripted(answer) as server,
        asking(server, warn=lambda *heard: told.append(heard)) as client,
    ):
        for tag in ("1", "2"):
            await client.resolve(reference(server, tag))
            await client.manifest(reference(server, tag))
    texts = ("all of this ends", "HEAD is old", "GET is old")
    assert told == [(server.host, text) for text in texts]


async def test_a_warning_is_a_bounded_printable_line_without_our_secrets_and_there_are_few() -> (
    None
):
    told: list[str] = []
    number = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal number
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        number += 1
        said = f"::error::\t##[x] {number} c4nary-s3cret {request.headers['Authorization']}"
        return warning(said + "x" * 1000)

    who = Credential("alice", "c4nary-s3cret")
    async with (
        scripted(answer) as server,
        asking(server, who=who, warn=lambda _, text: told.append(text)) as client,
    ):
        for tag in range(NOTICES_MAX + 5):
            await client.resolve(reference(server, str(tag)))
        basic = server.requests[-1].headers["Authorization"].removeprefix("Basic ")
    assert len(told) == NOTICES_MAX
    for text in told:
        assert text.isprintable()
        assert 200 < len(text) <= TEXT_MAX
        assert text.startswith("error::")
        assert "##[" not in text
        assert "c4nary" not in text
        assert basic not in text
