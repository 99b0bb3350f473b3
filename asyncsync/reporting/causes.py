"""Many failures, few causes: what is wrong once is told once.

Pure, and in no format: a table, a summary page and an annotation word it each in its own way.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    DiskFull,
    EngineLost,
    RateLimited,
    RegistryUnavailable,
    TargetClosed,
    TlsError,
)
from asyncsync.model.foreign import shown
from asyncsync.model.outcome import Outcome, Status
from asyncsync.reporting.units import count

# What these say is about the host, whatever image met it first, and however it was worded.
_ABOUT_THE_HOST = (
    AuthenticationFailed,
    RateLimited,
    RegistryUnavailable,
    TargetClosed,
    TlsError,
)
_ABOUT_THE_ENGINE = (EngineLost, DiskFull)  # there is one engine, whichever step it failed in


@dataclass(frozen=True, slots=True)
class Failure:
    """One image that failed, with what it failed of."""

    outcome: Outcome
    error: CopyError

    @property
    def what(self) -> str:
        """What went wrong, and in which step at which registry. One line, safe to print."""
        where = self.error.where
        step = f"{where.step} at " if where.step else ""
        return f"{shown(self.error.what)} ({step}{shown(where.registry)})"

    @property
    def named(self) -> str:
        """The same, with the image and its place in the list before it."""
        return f"{named(self.outcome)}: {self.what}"


@dataclass(frozen=True, slots=True)
class Cause:
    """Failures that one advice mends, in the order in which they were given; never empty.

    `common`: the words of the first are true of all. Else each has its own (a tag is missing
    here, another there).
    """

    failures: tuple[Failure, ...]
    common: bool

    @property
    def advice(self) -> str:
        """What the user can do about all of them. One line, safe to print."""
        longest = max(self.failures, key=lambda failure: failure.error.retry_after or 0)
        return shown(longest.error.advice())


def causes(outcomes: Iterable[Outcome]) -> tuple[Cause, ...]:
    """Group the failed among `outcomes` by what is wrong; in the order of their first ones."""
    groups: dict[Hashable, list[Failure]] = {}
    for failure in _failures(outcomes):
        groups.setdefault(cause_key(failure.error), []).append(failure)
    return tuple(Cause(tuple(group), _common(group)) for group in groups.values())


def cause_key(error: CopyError) -> Hashable:
    """What errors of one cause have in common, and no others."""
    kind, where = type(error).__name__, error.where
    if isinstance(error, _ABOUT_THE_ENGINE):
        return kind
    if isinstance(error, _ABOUT_THE_HOST):
        return kind, where.registry, where.step
    return kind, where.registry, where.step, error.advice()


IDLE_MAX = 10  # images that were not started and are told one by one; beyond, how many they are
LEFT_MAX = 3  # reasons that a page tells; a run has one, merged ones have few


@dataclass(frozen=True, slots=True)
class Left:
    """Images that nobody tried to their end, with the reason as their last note gives it."""

    status: Status
    why: str
    outcomes: tuple[Outcome, ...]

    @property
    def told(self) -> str:
        """`3 images not started: the deadline came first`. One line, safe to print."""
        what = f"{count(len(self.outcomes), 'image')} {self.status.replace('_', ' ')}"
        return f"{what}: {shown(self.why)}" if self.why else what

    @property
    def named(self) -> Iterator[str]:
        """Each image with its place in the list. Lines, safe to print."""
        return (named(outcome) for outcome in self.outcomes)


def left(outcomes: Iterable[Outcome]) -> tuple[Left, ...]:
    """Group what is neither in place nor failed, by what became of it and why."""
    groups: dict[tuple[Status, str], list[Outcome]] = {}
    for outcome in outcomes:
        if not outcome.in_place and outcome.error is None:
            why = outcome.notes[-1] if outcome.notes else ""
            groups.setdefault((outcome.status, why), []).append(outcome)
    return tuple(Left(*key, tuple(group)) for key, group in groups.items())


def named(outcome: Outcome) -> str:
    """An image with its place in the list: `nginx:1.27 (images.yaml:3)`. Safe to print."""
    job = outcome.job
    return f"{job.source.familiar} ({shown(job.at.file)}:{job.at.line})"


def positions(failures: Sequence[Failure]) -> str:
    """Where they stand in the list, as `images.yaml:12, 14, 18`; a file's name stands once."""
    places = [failure.outcome.job.at for failure in failures]
    return ", ".join(
        f"{shown(file)}:{', '.join(str(at.line) for at in group)}"
        for file, group in groupby(places, key=lambda at: at.file)
    )


def _failures(outcomes: Iterable[Outcome]) -> Iterator[Failure]:
    for outcome in outcomes:
        if outcome.error is not None:
            yield Failure(outcome, outcome.error)


def _common(group: list[Failure]) -> bool:
    if isinstance(group[0].error, _ABOUT_THE_HOST + _ABOUT_THE_ENGINE):
        return True
    return len({failure.error.what for failure in group}) == 1
