"""Runs a plan: so many jobs at once, and exactly one outcome for every job, however it ends.

Knows no transport: a copy is any async function of a job that returns what the target confirmed
or raises CopyError. Structured: no worker outlives the block of `running`, and errors leave bare.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from anyio import (
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    create_memory_object_stream,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.lowlevel import checkpoint

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, TimedOut, Where
from asyncsync.model.events import (
    BytesMoved,
    Copy,
    Ended,
    Event,
    Noted,
    Observe,
    Retried,
    Spared,
    StepEnded,
    StepStarted,
    Walked,
    ignore,
)
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Outcome, Status
from asyncsync.queueing import Turns

_NOTES_MAX = 20  # a job that has more to say than this says the same again and again


@dataclass(slots=True)
class _Progress:
    """Folds a job's events into what its outcome will say, so that a failed one has it too."""

    _job: CopyJob
    _observe: Observe
    _started: float = field(default_factory=time.monotonic)
    _moved: int = 0
    _there: int = 0
    _shared: int = 0
    _platforms: int = 0
    _attempts: int = 1
    _notes: tuple[str, ...] = ()
    _step: Step | None = None
    _steps: dict[Step, float] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        match event:
            case StepStarted(step=step) if step is not Step.CLEAN:  # what comes after the end
                self._step = step
            case StepEnded(step=step, seconds=seconds):
                self._steps[step] = self._steps.get(step, 0.0) + seconds
            case BytesMoved(count=count):
                self._moved += count
            case Spared(count=count, shared=shared):
                self._shared += count if shared else 0
                self._there += 0 if shared else count
            case Walked(platforms=platforms):
                self._platforms = platforms
            case Retried():
                self._attempts += 1
            case Noted(text=text) if text not in self._notes and len(self._notes) < _NOTES_MAX:
                self._notes = (*self._notes, text)
        self._observe(event)

    async def copied(self, copy: Copy, timeout: float | None) -> Outcome:  # noqa: ASYNC109  a value of the run, not of this call
        """Copy the job. A CopyError is a failed outcome; anything wider is a bug and passes."""
        try:
            with move_on_after(timeout):
                copied = await copy(self._job, self)
                status = Status.COPIED if copied.changed else Status.UNCHANGED
                return self.outcome(status, copied.digest)
        except CopyError as error:
            return self.outcome(Status.FAILED, error=error)
        return self.outcome(Status.FAILED, error=self._timed_out(timeout))

    def outcome(
        self, status: Status, digest: Digest | None = None, error: CopyError | None = None
    ) -> Outcome:
        if error:  # kept bare: 100,000 failures would pin 100,000 stacks, and others' raw texts
            error.__traceback__ = error.__cause__ = error.__context__ = None
        return Outcome(
            self._job,
            status,
            digest,
            bytes_moved=self._moved,
            seconds=time.monotonic() - self._started,
            steps=MappingProxyType(self._steps),
            attempts=self._attempts,
            notes=self._notes,
            error=error,
            bytes_there=self._there,
            bytes_shared=self._shared,
            platforms=self._platforms,
        )

    def _timed_out(self, timeout: float | None) -> TimedOut:
        step = self._step or Step.RESOLVE
        source, target = str(self._job.source.place), str(self._job.target.place)
        # Both are spoken to in these steps, and which of them is silent is not told to us.
        both = source if source == target else f"{source} or {target}"
        at = {Step.RESOLVE: both, Step.COPY: both, Step.PULL: source}.get(step, target)
        where = Where(at, str(self._job.source), step)
        return TimedOut(
            f"it was not in place within the {timeout:g} s allowed for one image", where
        )


class Run:
    """A run under way. Iterate for outcomes as images end: exactly one for every job."""

    def __init__(
        self,
        jobs: Sequence[CopyJob],
        copy: Copy,
        *,
        concurrency: int,
        fail_fast: bool,
        timeout: float | None,
        observe: Observe,
    ) -> None:
        self._jobs, self._copy, self._fail_fast = jobs, copy, fail_fast
        self._timeout, self._observe = timeout, observe
        self._workers = min(concurrency, len(jobs))
        self._turns = Turns(jobs)  # shared: on one loop, each job is taken by one worker
        self._told: dict[CopyJob, Outcome] = {}  # the report comes from here, not from the reader
        # No bound but the plan's: telling never waits, so what the target has confirmed cannot be
        # lost to a cancellation between copying and telling.
        self._sending, self.outcomes = create_memory_object_stream[Outcome](math.inf)
        self._stopping = CancelScope()  # around the workers alone: the reader goes on reading
        self._draining = False
        self.crash: Exception | None = None

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self

    async def __anext__(self) -> Outcome:
        try:
            return await self.outcomes.receive()
        except (EndOfStream, ClosedResourceError):  # closed: the block is left, `told` has them all
            raise StopAsyncIteration from None

    def stop(self) -> None:
        """Start nothing more and cancel what is under way. Every job is still told."""
        self._stopping.cancel()

    def drain(self) -> None:
        """Start nothing more; what is under way goes on to its end. Every job is still told."""
        self._draining = True

    @property
    def told(self) -> tuple[Outcome, ...]:
        """One outcome for each job, in the order of the plan: what is not told yet has no end.

        Complete after the block.
        """
        missing = Status.NOT_STARTED
        return tuple(self._told.get(job) or Outcome(job, missing) for job in self._jobs)

    @property
    def _goes_on(self) -> bool:
        return not (self._draining or self._stopping.cancel_called)

    async def work(self, block: CancelScope) -> None:
        """Run the workers until nothing is left, then tell what never came to its end."""
        under_way: dict[CopyJob, _Progress] = {}
        with self._sending:
            try:
                with self._stopping:
                    async with create_task_group() as workers:
                        for _ in range(self._workers):
                            workers.start_soon(self._worker, under_way, block)
            finally:  # also when the reader has left, or somebody cancelled all of us
                left = [progress.outcome(Status.CANCELLED) for progress in under_way.values()]
                left += [Outcome(job, Status.NOT_STARTED) for job in self._turns.rest()]
                for outcome in left:
                    self._tell(outcome)
                self._announce(left, block)

    def _tell(self, outcome: Outcome) -> None:
        self._told[outcome.job] = outcome
        self._sending.send_nowait(outcome)

    def _announce(self, outcomes: Sequence[Outcome], block: CancelScope) -> None:
        try:  # after all are told: a listener with a bug must not cost an outcome
            for outcome in outcomes:
                self._observe(Ended(outcome))
        except Exception as crash:  # noqa: BLE001  re-raised by running(), bare
            self._crashed(crash, block)

    def _crashed(self, crash: Exception, block: CancelScope) -> None:
        self.crash = self.crash or crash
        block.cancel()

    async def _worker(self, under_way: dict[CopyJob, _Progress], block: CancelScope) -> None:
        try:
            while self._goes_on and (job := self._turns.take()):
                progress = under_way[job] = _Progress(job, self._observe)
                outcome = await progress.copied(self._copy, self._timeout)
                self._turns.over(job)
                del under_way[job]  # no await between here and telling
                self._tell(outcome)
                self._observe(Ended(outcome))
                if outcome.error and (self._fail_fast or outcome.error.ends_run):
                    self.stop()
                await checkpoint()
        except Exception as crash:  # noqa: BLE001  a bug: re-raised by running(), bare, not in a group
            self._crashed(crash, block)


@asynccontextmanager
async def running(
    jobs: Sequence[CopyJob],
    copy: Copy,
    *,
    concurrency: int,
    fail_fast: bool = False,
    timeout: float | None = None,  # noqa: ASYNC109  for one job, not for this call
    observe: Observe = ignore,
) -> AsyncIterator[Run]:
    """Copy `jobs`, so many at once. No worker outlives the block; no group reaches the caller.

    `timeout` is seconds for one job. Raises what the block raises, and whatever a copy raises
    that is no CopyError: that is a bug, and ends the run.
    """
    run = Run(
        jobs, copy, concurrency=concurrency, fail_fast=fail_fast, timeout=timeout, observe=observe
    )
    callers: BaseException | None = None
    with run.outcomes:  # closed after the workers, or they would meet a closed stream
        async with create_task_group() as group:
            group.start_soon(run.work, group.cancel_scope)
            try:
                yield run
            except get_cancelled_exc_class():
                raise  # from outside, or from a crash: the group tells them apart
            except BaseException as error:  # noqa: BLE001  SystemExit too, or it comes in a group
                callers = error
            group.cancel_scope.cancel()
    ended_by = run.crash or callers
    if ended_by is not None:
        try:
            raise ended_by
        finally:
            del ended_by, callers  # or the frame and its traceback keep each other alive
