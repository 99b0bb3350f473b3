from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from scripted import Handler, Scripted, manifest_answer, scripted, self_signed
from yarl import URL

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import CopyError, PermissionDenied, Where
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.stores.registry.trust import Reach
from asyncsync.stores.registry.wire import Request, Wire

ALICE = Credential("alice", password="c4nary-s3cret")
SIGNED = "/b%2Fc?sig=a%2Bb%2Fc%3D&t=%7E&q=%41+x&id=Z~"


def to(location: str) -> Handler:
    """A registry that wants a password, and sends whoever has it elsewhere."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        return web.Response(status=307, headers={"Location": location})

    return answer


async def image_there(request: web.BaseRequest) -> web.Response:
    return manifest_answer()


@asynccontextmanager
async def asking(server: Scripted, access: Access | None = None) -> AsyncIterator[RegistryClient]:
    access = access or Access(plain_http=frozenset({server.host}))
    credentials = Credentials({server.host: ALICE}, environ={})
    async with RegistryClient(access, credentials, idle_seconds=5) as client:
        yield client


def image(server: Scripted) -> Reference:
    return Reference.parse(f"{server.host}/team/app:1")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_redirect_keeps_method_and_every_byte_and_loses_our_login(method: str) -> None:
    async with (
        scripted(image_there) as storage,
        scripted(to(f"http://{storage.host}{SIGNED}")) as server,
        asking(server) as client,
    ):
        ask = client.resolve if method == "HEAD" else client.manifest
        assert await ask(image(server)) is not None
    (seen,) = storage.requests
    assert (seen.method, seen.path) == (method, SIGNED)
    assert "Authorization" not in seen.headers
    assert "application/vnd.oci.image.index.v1+json" in seen.headers["Accept"]


async def test_a_redirect_on_the_same_host_keeps_our_login() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/elsewhere":
            return manifest_answer()
        return await to("/elsewhere")(request)

    async with scripted(answer) as server, asking(server) as client:
        assert await client.resolve(image(server)) is not None
    (seen,) = server.seen("HEAD", "/elsewhere")
    assert seen.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(("redirects", "fine"), [(5, True), (6, False)])
async def test_five_redirects_are_followed_and_no_more(redirects: int, fine: bool) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        done = int(request.query.get("n", "0"))
        if done == redirects:
            return manifest_answer()
        return web.Response(status=302, headers={"Location": f"/again?n={done + 1}"})

    async with scripted(answer) as server, asking(server) as client:
        if fine:
            assert await client.resolve(image(server)) is not None
        else:
            with pytest.raises(CopyError, match="more than 5 times"):
                await client.resolve(image(server))
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/b",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/b",
        "http://user:pw@127.0.0.1:1/b",
        "ftp://storage.example/b",
        "http://two..dots.example/b",
        f"http://{'h' * 5000}.example/b",
        "",
    ],
)
async def test_a_redirect_to_where_we_do_not_go_is_refused(location: str) -> None:
    async with scripted(to(location)) as server, asking(server) as client:
        with pytest.raises(CopyError, match=r"sends us to .*: refused") as caught:
            await client.resolve(image(server))
    assert not caught.value.transient
    assert "meta-data" not in str(caught.value)
    assert len(caught.value.what) < 500


async def test_a_redirect_from_tls_to_plain_http_is_refused(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    async with scripted(image_there) as storage:
        location = f"http://{storage.host}/b"
        async with (
            scripted(to(location), tls=own.context) as server,
            asking(server, Access(ca_file=own.file)) as client,
        ):
            with pytest.raises(CopyError, match="is not https: refused"):
                await client.resolve(image(server))
    assert storage.requests == []


async def test_a_challenge_of_the_host_redirected_to_is_answered_as_nobody() -> None:
    async def other(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return web.json_response({"token": "for-nobody"})
        if request.headers.get("Authorization") == "Bearer for-nobody":
            return manifest_answer()
        realm = f'Bearer realm="http://{request.headers["Host"]}/token",scope="repository:x/y:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    async with (
        scripted(other) as regional,
        scripted(to(f"http://{regional.host}/v2/x/y/manifests/1")) as server,
        asking(server) as client,
    ):
        assert await client.resolve(image(server)) is not None
    assert [seen.headers.get("Authorization") for seen in regional.requests] == [
        None,
        None,
        "Bearer for-nobody",
    ]
    assert regional.seen("GET", "/token")[0].path == "/token?scope=repository%3Ax%2Fy%3Apull"


async def test_a_password_is_not_given_to_the_host_redirected_to() -> None:
    async def other(request: web.BaseRequest) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})

    async with (
        scripted(other) as phisher,
        scripted(to(f"http://{phisher.host}/b")) as server,
        asking(server) as client,
    ):
        with pytest.raises(PermissionDenied, match=f"{phisher.host}, where {server.host} sends us"):
            await client.resolve(image(server))
    assert [seen.headers.get("Authorization") for seen in phisher.requests] == [None]


@pytest.mark.parametrize(
    ("home", "fine"),
    [(Reach.PUBLIC, False), (Reach.PRIVATE, False), (Reach.LOOPBACK, True), (None, True)],
)
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_an_address_inside_is_refused_when_its_name_is_resolved(
    home: Reach | None, fine: bool, name: str
) -> None:
    where = Where("r.example")
    async with scripted(image_there) as server, Wire(Access(), idle_seconds=5) as wire:
        url = URL(f"http://{name}:{server.host.rpartition(':')[2]}/")
        request = Request("GET", url, {}, 1000)
        if fine:
            assert (await wire.ask(request, where, home=home)).status == 200
        else:
            with pytest.raises(CopyError, match="which has a loopback address: refused"):
                await wire.ask(request, where, home=home)
    assert len(server.requests) == fine


async def test_a_registry_is_as_near_as_the_address_that_we_reached_it_at() -> None:
    async with scripted(image_there) as server, Wire(Access(), idle_seconds=5) as wire:
        url = URL(f"http://{server.host}/")
        assert wire.reach_of(URL("http://unknown.example/")) is Reach.PUBLIC
        await wire.ask(Request("GET", url, {}, 1000), Where("r.example"))
        assert wire.reach_of(url) is Reach.LOOPBACK


async def test_a_redirect_to_a_name_of_an_address_inside_is_refused(inside: str) -> None:
    async with scripted(image_there) as storage:
        port = storage.host.rpartition(":")[2]

        async def answer(request: web.BaseRequest) -> web.Response:
            return web.Response(status=307, headers={"Location": f"http://{inside}:{port}/b"})

        async with scripted(answer) as proxy:  # so that the registry is nowhere near
            access = Access(
                plain_http=frozenset({"r.example"}),
                proxies={"http": f"http://{proxy.host}", "no": inside},
            )
            async with RegistryClient(access, Credentials(environ={})) as client:
                with pytest.raises(CopyError, match="which has a loopback address: refused"):
                    await client.resolve(Reference.parse("r.example/team/app:1"))
    assert storage.requests == []


async def test_a_realm_at_a_name_of_an_address_inside_is_refused(inside: str) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        header = f'Bearer realm="https://{inside}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": header})

    async with scripted(answer) as proxy:
        access = Access(
            plain_http=frozenset({"r.example"}),
            proxies={"http": f"http://{proxy.host}", "no": inside},
        )
        credentials = Credentials({"r.example": ALICE}, environ={})
        async with RegistryClient(access, credentials) as client:
            with pytest.raises(CopyError, match="which has a loopback address: refused"):
                await client.resolve(Reference.parse("r.example/team/app:1"))


async def test_a_registry_inside_may_send_us_to_an_address_inside(inside: str) -> None:
    async with (
        scripted(image_there) as storage,
        scripted(to(f"http://{storage.host}/b")) as server,
    ):
        host = f"{inside}:{server.host.rpartition(':')[2]}"
        credentials = Credentials({host: ALICE}, environ={})
        async with RegistryClient(Access(plain_http=frozenset({host})), credentials) as client:
            assert await client.resolve(Reference.parse(f"{host}/team/app:1")) is not None
    assert len(storage.requests) == 1
