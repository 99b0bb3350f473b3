"""How fast the whole run may move bytes: one allowance, shared by all transfers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

BURST_SECONDS = 0.1  # what may pass at once after a pause: so much of the rate …
BURST_BYTES_MIN = 256 * 1024  # … or this, a chunk as it comes from a socket, if it is more


class Pace:
    """Lets through `bytes_a_second` in all, in the order of asking; None lets everything through.

    Over any time, that is rate × time and one burst; or one chunk, where chunks are larger.
    """

    def __init__(
        self,
        bytes_a_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        if bytes_a_second is not None and not bytes_a_second > 0:  # NaN too
            raise ValueError(f"{bytes_a_second:g} bytes a second move nothing")
        self._rate, self._clock, self._sleep = bytes_a_second, clock, sleep
        self._paid_until = clock()  # at the rate, all that was let through takes until then

    @property
    def bounded(self) -> bool:
        """Whether anybody ever waits for it."""
        return self._rate is not None

    async def passed(self, count: int) -> None:
        """Return when `count` bytes more may be handed on.

        Each call takes its place in the line at once, so transfers get one chunk each in turn. A
        chunk above the burst waits for those before it, and those after it wait for its rest.
        """
        if self._rate is None:
            return
        now = self._clock()
        ahead = max(self._paid_until - now, 0.0)
        cost = count / self._rate
        burst = max(BURST_SECONDS, BURST_BYTES_MIN / self._rate)
        # Not given back if we are cancelled: those behind have reckoned with it already, and the
        # loss is one chunk.
        self._paid_until = now + ahead + cost
        wait = ahead - max(burst - cost, 0.0)
        if wait > 0:
            await self._sleep(wait)
