"""Registries as a source and as a target: manifests and blobs, read and written."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

from yarl import URL

from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.model.digest import Digest, referrers_tag
from asyncsync.model.errors import CopyError, DigestMismatch, NotFound, UnsupportedManifest, Where
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    MANIFEST_BYTES_MAX,
    OCI_INDEX,
    Descriptor,
    RawManifest,
    Taken,
)
from asyncsync.model.place import Place, Registry, as_registry
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.answers import blob_missing, not_found, refusal
from asyncsync.stores.registry.ask import Ask
from asyncsync.stores.registry.kinds import descriptor_of, digest_told, manifest_of
from asyncsync.stores.registry.listing import listed_in, referrers_of, tags_of
from asyncsync.stores.registry.mirrors import Mirrors
from asyncsync.stores.registry.notices import Notices, Warn, nobody
from asyncsync.stores.registry.quirks import Mounts, Quirks, quirks
from asyncsync.stores.registry.ranges import between, byte_range, skipped
from asyncsync.stores.registry.rates import Kind
from asyncsync.stores.registry.session import Session
from asyncsync.stores.registry.uploads import Upload, begin, begin_anew
from asyncsync.stores.registry.wire import Streamed, Wire

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
        return await self._first(ref, lambda session: _resolved(session, ref, writes=False))

    def instead(self, ref: Reference) -> str:  # noqa: ARG002
        """Nothing: whoever asks a registry for its tags may have to ask long."""
        return ""

    async def look(self, ref: Reference) -> Descriptor | None:
        """What the target `ref` names now, asked with the right to write there, too.

        So that one token serves for all of the image. Costs and raises what `resolve` does.
        """
        session = self._session(ref.place)
        with session.hiding():
            return await _resolved(session, ref, writes=True)

    async def manifest(self, ref: Reference) -> RawManifest:
        """The exact bytes that `ref` names, at most 4 MiB, their digest checked. Costs a GET.

        Raises CopyError, with the registry alone; NotFound if it names nothing.
        """
        return await self._first(ref, lambda session: _read(session, ref, writes=False))

    async def config(self, ref: Reference) -> bytes:
        """The config of an image by its digest, at most 4 MiB, its digest checked. Costs a GET.

        Raises CopyError, with the registry alone; NotFound if it names nothing.
        """
        return await self._first(ref, lambda session: _config(session, ref))

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
            ref, lambda session: _open_blob(session, ref, byte_range(start, stop), start)
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
            return await _put(session, ref, manifest)

    async def tags(self, place: Registry, repository: str) -> tuple[str, ...]:
        """All tags of a repository, in the order of the registry itself: no mirror is asked.

        Raises CopyError, with the registry alone; NotFound if there is no such repository.
        """
        session = self._session(place)
        with session.hiding():
            return await tags_of(session, Reference(place, repository, "latest"))

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
            if (found := await referrers_of(session, ref)) is not None:
                return found
            self._listless.add(kind)
        if not session.quirks.digest_tags:
            return ()
        at = ref.by_tag(referrers_tag(digest))
        seen = await _resolved(session, at, writes=False)  # a HEAD: most images have none
        if seen is None or seen.media_type != OCI_INDEX:
            return ()
        return listed_in(await _read(session, at.by_digest(seen.digest), writes=False), ref)

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
        return Session(
            place,
            self._access,
            self._credentials,
            self._wire,
            clock=self._clock,
            quirks=self._known(place.host),
            notices=self._notices,
            mirror=mirror,
        )


async def _resolved(session: Session, ref: Reference, *, writes: bool) -> Descriptor | None:
    answer = await session.ask(_manifest("HEAD", ref, writes=writes))
    if answer.status == 404:
        return None
    if answer.status == 200:
        if found := descriptor_of(answer.headers, ref):
            return found
    elif answer.status != 405:
        raise session.failure(answer)
    try:
        raw = await _read(session, ref, writes=writes)
    except NotFound:
        return None
    return Descriptor(raw.media_type, raw.digest, len(raw.data))


async def _read(session: Session, ref: Reference, *, writes: bool) -> RawManifest:
    answer = await session.ask(_manifest("GET", ref, writes=writes))
    if answer.status == 404:
        raise not_found(answer, ref)
    if answer.status != 200:
        raise session.failure(answer)
    if answer.cut:
        what = f"the manifest of {ref} is larger than {MANIFEST_BYTES_MAX // 2**20} MiB"
        raise UnsupportedManifest(what, Where(str(ref.place)))
    return manifest_of(answer.headers, answer.body, ref)


async def _put(session: Session, ref: Reference, manifest: RawManifest) -> Taken:
    answer = await session.ask(
        Ask(
            "PUT",
            ref.repository,
            f"manifests/{ref.identifier}",
            Kind.WRITES,
            {"Content-Type": manifest.media_type},
            lambda: manifest.data,
            writes=True,
        )
    )
    if answer.status != 201:
        raise refusal(answer, session.push_failure(answer))
    told = digest_told(answer.headers)
    if told is None:
        seen = await _resolved(session, ref, writes=True)
        told = seen.digest if seen else None
    if told is None or Digest.of(manifest.data, told.algorithm) != told:
        what = f"{ref.place} has {told or 'nothing'} under {ref.repository}:{ref.identifier}"
        raise DigestMismatch(f"{what}, but {manifest.digest} was put", Where(str(ref.place)))
    return Taken(told, digest_told(answer.headers, "OCI-Subject"))


async def _config(session: Session, ref: Reference) -> bytes:
    answer = await session.ask(Ask("GET", ref.repository, f"blobs/{ref.digest}", Kind.BLOBS))
    if answer.status != 200:
        raise session.failure(answer)
    if answer.cut:
        what = f"the config of {ref} is larger than {MANIFEST_BYTES_MAX // 2**20} MiB"
        raise UnsupportedManifest(what, Where(str(ref.place)))
    if ref.digest is None or Digest.of(answer.body, ref.digest.algorithm) != ref.digest:
        what = f"{ref.place} sent something else for the config {ref.digest} of {ref.name}"
        raise DigestMismatch(what, Where(str(ref.place)))
    return answer.body


async def _open_blob(
    session: Session, ref: Reference, headers: Mapping[str, str], start: int
) -> tuple[Session, Streamed, int]:
    """Who answers for a blob, the answer, and how many of its bytes are before `start`."""
    path = f"blobs/{ref.digest}"
    answer = await session.ask(Ask("GET", ref.repository, path, Kind.BLOBS, headers, most=None))
    if not isinstance(answer, Streamed):
        raise blob_missing(ref) if answer.status == 404 else session.failure(answer)
    try:
        return session, answer, skipped(answer, ref, start)
    except CopyError:
        answer.close()
        raise


def _manifest(method: str, ref: Reference, *, writes: bool) -> Ask:
    accept = {"Accept": ", ".join(ACCEPTED_TYPES)}
    kind = Kind.HEADS if method == "HEAD" else Kind.READS
    return Ask(method, ref.repository, f"manifests/{ref.identifier}", kind, accept, writes=writes)
