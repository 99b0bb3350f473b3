"""Who may transfer now: the largest blobs first, and small ones in a lane of their own.

What is bounded is transfers, never sockets: a relay holds its GET while it waits to begin its PUT,
so a limit on connections lets relays wait for each other for ever. A place here is taken before
the first connection, and whoever has one waits for no other.

There are two lanes, because one is slow whichever its order: in the list's order the last large
blob moves alone at the end; with the largest first, the small ones come last, and each costs round
trips in which the link idles. Small ones beside the large ones fill these gaps. More large ones
at once are slower again: the largest then gets too small a part of the link.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count

from anyio import Event

SMALL_BYTES_MAX = 1024 * 1024  # below it, a transfer's time is round trips, not bytes
LARGE = 8  # at once; fewer leave a link of 50 ms round trip idle, 16 starve the largest
SMALL = 32  # at once; 64 saved 15 % more, and only where all images are tiny


class Lanes:
    """Who may transfer now: 8 large blobs at once, the largest first, and 32 small ones beside.

    Equally large ones go in the order of their arrival, and so do all small ones.
    """

    def __init__(self, large: int = LARGE, small: int = SMALL) -> None:
        self._large, self._small = _Lane(large), _Lane(small)

    @asynccontextmanager
    async def place(self, size: int) -> AsyncIterator[None]:
        """Wait until a blob of `size` bytes may be transferred; it may, inside the block."""
        lane, rank = (self._small, 0) if size <= SMALL_BYTES_MAX else (self._large, -size)
        await lane.enter(rank)
        try:
            yield
        finally:
            lane.leave()


class _Lane:
    """So many places; the waiting task with the lowest rank is next. O(log n) for each of them."""

    def __init__(self, places: int) -> None:
        self._free = places  # above 0 only while nobody waits
        self._arrivals = count()
        self._queue: list[tuple[int, int]] = []  # a heap of (rank, arrival)
        self._waiting: dict[tuple[int, int], Event] = {}  # those of the queue who still wait

    async def enter(self, rank: int) -> None:
        if self._free:
            self._free -= 1
            return
        ticket = (rank, next(self._arrivals))
        heappush(self._queue, ticket)
        called = self._waiting[ticket] = Event()
        try:
            await called.wait()
        except BaseException:
            if called.is_set():  # in the very turn in which we were cancelled
                self.leave()
            else:
                # Its ticket stays until it is drawn: to take it out of the heap is a search, and
                # would make stopping a run of n waiting blobs cost n².
                del self._waiting[ticket]
            raise

    def leave(self) -> None:
        # Handed over, not freed: nobody who arrives between now and the next one's turn of the
        # loop can overtake it.
        while self._queue:
            called = self._waiting.pop(heappop(self._queue), None)
            if called is not None:
                called.set()
                return
        self._free += 1
