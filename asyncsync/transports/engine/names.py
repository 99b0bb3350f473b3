"""Which local names a run works with, so that no job removes what another one still needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio


@dataclass(slots=True)
class Held:
    """A local name in use. `users` counts the jobs that hold it or wait for it."""

    users: int = 0
    ours: bool | None = None  # whether this run brought it into the engine; None: not looked yet
    lock: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def is_last(self) -> bool:
        """Whether nobody else wants this name any more."""
        return self.users == 1


class LocalNames:
    """Gives each local name to one job at a time, and knows who is the last to need it.

    Different names never wait for each other: engines sort that out themselves.
    """

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[Held]:
        """Wait until no other job holds `name`, and hold it for the block."""
        held = self._held.setdefault(name, Held())
        held.users += 1
        try:
            async with held.lock:
                yield held
        finally:
            held.users -= 1
            if not held.users:
                del self._held[name]
