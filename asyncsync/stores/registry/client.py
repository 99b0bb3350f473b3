"""Asks registries for manifests, and for the small configs that they name."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.model.errors import DigestMismatch, NotFound, UnsupportedManifest, Where
from asyncsync.model.manifest import MANIFEST_BYTES_MAX, Descriptor, RawManifest
from asyncsync.model.reference import Digest, Reference, Registry
from asyncsync.stores.registry.answers import not_found
from asyncsync.stores.registry.kinds import descriptor_of, manifest_of
from asyncsync.stores.registry.session import Session
from asyncsync.stores.registry.wire import Wire

IDLE_SECONDS = 60.0


class RegistryClient:
    """Reads manifests of registries over HTTP. Many tasks call it at once.

    Use it as `async with RegistryClient(access, credentials) as client`: leaving the block closes
    its connections. It never repeats what failed, only what wants a login or a newer token.
    """

    def __init__(
        self,
        access: Access,
        credentials: Credentials,
        *,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access, self._credentials, self._clock = access, credentials, clock
        self._wire = Wire(access, idle_seconds=idle_seconds)
        self._sessions: dict[Registry, Session] = {}

    async def __aenter__(self) -> Self:
        await self._wire.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._wire.__aexit__(kind, error, traceback)

    async def resolve(self, ref: Reference) -> Descriptor | None:
        """What `ref` names now, or None if it names nothing. Costs a HEAD.

        A GET too where the HEAD tells too little. Raises CopyError, with the registry alone.
        """
        session = self._session(ref.place)
        answer = await session.ask("HEAD", ref)
        if answer.status == 404:
            return None
        if answer.status == 200:
            if found := descriptor_of(answer.headers, ref):
                return found
        elif answer.status != 405:
            raise session.failure(answer)
        try:
            raw = await self.manifest(ref)
        except NotFound:
            return None
        return Descriptor(raw.media_type, raw.digest, len(raw.data))

    async def manifest(self, ref: Reference) -> RawManifest:
        """The exact bytes that `ref` names, at most 4 MiB, their digest checked. Costs a GET.

        Raises CopyError, with the registry alone; NotFound if it names nothing.
        """
        session = self._session(ref.place)
        answer = await session.ask("GET", ref)
        if answer.status == 404:
            raise not_found(answer, ref)
        if answer.status != 200:
            raise session.failure(answer)
        if answer.cut:
            what = f"the manifest of {ref} is larger than {MANIFEST_BYTES_MAX // 2**20} MiB"
            raise UnsupportedManifest(what, Where(ref.place.host))
        return manifest_of(answer.headers, answer.body, ref)

    async def config(self, ref: Reference) -> bytes:
        """The config of an image by its digest, at most 4 MiB, its digest checked. Costs a GET.

        Raises CopyError, with the registry alone; NotFound if it names nothing.
        """
        session = self._session(ref.place)
        answer = await session.ask("GET", ref, "blobs")
        if answer.status != 200:
            raise session.failure(answer)
        if answer.cut:
            what = f"the config of {ref} is larger than {MANIFEST_BYTES_MAX // 2**20} MiB"
            raise UnsupportedManifest(what, Where(ref.place.host))
        if ref.digest is None or Digest.of(answer.body, ref.digest.algorithm) != ref.digest:
            what = f"{ref.place} sent something else for the config {ref.digest} of {ref.name}"
            raise DigestMismatch(what, Where(ref.place.host))
        return answer.body

    def _session(self, place: Registry) -> Session:
        if place not in self._sessions:
            self._sessions[place] = Session(
                place, self._access, self._credentials, self._wire, clock=self._clock
            )
        return self._sessions[place]
