"""Which images are being copied right now, in which step, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from asyncsync.model.events import BytesMoved, Ended, Event, StepStarted
from asyncsync.model.job import CopyJob, Step
from asyncsync.reporting.units import duration, size

_NAMED_MAX = 3  # images in one line


class UnderWay:
    """A listener that remembers what has begun and not ended."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steps: dict[CopyJob, tuple[Step, float]] = {}
        self._bytes: dict[CopyJob, int] = {}
        self._last_word = clock()

    def __call__(self, event: Event) -> None:
        """Hear one event."""
        match event:
            case StepStarted(job, step):
                self._steps[job] = (step, self._clock())
            case BytesMoved(job, count):
                self._bytes[job] = self._bytes.get(job, 0) + count
            case Ended(outcome):
                self._steps.pop(outcome.job, None)
                self._bytes.pop(outcome.job, None)
                self._last_word = self._clock()
            case _:
                pass

    def __len__(self) -> int:
        return len(self._steps)

    def __contains__(self, job: CopyJob) -> bool:
        return job in self._steps

    def quiet_for(self, seconds: float) -> bool:
        """Whether something is under way, and nothing ended for so long. True is said once."""
        now = self._clock()
        if not self._steps or now - self._last_word < seconds:
            return False
        self._last_word = now
        return True

    def rows(self, most: int) -> Iterator[str]:
        """Tell the images that began first, one in each of at most so many lines."""
        now = self._clock()
        begun = list(self._steps.items())
        shown = begun if len(begun) <= most else begun[: most - 1]
        width = max((len(job.source.familiar) for job, _ in shown), default=0)
        for job, (step, since) in shown:
            moved = size(self._bytes[job]) if job in self._bytes else ""
            name = job.source.familiar.ljust(width)
            yield f"  {step:<11}  {name}  {moved:>8}    {duration(now - since)}"
        if len(begun) > len(shown):
            yield f"  and {len(begun) - len(shown)} more"

    def longest(self) -> Iterator[str]:
        """Tell the images that have been in their step for longest: `nginx:1.27 (pull, 34 s)`."""
        now = self._clock()
        oldest = sorted(self._steps.items(), key=lambda item: item[1][1])
        for job, (step, since) in oldest[:_NAMED_MAX]:
            yield f"{job.source.familiar} ({step}, {duration(now - since)})"
        if len(oldest) > _NAMED_MAX:
            yield f"{len(oldest) - _NAMED_MAX} more"
