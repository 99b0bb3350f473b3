"""What blocks, done in threads: the others are answered meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")


class Disk:
    """Does what blocks in a thread, so many at once; whoever waits for a turn waits in order."""

    def __init__(self, at_once: int) -> None:
        self._turns = CapacityLimiter(at_once)

    async def __call__(self, work: Callable[[], T]) -> T:
        """Return what `work` returns. It is never left alone there. Raises what it raises."""
        return await to_thread.run_sync(work, limiter=self._turns)
