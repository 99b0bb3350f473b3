"""A clock that a test moves: it gives the time, and sleeps until the test has come so far."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from anyio import Event
from anyio.lowlevel import checkpoint


class Clock:
    """Call it for the time in seconds; hand its `sleep` in where one would sleep."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, Event]] = []
        self._number = count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        over = Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), over))
        await over.wait()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Whoever slept until then or less is awake."""
        self.now += seconds
        while self._sleepers and self._sleepers[0][0] <= self.now:
            heapq.heappop(self._sleepers)[2].set()

    @contextmanager
    def of_the_loop(self) -> Iterator[None]:
        """Inside the block the event loop has no other time: its timers come when a test says so.

        What comes over sockets comes as ever, and a machine that stands still makes nobody late.
        """
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "time", self)
            yield

    async def pass_by(self, seconds: float) -> None:
        """Let `seconds` pass, and whatever of the loop's own is due by then happen."""
        self.advance(seconds)
        for _ in range(3):
            await checkpoint()

    async def follow(self) -> None:
        """Move on to the next who sleeps, whenever all that can run have run. Ends by cancelling.

        Nothing that is tested here needs more than a few turns of the loop in one go.
        """
        while True:
            for _ in range(5):
                await checkpoint()
            if self._sleepers:
                self.advance(max(0.0, self._sleepers[0][0] - self.now))
