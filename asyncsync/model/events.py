"""Everything that can be watched while a run is under way: the one channel for it.

Log, table, progress and a library's caller are listeners. A listener is called synchronously
between two steps of a copy, so it must be quick and must not raise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from asyncsync.model.errors import CopyError
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Copied, Outcome


@dataclass(frozen=True, slots=True)
class Chosen:
    """The transport of this run, and why. The first event."""

    via: str
    why: str


@dataclass(frozen=True, slots=True)
class Advised:
    """Something about the run as a whole that its user can change. Said once."""

    text: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A registry warns of something in its own words. Said once for each text."""

    registry: str
    text: str


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step of a job begins (once, however often it is retried)."""

    job: CopyJob
    step: Step


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step ended, in success or failure, after so many seconds with all its retries."""

    job: CopyJob
    step: Step
    seconds: float


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """So many more bytes came in for a job."""

    job: CopyJob
    count: int


@dataclass(frozen=True, slots=True)
class Walked:
    """All that a job's image is made of is known now: it is for so many platforms."""

    job: CopyJob
    platforms: int


@dataclass(frozen=True, slots=True)
class Spared:
    """So many bytes of a job need not move, told of each blob once.

    The target had them; or, if `shared`, another image of the run brought them there.
    """

    job: CopyJob
    count: int
    shared: bool


@dataclass(frozen=True, slots=True)
class Retried:
    """An attempt failed with `error`; attempt number `attempt` begins after `wait` seconds."""

    job: CopyJob
    attempt: int
    wait: float
    error: CopyError


@dataclass(frozen=True, slots=True)
class Waited:
    """A job stood still for something that is no failure of its own."""

    job: CopyJob
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Noted:
    """Something about a job that its user should know although it did not fail."""

    job: CopyJob
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A job has its outcome."""

    outcome: Outcome


Event: TypeAlias = (
    Chosen
    | Advised
    | Warned
    | StepStarted
    | StepEnded
    | BytesMoved
    | Walked
    | Spared
    | Retried
    | Waited
    | Noted
    | Ended
)
Observe: TypeAlias = Callable[[Event], None]
Copy: TypeAlias = Callable[[CopyJob, Observe], Awaitable[Copied]]  # a transport; raises CopyError


def ignore(event: Event) -> None:
    """Listen to nothing."""
