"""A source and a target in memory: small true implementations of the direct way's contracts.

What goes wrong is said beforehand: each fault is used up, in order, and then all goes well.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from anyio import sleep_forever
from anyio.lowlevel import checkpoint

from asyncsync.model.digest import Digest, referrers_tag
from asyncsync.model.errors import (
    BlobsUnknown,
    CopyError,
    DigestMismatch,
    NotFound,
    RefusedByTarget,
    RegistryUnavailable,
    TypeRefused,
    Where,
)
from asyncsync.model.events import Event
from asyncsync.model.manifest import (
    OCI_INDEX,
    Descriptor,
    Index,
    RawManifest,
    Taken,
    listed,
    parse_manifest,
)
from asyncsync.model.place import Registry
from asyncsync.model.reference import Reference
from asyncsync.stores.content import Content
from asyncsync.transports.direct.contracts import Upload
from asyncsync.transports.direct.graph import Node
from parts.manifests import raw

SOURCE, TARGET = Registry("s.example"), Registry("t.example")
MIRROR = Registry("m.example")


def described(node: Node) -> dict[str, Any]:
    """What a list says of a referrer."""
    return listed(node.raw, node.parsed)


def subject_of(node: Node) -> Digest | None:
    return node.parsed.subject.digest if node.parsed.subject else None


def broken(place: Registry, *, transient: bool = True) -> RegistryUnavailable:
    return RegistryUnavailable(f"{place} broke the connection off", Where(str(place)), transient)


@dataclass
class Shelf:
    """What a registry holds: manifests by tag and digest, blobs by digest, in repositories.

    `unreachable`: what the next looks at a manifest raise; `looks`: how many there were;
    `configs`: those that were read to see what is in them.
    `lists`: it lists by itself what refers to a manifest. `read`: the manifests that were read.
    """

    manifests: dict[Reference, RawManifest] = field(default_factory=dict)
    unreachable: deque[CopyError] = field(default_factory=deque)
    looks: int = 0
    configs: list[Reference] = field(default_factory=list)
    blobs: dict[Reference, bytes] = field(default_factory=dict)
    lists: bool = False
    read: list[Reference] = field(default_factory=list)

    def hold(self, ref: Reference, manifest: RawManifest) -> None:
        self.manifests[ref] = self.manifests[ref.by_digest(manifest.digest)] = manifest

    async def resolve(self, ref: Reference) -> Descriptor | None:
        await checkpoint()
        self.looks += 1
        if self.unreachable:
            raise self.unreachable.popleft()
        found = self.manifests.get(ref)
        return found and Descriptor(found.media_type, found.digest, len(found.data))

    async def manifest(self, ref: Reference) -> RawManifest:
        await checkpoint()
        if ref not in self.manifests:
            raise NotFound(f"there is no {ref}", Where(str(ref.place)))
        self.read.append(ref)
        return self.manifests[ref]

    async def referrers(self, ref: Reference) -> tuple[Descriptor, ...]:
        await checkpoint()
        assert ref.digest is not None
        if self.lists:
            held = self.manifests.items()
            nodes = [Node.parse(each) for at, each in held if at == ref.by_digest(each.digest)]
            about = [described(node) for node in nodes if subject_of(node) == ref.digest]
        else:
            page = self.manifests.get(ref.by_tag(referrers_tag(ref.digest)))
            about = json.loads(page.data).get("manifests", []) if page else []
        page = raw(OCI_INDEX, {"manifests": about})
        return Node.parse(page).named

    def instead(self, ref: Reference) -> str:
        return ""

    async def config(self, ref: Reference) -> bytes:
        await checkpoint()
        self.configs.append(ref)
        return self.blobs[ref]


@dataclass
class MemoryReading:
    """The bytes of a blob, from a source or from its mirror, which can be distrusted."""

    place: Registry
    chunks: AsyncIterator[bytes]
    distrusted: Callable[[], bool]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.chunks

    def distrust(self) -> bool:
        return self.distrusted()

    @property
    def goes_on(self) -> bool:
        return True


@dataclass
class MemorySource(Shelf):
    """Where images come from.

    `breaks`: how many bytes the next readings bring before they break off; `lies`: what it sends
    for a blob instead; `opens`: awaited before each reading. `asked`: ranges, as they came.
    `mirrors`: who is asked for blobs before, in this order, until distrusted; as far as they have
    them.
    """

    breaks: deque[int] = field(default_factory=deque)
    lies: dict[Digest, bytes] = field(default_factory=dict)
    opens: Callable[[], Awaitable[None]] = checkpoint
    asked: list[tuple[Digest, int, int | None]] = field(default_factory=list)
    sent: int = 0
    chunk_bytes: int = 10
    mirrors: list[MemorySource] = field(default_factory=list)

    def put(self, ref: Reference, manifest: RawManifest, contents: Iterable[bytes]) -> None:
        """An image with what it is made of."""
        self.hold(ref, manifest)
        for data in contents:
            self.blobs[ref.by_digest(Digest.of(data))] = data

    @asynccontextmanager
    async def blob(
        self, ref: Reference, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[MemoryReading]:
        assert ref.digest is not None
        for mirror in self.mirrors:
            if start >= len(mirror.lies.get(ref.digest, mirror.blobs.get(ref, b""))):
                continue
            async with mirror.blob(ref, start, stop) as reading:
                yield MemoryReading(MIRROR, reading.chunks, partial(self._leave, mirror))
            return
        self.asked.append((ref.digest, start, stop))
        await self.opens()
        if ref not in self.blobs:
            raise NotFound(f"there is no {ref}", Where(str(ref.place)))
        data = self.lies.get(ref.digest, self.blobs[ref])
        if start >= len(data):
            raise CopyError(f"{ref.place} answered 416", Where(str(ref.place)))
        yield MemoryReading(ref.place, self._chunks(ref.place, data[start:stop]), lambda: False)

    def _leave(self, mirror: MemorySource) -> bool:
        self.mirrors = [other for other in self.mirrors if other is not mirror]
        return True

    async def _chunks(self, place: Registry, data: bytes) -> AsyncIterator[bytes]:
        end = self.breaks.popleft() if self.breaks else None
        for at in range(0, len(data), self.chunk_bytes):
            await checkpoint()
            chunk = data[at : at + self.chunk_bytes]
            if end is not None and at + len(chunk) > end:
                raise broken(place)
            self.sent += len(chunk)
            yield chunk


@dataclass
class MemoryTarget(Shelf):
    """Where images go.

    `breaks`: after how many bytes the next uploads break off; `resumes`: it then tells how far
    they came. `stalls`: the next upload takes so many bytes, and then nothing happens any more.
    `hangs`: it never answers to the end of an upload. `after_manifest`: it mounts only what a
    manifest names. `refuses`: types of manifests, or of configs, that it takes not. `loses`: blobs
    that it forgets once, when their manifest comes. `wants_subjects`: it takes nothing that refers
    to what it does not have. `failing`: what the next puts raise. `closed`: it begins no upload.
    `uploads`: what it begins. `done`: what it did.
    """

    mounts: bool = True
    after_manifest: bool = False
    hangs: bool = False
    breaks: deque[int] = field(default_factory=deque)
    resumes: bool = False
    digest_tags: bool = True
    stalls: int | None = None
    refuses: frozenset[str] = frozenset()
    loses: set[Digest] = field(default_factory=set)
    wants_subjects: bool = False
    failing: deque[CopyError] = field(default_factory=deque)
    closed: bool = False
    uploads: Callable[[MemoryTarget, Reference], Upload] = field(
        default_factory=lambda: MemoryUpload
    )
    done: list[str] = field(default_factory=list)
    cancelled: list[Reference] = field(default_factory=list)
    received: int = 0

    async def look(self, ref: Reference) -> Descriptor | None:
        return await self.resolve(ref)

    async def begin(self, ref: Reference, origin: str | None = None) -> Upload | None:
        await checkpoint()
        if self.closed:
            raise broken(ref.place)
        there = replace(ref, repository=origin or ref.repository)
        names = (known.repository for known in self.manifests)
        stands = not self.after_manifest or there.repository in names
        if there in self.blobs and (there == ref or (self.mounts and stands)):
            self.blobs[ref] = self.blobs[there]
            self.done.append(f"mount {ref.digest}")
            return None
        self.done.append(f"begin {ref.digest}")
        return self.uploads(self, ref)

    async def begin_anew(self, ref: Reference) -> Upload:
        await checkpoint()
        self.done.append(f"anew {ref.digest}")
        return self.uploads(self, ref)

    async def put(self, ref: Reference, manifest: RawManifest) -> Taken:
        await checkpoint()
        where = Where(str(ref.place))
        if self.failing:
            raise self.failing.popleft()
        parsed = parse_manifest(manifest)
        types = {manifest.media_type}
        if not isinstance(parsed, Index):
            types.add(parsed.config.media_type)
        if refused := types & self.refuses:
            raise TypeRefused(f"{ref.place} takes no {refused}", where)
        subject = parsed.subject.digest if parsed.subject else None
        if self.wants_subjects and subject and ref.by_digest(subject) not in self.manifests:
            raise RefusedByTarget(f"{ref.place} has no {subject}", where)
        if isinstance(parsed, Index):
            assert all(ref.by_digest(child.digest) in self.manifests for child in parsed.manifests)
        else:
            for digest in self.loses & {blob.digest for blob in (parsed.config, *parsed.layers)}:
                self.loses.remove(digest)
                self.blobs.pop(ref.by_digest(digest), None)
            wanted = [blob.digest for blob in (parsed.config, *parsed.layers)]
            lacks = [digest for digest in wanted if ref.by_digest(digest) not in self.blobs]
            if lacks:
                raise BlobsUnknown(f"{ref.place} lacks a blob", where).naming(tuple(lacks))
        self.hold(ref, manifest)
        self.done.append(f"put {ref.tag if ref.digest is None else ref.digest}")
        return Taken(manifest.digest, subject if self.lists else None)

    def mounts_after_manifest(self, place: Registry) -> bool:
        return self.after_manifest

    def lists_by_tag(self, place: Registry) -> bool:
        return self.digest_tags


@dataclass
class MemoryUpload:
    """An upload under way into a `MemoryTarget`."""

    target: MemoryTarget
    ref: Reference
    data: bytearray = field(default_factory=bytearray)

    async def send(self, content: Content, start: int = 0) -> None:
        assert start == len(self.data)
        place = self.ref.place
        end = self.target.breaks.popleft() if self.target.breaks else None
        try:
            async for chunk in content.read(start, content.size):
                await checkpoint()
                await self._stall()
                if end is not None and len(self.data) + len(chunk) > end:
                    self.data += chunk[: max(0, end - len(self.data))]
                    raise broken(place)
                self.data += chunk
                self.target.received += len(chunk)
            await self._stall()
        except CopyError as error:
            if str(place) == error.where.registry:
                raise
            raise broken(place) from None  # all that its connection knows of a broken body
        if Digest.of(bytes(self.data), content.digest.algorithm) != content.digest:
            raise DigestMismatch(f"{place} got other bytes", Where(str(place)))
        self.target.blobs[self.ref] = bytes(self.data)
        self.target.done.append(f"sent {self.ref.digest}")

    async def _stall(self) -> None:
        if self.target.stalls is not None and len(self.data) >= self.target.stalls:
            self.target.stalls = None
            await sleep_forever()

    async def offset(self) -> int:
        await checkpoint()
        return len(self.data) if self.target.resumes else 0

    async def cancel(self) -> None:
        self.target.cancelled.append(self.ref)
        if self.target.hangs:
            await sleep_forever()


@dataclass
class Listener:
    """Notes events."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def texts(self, kind: str) -> list[Event]:
        return [event for event in self.events if type(event).__name__ == kind]
