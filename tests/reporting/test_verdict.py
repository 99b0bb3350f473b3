"""At the end: each cause once with its advice, then the counts."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

import pytest

from asyncsync.model.digest import Digest
from asyncsync.model.errors import AuthenticationFailed, CopyError, DigestMismatch, NotFound, Where
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.place import Layout
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.reporting.verdict import verdict

NGINX = Reference.parse("nginx:1.27")


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
        f"  {AuthenticationFailed('', Where('ghcr.io', 'ghcr.io/a')).advice()}",
        "  images.yaml:12, 14, 18, 19, 23 and 32 more (all in failed.yaml)",
        "",
        "37 failed. Nothing was moved in 5 min 2 s. failed.yaml lists them.",
        "Then run the same command again: what is in place is skipped.",
    ]
    assert told(*outcomes[:2])[0].startswith("2 images: ghcr.io refuses us ")
    assert "  images.yaml:12, 14, 18, 19, 23 and 32 more (--failed-list FILE writes them all)" in (
        told(*outcomes)
    )


def test_different_words_of_one_cause_share_their_advice(failed: Callable[..., Outcome]) -> None:
    outcomes = [failed(f"a:{n}", NotFound, f"there is no {n}", n) for n in range(1, 13)]

    lines = told(*outcomes)

    assert lines[0] == "a:1 (images.yaml:1): there is no 1 (resolve at docker.io)."
    assert lines[9].startswith("a:10 ")
    assert lines[10:] == [
        "and 2 more (--failed-list FILE writes them all)",
        "  Correct the name or the tag in the list, or comment the line out with #.",
        "",
        "12 failed. Nothing was moved in 5 min 2 s.",
        "Then run the same command again: what is in place is skipped.",
    ]


def test_how_many_more_there_are_is_told_only_where_there_are_more(
    failed: Callable[..., Outcome],
) -> None:
    outcomes = [failed(f"a:{n}", NotFound, f"there is no {n}", n) for n in range(1, 12)]
    assert not any(" more " in line for line in told(*outcomes[:10]))
    assert "and 1 more (--failed-list FILE writes them all)" in told(*outcomes)


def test_what_may_have_passed_is_to_be_tried_again(failed: Callable[..., Outcome]) -> None:
    missing = failed("redis:7.99", NotFound, "there is no 7.99")
    passing = CopyError("503", Where("docker.io"), transient=True)
    assert told(missing, replace(missing, error=passing))[-1] == (
        "Run the same command again to retry: what is in place is skipped."
    )


def test_that_nothing_was_moved_is_said_only_where_nothing_was_begun(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    resolved = failed("redis:7.99", NotFound, "there is no 7.99")
    pulled = replace(resolved, steps={Step.PULL: 1.0})
    unchanged = ended("b:1", Status.UNCHANGED)
    assert "Nothing was moved in 1.0 s." in told(resolved, unchanged, seconds=1)[-2]
    assert "It took 1.0 s." in told(pulled, unchanged, seconds=1)[-2]
    assert told(ended("a:1", Status.CANCELLED), seconds=1) == ["1 cancelled. It took 1.0 s."]


def test_a_stopped_run_does_not_ask_for_mending_first(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    lines = told(failed("a:1", NotFound, "no"), ended("b:1", Status.CANCELLED), seconds=1)
    assert lines[-1] == "1 failed, 1 cancelled. It took 1.0 s."


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


@pytest.mark.parametrize(
    ("status", "held"),
    [(Status.CANCELLED, "is as it was before the run"), (Status.FAILED, "has nothing of this run")],
)
def test_what_was_told_as_copied_before_the_tar_was_in_its_place_is_taken_back_once(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome], status: Status, held: str
) -> None:
    tar = Layout.parse("oci:./mix.tar")
    if status is Status.FAILED:
        lost = [failed(f"a:{n}", CopyError, "another process has written it") for n in range(12)]
    else:
        lost = [ended(f"a:{n}", status) for n in range(12)]
    report = Report("direct", 3, (*lost, ended("b:1", Status.UNCHANGED)))
    told_copied = {outcome.job for outcome in report.outcomes}

    def end(told_copied: Container[CopyJob]) -> list[str]:
        lines = list(verdict(report, tar=tar, told_copied=told_copied))
        return lines[next(n for n, line in enumerate(lines) if "1 unchanged" in line) - 2 :]

    assert end(told_copied)[0] == (
        f"oci:./mix.tar {held}: 12 images told as copied above are not in place."
    )
    assert end({lost[3].job})[0] == (
        f"oci:./mix.tar {held}: 1 image told as copied above is not in place."
    )
    assert all("told as copied" not in line for line in verdict(report, tar=tar))


def test_a_tar_that_could_not_be_written_is_not_said_to_be_as_it_was(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    lost = (ended("a:1", Status.CANCELLED), failed("b:1", CopyError, "the disk is full"))
    end = verdict(
        Report("direct", 3, lost),
        tar=Layout.parse("oci:./mix.tar"),
        told_copied=[outcome.job for outcome in lost],
    )
    assert any("has nothing of this run: 2 images told as copied" in line for line in end)


def test_all_is_well_in_one_line(ended: Callable[..., Outcome]) -> None:
    assert told(ended("a:1", Status.UNCHANGED), seconds=1) == [
        "1 unchanged. Nothing was moved in 1.0 s. succeeded.log names what is in place."
    ]
    assert told(ended("a:1", Status.COPIED), seconds=1, failed_list="failed.yaml") == [
        "1 copied. It took 1.0 s. succeeded.log names what is in place."
    ]


def in_all(moved: int, there: int, shared: int, *, seconds: float, limit: float | None) -> str:
    """What is told of the bytes of a run that copied one image."""
    job = CopyJob(NGINX, NGINX, (), Position("images.yaml", 1))
    outcome = Outcome(
        job, Status.COPIED, Digest.of(b""), moved, bytes_there=there, bytes_shared=shared
    )
    (line,) = verdict(Report("direct", seconds, (outcome,)), limit_rate=limit)
    return line.removeprefix("1 copied. ")


@pytest.mark.parametrize(
    ("moved", "there", "shared", "told"),
    [
        (1_900_000_000, 0, 0, "1.9 GB moved in 1 min 40 s."),
        (1_900_000_000, 96_000_000, 0, "1.9 GB moved, 96.0 MB were there, in 1 min 40 s."),
        (
            1_900_000_000, 0, 2_300_000_000,
            "1.9 GB moved, 2.3 GB shared between images and not moved again, in 1 min 40 s.",
        ),
        (
            1_000, 2_000, 3_000,
            "1.0 kB moved, 2.0 kB were there, "
            "3.0 kB shared between images and not moved again, in 1 min 40 s.",
        ),
        (0, 96_000_000, 0, "Nothing was moved, 96.0 MB were there, in 1 min 40 s."),
    ],
)  # fmt: skip
def test_what_did_not_need_to_move_is_told(moved: int, there: int, shared: int, told: str) -> None:
    assert in_all(moved, there, shared, seconds=100, limit=None) == told


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("moved", "seconds", "limit", "told"),
    [
        (1940 * MIB, 100, 20 * MIB, ": 97 % of what 20 MiB/s allow."),
        (2040 * MIB, 100, 20 * MIB, ": 100 % of what 20 MiB/s allow."),  # a burst makes it more
        (30_000_000, 60, 1_000_000, ": 50 % of what 1.0 MB/s allow."),
        (MIB, 10, 2 * MIB, " in 10 s."),  # half a second's bytes, and to ask takes longer
        (4 * MIB, 0.9, 2 * MIB, " in 0.9 s."),
        (0, 10, 2 * MIB, " in 10 s."),
        (1940 * MIB, 100, None, " in 1 min 40 s."),
    ],
)
def test_what_share_of_a_limit_was_reached_is_told_where_that_means_something(
    moved: int, seconds: float, limit: float | None, told: str
) -> None:
    assert in_all(moved, 0, 5, seconds=seconds, limit=limit).endswith(told)


def test_a_damaged_layout_is_not_to_be_read_again(failed: Callable[..., Outcome]) -> None:
    damaged = failed("a:1", DigestMismatch, "other bytes", registry="oci:./export", step=Step.COPY)
    assert told(damaged)[-1] == "Then run it again with what is whole: what is in place is skipped."
    assert told(damaged, failed("b:1", NotFound, "there is no 1"))[-1] == (
        "Then run the same command again: what is in place is skipped."
    )
    missing = failed("a:1", NotFound, "there is no a", registry="oci:./export")
    assert told(missing)[-1].startswith("Then run the same command again")
    altered = failed("a:1", DigestMismatch, "other bytes", registry="r.example", step=Step.COPY)
    assert told(altered)[-1].startswith("Then run the same command again")


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
