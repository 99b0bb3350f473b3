"""Docker's certs.d: a server is believed by its own CA, and we show it a certificate of ours."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from scripted import Certificate, Scripted, manifest_answer, scripted, self_signed

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.model.digest import Digest
from asyncsync.model.errors import RegistryUnavailable, TlsError, Where
from asyncsync.model.place import Registry
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.certificates import certificate_folders, context_for
from asyncsync.stores.registry.client import RegistryClient


@pytest.fixture
def servers(tmp_path: Path) -> Certificate:
    return certificate_in(tmp_path / "server")


@pytest.fixture
def ours(tmp_path: Path) -> Certificate:
    return certificate_in(tmp_path / "client")


def certificate_in(folder: Path) -> Certificate:
    folder.mkdir()
    return self_signed(folder)


def put(folder: Path, host: str, **files: Path) -> Path:
    """Copy `files` (name and ending joined by one `_`) into the folder of `host`; the parent."""
    (folder / host).mkdir(parents=True, exist_ok=True)
    for name, file in files.items():
        (folder / host / name.replace("_", ".")).write_bytes(file.read_bytes())
    return folder


async def sent(request: web.BaseRequest) -> web.Response:
    """What a store of blobs answers, and a token server."""
    return (
        web.json_response({"token": "t"}) if request.path == "/token" else web.Response(body=b"{}")
    )


@asynccontextmanager
async def serving(
    certificate: Certificate, *, wants: Certificate | None = None
) -> AsyncIterator[Scripted]:
    """A registry over TLS; it speaks with nobody who has not the certificate that it `wants`."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return manifest_answer()

    if wants:
        certificate.context.verify_mode = ssl.CERT_REQUIRED
        certificate.context.load_verify_locations(cafile=wants.file)
    async with scripted(answer, tls=certificate.context) as server:
        yield server


async def believed(server: Scripted, context: ssl.SSLContext | None) -> bool:
    """Whether a request gets its answer."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"https://{server.host}/v2/", ssl=context or True) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False


def key_of(certificate: Certificate) -> Path:
    return certificate.file.with_name("key.pem")


def test_a_host_of_which_nothing_is_known_has_no_context_of_its_own(
    tmp_path: Path, servers: Certificate
) -> None:
    folder = put(tmp_path / "certs.d", "other.example:5000", ca_crt=servers.file)
    for host in ("r.example", "other.example", "example:5000"):
        assert context_for(Registry(host), Access(), [folder, tmp_path / "none"]) is None


async def test_the_ca_of_a_host_is_trusted_for_that_host(
    tmp_path: Path, servers: Certificate
) -> None:
    async with serving(servers) as server:
        folder = put(tmp_path / "certs.d", server.host, ca_crt=servers.file)
        assert await believed(server, context_for(Registry(server.host), Access(), [folder]))
        assert not await believed(server, context_for(Registry(server.host), Access(), []))


async def test_the_file_of_cas_is_trusted_beside_the_host_s_own(
    tmp_path: Path, servers: Certificate, ours: Certificate
) -> None:
    async with serving(servers) as server:
        folder = put(tmp_path / "certs.d", server.host, other_crt=ours.file)
        access = Access(ca_file=servers.file)
        assert await believed(server, context_for(Registry(server.host), access, [folder]))


async def test_the_cas_of_all_folders_count(
    tmp_path: Path, servers: Certificate, ours: Certificate
) -> None:
    async with serving(servers) as server:
        first = put(tmp_path / "first", server.host, ca_crt=ours.file)
        second = put(tmp_path / "second", server.host, ca_crt=servers.file)
        place = Registry(server.host)
        assert await believed(server, context_for(place, Access(), [first, second]))
        assert not await believed(server, context_for(place, Access(), [first]))


async def test_a_server_that_asks_for_a_certificate_is_shown_the_host_s_own(
    tmp_path: Path, servers: Certificate, ours: Certificate
) -> None:
    async with serving(servers, wants=ours) as server:
        place = Registry(server.host)
        without = put(tmp_path / "without", server.host, ca_crt=servers.file)
        assert not await believed(server, context_for(place, Access(), [without]))
        pair = {"us_cert": ours.file, "us_key": key_of(ours)}
        folder = put(tmp_path / "certs.d", server.host, ca_crt=servers.file, **pair)
        assert await believed(server, context_for(place, Access(), [folder]))


async def test_of_several_certificates_the_first_is_shown(
    tmp_path: Path, servers: Certificate, ours: Certificate
) -> None:
    async with serving(servers, wants=ours) as server:
        right = {"us_cert": ours.file, "us_key": key_of(ours), "ca_crt": servers.file}
        other = {"a_cert": servers.file, "a_key": key_of(servers)}
        first = put(tmp_path / "first", server.host, **right)
        second = put(tmp_path / "second", server.host, **other)
        place = Registry(server.host)
        assert await believed(server, context_for(place, Access(), [first, second]))
        assert not await believed(server, context_for(place, Access(), [second, first]))


async def test_an_insecure_host_is_believed_whatever_it_shows_and_no_other_is(
    servers: Certificate,
) -> None:
    async with serving(servers) as server:
        access = Access(insecure=frozenset({server.host}))
        assert await believed(server, context_for(Registry(server.host), access, []))
        assert context_for(Registry("r.example"), access, []) is None


async def test_an_insecure_host_is_shown_our_certificate_too(
    tmp_path: Path, servers: Certificate, ours: Certificate
) -> None:
    async with serving(servers, wants=ours) as server:
        pair = {"us_cert": ours.file, "us_key": key_of(ours)}
        folder = put(tmp_path / "certs.d", server.host, **pair)
        access = Access(insecure=frozenset({server.host}))
        assert await believed(server, context_for(Registry(server.host), access, [folder]))


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_token_is_asked_of_an_insecure_host_as_its_images_are(
    tmp_path: Path, servers: Certificate, elsewhere: bool
) -> None:
    realm = ""

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == "/token":
            return web.json_response({"token": "t"})
        if "Authorization" in request.headers:
            return manifest_answer()
        header = f'Bearer realm="{realm}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": header})

    other = certificate_in(tmp_path / "other")
    async with (
        scripted(answer, tls=other.context) as auth,
        scripted(answer, tls=servers.context) as server,
    ):
        realm = f"https://{auth.host}" if elsewhere else ""
        for hosts, fine in (({server.host, auth.host}, True), ({server.host}, not elsewhere)):
            access = Access(insecure=frozenset(hosts))
            async with RegistryClient(access, Credentials(environ={})) as client:
                asked = client.resolve(Reference.parse(f"{server.host}/team/app:1"))
                if fine:
                    assert await asked is not None
                else:
                    with pytest.raises(TlsError, match=f"^{auth.host} shows a certificate"):
                        await asked


@asynccontextmanager
async def sending_us(
    kind: str, registrys: Certificate, others: Certificate | None, nobody: str = ""
) -> AsyncIterator[tuple[str, str]]:
    """The hosts of a registry, and of where it sends us by https for its blobs or its tokens.

    `nobody`: it sends us there in place of to a server.
    """
    there = ""

    async def answer(request: web.BaseRequest) -> web.Response:
        if kind == "blobs":
            return web.Response(status=307, headers={"Location": f"{there}/blob"})
        if "Authorization" in request.headers:
            return web.Response(body=b"{}")
        header = f'Bearer realm="{there}/token"'
        return web.Response(status=401, headers={"WWW-Authenticate": header})

    async with (
        scripted(sent, tls=others and others.context) as other,
        scripted(answer, tls=registrys.context) as server,
    ):
        host = nobody or other.host
        there = f"https://{host}"
        yield server.host, host


@pytest.mark.parametrize("trusted", ["registry", "store", "nobody"])
@pytest.mark.parametrize("kind", ["blobs", "tokens"])
async def test_the_ca_of_a_registry_is_trusted_where_it_sends_us(
    tmp_path: Path,
    servers: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    trusted: str,
) -> None:
    store = certificate_in(tmp_path / "store")
    async with sending_us(kind, servers, store) as (registry, there):
        monkeypatch.setenv("HOME", str(tmp_path))
        folder = tmp_path / ".config/containers/certs.d"
        put(folder, registry, ca_crt=servers.file)
        if trusted != "nobody":
            put(folder, registry if trusted == "registry" else there, store_crt=store.file)
        async with RegistryClient(Access(), Credentials(environ={})) as client:
            config = client.config(Reference.parse(f"{registry}/team/app@{Digest.of(b'{}')}"))
            if trusted != "nobody":
                assert await config == b"{}"
                return
            with pytest.raises(TlsError, match=f"^{there} shows a certificate") as caught:
                await config
    assert caught.value.where == Where(registry)
    assert caught.value.advice() == (
        f"It is where {registry} sends us. Trust its CA: --ca-file FILE, or "
        f"/etc/docker/certs.d/{there}/ca.crt; to check nothing: --insecure-skip-verify {there}."
    )


@pytest.mark.parametrize("kind", ["blobs", "tokens"])
async def test_where_a_registry_sends_us_by_https_to_whom_speaks_none_it_is_told_who_can_mend_it(
    servers: Certificate, kind: str
) -> None:
    async with (
        sending_us(kind, servers, None) as (registry, there),
        RegistryClient(Access(ca_file=servers.file), Credentials(environ={})) as client,
    ):
        with pytest.raises(TlsError, match=f"^{there} speaks no TLS") as caught:
            await client.config(Reference.parse(f"{registry}/a@{Digest.of(b'{}')}"))
    assert caught.value.advice() == (
        f"It is where {registry} sends us, by https: whoever runs {registry} can correct that."
    )


@pytest.mark.parametrize("kind", ["blobs", "tokens"])
async def test_where_a_registry_sends_us_to_whom_nobody_reaches_that_one_is_to_be_looked_at(
    servers: Certificate, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    async with (
        sending_us(kind, servers, None, nobody) as (registry, there),
        RegistryClient(Access(ca_file=servers.file), Credentials(environ={})) as client,
    ):
        with pytest.raises(RegistryUnavailable, match=f"nothing listens at {there}") as caught:
            await client.config(Reference.parse(f"{registry}/a@{Digest.of(b'{}')}"))
    assert caught.value.advice() == (
        f"It is where {registry} sends us: check that {there} is up and reachable from here, too, "
        "then run it again."
    )


def test_a_host_without_tls_needs_no_certificates(tmp_path: Path, ours: Certificate) -> None:
    folder = put(tmp_path / "certs.d", "r.example", us_cert=ours.file)
    access = Access(plain_http=frozenset({"r.example"}))
    assert context_for(Registry("r.example"), access, [folder]) is None


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"us_cert": "cert"}, r"us\.cert has no us\.key beside it.* a CA is called us\.crt"),
        ({"us_key": "key"}, r"us\.key has no us\.cert beside it"),
        ({"us_cert": "cert", "them_key": "key"}, r"them\.key has no them\.cert beside it"),
        ({"us_cert": "key", "us_key": "cert"}, r"no certificate and its key in PEM form"),
        ({"us_cert": "cert", "us_key": "other"}, r"no certificate and its key in PEM form"),
        ({"us_cert": "cert", "us_key": "locked"}, r"us\.key is locked by a password"),
        ({"ca_crt": "key"}, r"ca\.crt: holds no certificate in PEM form"),
        ({"ca_crt": "folder"}, r"ca\.crt: "),
        ({"us_cert": "folder", "us_key": "key"}, r"us\.cert or us\.key cannot be read"),
    ],
)
def test_files_that_cannot_be_used_are_an_error_that_says_which_and_why(
    tmp_path: Path, ours: Certificate, servers: Certificate, files: dict[str, str], told: str
) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "ec", "-in", key_of(ours), "-aes256", "-passout", "pass:x", "-out", locked],
        check=True, capture_output=True,
    )  # fmt: skip
    kinds = {"cert": ours.file, "key": key_of(ours), "other": key_of(servers), "locked": locked}
    known = {name: kinds[kind] for name, kind in files.items() if kind in kinds}
    folder = put(tmp_path / "certs.d", "r.example:5000", **known)
    for name, kind in files.items():
        if kind == "folder":
            (folder / "r.example:5000" / name.replace("_", ".")).mkdir()
    with pytest.raises(TlsError, match=told) as caught:
        context_for(Registry("r.example:5000"), Access(), [folder])
    assert caught.value.where == Where("r.example:5000")
    names = Registry("names.example")
    with pytest.raises(TlsError, match=told) as caught:
        context_for(Registry("r.example:5000"), Access(), [folder], named_by=names)
    assert caught.value.where == Where("names.example")


def test_what_is_no_certificate_in_the_folder_is_passed_over(
    tmp_path: Path, ours: Certificate
) -> None:
    folder = put(tmp_path / "certs.d", "r.example", README_txt=ours.file, ca_pem=ours.file)
    assert context_for(Registry("r.example"), Access(), [folder]) is None


def test_the_user_s_own_folder_comes_before_those_of_the_machine() -> None:
    assert list(map(str, certificate_folders({"HOME": "/home/me"}))) == [
        "/home/me/.config/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d",
    ]  # fmt: skip
