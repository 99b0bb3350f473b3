"""What takes long is named, longest first."""

from __future__ import annotations

from collections.abc import Callable

from asyncsync.model.errors import CopyError, Where
from asyncsync.model.events import BytesMoved, Ended, Retried, StepStarted
from asyncsync.model.job import Step
from asyncsync.model.outcome import Outcome, Status
from asyncsync.reporting.under_way import UnderWay


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_longest_steps_are_named_and_the_rest_counted(ended: Callable[..., Outcome]) -> None:
    clock = Clock()
    under_way = UnderWay(9, clock)
    for n in range(5):
        under_way(StepStarted(ended(f"a:{n}", Status.COPIED).job, Step.PULL))
        clock.now += 10
    assert list(under_way.longest()) == [
        "a:0 (pull, 50 s)",
        "a:1 (pull, 40 s)",
        "a:2 (pull, 30 s)",
        "2 more",
    ]


def test_what_has_ended_is_not_under_way(ended: Callable[..., Outcome]) -> None:
    outcome = ended("a:1", Status.COPIED)
    under_way = UnderWay(9)
    under_way(StepStarted(outcome.job, Step.PULL))
    assert outcome.job in under_way
    under_way(Ended(outcome))
    assert outcome.job not in under_way
    assert len(under_way) == 0


def test_it_says_once_that_nothing_has_ended_for_long(ended: Callable[..., Outcome]) -> None:
    clock = Clock()
    under_way = UnderWay(9, clock)
    clock.now = 40
    assert not under_way.quiet_for(30)  # nothing is under way
    under_way(StepStarted(ended("a:1", Status.COPIED).job, Step.PULL))
    assert [under_way.quiet_for(30), under_way.quiet_for(30)] == [True, False]
    clock.now = 60
    under_way(Ended(ended("b:1", Status.COPIED)))
    clock.now = 75
    assert not under_way.quiet_for(30)
    clock.now = 91
    assert under_way.quiet_for(30)


def test_each_image_under_way_has_a_row_and_the_rest_are_counted(
    ended: Callable[..., Outcome],
) -> None:
    clock = Clock()
    under_way = UnderWay(9, clock)
    jobs = [ended(name, Status.COPIED).job for name in ("nginx:1.27", "a:1", "b:1")]
    for job in jobs:
        under_way(StepStarted(job, Step.PULL))
    under_way(BytesMoved(jobs[0], 70_000_000))
    under_way(BytesMoved(jobs[0], 1_300_000))
    clock.now += 6.2
    under_way(StepStarted(jobs[1], Step.PUSH))
    under_way(Retried(jobs[2], 2, 1.0, CopyError("what", Where("r.example"))))
    assert list(under_way.rows(4)) == [
        "  pull           nginx:1.27   71.3 MB    6.2 s",
        "  push           a:1                     0.0 s",
        "  pull again     b:1                     6.2 s",
        "  0 of 9 images ended",
    ]
    under_way(Ended(ended("a:1", Status.COPIED)))
    under_way(StepStarted(jobs[2], Step.TAG))
    assert list(under_way.rows(2))[1:] == ["  1 of 9 images ended; 1 more under way"]
    assert list(under_way.rows(1)) == ["  1 of 9 images ended; 2 more under way"]
    under_way(Ended(ended("nginx:1.27", Status.COPIED)))
    assert next(under_way.rows(2)) == "  tag            b:1              0.0 s"
    under_way(Ended(ended("b:1", Status.COPIED)))
    assert list(under_way.rows(2)) == []
