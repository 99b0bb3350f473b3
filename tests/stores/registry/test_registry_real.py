"""Against docker-registry itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access, Credential
from asyncsync.model.errors import AuthenticationFailed, NotFound, TlsError
from asyncsync.model.manifest import Index, parse_manifest
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.client import RegistryClient

pytestmark = pytest.mark.registry


@asynccontextmanager
async def asking(
    access: Access | None = None, explicit: dict[str, Credential] | None = None
) -> AsyncIterator[RegistryClient]:
    credentials = Credentials(explicit or {}, environ={})
    async with RegistryClient(access or Access(), credentials) as client:
        yield client


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
