"""The rate of a run: what all transfers together hand on, by a clock that the test moves."""

from __future__ import annotations

import anyio
import pytest
from anyio import create_task_group
from hypothesis import given
from hypothesis import strategies as st
from parts.clock import Clock

from asyncsync.transports.direct.pace import BURST_BYTES_MIN, BURST_SECONDS, Pace

KIB = 1024
MIB = 1024 * KIB

Passed = list[tuple[float, int, int]]  # when, which transfer, how many bytes


async def moved(rate: float, transfers: list[list[int]], pauses: bool = False) -> Passed:
    """Run the transfers, each of these chunks, at once; what passed, and when."""
    clock, passed = Clock(), Passed()
    pace = Pace(rate, clock=clock, sleep=clock.sleep)

    async def transfer(number: int, chunks: list[int]) -> None:
        for chunk in chunks:
            await pace.passed(chunk)
            passed.append((clock.now, number, chunk))
            if pauses and chunk % 3 == 0:
                await clock.sleep(chunk / rate * 5)

    async with create_task_group() as group:
        async with create_task_group() as movers:
            group.start_soon(clock.follow)
            for number, chunks in enumerate(transfers):
                movers.start_soon(transfer, number, chunks)
        group.cancel_scope.cancel()
    return passed


@given(
    rate=st.sampled_from([64.0 * KIB, 1.0 * MIB, 20.0 * MIB, 1000.0 * MIB]),
    transfers=st.lists(
        st.lists(st.integers(1, 2 * MIB), min_size=1, max_size=12), min_size=1, max_size=5
    ),
    pauses=st.booleans(),
)
def test_over_any_time_no_more_passes_than_the_rate_and_one_burst(
    rate: float, transfers: list[list[int]], pauses: bool
) -> None:
    passed = anyio.run(moved, rate, transfers, pauses)
    assert sum(count for _, _, count in passed) == sum(map(sum, transfers))
    burst = max(BURST_SECONDS * rate, BURST_BYTES_MIN, *(count for _, _, count in passed))
    for first, (begin, _, _) in enumerate(passed):
        sum_of = 0
        for end, _, count in passed[first:]:
            sum_of += count
            assert sum_of <= rate * (end - begin) + burst + 1


@given(
    rate=st.sampled_from([64.0 * KIB, 1.0 * MIB, 20.0 * MIB]),
    transfers=st.lists(
        st.lists(st.integers(1, 2 * MIB), min_size=1, max_size=12), min_size=1, max_size=5
    ),
)
def test_the_rate_is_used_up_while_anybody_has_bytes(
    rate: float, transfers: list[list[int]]
) -> None:
    passed = anyio.run(moved, rate, transfers)
    assert passed[-1][0] - 1000.0 <= sum(map(sum, transfers)) / rate + 1e-6


async def test_transfers_get_a_chunk_each_in_turn() -> None:
    passed = await moved(1.0 * MIB, [[64 * KIB] * 40 for _ in range(4)])
    turns = [number for _, number, _ in passed[40:80]]
    assert sorted(turns[:4]) == [0, 1, 2, 3]
    assert all(turns[n] == turns[n % 4] for n in range(40))


async def test_a_chunk_larger_than_the_burst_passes_and_is_paid_for_after() -> None:
    passed = await moved(1.0 * MIB, [[3 * MIB, 1, 256 * KIB]])
    waits = [when - 1000.0 for when, _, _ in passed]
    assert waits[0] == 0
    assert waits[1] == pytest.approx(2.75, abs=0.001)  # but for the burst, of a quarter
    assert waits[2] == pytest.approx(3.0, abs=0.001)


async def test_after_a_pause_no_more_than_a_burst_comes_at_once() -> None:
    clock = Clock()
    pace = Pace(1.0 * MIB, clock=clock, sleep=clock.sleep)
    clock.advance(3600)
    for _ in range(4):
        await pace.passed(64 * KIB)
    assert clock.slept == []
    async with create_task_group() as group:
        group.start_soon(pace.passed, 64 * KIB)
        await anyio.wait_all_tasks_blocked()
        assert clock.slept == [pytest.approx(1 / 16)]
        clock.advance(1)


async def test_whoever_is_cancelled_while_waiting_does_not_make_the_others_faster() -> None:
    clock = Clock()
    pace = Pace(1.0 * MIB, clock=clock, sleep=clock.sleep)
    await pace.passed(1 * MIB)
    with anyio.CancelScope() as gone:
        gone.cancel()
        await pace.passed(1 * MIB)
    async with create_task_group() as group:
        group.start_soon(pace.passed, 256 * KIB)
        await anyio.wait_all_tasks_blocked()
        assert clock.slept[-1] == pytest.approx(2.0)
        clock.advance(2.0)


def test_without_a_rate_nobody_waits_or_gives_up_the_turn() -> None:
    passing = Pace(None).passed(10**12)
    with pytest.raises(StopIteration):  # ended by the first step: no event loop was needed
        passing.send(None)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_at_which_nothing_moves_is_none(rate: float) -> None:
    with pytest.raises(ValueError, match="move nothing"):
        Pace(rate)
