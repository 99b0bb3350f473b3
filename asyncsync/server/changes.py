"""Who may change a layout at once: many who add to it, or one who takes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CancelScope, Condition


class Changes:
    """Keeps who adds apart from who takes away.

    A manifest is put once all it names was seen to be there; what nothing names may be deleted.
    Between seeing and doing, neither may be overtaken by the other.
    """

    def __init__(self) -> None:
        self._adding = 0
        self._removing = False
        self._changed = Condition()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Add, beside others who add."""
        async with self._changed:
            while self._removing:
                await self._changed.wait()
            self._adding += 1
        try:
            yield
        finally:
            self._adding -= 1
            await self._tell()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Take away, beside nobody."""
        async with self._changed:
            while self._removing or self._adding:
                await self._changed.wait()
            self._removing = True
        try:
            yield
        finally:
            self._removing = False
            await self._tell()

    async def _tell(self) -> None:
        with CancelScope(shield=True):  # those who wait must learn it in any case
            async with self._changed:
                self._changed.notify_all()
