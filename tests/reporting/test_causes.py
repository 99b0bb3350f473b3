"""Many failures with one cause are one cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    DiskFull,
    EngineLost,
    NotFound,
    RateLimited,
    RegistryUnavailable,
    TlsError,
)
from asyncsync.model.job import Step
from asyncsync.model.outcome import Outcome, Status
from asyncsync.reporting.causes import causes, left


@pytest.mark.parametrize("kind", [AuthenticationFailed, RateLimited, RegistryUnavailable, TlsError])
def test_what_a_host_refuses_is_one_cause_however_it_is_worded(
    failed: Callable[..., Outcome], kind: type[CopyError]
) -> None:
    outcomes = [failed(f"ghcr.io/a/b:{n}", kind, f"no, {n} times", n) for n in range(1, 38)]

    (cause,) = causes(outcomes)

    assert cause.common
    assert [failure.outcome for failure in cause.failures] == outcomes


@pytest.mark.parametrize("kind", [AuthenticationFailed, NotFound])
def test_another_registry_or_another_step_is_another_cause(
    failed: Callable[..., Outcome], kind: type[CopyError]
) -> None:
    outcomes = [
        failed("ghcr.io/a/b:1", kind, "401"),
        failed("quay.io/a/b:1", kind, "401"),
        failed("ghcr.io/a/b:2", kind, "401", step=Step.PULL),
        failed("ghcr.io/a/b:3", RateLimited, "429"),
        failed("ghcr.io/a/b:4", kind, "401"),
    ]
    assert [len(cause.failures) for cause in causes(outcomes)] == [2, 1, 1, 1]


def test_what_needs_another_remedy_is_another_cause(failed: Callable[..., Outcome]) -> None:
    plain, told = (failed(f"a:{n}", NotFound, "there is none") for n in (1, 2))
    assert told.error
    told.error.advising("Ask for linux/amd64.")
    assert [cause.advice for cause in causes([plain, told])] == [
        "Correct the name or the tag in the list, or comment the line out with #.",
        "Ask for linux/amd64.",
    ]


def test_missing_tags_are_one_cause_with_words_of_their_own(failed: Callable[..., Outcome]) -> None:
    (cause,) = causes(
        [
            failed("redis:7.99", NotFound, "docker.io/library/redis has no tag 7.99"),
            failed("nginx:0", NotFound, "docker.io/library/nginx has no tag 0"),
        ]
    )
    assert not cause.common
    assert [failure.what for failure in cause.failures] == [
        "docker.io/library/redis has no tag 7.99 (resolve at docker.io)",
        "docker.io/library/nginx has no tag 0 (resolve at docker.io)",
    ]


@pytest.mark.parametrize("kind", [EngineLost, DiskFull])
def test_the_engine_is_one_whatever_it_was_doing(
    failed: Callable[..., Outcome], kind: type[CopyError]
) -> None:
    outcomes = [
        failed("nginx:1", kind, "gone", step=Step.PULL),
        failed("redis:1", kind, "gone away", step=Step.PUSH, registry="r.example"),
    ]
    assert len(causes(outcomes)) == 1


def test_a_lost_engine_and_a_full_disk_are_two_causes(failed: Callable[..., Outcome]) -> None:
    assert (
        len(causes([failed("nginx:1", EngineLost, "gone"), failed("a:1", DiskFull, "full")])) == 2
    )


def test_the_longest_wait_is_the_advice(failed: Callable[..., Outcome]) -> None:
    (cause,) = causes(
        [
            failed("nginx:1", RateLimited, "429", retry_after=5),
            failed("redis:1", RateLimited, "429", retry_after=60),
        ]
    )
    assert cause.advice.startswith("Wait 60 s")


def test_what_did_not_fail_has_no_cause(ended: Callable[..., Outcome]) -> None:
    outcomes = [ended(f"nginx:{status}", status) for status in Status if status != "failed"]
    assert causes(outcomes) == ()


def test_why_an_image_was_not_tried_is_the_last_that_was_noted_of_it(
    ended: Callable[..., Outcome],
) -> None:
    notes = ("it has 2 platforms", "the deadline came first")
    (group,) = left([replace(ended("nginx:1", Status.CANCELLED), notes=notes)])
    assert group.told == "1 image cancelled: the deadline came first"


def test_foreign_words_stay_one_printable_line(
    failed: Callable[..., Outcome], hostile: str
) -> None:
    (cause,) = causes([failed("nginx:1", CopyError, hostile)])
    assert cause.failures[0].named.isprintable()
    assert len(cause.failures[0].named) < 700
