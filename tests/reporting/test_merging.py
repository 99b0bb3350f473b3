"""Several reports are told as one, and no image of the plan is lost between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync import lists
from asyncsync.model.digest import Digest
from asyncsync.model.errors import NotFound
from asyncsync.model.job import Destination, Plan, Shard
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.planning import part, plan
from asyncsync.reporting.merging import merged

NAMES = "".join(f"{name}:1\n" for name in "abcdefghij")
WHOLE = plan(lists.read(NAMES, "images.yaml"), [Destination.parse("r.example/team")])


def copied(jobs: Plan, seconds: float = 1.0) -> Report:
    digest = Digest.of(b"")
    outcomes = (Outcome(job, Status.COPIED, digest, bytes_moved=10) for job in jobs.jobs)
    return Report("engine", seconds, tuple(outcomes))


@given(st.integers(1, 12), st.sets(st.integers(1, 12)), st.randoms())
def test_each_image_of_the_plan_has_one_outcome_whichever_reports_are_missing(
    count: int, lost: set[int], random: object
) -> None:
    parts = {index: part(WHOLE, Shard(index, count)) for index in range(1, count + 1)}
    reports = [copied(each) for index, each in parts.items() if index not in lost]
    random.shuffle(reports)  # type: ignore[attr-defined]

    report = merged(reports, WHOLE)

    assert [outcome.job for outcome in report.outcomes] == list(WHOLE.jobs)
    missing = {job for index in lost & parts.keys() for job in parts[index].jobs}
    for outcome in report.outcomes:
        if outcome.job in missing:
            assert outcome.status is Status.NOT_STARTED
            assert outcome.notes == ("no report tells of it",)
        else:
            assert outcome.status is Status.COPIED
    assert report.bytes_moved == 10 * (len(WHOLE.jobs) - len(missing))


def test_without_a_plan_the_reports_say_what_there_was() -> None:
    first, second = (copied(part(WHOLE, Shard(index, 2)), seconds=index) for index in (1, 2))
    report = merged([first, second])
    assert report.outcomes == first.outcomes + second.outcomes
    assert report.seconds == 2


def test_parts_that_went_different_ways_are_told_with_both() -> None:
    first, second = (copied(part(WHOLE, Shard(index, 2))) for index in (1, 2))
    assert merged([first, replace(second, via="direct")]).via == "direct and engine"


def test_no_reports_and_no_plan_are_an_empty_report() -> None:
    assert merged([]) == Report("engine", 0.0, ())


@pytest.mark.parametrize("turned", [False, True])
def test_an_image_that_one_run_brought_is_in_place_whatever_another_says(
    turned: bool, ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    reports = [
        Report("engine", 1, (ended("a:1", Status.COPIED),)),
        Report("engine", 1, (failed("a:1", NotFound, "there is no tag 1"),)),
    ]
    (outcome,) = merged(reports[::-1] if turned else reports).outcomes
    assert outcome.status is Status.COPIED


def test_of_two_failures_the_last_one_is_told(failed: Callable[..., Outcome]) -> None:
    reports = [Report("engine", 1, (failed("a:1", NotFound, what),)) for what in ("old", "new")]
    (outcome,) = merged(reports).outcomes
    assert outcome.error
    assert outcome.error.what == "new"


def test_what_is_not_in_the_plan_is_left_out(ended: Callable[..., Outcome]) -> None:
    strange = Report("engine", 1, (ended("strange:1", Status.COPIED),))
    report = merged([strange], WHOLE)
    assert report.counts[Status.NOT_STARTED] == len(WHOLE.jobs)


def test_what_did_not_move_is_summed_over_the_parts() -> None:
    parts = [copied(part(WHOLE, Shard(index, 2))) for index in (1, 2)]
    spared = [
        replace(
            each,
            outcomes=tuple(
                replace(outcome, bytes_there=2, bytes_shared=3) for outcome in each.outcomes
            ),
        )
        for each in parts
    ]
    report = merged(spared, WHOLE)
    assert report.bytes_there == 2 * len(WHOLE.jobs)
    assert report.bytes_shared == 3 * len(WHOLE.jobs)
