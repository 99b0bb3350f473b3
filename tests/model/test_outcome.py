"""A report is a value: it can be handed to another process, and says the same there."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import pytest

from asyncsync.model.digest import Digest
from asyncsync.model.errors import BlobsUnknown, NotFound, Where
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Outcome, Report, Status, SyncFailed
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position

SECRET = "s3cret-of-nobody"


def pickled(report: Report) -> Report:
    data = pickle.dumps(report)
    assert SECRET.encode() not in data
    again = pickle.loads(data)  # noqa: S301  our own bytes
    assert isinstance(again, Report)
    return again


@pytest.fixture
def report() -> Report:
    """One image of each kind; what failed did so for a reason that nobody else may read."""
    jobs = [
        CopyJob(
            Reference.parse(f"nginx:{n}"), Reference.parse(f"r.example/nginx:{n}"),
            (Platform.parse("linux/arm64"),), Position("images.yaml", n),
        )
        for n in range(1, 5)
    ]  # fmt: skip
    where = Where("r.example", "docker.io/library/nginx:2", Step.COPY)
    lost = BlobsUnknown("it lacks blobs", where).naming((Digest.of(b"layer"),))
    gone = NotFound("there is no tag 3", where, False, True, 1.5).advising("Do this.")
    gone.__cause__ = ValueError(f"Authorization: {SECRET}")
    steps = MappingProxyType({Step.RESOLVE: 0.1, Step.COPY: 2.5})
    outcomes = (
        Outcome(jobs[0], Status.COPIED, Digest.of(b"1"), 7, 2.6, steps, 2, ("adapted",)),
        Outcome(jobs[1], Status.FAILED, steps=steps, error=lost),
        Outcome(jobs[2], Status.FAILED, steps=steps, error=gone),
        Outcome(jobs[3], Status.NOT_STARTED, notes=("the deadline came first",)),
    )
    return Report("direct", 3.0, outcomes)


@pytest.mark.parametrize("handed_on", [pickled, copy.deepcopy])
def test_a_report_that_is_handed_on_says_the_same(
    report: Report, handed_on: Callable[[Report], Report]
) -> None:
    again = handed_on(report)

    def bare(whole: Report) -> Report:  # an error is equal to itself alone
        return replace(whole, outcomes=tuple(replace(each, error=None) for each in whole.outcomes))

    assert bare(again) == bare(report)
    for before, after in zip(report.outcomes, again.outcomes, strict=True):
        assert type(after.error) is type(before.error)
        assert str(after.error) == str(before.error)
        if before.error and after.error:
            assert vars(after.error) == vars(before.error)
            assert after.error.__cause__ is None
        with pytest.raises(TypeError):
            after.steps[Step.CLEAN] = 1.0  # type: ignore[index]
    assert str(SyncFailed(again)) == str(SyncFailed(report))
