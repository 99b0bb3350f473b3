"""The scheduler, with a scripted copy function and random schedules; no engine, no registry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, NotFound, TimedOut, Where
from asyncsync.model.events import (
    BytesMoved,
    Ended,
    Event,
    Noted,
    Observe,
    Retried,
    Spared,
    StepEnded,
    StepStarted,
    Walked,
)
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Copied, Outcome, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.scheduling import Run, running

DIGEST = Digest("sha256", "0" * 64)


def make_jobs(count: int, *, sources: int = 1) -> list[CopyJob]:
    """Jobs that come from so many registries in turn."""
    return [
        CopyJob(
            Reference.parse(f"{chr(97 + n % sources)}.example/i:{n}"),
            Reference.parse(f"b.example/i:{n}"),
            (),
            Position("images.yaml", n + 1),
        )
        for n in range(count)
    ]


class Fate(Enum):
    COPIED = "copied"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ENDS_RUN = "ends the run"
    BUG = "bug"


class Bug(Exception):
    """What a worker must never raise."""


class ReadersOwn(BaseException):
    """An exception of the reader's block that is not even an Exception, as SystemExit is."""


@dataclass
class ScriptedCopy:
    """An honest copy function: each job takes some turns of the loop, then meets its fate.

    A job that is copied cleans up, shielded, for some turns after the target has confirmed it.
    """

    script: Sequence[tuple[int, Fate, int]]  # turns before, fate, turns of cleaning up
    at_once: int = 0
    most: int = 0
    confirmed: set[CopyJob] = field(default_factory=set)
    started: list[CopyJob] = field(default_factory=list)

    async def __call__(self, job: CopyJob, observe: Observe) -> Copied:
        turns, fate, cleaning = self.script[len(self.started)]
        self.started.append(job)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            for _ in range(turns):
                await checkpoint()
            where = Where("b.example", str(job.source), Step.PUSH)
            match fate:
                case Fate.BUG:
                    raise Bug(str(job.source))
                case Fate.FAILED | Fate.ENDS_RUN:
                    raise CopyError("no", where, ends_run=fate is Fate.ENDS_RUN)
                case Fate.COPIED:
                    self.confirmed.add(job)
            with anyio.CancelScope(shield=True):
                for _ in range(cleaning):
                    await checkpoint()
            return Copied(DIGEST, changed=fate is Fate.COPIED)
        finally:
            self.at_once -= 1


class Ending(Enum):
    BY_ITSELF = "by itself"
    FAIL_FAST = "fail-fast"
    STOPPED = "stop()"
    DRAINED = "drain()"
    CANCELLED = "cancelled from outside"
    BLOCK_RAISES = "the reader's block raises"
    BLOCK_EXITS = "the reader's block raises a BaseException"
    READER_LEAVES = "the reader leaves the block early"


@dataclass(frozen=True)
class Schedule:
    script: list[tuple[int, Fate, int]]
    concurrency: int
    ending: Ending
    after: int  # outcomes read, or turns of the loop, before the ending comes


schedules = st.builds(
    Schedule,
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from([*[Fate.COPIED] * 6, *[Fate.FAILED] * 2, *Fate]),
            st.integers(0, 4),
        ),
        max_size=20,
    ),
    st.integers(1, 8),
    st.sampled_from(Ending),
    st.integers(0, 25),
)


async def play(schedule: Schedule) -> tuple[list[CopyJob], ScriptedCopy, Run, BaseException | None]:
    """Run the schedule to its end; also what came out of the block, if anything did."""
    jobs = make_jobs(len(schedule.script), sources=3)
    copy = ScriptedCopy(schedule.script)
    ended: list[CopyJob] = []
    held: list[Run] = []
    raised: BaseException | None = None

    def observe(event: Event) -> None:
        if isinstance(event, Ended):
            ended.append(event.outcome.job)

    async def read() -> None:
        async with running(
            jobs,
            copy,
            concurrency=schedule.concurrency,
            fail_fast=schedule.ending is Ending.FAIL_FAST,
            observe=observe,
        ) as run:
            held.append(run)
            seen = 0
            if schedule.ending is Ending.STOPPED and not schedule.after:
                run.stop()
            if schedule.ending is Ending.DRAINED and not schedule.after:
                run.drain()
            async for _ in run:
                seen += 1
                if seen == schedule.after:
                    match schedule.ending:
                        case Ending.STOPPED:
                            run.stop()
                        case Ending.DRAINED:
                            run.drain()
                        case Ending.BLOCK_RAISES:
                            raise LookupError("the reader's own")
                        case Ending.BLOCK_EXITS:
                            raise ReadersOwn
                        case Ending.READER_LEAVES:
                            return

    async def cancel_later(scope: anyio.CancelScope) -> None:
        for _ in range(schedule.after):
            await checkpoint()
        scope.cancel()

    try:
        if schedule.ending is Ending.CANCELLED:
            async with anyio.create_task_group() as group:
                group.start_soon(cancel_later, group.cancel_scope)
                await read()
                group.cancel_scope.cancel()
        else:
            await read()
    except BaseExceptionGroup as several:
        # The outer group of this test wraps what leaves `read`; nothing else may.
        assert schedule.ending is Ending.CANCELLED
        (raised,) = several.exceptions
        assert not isinstance(raised, BaseExceptionGroup)
    except BaseException as error:  # noqa: BLE001  it is looked at
        raised = error
    if held:
        assert sorted(ended, key=str) == sorted(jobs, key=str)
    return jobs, copy, held[0] if held else None, raised  # type: ignore[return-value]


def check(schedule: Schedule, *, uvloop: bool) -> None:
    async def main() -> None:
        jobs, copy, run, raised = await play(schedule)
        assert len(asyncio.all_tasks()) == 1, "a task outlived the block"
        assert copy.most <= schedule.concurrency
        assert copy.at_once == 0
        assert len(copy.started) == len(set(copy.started))
        if run is None:  # cancelled before the block was entered
            return
        told = {outcome.job: outcome for outcome in run.told}
        assert [outcome.job for outcome in run.told] == jobs
        for job in copy.confirmed:
            assert told[job].status is Status.COPIED
        for job in jobs:
            assert (told[job].status is Status.NOT_STARTED) == (job not in copy.started)
            assert (told[job].error is not None) == (told[job].status is Status.FAILED)
        check_what_was_raised(schedule, copy, raised)

    anyio.run(main, backend_options={"use_uvloop": uvloop})


def check_what_was_raised(
    schedule: Schedule, copy: ScriptedCopy, raised: BaseException | None
) -> None:
    fates = [fate for _, fate, _ in schedule.script[: len(copy.started)]]
    if isinstance(raised, Bug):
        assert Fate.BUG in fates
    elif isinstance(raised, LookupError):
        assert schedule.ending is Ending.BLOCK_RAISES
    elif isinstance(raised, ReadersOwn):
        assert schedule.ending is Ending.BLOCK_EXITS
    else:
        assert raised is None


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@settings(max_examples=500, deadline=None)
@given(schedule=schedules)
def test_every_job_has_exactly_one_outcome_however_the_run_ends(
    schedule: Schedule, uvloop: bool
) -> None:
    check(schedule, uvloop=uvloop)


@pytest.mark.parametrize("ending", Ending)
@settings(max_examples=60, deadline=None)
@given(schedule=schedules)
def test_each_way_of_ending_loses_nothing(schedule: Schedule, ending: Ending) -> None:
    check(
        Schedule(schedule.script, schedule.concurrency, ending, schedule.after),
        uvloop=False,
    )


@dataclass
class GatedCopy:
    """Holds every image at a gate."""

    gate: anyio.Event = field(default_factory=anyio.Event)
    started: int = 0
    error: Callable[[], Exception] | None = None

    async def __call__(self, job: CopyJob, observe: Observe) -> Copied:
        self.started += 1
        await self.gate.wait()
        if self.error:
            raise self.error()
        return Copied(DIGEST)


async def test_no_more_images_are_copied_at_once_than_asked() -> None:
    jobs, copy = make_jobs(10), GatedCopy()
    async with running(jobs, copy, concurrency=4) as run:
        await wait_all_tasks_blocked()
        assert copy.started == 4
        copy.gate.set()
        assert {outcome.job async for outcome in run} == set(jobs)


async def test_a_source_that_stands_still_holds_up_no_image_of_another() -> None:
    still, quick = make_jobs(50), make_jobs(50, sources=2)[1::2]
    gate = anyio.Event()

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        await (gate.wait() if job in still else checkpoint())
        return Copied(DIGEST, changed=True)

    async with running([*still, *quick], copy, concurrency=4) as run:
        assert {(await anext(run)).job for _ in quick} == set(quick)
        gate.set()
        assert {outcome.job async for outcome in run} == set(still)


async def test_a_run_that_is_asked_in_the_middle_has_a_word_on_every_job() -> None:
    jobs, copy = make_jobs(3), GatedCopy()
    async with running(jobs, copy, concurrency=2) as run:
        await wait_all_tasks_blocked()
        assert run.told == tuple(Outcome(job, Status.NOT_STARTED) for job in jobs)
        copy.gate.set()
    assert [outcome.job for outcome in run.told] == jobs


async def test_a_run_whose_block_is_left_has_no_more_outcomes_to_wait_for() -> None:
    jobs = make_jobs(3)
    copy = ScriptedCopy([(0, Fate.COPIED, 0)] * 3)
    async with running(jobs, copy, concurrency=1) as run:
        outcomes = aiter(run)
        await anext(outcomes)
    assert [outcome async for outcome in run] == []
    assert [outcome async for outcome in outcomes] == []
    assert len(run.told) == 3


async def test_a_failed_image_stops_nothing_by_default() -> None:
    jobs = make_jobs(3)
    copy = ScriptedCopy([(0, Fate.FAILED, 0), (0, Fate.COPIED, 0), (0, Fate.COPIED, 0)])
    async with running(jobs, copy, concurrency=1) as run:
        statuses = [outcome.status async for outcome in run]
    assert statuses == [Status.FAILED, Status.COPIED, Status.COPIED]


async def test_fail_fast_starts_nothing_after_the_first_failure() -> None:
    jobs = make_jobs(3)
    copy = ScriptedCopy([(0, Fate.COPIED, 0), (0, Fate.FAILED, 0), (0, Fate.COPIED, 0)])
    async with running(jobs, copy, concurrency=1, fail_fast=True) as run:
        statuses = [outcome.status async for outcome in run]
    assert statuses == [Status.COPIED, Status.FAILED, Status.NOT_STARTED]


async def test_an_error_that_ends_the_run_does_so_without_fail_fast() -> None:
    jobs = make_jobs(3)
    copy = ScriptedCopy([(0, Fate.ENDS_RUN, 0), (0, Fate.COPIED, 0), (0, Fate.COPIED, 0)])
    async with running(jobs, copy, concurrency=1) as run:
        statuses = [outcome.status async for outcome in run]
    assert statuses == [Status.FAILED, Status.NOT_STARTED, Status.NOT_STARTED]


async def test_what_is_under_way_at_a_stop_is_cancelled_and_the_rest_not_started() -> None:
    jobs, copy = make_jobs(5), GatedCopy()
    async with running(jobs, copy, concurrency=2) as run:
        await wait_all_tasks_blocked()
        run.stop()
        outcomes = [outcome async for outcome in run]
    assert [outcome.status for outcome in outcomes] == [Status.CANCELLED] * 2 + [
        Status.NOT_STARTED
    ] * 3


@pytest.mark.parametrize("ends", [Run.stop, Run.drain])
async def test_a_run_that_is_ended_before_its_first_turn_starts_nothing(
    ends: Callable[[Run], None],
) -> None:
    copy = GatedCopy()
    copy.gate.set()
    async with running(make_jobs(5), copy, concurrency=2) as run:
        ends(run)
        outcomes = [outcome async for outcome in run]
    assert [outcome.status for outcome in outcomes] == [Status.NOT_STARTED] * 5
    assert copy.started == 0


async def test_what_is_under_way_at_a_drain_goes_on_and_the_rest_is_not_started() -> None:
    jobs, copy = make_jobs(5), GatedCopy()
    async with running(jobs, copy, concurrency=2) as run:
        await wait_all_tasks_blocked()
        run.drain()
        copy.gate.set()
        outcomes = [outcome async for outcome in run]
    assert [outcome.status for outcome in outcomes] == [Status.COPIED] * 2 + [
        Status.NOT_STARTED
    ] * 3
    assert copy.started == 2


async def test_a_copy_confirmed_before_the_stop_stays_copied_while_it_cleans_up() -> None:
    (job,) = make_jobs(1)
    confirmed, cleaned = anyio.Event(), anyio.Event()

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        try:
            confirmed.set()
            return Copied(DIGEST)
        finally:
            with anyio.CancelScope(shield=True):
                await cleaned.wait()

    async with running([job], copy, concurrency=1) as run:
        await confirmed.wait()
        run.stop()
        await wait_all_tasks_blocked()
        cleaned.set()
        (outcome,) = [outcome async for outcome in run]
    assert outcome.status is Status.COPIED


async def test_a_bug_in_a_worker_leaves_bare_and_every_job_is_told() -> None:
    jobs, copy = make_jobs(4), GatedCopy(error=lambda: Bug("here"))
    with pytest.raises(Bug, match="here"):
        async with running(jobs, copy, concurrency=2) as run:
            copy.gate.set()
            async for _ in run:
                pass
    assert [outcome.job for outcome in run.told] == jobs


@pytest.mark.parametrize("error", [LookupError("the reader's own"), ReadersOwn(), SystemExit(3)])
async def test_what_the_reader_raises_leaves_bare_and_ends_what_would_not_end(
    error: BaseException,
) -> None:
    jobs = make_jobs(4)
    with anyio.fail_after(20), pytest.raises(type(error)) as caught:
        async with running(jobs, GatedCopy(), concurrency=2) as run:
            await wait_all_tasks_blocked()
            raise error
    assert caught.value is error
    assert [outcome.status for outcome in run.told] == [
        Status.CANCELLED, Status.CANCELLED, Status.NOT_STARTED, Status.NOT_STARTED
    ]  # fmt: skip


async def test_a_reader_who_leaves_early_ends_what_would_not_end() -> None:
    with anyio.fail_after(20):
        async with running(make_jobs(2), GatedCopy(), concurrency=1) as run:
            await wait_all_tasks_blocked()
    assert [outcome.status for outcome in run.told] == [Status.CANCELLED, Status.NOT_STARTED]


async def test_a_bug_ends_the_run_although_other_images_stand_still() -> None:
    jobs = make_jobs(4)

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        if job is jobs[1]:
            raise Bug("the first")
        try:
            await anyio.sleep_forever()
        finally:
            raise Bug("only for it")

    with anyio.fail_after(20), pytest.raises(Bug, match="the first"):
        async with running(jobs, copy, concurrency=2) as run:
            async for _ in run:
                pass
    assert [outcome.job for outcome in run.told] == jobs


async def test_a_stop_has_its_turn_between_images_that_wait_for_nothing() -> None:
    async def copy(job: CopyJob, observe: Observe) -> Copied:
        return Copied(DIGEST)

    async with running(make_jobs(1000), copy, concurrency=2) as run:
        async for _ in run:
            run.stop()
    assert [outcome.status for outcome in run.told].count(Status.COPIED) < 10


async def test_a_listener_with_a_bug_costs_no_outcome() -> None:
    jobs, copy = make_jobs(4), GatedCopy()

    def observe(event: Event) -> None:
        raise Bug("listener")

    with pytest.raises(Bug, match="listener"):
        async with running(jobs, copy, concurrency=2, observe=observe) as run:
            copy.gate.set()
            run.stop()
            async for _ in run:
                pass
    assert [outcome.job for outcome in run.told] == jobs


async def test_an_outcome_says_what_its_events_said_also_when_it_failed() -> None:
    (job,) = make_jobs(1)
    error = NotFound("no", Where("a.example", str(job.source), Step.PULL), transient=True)

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        observe(StepStarted(job, Step.PULL))
        observe(BytesMoved(job, 700))
        observe(Walked(job, 5))
        for count, shared in ((30, True), (4, False), (12, True)):
            observe(Spared(job, count, shared))
        observe(Retried(job, 2, 0.0, error))
        observe(BytesMoved(job, 50))
        observe(Noted(job, "one platform of three"))
        observe(Noted(job, "one platform of three"))
        observe(StepEnded(job, Step.PULL, 1.5))
        raise error

    async with running([job], copy, concurrency=1) as run:
        (outcome,) = [outcome async for outcome in run]
    assert (outcome.bytes_moved, outcome.attempts) == (750, 2)
    assert (outcome.bytes_there, outcome.bytes_shared, outcome.platforms) == (4, 42, 5)
    assert outcome.notes == ("one platform of three",)
    assert dict(outcome.steps) == {Step.PULL: 1.5}
    assert outcome.error is error
    assert error.__traceback__ is None, "100,000 failures would pin 100,000 stacks"


async def test_whoever_listens_hears_all_that_a_copy_tells_and_then_its_end() -> None:
    (job,) = make_jobs(1)
    heard: list[Event] = []
    events = [StepStarted(job, Step.PULL), BytesMoved(job, 700), Noted(job, "by tag")]

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        for event in events:
            observe(event)
        return Copied(DIGEST)

    began = time.monotonic()
    async with running([job], copy, concurrency=1, observe=heard.append) as run:
        (outcome,) = [outcome async for outcome in run]
    assert heard == [*events, Ended(outcome)]
    assert 0 <= outcome.seconds <= time.monotonic() - began
    assert outcome.platforms == 0, "nothing was said of platforms"


async def test_an_image_that_says_the_same_in_ever_new_words_fills_no_report() -> None:
    async def copy(job: CopyJob, observe: Observe) -> Copied:
        for number in range(1000):
            observe(Noted(job, f"mirror {number} failed"))
        return Copied(DIGEST)

    async with running(make_jobs(1), copy, concurrency=1) as run:
        (outcome,) = [outcome async for outcome in run]
    assert outcome.notes == tuple(f"mirror {number} failed" for number in range(20))


async def test_an_image_that_takes_longer_than_allowed_is_a_failed_outcome() -> None:
    (job,) = make_jobs(1)

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        observe(StepStarted(job, Step.PUSH))
        try:
            await anyio.sleep_forever()
        finally:
            observe(StepStarted(job, Step.CLEAN))
        raise AssertionError

    async with running([job], copy, concurrency=1, timeout=0.05) as run:
        (outcome,) = [outcome async for outcome in run]
    assert isinstance(outcome.error, TimedOut)
    assert outcome.error.where == Where("b.example", "a.example/i:0", Step.PUSH)


@pytest.mark.parametrize(
    ("step", "target", "at"),
    [
        (None, "b.example/i:1", "a.example or b.example"),
        (Step.RESOLVE, "b.example/i:1", "a.example or b.example"),
        (Step.COPY, "b.example/i:1", "a.example or b.example"),
        (Step.COPY, "a.example/other:1", "a.example"),
        (Step.PULL, "b.example/i:1", "a.example"),
        (Step.PUSH, "b.example/i:1", "b.example"),
        (Step.VERIFY, "b.example/i:1", "b.example"),
    ],
)
async def test_an_image_that_took_too_long_names_whoever_may_have_been_too_slow(
    step: Step | None, target: str, at: str
) -> None:
    source = Reference.parse("a.example/i:0")
    job = CopyJob(source, Reference.parse(target), (), Position("images.yaml", 1))

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        if step:
            observe(StepStarted(job, step))
        await anyio.sleep_forever()
        raise AssertionError

    async with running([job], copy, concurrency=1, timeout=0.05) as run:
        (outcome,) = [outcome async for outcome in run]
    assert outcome.error is not None
    assert outcome.error.where == Where(at, "a.example/i:0", step or Step.RESOLVE)


async def test_a_plan_without_jobs_ends_at_once() -> None:
    async with running([], GatedCopy(), concurrency=3) as run:
        outcomes: list[Outcome] = [outcome async for outcome in run]
    assert outcomes == []


async def test_a_hundred_thousand_jobs_are_not_a_hundred_thousand_tasks() -> None:
    most = 0

    async def copy(job: CopyJob, observe: Observe) -> Copied:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return Copied(DIGEST)

    jobs = make_jobs(1000)
    async with running(jobs, copy, concurrency=8) as run:
        assert len([outcome async for outcome in run]) == 1000
    assert most <= 8 + 4  # the workers, their group, the reader, the test's own runner
