"""How long a target may take no byte that is ready for it.

The source's own silence ends earlier, by its reader; and while we wait for the source, or for our
own pace, the target waits for us.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CancelScope, current_time

IDLE_SECONDS = 75.0
# A registry reads all again before it answers the last chunk: so many bytes a second, at the least.
DIGESTED_A_SECOND = 4 * 1024 * 1024
# As many as a socket gives at once are on their way for two minutes where 64 blobs share a line of
# 1 Mbit/s, and nobody tells how many of them are left: for them, a target has the time once more.
LARGE_CHUNK_BYTES = 256 * 1024
_GRAIN_SECONDS = 1.0  # setting a timer for each chunk costs as much as its hash


class IdleWatch:
    """Ends the sending of one blob once its target has taken nothing for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._largest = 0  # chunk; not the last one, or the timer would be set for each
        self._scope = CancelScope()

    @contextmanager
    def over(self) -> Iterator[CancelScope]:
        """Watch what is sent in the block; `cancelled_caught` says that it was ended."""
        with CancelScope() as self._scope:  # until bytes are asked for, the connection has bounds
            yield self._scope

    def ready(self, count: int, *, digesting: int = 0) -> None:
        """A chunk of `count` bytes is there for the target, which then has `digesting` to read."""
        self._largest = max(self._largest, count)
        idle = self._seconds * (1 + self._largest / LARGE_CHUNK_BYTES)
        until = current_time() + idle + digesting / DIGESTED_A_SECOND
        if abs(until - self._scope.deadline) > min(_GRAIN_SECONDS, self._seconds / 4):
            self._scope.deadline = until

    def hold(self) -> None:
        """Until the next chunk, the target waits for us and not we for it."""
        if self._scope.deadline != math.inf:
            self._scope.deadline = math.inf
