"""One step of a job: told, timed, retried, and named in its errors. For every transport."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from asyncsync.model.errors import CopyError
from asyncsync.model.events import Observe, Retried, StepEnded, StepStarted
from asyncsync.model.job import CopyJob, Step
from asyncsync.retrying import Retrying

T = TypeVar("T")


class Steps:
    """The steps of one job. Stores and engines name the registry; image and step are added here."""

    def __init__(self, job: CopyJob, observe: Observe, retrying: Retrying) -> None:
        self._job, self._observe, self.retrying = job, observe, retrying

    async def run(self, step: Step, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, tried again as the policy says. Raises CopyError."""
        with self.within(step):
            return await self.part(step, attempt)

    @contextmanager
    def within(self, step: Step) -> Iterator[None]:
        """Tell and time a step that is made of parts."""
        self._observe(StepStarted(self._job, step))
        started = time.monotonic()
        try:
            yield
        finally:
            self._observe(StepEnded(self._job, step, time.monotonic() - started))

    async def part(self, step: Step, attempt: Callable[[], Awaitable[T]]) -> T:
        """One request of a step, tried again by itself: so much is never done twice."""

        async def located() -> T:
            try:
                return await attempt()
            except CopyError as error:
                raise error.located(str(self._job.source), step) from error

        return await self.retrying.run(located, self.retried)

    def retried(self, number: int, wait: float, error: CopyError) -> None:
        """Tell that attempt `number` follows after `wait` seconds, because of `error`."""
        self._observe(Retried(self._job, number, wait, error))
