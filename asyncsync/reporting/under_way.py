"""Which images are being copied right now, in which step, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from asyncsync.model.events import BytesMoved, Ended, Event, Retried, StepStarted
from asyncsync.model.job import CopyJob, Step
from asyncsync.reporting.units import duration, size

_NAMED_MAX = 3  # images in one line


class UnderWay:
    """A listener that remembers what has begun and not ended, of so many images in all."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._clock = total, clock
        self._ended = 0
        self._again: set[CopyJob] = set()  # in a step that did not succeed at once
        self._steps: dict[CopyJob, tuple[Step, float]] = {}
        self._bytes: dict[CopyJob, int] = {}
        self._last_word = clock()

    def __call__(self, event: Event) -> None:
        """Hear one event."""
        match event:
            case StepStarted(job, step):
                self._steps[job] = (step, self._clock())
                self._again.discard(job)
            case Retried(job):
                self._again.add(job)
            case BytesMoved(job, count):
                self._bytes[job] = self._bytes.get(job, 0) + count
            case Ended(outcome):
                self._steps.pop(outcome.job, None)
                self._bytes.pop(outcome.job, None)
                self._again.discard(outcome.job)
                self._ended += 1
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
        """Tell the images that began first, one a line, and how many there are: so many lines."""
        now = self._clock()
        begun = list(self._steps.items())
        shown = begun[: most - 1]
        width = max((len(job.source.familiar) for job, _ in shown), default=0)
        for job, (_, since) in shown:
            moved = size(self._bytes[job]) if job in self._bytes else ""
            name = job.source.familiar.ljust(width)
            yield f"  {self._doing(job):<13}  {name}  {moved:>8}    {duration(now - since)}"
        more = f"; {len(begun) - len(shown)} more under way" if len(begun) > len(shown) else ""
        if begun:
            yield f"  {self._ended} of {self._total} images ended{more}"

    def longest(self) -> Iterator[str]:
        """Tell the images that have been in their step for longest: `nginx:1.27 (pull, 34 s)`."""
        now = self._clock()
        oldest = sorted(self._steps.items(), key=lambda item: item[1][1])
        for job, (_, since) in oldest[:_NAMED_MAX]:
            yield f"{job.source.familiar} ({self._doing(job)}, {duration(now - since)})"
        if len(oldest) > _NAMED_MAX:
            yield f"{len(oldest) - _NAMED_MAX} more"

    def _doing(self, job: CopyJob) -> str:
        step, _ = self._steps[job]
        return f"{step} again" if job in self._again else step
