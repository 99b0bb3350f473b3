"""Outcomes as a run would bring them, for tests that need no run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, Where
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Outcome, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position

HOSTILE = "\x1b[2J::error::gone\r\n::error::" + "x" * 1_000_000


def job(name: str, line: int) -> CopyJob:
    source = Reference.parse(name)
    last = source.repository.rpartition("/")[2]
    target = Reference.parse(f"r.example/team/{last}:{source.tag or 'latest'}")
    return CopyJob(source, target, (), Position("images.yaml", line))


@pytest.fixture
def hostile() -> str:
    """What a registry might answer that means us harm."""
    return HOSTILE


@pytest.fixture
def ended() -> Callable[..., Outcome]:
    """Makes an outcome: of the image `name`, that stands in line `line` of images.yaml."""

    def outcome(
        name: str, status: Status, line: int = 1, *, bytes_moved: int = 0, seconds: float = 0
    ) -> Outcome:
        in_place = status in (Status.COPIED, Status.UNCHANGED)
        digest = Digest.of(name.encode()) if in_place else None
        attempts = 0 if status is Status.NOT_STARTED else 1
        return Outcome(job(name, line), status, digest, bytes_moved, seconds, attempts=attempts)

    return outcome


@pytest.fixture
def failed() -> Callable[..., Outcome]:
    """Makes the outcome of an image that failed with an error of `kind`."""

    def outcome(
        name: str,
        kind: type[CopyError],
        what: str,
        line: int = 1,
        *,
        step: Step = Step.RESOLVE,
        registry: str | None = None,
        retry_after: float | None = None,
    ) -> Outcome:
        its = job(name, line)
        where = Where(registry or str(its.source.place), str(its.source), step)
        error = kind(what, where, False, False, retry_after)
        return Outcome(its, Status.FAILED, seconds=1.5, attempts=1, error=error)

    return outcome
