"""The table on stdout: one row an image, as it ends. And the table of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asyncsync.model.foreign import shown
from asyncsync.model.job import CopyJob, Plan
from asyncsync.model.outcome import Outcome, Status
from asyncsync.reporting.causes import IDLE_MAX
from asyncsync.reporting.failed_list import named_in
from asyncsync.reporting.moved import detailed, moved, platforms
from asyncsync.reporting.units import count, duration, size

_STATUS_WIDTH = max(len(status) for status in Status)
_NAME_WIDTH_MAX = 60  # characters; a longer name pushes its own row alone
_PLATFORMS_WIDTH = len("12 platforms")
_MOVED_WIDTH = len("99.9 MB moved, 99.9 MB were there")  # three parts push their own row alone
_PLAN_WIDTH_MAX = 40  # characters; behind a longer name the target takes a line of its own
_COLOURS = {  # SGR codes
    Status.COPIED: "32",  # green
    Status.UNCHANGED: "2",  # dim
    Status.FAILED: "31;1",  # bold red
    Status.CANCELLED: "33",  # yellow
    Status.NOT_STARTED: "33",
}


class Table:
    """Rows whose columns fit all of `jobs`; `coloured` where a person sees them in a terminal."""

    def __init__(self, jobs: Sequence[CopyJob], *, coloured: bool = False) -> None:
        names = (len(job.source.familiar) for job in jobs)
        self._width = min(max(names, default=0), _NAME_WIDTH_MAX)
        self._coloured = coloured

    def row(self, outcome: Outcome) -> str:
        """What became of one image: status, name, size and time, or its line in the list.

        What only the direct way knows stands between: platforms, and bytes that did not move.
        """
        name = outcome.job.source.familiar.ljust(self._width)
        return f"  {self._status(outcome.status)}  {name}  {_detail(outcome)}".rstrip()

    def idle(self, outcomes: Sequence[Outcome], *, failed_list: str | None = None) -> Iterator[str]:
        """What was never started: a row each, or one for all where they would hide the others."""
        if len(outcomes) <= IDLE_MAX:
            yield from map(self.row, outcomes)
            return
        images = count(len(outcomes), "image")
        yield f"  {self._status(Status.NOT_STARTED)}  {images} ({named_in(failed_list)})"

    def _status(self, status: Status) -> str:
        word = status.replace("_", " ")
        padding = " " * (_STATUS_WIDTH - len(word))
        return (
            f"\x1b[{_COLOURS[status]}m{word}\x1b[0m{padding}" if self._coloured else word + padding
        )


def _detail(outcome: Outcome) -> str:
    if not outcome.in_place:
        at = outcome.job.at
        return f"{shown(at.file)}:{at.line}"
    if outcome.status is Status.UNCHANGED:
        return ""
    took = duration(outcome.seconds)
    if detailed(outcome):
        of = f"{platforms(outcome):<{_PLATFORMS_WIDTH}}"
        return f"{of}  {moved(outcome):<{_MOVED_WIDTH}}    {took}"
    came = size(outcome.bytes_moved) if outcome.bytes_moved else ""
    return f"{came:>8}    {took}"


def plan_lines(plan: Plan) -> Iterator[str]:
    """What would go where, then how many."""
    names = [job.source.familiar for job in plan.jobs]
    width = min(max(map(len, names), default=0), _PLAN_WIDTH_MAX)
    for name, job in zip(names, plan.jobs, strict=True):
        target = " ".join([str(job.target), *(f"({platform})" for platform in job.platforms)])
        if len(name) > width:
            yield f"  {name}"
            name = ""
        yield f"  {name:<{width}}  {target}"
    yield f"{count(len(plan.jobs), 'image')}. Nothing was copied."
