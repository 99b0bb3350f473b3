"""Against docker-registry itself."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from parts import images
from scripted import Bytes

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access, Credential
from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    AuthenticationFailed,
    BlobsUnknown,
    CopyError,
    DigestMismatch,
    NotFound,
    RegistryUnavailable,
    TlsError,
    Where,
)
from asyncsync.model.manifest import Index, RawManifest, parse_manifest
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.stores.registry.quirks import Quirks, Way, quirks

pytestmark = pytest.mark.registry

PIECE = 16 * 1024
DATA = random.Random("a blob").randbytes(5 * PIECE + 7)  # noqa: S311  content, no secret
CHUNK = 2 * PIECE


@asynccontextmanager
async def asking(
    access: Access | None = None,
    explicit: dict[str, Credential] | None = None,
    known: Quirks | None = None,
) -> AsyncIterator[RegistryClient]:
    credentials = Credentials(explicit or {}, environ={})
    async with RegistryClient(
        access or Access(), credentials, known=lambda host: known or quirks(host)
    ) as client:
        yield client


def let_in(registry: Any) -> dict[str, Any]:
    """How a client gets into a registry of the tests: its CA, its login."""
    explicit = {}
    if registry.user is not None:
        explicit[registry.host] = Credential(registry.user, password=registry.password)
    return {"access": Access(ca_file=registry.ca_file), "explicit": explicit}


@pytest.fixture(params=["registry", "tls_registry", "locked_registry"])
def any_registry(request: pytest.FixtureRequest) -> Any:
    """Each of the three registries: open, with TLS, with a login."""
    return request.getfixturevalue(request.param)


def blob_of(registry: Any, repository: str, content: Bytes) -> Reference:
    return Reference.parse(f"{registry.host}/{repository}:1").by_digest(content.digest)


async def send(client: RegistryClient, ref: Reference, content: Bytes) -> None:
    upload = await client.begin(ref)
    assert upload is not None
    await upload.send(content)


async def read(client: RegistryClient, ref: Reference, start: int, stop: int | None) -> bytes:
    async with client.blob(ref, start, stop) as chunks:
        return b"".join([chunk async for chunk in chunks])


class Breaking(Bytes):
    """Bytes whose reader fails the first time that it begins at `at`."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data, PIECE)
        self._at = at

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        if start == self._at and start not in self.read_from:
            self.read_from.append(start)
            raise RegistryUnavailable("the source broke", Where("source.example"))
        async for piece in super().read(start, stop):
            yield piece


async def test_images_and_indexes_are_found_as_they_were_put(registry: Any, namespace: str) -> None:
    image = registry.put_image(f"{namespace}/app", "1")
    index = registry.put_index(f"{namespace}/app", "all")
    name = f"{registry.host}/{namespace}/app"
    async with asking() as client:
        for tag, digest in (("1", image.digest), ("all", index.digest)):
            ref = Reference.parse(f"{name}:{tag}")
            found, raw = await client.resolve(ref), await client.manifest(ref)
            assert found is not None
            assert (str(found.digest), str(raw.digest)) == (digest, digest)
            assert (found.media_type, found.size) == (raw.media_type, len(raw.data))
        assert isinstance(parse_manifest(raw), Index)
        by_digest = Reference.parse(f"{name}@{image.digest}")
        assert str((await client.manifest(by_digest)).digest) == image.digest


async def test_what_is_missing_is_told_from_what_is_there(registry: Any, namespace: str) -> None:
    registry.put_image(f"{namespace}/app", "1")
    async with asking() as client:
        no_tag = Reference.parse(f"{registry.host}/{namespace}/app:7.99")
        assert await client.resolve(no_tag) is None
        with pytest.raises(NotFound, match=r"has no tag 7\.99"):
            await client.manifest(no_tag)


async def test_a_login_opens_a_locked_registry(locked_registry: Any, namespace: str) -> None:
    image = locked_registry.put_image(f"{namespace}/app", "1")
    host = locked_registry.host
    ref = Reference.parse(f"{host}/{namespace}/app:1")
    right = Credential(locked_registry.user, password=locked_registry.password)
    async with asking(explicit={host: right}) as client:
        found = await client.resolve(ref)
        assert found is not None
        assert str(found.digest) == image.digest
    async with asking() as client:
        with pytest.raises(AuthenticationFailed, match="wants a login"):
            await client.resolve(ref)
    async with asking(explicit={host: Credential("tester", password="wrong")}) as client:
        with pytest.raises(AuthenticationFailed, match="refuses the credentials for user tester"):
            await client.resolve(ref)


async def test_its_certificate_is_trusted_by_its_ca_alone(
    tls_registry: Any, namespace: str
) -> None:
    image = tls_registry.put_image(f"{namespace}/app", "1")
    ref = Reference.parse(f"{tls_registry.host}/{namespace}/app:1")
    async with asking(Access(ca_file=tls_registry.ca_file)) as client:
        found = await client.resolve(ref)
        assert found is not None
        assert str(found.digest) == image.digest
    async with asking() as client:
        with pytest.raises(TlsError, match="not trusted here"):
            await client.resolve(ref)


@pytest.mark.parametrize("way", Way)
async def test_a_blob_arrives_whole_in_every_way_and_is_read_back(
    way: Way, any_registry: Any, namespace: str
) -> None:
    known = Quirks(ways=(way,), chunk_bytes=CHUNK)
    async with asking(**let_in(any_registry), known=known) as client:
        for data in (DATA, DATA[: 2 * CHUNK], b"", b"{}"):
            content = Bytes(data, PIECE)
            ref = blob_of(any_registry, f"{namespace}/app", content)
            await send(client, ref, content)
            assert await read(client, ref, 0, None) == data
        ref = blob_of(any_registry, f"{namespace}/app", Bytes(DATA))
        assert await read(client, ref, 1000, None) == DATA[1000:]
        assert await read(client, ref, 1000, 70_000) == DATA[1000:70_000]


@pytest.mark.parametrize("way", Way)
async def test_wrong_bytes_never_become_a_blob(way: Way, registry: Any, namespace: str) -> None:
    content = Bytes(DATA, PIECE)
    content.data = b"x" + DATA[1:]
    ref = blob_of(registry, f"{namespace}/app", content)
    async with asking(known=Quirks(ways=(way,), chunk_bytes=CHUNK)) as client:
        with pytest.raises(DigestMismatch, match="got other bytes"):
            await send(client, ref, content)
        with pytest.raises(NotFound):
            await read(client, ref, 0, None)


async def test_what_is_there_costs_one_request(any_registry: Any, namespace: str) -> None:
    content = Bytes(DATA, PIECE)
    any_registry.put_blob(f"{namespace}/app", DATA)
    any_registry.put_blob(f"{namespace}/app", b"another")
    async with asking(**let_in(any_registry)) as client:
        # The first has to find out how to get in.
        assert await client.begin(blob_of(any_registry, f"{namespace}/app", Bytes(b"another"))) is (
            None
        )
        mark = any_registry.mark()
        assert await client.begin(blob_of(any_registry, f"{namespace}/app", content)) is None
        (request,) = any_registry.requests(since=mark)
    assert (request.method, request.status) == ("POST", 201)


async def test_a_blob_is_mounted_from_another_repository(any_registry: Any, namespace: str) -> None:
    content = Bytes(DATA, PIECE)
    any_registry.put_blob(f"{namespace}/base", DATA)
    ref = blob_of(any_registry, f"{namespace}/app", content)
    async with asking(**let_in(any_registry)) as client:
        assert await client.begin(ref, f"{namespace}/base") is None
        assert await read(client, ref, 0, None) == DATA


async def test_a_blob_that_cannot_be_mounted_is_uploaded_where_the_mount_began(
    registry: Any, namespace: str
) -> None:
    content = Bytes(DATA, PIECE)
    ref = blob_of(registry, f"{namespace}/app", content)
    mark = registry.mark()
    async with asking() as client:
        upload = await client.begin(ref, f"{namespace}/without-it")
        assert upload is not None
        await upload.send(content)
    asked = [(request.method, request.status) for request in registry.requests(since=mark)]
    assert [pair for pair in asked if pair[0] != "GET"] == [("POST", 202), ("PUT", 201)]


async def test_an_upload_that_broke_between_chunks_goes_on_where_it_was(
    any_registry: Any, namespace: str
) -> None:
    content = Breaking(DATA, CHUNK)
    ref = blob_of(any_registry, f"{namespace}/app", content)
    known = Quirks(ways=(Way.CHUNKS,), chunk_bytes=CHUNK)
    async with asking(**let_in(any_registry), known=known) as client:
        upload = await client.begin(ref)
        assert upload is not None
        with pytest.raises(CopyError):
            await upload.send(content)
        start = await upload.offset()
        assert start == CHUNK
        await upload.send(content, start)
        assert await read(client, ref, 0, None) == DATA
    assert content.read_from == [0, CHUNK, CHUNK, 2 * CHUNK]


async def test_a_cancelled_upload_is_gone(any_registry: Any, namespace: str) -> None:
    ref = blob_of(any_registry, f"{namespace}/app", Bytes(DATA))
    async with asking(**let_in(any_registry)) as client:
        upload = await client.begin(ref)
        assert upload is not None
        mark = any_registry.mark()
        await upload.cancel()
        assert await upload.offset() == 0
    asked = [(request.method, request.status) for request in any_registry.requests(since=mark)]
    assert asked == [("DELETE", 204), ("GET", 404)]


async def test_an_image_is_put_once_its_blobs_are_there_and_read_back(
    any_registry: Any, namespace: str
) -> None:
    image = images.image([images.layer(namespace)], "linux/amd64", oci=True)
    raw = RawManifest(
        image.manifest.media_type, image.manifest.data, Digest.parse(image.manifest.digest)
    )
    ref = Reference.parse(f"{any_registry.host}/{namespace}/app:1")
    blobs = [image.config, *image.layers]
    async with asking(**let_in(any_registry)) as client:
        assert await client.look(ref) is None
        with pytest.raises(BlobsUnknown) as caught:
            await client.put(ref, raw)
        assert {str(digest) for digest in caught.value.missing} == {blob.digest for blob in blobs}
        for blob in blobs:
            content = Bytes(blob.data, PIECE)
            await send(client, ref.by_digest(content.digest), content)
        assert (await client.put(ref, raw)).digest == raw.digest
        assert await client.manifest(ref) == raw
        found = await client.look(ref)
        assert found is not None
        assert found.digest == raw.digest
