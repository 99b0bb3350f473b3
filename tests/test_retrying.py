"""The retry policy: pure rules, and the loop with an injected clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    EngineLost,
    RateLimited,
    RegistryUnavailable,
    TimedOut,
    Where,
)
from asyncsync.model.job import Step
from asyncsync.retrying import (
    BACKOFF_SECONDS_MAX,
    OUTAGE_SECONDS,
    RETRY_AFTER_SECONDS_MAX,
    Outages,
    Retrying,
    may_retry,
    pause,
)

WHERE = Where("r.example")


def unavailable(retry_after: float | None = None) -> RegistryUnavailable:
    return RegistryUnavailable("down", WHERE, transient=True, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "attempt", "retries", "again"),
    [
        (unavailable(), 1, 3, True),
        (unavailable(), 3, 3, True),
        (unavailable(), 4, 3, False),
        (unavailable(), 1, 0, False),
        (RegistryUnavailable("gone", WHERE), 1, 3, False),
        (AuthenticationFailed("no", WHERE), 1, 3, False),
        (unavailable(RETRY_AFTER_SECONDS_MAX), 1, 3, True),
        (unavailable(RETRY_AFTER_SECONDS_MAX + 1), 1, 3, False),
        (CopyError("what is this", WHERE, transient=True), 1, 3, True),
        (CopyError("what is this", WHERE, transient=True), 2, 3, False),
    ],
)
def test_only_transient_failures_are_tried_again_and_unknown_ones_once(
    error: CopyError, attempt: int, retries: int, again: bool
) -> None:
    assert may_retry(error, attempt, retries) is again


@given(st.integers(1, 40), st.floats(0, 1))
def test_waits_are_spread_over_a_doubling_and_bounded_range(attempt: int, chance: float) -> None:
    wait, most = pause(unavailable(), attempt, chance), min(BACKOFF_SECONDS_MAX, 2 ** (attempt - 1))
    assert most / 2 <= wait <= most


def test_a_registry_that_restarts_in_three_seconds_is_waited_for() -> None:
    assert sum(pause(unavailable(), attempt, 0.0) for attempt in (1, 2, 3)) >= 3


@given(st.floats(0, RETRY_AFTER_SECONDS_MAX), st.floats(0, 1))
def test_a_registry_is_never_asked_before_the_time_it_named(seconds: float, chance: float) -> None:
    assert pause(unavailable(seconds), 1, chance) >= seconds


def test_a_rate_limit_without_a_time_waits_for_seconds_not_for_moments() -> None:
    assert pause(RateLimited("slow", WHERE, transient=True), 1, 0.0) >= 5


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (unavailable(), [1, 2, 4, 8, 16, 32, 60, 60]),
        (RateLimited("slow", WHERE, transient=True), [10, 20, 40, 60, 60]),
        (EngineLost("gone", WHERE, transient=True), [3, 6, 12, 24, 48, 60]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_further_wait_may_be_twice_as_long_up_to_a_minute(
    error: CopyError, waits: list[float]
) -> None:
    assert [pause(error, attempt, 1.0) for attempt in range(1, len(waits) + 1)] == waits


def test_an_engine_that_restarts_in_twenty_seconds_is_waited_for() -> None:
    lost = EngineLost("gone", WHERE, transient=True)
    assert sum(pause(lost, attempt, 0.0) for attempt in (1, 2, 3)) >= 20


class Flaky:
    def __init__(self, *failures: Exception) -> None:
        self.failures, self.calls = list(failures), 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def test_the_loop_waits_as_told_and_tells_what_it_does() -> None:
    slept: list[float] = []
    told: list[tuple[int, float]] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    flaky = Flaky(unavailable(), unavailable(7.0))
    retrying = Retrying(3, chance=lambda: 0.5, sleep=sleep)
    result = await retrying.run(flaky, lambda number, wait, error: told.append((number, wait)))
    assert result == "done"
    assert slept == [0.75, 7.5]
    assert told == [(2, 0.75), (3, 7.5)]


async def test_the_last_failure_leaves_as_it_is() -> None:
    async def sleep(seconds: float) -> None: ...

    last = unavailable()
    flaky = Flaky(unavailable(), last)
    with pytest.raises(RegistryUnavailable) as caught:
        await Retrying(1, sleep=sleep).run(flaky, lambda *_: None)
    assert caught.value is last
    assert flaky.calls == 2


async def test_nothing_but_our_own_errors_is_tried_again() -> None:
    flaky = Flaky(LookupError("a bug"))
    with pytest.raises(LookupError):
        await Retrying(3).run(flaky, lambda *_: None)
    assert flaky.calls == 1


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([EngineLost, RateLimited]))
def test_no_wait_of_our_own_is_longer_than_a_minute(
    attempt: int, chance: float, kind: type[CopyError]
) -> None:
    assert pause(kind("again", WHERE, transient=True), attempt, chance) <= BACKOFF_SECONDS_MAX


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0  # no clock begins with the run

    def __call__(self) -> float:
        return self.now


async def attempts(retrying: Retrying, error: CopyError) -> int:
    flaky = Flaky(*[error] * 9)
    with pytest.raises(type(error)):
        await retrying.run(flaky, lambda *_: None)
    return flaky.calls


def away(host: str = "r.example") -> CopyError:
    error = RegistryUnavailable("nobody is there", Where(host), transient=True).being_away()
    return error.located(f"{host}/a:1", Step.RESOLVE)


async def test_a_registry_that_stays_away_is_waited_for_by_a_few_and_asked_by_all() -> None:
    async def sleep(seconds: float) -> None: ...

    clock = Clock()
    retrying = Retrying(3, sleep=sleep, outages=Outages(clock))
    assert [await attempts(retrying, away()) for _ in range(5)] == [4, 4, 4, 1, 1]
    assert await attempts(retrying, away("other.example")) == 4
    clock.now += OUTAGE_SECONDS - 1
    assert await attempts(retrying, away()) == 1
    clock.now += OUTAGE_SECONDS
    assert [await attempts(retrying, away()) for _ in range(4)] == [4, 4, 4, 1]


async def test_a_registry_that_never_answers_is_waited_for_by_a_few_however_long_that_takes() -> (
    None
):
    clock = Clock()

    async def sleep(seconds: float) -> None: ...

    async def silent() -> None:
        clock.now += 60
        raise TimedOut("it sent nothing", WHERE, transient=True).being_away()

    retrying, began = Retrying(3, sleep=sleep, outages=Outages(clock)), clock.now
    for _ in range(6):
        with pytest.raises(TimedOut):
            await retrying.run(silent, lambda *_: None)
    assert clock.now - began == 60 * (4 + 4 + 4 + 1 + 1 + 1)
    overloaded = TimedOut("it sent nothing", WHERE, transient=True)
    assert await attempts(retrying, overloaded) == 4, "it has answered meanwhile"


async def test_a_registry_that_answers_at_all_takes_nobodys_retries() -> None:
    async def sleep(seconds: float) -> None: ...

    retrying = Retrying(3, sleep=sleep)
    assert [await attempts(retrying, unavailable()) for _ in range(5)] == [4] * 5
    for _ in range(5):
        await attempts(retrying, away())
    assert await attempts(retrying, unavailable()) == 4
