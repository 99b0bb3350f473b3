"""One step of a job: told, timed, retried, and named in its errors. For every transport."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from asyncsync.model.errors import CopyError
from asyncsync.model.events import Observe, Retried, StepEnded, StepStarted
from asyncsync.model.job import CopyJob, Step
from asyncsync.retrying import Retrying

T = TypeVar("T")


class Steps:
    """The steps of one job. Stores and engines name the registry; image and step are added here."""

    def __init__(self, job: CopyJob, observe: Observe, retrying: Retrying) -> None:
        self._job, self._observe, self._retrying = job, observe, retrying

    async def run(self, step: Step, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, tried again as the policy says. Raises CopyError."""

        async def located() -> T:
            try:
                return await attempt()
            except CopyError as error:
                raise error.located(str(self._job.source), step) from error

        def tell(number: int, wait: float, error: CopyError) -> None:
            self._observe(Retried(self._job, number, wait, error))

        self._observe(StepStarted(self._job, step))
        started = time.monotonic()
        try:
            return await self._retrying.run(located, tell)
        finally:
            self._observe(StepEnded(self._job, step, time.monotonic() - started))
