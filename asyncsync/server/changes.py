"""Who may change a layout at once: many who add to it, or one who takes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import Event, Lock


class Changes:
    """Keeps who adds apart from who takes away.

    A manifest is put once all it names was seen to be there; what nothing names may be deleted.
    Between seeing and doing, neither may be overtaken by the other. They come in as they have
    asked: whoever waits to take away is not held up by those who go on adding.
    """

    def __init__(self) -> None:
        self._door = Lock()  # first come, first served
        self._adding = 0
        self._last_left = Event()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Add, beside others who add."""
        async with self._door:
            self._adding += 1
        try:
            yield
        finally:
            self._adding -= 1
            if not self._adding:
                self._last_left.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Take away, beside nobody."""
        async with self._door:
            while self._adding:
                self._last_left = Event()
                await self._last_left.wait()
            yield
