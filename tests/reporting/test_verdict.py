"""At the end: each cause once with its advice, then the counts."""

from __future__ import annotations

from collections.abc import Callable

from asyncsync.model.errors import AuthenticationFailed, CopyError, NotFound, Where
from asyncsync.model.job import Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.reporting.verdict import verdict


def told(*outcomes: Outcome, seconds: float = 302, failed_list: str | None = None) -> list[str]:
    report = Report("engine", seconds, outcomes)
    return list(verdict(report, succeeded_log="succeeded.log", failed_list=failed_list))


def test_a_failure_is_told_with_its_line_and_one_advice_and_the_counts_come_last(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    assert told(
        *(ended(f"a:{n}", Status.COPIED, bytes_moved=2_200_000_000) for n in range(2)),
        ended("b:1", Status.UNCHANGED),
        failed("redis:7.99", NotFound, "library/redis has no tag 7.99", 7),
    ) == [
        "redis:7.99 (images.yaml:7): library/redis has no tag 7.99 (resolve at docker.io).",
        "  Correct the name or the tag in the list, or comment the line out with #.",
        "",
        "2 copied, 1 unchanged, 1 failed. 4.4 GB moved in 5 min 2 s. "
        "succeeded.log names what is in place.",
        "Then run the same command again: what is in place is skipped.",
    ]


def test_many_failures_with_one_cause_are_told_once(failed: Callable[..., Outcome]) -> None:
    lines = (12, 14, 18, 19, 23, *range(30, 62))
    refused = "ghcr.io refuses us (401 Unauthorized)"
    outcomes = [failed(f"ghcr.io/a/b:{n}", AuthenticationFailed, refused, n) for n in lines]

    assert told(*outcomes, failed_list="failed.yaml") == [
        "37 images: ghcr.io refuses us (401 Unauthorized) (resolve at ghcr.io).",
        f"  {AuthenticationFailed('', Where('ghcr.io')).advice()}",
        "  images.yaml:12, 14, 18, 19, 23 and 32 more (all in failed.yaml)",
        "",
        "37 failed. Nothing was moved in 5 min 2 s. failed.yaml lists them.",
        "Then run the same command again: what is in place is skipped.",
    ]
    assert "  images.yaml:12, 14, 18, 19, 23 and 32 more (--failed-list FILE writes them all)" in (
        told(*outcomes)
    )


def test_different_words_of_one_cause_share_their_advice(failed: Callable[..., Outcome]) -> None:
    outcomes = [failed(f"a:{n}", NotFound, f"there is no {n}", n) for n in range(1, 13)]

    lines = told(*outcomes)

    assert lines[0] == "a:1 (images.yaml:1): there is no 1 (resolve at docker.io)."
    assert lines[9].startswith("a:10 ")
    assert lines[10] == "and 2 more (--failed-list FILE writes them all)"
    assert sum("Correct the name" in line for line in lines) == 1


def test_a_stopped_run_says_that_the_next_one_goes_on(ended: Callable[..., Outcome]) -> None:
    assert told(
        ended("a:1", Status.COPIED, bytes_moved=1000),
        ended("b:1", Status.CANCELLED),
        ended("c:1", Status.NOT_STARTED),
        seconds=3,
    ) == [
        "1 copied, 1 cancelled, 1 not started. 1.0 kB moved in 3.0 s. "
        "succeeded.log names what is in place; the next run goes on from there."
    ]


def test_all_is_well_in_one_line(ended: Callable[..., Outcome]) -> None:
    assert told(ended("a:1", Status.UNCHANGED), seconds=1) == [
        "1 unchanged. Nothing was moved in 1.0 s. succeeded.log names what is in place."
    ]
    assert told(ended("a:1", Status.COPIED), seconds=1) == [
        "1 copied. It took 1.0 s. succeeded.log names what is in place."
    ]


def test_no_image_is_no_failure() -> None:
    assert told() == ["No image, nothing to copy."]


def test_hostile_words_stay_on_their_line(failed: Callable[..., Outcome], hostile: str) -> None:
    for outcome_count in (1, 2):
        outcomes = [failed(f"a:{n}", CopyError, hostile, n) for n in range(outcome_count)]
        for line in told(*outcomes):
            assert line.isprintable()
            assert len(line) < 700
            assert not line.lstrip().startswith(("::", "##["))


def test_every_failure_names_image_step_and_registry(failed: Callable[..., Outcome]) -> None:
    line = told(failed("nginx:1", CopyError, "no", step=Step.PUSH, registry="r.example"))[0]
    assert all(word in line for word in ("nginx:1", "push", "r.example"))
