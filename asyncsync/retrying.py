"""The one retry policy: which failures are tried again, how often, and after how long.

What may be tried again is the error's own word (`transient`); this module only counts and waits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import anyio
import tenacity

from asyncsync.model.errors import CopyError, EngineLost, RateLimited, TimedOut

T = TypeVar("T")
Tell: TypeAlias = Callable[[int, float, CopyError], None]  # attempt that follows, wait, error

BACKOFF_SECONDS = 1.0  # the first wait is between its half and it, each further one doubles that
BACKOFF_SECONDS_MAX = 60.0
RATE_LIMITED_SECONDS = 10.0  # where a registry says 429 without Retry-After; engines drop theirs
RETRY_AFTER_SECONDS_MAX = 15 * 60.0  # longer is a spent quota: the image fails, with that advice
OUTAGE_FAILURES = 3  # so many that used up their retries, each within OUTAGE_SECONDS of the last
OUTAGE_SECONDS = 15.0
ENGINE_SECONDS = 3.0  # an engine that restarts needs 2 to 15 s: 3 + 6 + 12 with three retries


def may_retry(error: CopyError, attempt: int, retries: int) -> bool:
    """Whether attempt number `attempt`, which failed with `error`, may be followed by another."""
    if not error.transient or attempt > retries:
        return False
    if type(error) is CopyError:  # a failure that nobody could classify: once may be bad luck
        return attempt <= 1
    return error.retry_after is None or error.retry_after <= RETRY_AFTER_SECONDS_MAX


def pause(error: CopyError, attempt: int, chance: float) -> float:
    """Seconds to wait after `attempt` failed; `chance`, from 0 to 1, spreads many workers out.

    Exponential backoff. Half of it is jitter and not all: three short draws would be over before a
    registry that restarts is back. What a registry asks for is a floor; an engine that restarts is
    waited for without jitter, since a short draw would only waste an attempt.
    """
    doubled = 2.0 ** min(attempt - 1, 10)  # past every bound below
    if isinstance(error, EngineLost):
        return min(BACKOFF_SECONDS_MAX, ENGINE_SECONDS * doubled)
    if error.retry_after is not None:
        return error.retry_after + chance * BACKOFF_SECONDS
    first = RATE_LIMITED_SECONDS if isinstance(error, RateLimited) else BACKOFF_SECONDS
    return min(BACKOFF_SECONDS_MAX, first * doubled) * (0.5 + chance / 2)


class Outages:
    """Registries at which nobody is there, or that have never answered, as some have found out.

    They are asked, but once alone. Else each of 2,000 images would wait for a dead registry as long
    as the first one did.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}  # by host: how many, and the last one

    def note(self, error: CopyError) -> None:
        """Something has failed for good with `error`."""
        if error.away:
            host = error.where.registry
            self._failures[host] = (self._recent(error) + 1, self._clock())

    def has(self, error: CopyError) -> bool:
        """Whether `error` is of a registry that is known to be away."""
        return error.away and self._recent(error) >= OUTAGE_FAILURES

    def _recent(self, error: CopyError) -> int:
        count, last = self._failures.get(error.where.registry, (0, 0.0))
        # Silence takes longer than that to be told, and ends with the first answer, not with time.
        lasts = isinstance(error, TimedOut) or self._clock() - last < OUTAGE_SECONDS
        return count if lasts else 0


@dataclass(frozen=True, slots=True)
class Retrying:
    """Runs something, and again while its failures are transient and `retries` last."""

    retries: int
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    outages: Outages = field(default_factory=Outages)

    async def run(self, attempt: Callable[[], Awaitable[T]], tell: Tell) -> T:
        """Return what `attempt` returns. Raises its last CopyError; nothing else is retried."""

        def waited(state: tenacity.RetryCallState) -> float:
            return pause(_error(state), state.attempt_number, self.chance())

        def told(state: tenacity.RetryCallState) -> None:
            tell(state.attempt_number + 1, state.upcoming_sleep, _error(state))

        def again(state: tenacity.RetryCallState) -> bool:
            error = state.outcome.exception() if state.outcome else None
            if not isinstance(error, CopyError):
                return False
            retries = 0 if self.outages.has(error) else self.retries
            if may_retry(error, state.attempt_number, retries):
                return True
            self.outages.note(error)
            return False

        loop = tenacity.AsyncRetrying(retry=again, wait=waited, before_sleep=told, sleep=self.sleep)
        return await loop(attempt)


def _error(state: tenacity.RetryCallState) -> CopyError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, CopyError)  # noqa: S101  `again` let nothing else through
    return error
