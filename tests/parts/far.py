"""A source and a target far away: counts how many round trips follow upon each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from anyio import Event, create_task_group, wait_all_tasks_blocked

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import Descriptor, RawManifest
from asyncsync.model.reference import Reference
from asyncsync.stores.content import Content
from parts.places import MemorySource, MemoryTarget, MemoryUpload

T = TypeVar("T")


@dataclass
class Distance:
    """All requests under way are answered together, once nobody has another one to send."""

    under_way: list[Event] = field(default_factory=list)
    trips: int = 0

    async def pass_(self) -> None:
        """One request's way to the registry and back."""
        answered = Event()
        self.under_way.append(answered)
        await answered.wait()

    async def over(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` over this distance, counting its round trips."""
        results: list[T] = []

        async def run() -> None:
            results.append(await work())

        async with create_task_group() as group:
            group.start_soon(run)
            while not results:
                await wait_all_tasks_blocked()
                self.trips += bool(self.under_way)
                answered, self.under_way = self.under_way, []
                for event in answered:
                    event.set()
        return results[0]


@dataclass
class FarSource(MemorySource):
    """A source at a distance."""

    distance: Distance = field(default_factory=Distance)

    async def resolve(self, ref: Reference) -> Descriptor | None:
        await self.distance.pass_()
        return await super().resolve(ref)

    async def manifest(self, ref: Reference) -> RawManifest:
        await self.distance.pass_()
        return await super().manifest(ref)

    @asynccontextmanager
    async def blob(
        self, ref: Reference, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self.distance.pass_()
        async with super().blob(ref, start, stop) as chunks:
            yield chunks


@dataclass
class FarTarget(MemoryTarget):
    """A target at a distance."""

    distance: Distance = field(default_factory=Distance)

    async def look(self, ref: Reference) -> Descriptor | None:
        await self.distance.pass_()
        return await super().resolve(ref)

    async def begin(self, ref: Reference, origin: str | None = None) -> FarUpload | None:
        await self.distance.pass_()
        begun = await super().begin(ref, origin)
        return FarUpload(self, ref) if begun else None

    async def put(self, ref: Reference, manifest: RawManifest) -> Digest:
        await self.distance.pass_()
        return await super().put(ref, manifest)


@dataclass
class FarUpload(MemoryUpload):
    """An upload into a target at a distance: its bytes go out as they come, the answer is late."""

    async def send(self, content: Content, start: int = 0) -> None:
        await super().send(content, start)
        assert isinstance(self.target, FarTarget)
        await self.target.distance.pass_()
