"""What became of a job, and of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from asyncsync.model.digest import Digest
from asyncsync.model.errors import AsyncsyncError, CopyError
from asyncsync.model.job import CopyJob, Step

_NO_STEPS: Mapping[Step, float] = MappingProxyType({})  # one for all: 100,000 jobs may not start


class Status(StrEnum):
    """What became of a job."""

    COPIED = "copied"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    CANCELLED = "cancelled"  # under way when the run was stopped
    NOT_STARTED = "not_started"


@dataclass(frozen=True, slots=True)
class Copied:
    """What a transport brings back: the digest that the target itself confirmed.

    `changed` False: it was there before, and nothing was moved.
    """

    digest: Digest
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job. `seconds` and `steps` are wall time; `attempts` is 1 plus retries.

    `bytes_moved` came from the source; of the image's other bytes the target had `bytes_there`,
    and `bytes_shared` came with other images of the run. `platforms`: how many the image is for.
    Where a way does not know them, as the engine's does not, these are 0.
    """

    job: CopyJob
    status: Status
    digest: Digest | None = None
    bytes_moved: int = 0
    seconds: float = 0.0
    steps: Mapping[Step, float] = field(default_factory=lambda: _NO_STEPS, hash=False)
    attempts: int = 0
    notes: tuple[str, ...] = ()
    error: CopyError | None = None
    bytes_there: int = 0
    bytes_shared: int = 0
    platforms: int = 0

    @property
    def in_place(self) -> bool:
        """Whether the target is known to have the image now."""
        return self.status in (Status.COPIED, Status.UNCHANGED)

    def __reduce__(self) -> tuple[Callable[[Mapping[str, Any]], Outcome], tuple[dict[str, Any]]]:
        """Tell pickle and deepcopy how to make it anew: neither takes a read-only mapping."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return _outcome, ({**values, "steps": dict(self.steps)},)


def _outcome(values: Mapping[str, Any]) -> Outcome:
    return Outcome(**{**values, "steps": MappingProxyType(values["steps"])})


@dataclass(frozen=True, slots=True)
class Report:
    """All outcomes of a run, one for each job, in the order of the list."""

    via: str
    seconds: float
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """Whether every image is in place."""
        return all(outcome.in_place for outcome in self.outcomes)

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many images have each status; every status is there."""
        counted = Counter(outcome.status for outcome in self.outcomes)
        return {status: counted[status] for status in Status}

    @property
    def bytes_moved(self) -> int:
        """Bytes that were fetched from the sources."""
        return sum(outcome.bytes_moved for outcome in self.outcomes)

    @property
    def bytes_there(self) -> int:
        """Bytes of copied images that the target had before."""
        return sum(outcome.bytes_there for outcome in self.outcomes)

    @property
    def bytes_shared(self) -> int:
        """Bytes that several images have in common, and that were not moved for each of them."""
        return sum(outcome.bytes_shared for outcome in self.outcomes)

    def raise_for_failures(self) -> None:
        """Raise SyncFailed, which carries this report, unless every image is in place."""
        if not self.ok:
            raise SyncFailed(self)


class SyncFailed(AsyncsyncError):
    """Some images are not in place. `report` says which, and why."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        missing = [outcome for outcome in self.report.outcomes if not outcome.in_place]
        first = missing[0].error or f"{missing[0].job.source}: {missing[0].status}"
        return f"{len(missing)} of {len(self.report.outcomes)} images are not in place: {first}"
