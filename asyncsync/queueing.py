"""Whose turn it is: source registries share the workers, so that none holds up another's images."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import chain

from asyncsync.model.job import CopyJob
from asyncsync.model.place import Place


class Turns:
    """The jobs of a plan that wait. The next one is of the source with the fewest under way.

    Of one source, and of those that have equally many, the first in the plan. So a registry that
    is slow, or wants us slower, keeps its share of the workers at most while others have images.
    """

    def __init__(self, jobs: Sequence[CopyJob]) -> None:
        self._waiting: dict[Place, deque[tuple[int, CopyJob]]] = {}
        for number, job in enumerate(jobs):
            self._waiting.setdefault(job.source.place, deque()).append((number, job))
        self._under_way: Counter[Place] = Counter()
        # What is no longer so is left in it, and passed over when it is drawn.
        self._offers: list[tuple[int, int, Place]] = []
        for place in self._waiting:
            self._offer(place)

    def take(self) -> CopyJob | None:
        """The next job, which is under way from now on; None if none waits."""
        while self._offers:
            under_way, number, place = heappop(self._offers)
            waiting = self._waiting[place]
            if waiting and (under_way, number) == (self._under_way[place], waiting[0][0]):
                _, job = waiting.popleft()
                self._count(place, +1)
                return job
        return None

    def over(self, job: CopyJob) -> None:
        """It is under way no longer."""
        self._count(job.source.place, -1)

    def rest(self) -> list[CopyJob]:
        """Those that nobody took, in the order of the plan."""
        return [job for _, job in sorted(chain.from_iterable(self._waiting.values()))]

    def _count(self, place: Place, more: int) -> None:
        self._under_way[place] += more
        self._offer(place)

    def _offer(self, place: Place) -> None:
        if waiting := self._waiting[place]:
            heappush(self._offers, (self._under_way[place], waiting[0][0], place))
