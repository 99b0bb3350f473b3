"""Registries as a source and as a target: manifests and blobs, read and written."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from yarl import URL

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.model.digest import Digest, referrers_tag
from asyncsync.model.foreign import without
from asyncsync.model.manifest import OCI_INDEX, Descriptor, RawManifest, Taken
from asyncsync.model.place import Place, Registry, as_registry
from asyncsync.model.reference import Reference
from asyncsync.stores.registry import images
from asyncsync.stores.registry.listing import listed_in, referrers_of
from asyncsync.stores.registry.mirrors import Mirrors
from asyncsync.stores.registry.notices import Notices, Warn, nobody
from asyncsync.stores.registry.quirks import Mounts, Quirks, quirks
from asyncsync.stores.registry.ranges import between, byte_range
from asyncsync.stores.registry.session import Session
from asyncsync.stores.registry.uploads import Upload, begin, begin_anew
from asyncsync.stores.registry.wire import Wire

T = TypeVar("T")

IDLE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of a blob as they come, unchecked. `place`: who sends them.

    `distrust`, where they are wrong or do not come: a mirror that sends them is asked for nothing
    more. False: it is the registry itself, and nobody else can be asked.
    """

    place: Registry
    _chunks: AsyncIterator[bytes]
    distrust: Callable[[], bool]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    @property
    def goes_on(self) -> bool:
        """What a registry ended too early may come another time."""
        return True


class RegistryClient:
    """Reads and writes images of registries over HTTP. Many tasks call it at once.

    Use it as `async with RegistryClient(access, credentials) as client`: leaving the block closes
    its connections. It never repeats what failed, only what wants a login or a newer token.
    `known`: what is different at the registry of a host; `warn` hears of what registries warn of,
    each text once.
    """

    def __init__(
        self,
        access: Access,
        credentials: Credentials,
        *,
        idle_seconds: float = IDLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        known: Callable[[str], Quirks] = quirks,
        warn: Warn = nobody,
    ) -> None:
        self._access, self._credentials, self._clock = access, credentials, clock
        self._known = known
        self._wire = Wire(access, idle_seconds=idle_seconds)
        self._notices = Notices(warn)
        self._sessions: dict[Registry, Session] = {}
        self._every: list[Session] = []  # the mirrors' as well
        self._mirrors: dict[Registry, Mirrors] = {}
        # Repositories where nobody but clients lists what refers to a manifest.
        self._listless: set[tuple[Place, str, str]] = set()

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
        return await self._first(ref, lambda session: images.resolved(session, ref, writes=False))

    def instead(self, ref: Reference) -> str:  # noqa: ARG002
        """Nothing: whoever asks a registry for its tags may have to ask long."""
        return ""

    async def look(self, ref: Reference) -> Descriptor | None:
        """What the target `ref` names now, asked with the right to write there, too.

        So that one token serves for all of the image. Costs and raises what `resolve` does.
        """
        session = self._session(ref.place)
        with session.hiding():
            return await images.resolved(session, ref, writes=True)

    async def manifest(self, ref: Reference) -> RawManifest:
        """The exact bytes that `ref` names, at most 4 MiB, their digest checked. Costs a GET.

        Raises CopyError, with the registry alone; NotFound if it names nothing.
        """
        return await self._first(ref, lambda session: images.read(session, ref, writes=False))

    async def config(self, ref: Reference) -> bytes:
        """The config of an image by its digest, at most 4 MiB, its digest checked. Costs a GET.

        Raises CopyError, with the registry alone; NotFound if it names nothing.
        """
        return await self._first(ref, lambda session: images.config(session, ref))

    @asynccontextmanager
    async def blob(
        self, ref: Reference, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[Reading]:
        """The bytes of a blob from `start`, up to `stop` where given: as they come, unchecked.

        Raises CopyError, with the registry alone, also while they come; NotFound without such a
        blob. (RFC 9110 §14.2; a server that knows no ranges sends all, and what was not asked for
        is dropped here.)
        """
        session, answer, skip = await self._first(
            ref, lambda session: images.open_blob(session, ref, byte_range(start, stop), start)
        )
        try:
            with session.hiding():
                chunks = between(answer.chunks(), skip, None if stop is None else stop - start)
                mirrors = self._mirrors_of(ref.place)
                yield Reading(session.place, chunks, lambda: mirrors.leave_out(session))
        finally:
            answer.close()

    async def begin(self, ref: Reference, origin: str | None = None) -> Upload | None:
        """Begin to upload the blob `ref`; None if the target has it, or takes it from `origin`.

        `origin` is a repository of the same registry; without one it is asked for its own, which
        is a HEAD and a POST in one (OCI distribution-spec, “Mounting a blob from another
        repository”). Raises CopyError, with the registry alone.
        """
        session = self._session(ref.place)
        with session.hiding():
            return await begin(session, ref, origin or ref.repository)

    async def begin_anew(self, ref: Reference) -> Upload:
        """Begin to upload the blob `ref`, whatever the target says that it has.

        Raises CopyError, with the registry alone.
        """
        session = self._session(ref.place)
        with session.hiding():
            return await begin_anew(session, ref)

    async def put(self, ref: Reference, manifest: RawManifest) -> Taken:
        """Put `manifest` under the tag or digest of `ref`; the target's own word for it.

        Raises CopyError, with the registry alone: BlobsUnknown where it lacks what the manifest
        names, TypeRefused where it takes no manifest of this type.
        """
        session = self._session(ref.place)
        with session.hiding():
            return await images.put(session, ref, manifest)

    async def referrers(self, ref: Reference) -> tuple[Descriptor, ...]:
        """What refers to the digest of `ref`, as the registry itself lists it, unchecked.

        Where it keeps no list, that is the one that clients keep at a tag. No mirror is asked: one
        that has no such list, or an old one, would hide signatures. Raises CopyError, with the
        registry alone.
        """
        if ref.digest is None:
            raise ValueError(f"{ref} has no digest to which something refers")
        session = self._session(ref.place)
        with session.hiding():
            return await self._referrers(session, ref, ref.digest)

    async def _referrers(
        self, session: Session, ref: Reference, digest: Digest
    ) -> tuple[Descriptor, ...]:
        kind = (ref.place, ref.repository, digest.algorithm)  # some know no sha512
        if kind not in self._listless:
            if (found := await referrers_of(session, ref, clock=self._clock)) is not None:
                return found
            self._listless.add(kind)
        if not session.quirks.digest_tags:
            return ()
        at = ref.by_tag(referrers_tag(digest))
        seen = await images.resolved(session, at, writes=False)  # a HEAD: most images have none
        if seen is None or seen.media_type != OCI_INDEX:
            return ()
        return listed_in(await images.read(session, at.by_digest(seen.digest), writes=False), ref)

    def hidden(self, text: str) -> str:
        """`text` without any secret that some registry has had of us."""
        return without(text, [secret for session in self._every for secret in session.secrets])

    def lists_by_tag(self, place: Place) -> bool:
        """Whether clients can keep a list of referrers there under a tag, as `sha256-<hex>`."""
        return self._session(place).quirks.digest_tags

    def mounts_after_manifest(self, place: Place) -> bool:
        """Whether it gives from one repository to another only what a manifest there names."""
        return self._session(place).quirks.mounts is Mounts.AFTER_MANIFEST

    async def _first(self, ref: Reference, attempt: Callable[[Session], Awaitable[T]]) -> T:
        """What its mirrors have, else what the registry of `ref` itself says."""

        async def hiding(session: Session) -> T:
            with session.hiding():
                return await attempt(session)

        return await self._mirrors_of(ref.place).first(hiding, self._session(ref.place))

    def _mirrors_of(self, at: Place) -> Mirrors:
        place = as_registry(at)
        if place not in self._mirrors:
            urls = map(URL, self._access.mirrors.get(place.host, ()))
            mirrors = tuple(
                self._opened(Registry.parse(url.host_port_subcomponent or ""), url) for url in urls
            )
            self._mirrors[place] = Mirrors(place, mirrors, self._notices)
        return self._mirrors[place]

    def _session(self, at: Place) -> Session:
        place = as_registry(at)
        if place not in self._sessions:
            self._sessions[place] = self._opened(place)
        return self._sessions[place]

    def _opened(self, place: Registry, mirror: URL | None = None) -> Session:
        session = Session(
            place,
            self._access,
            self._credentials,
            self._wire,
            clock=self._clock,
            quirks=self._known(place.host),
            notices=self._notices,
            mirror=mirror,
        )
        self._every.append(session)
        return session
