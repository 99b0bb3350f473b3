"""What is said when a run is over: each cause once with its advice, then the counts.

The most important line comes last, where the eye is when a command ends.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from itertools import islice

from asyncsync.model.errors import CopyError, DigestMismatch
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Report, Status
from asyncsync.model.place import Layout
from asyncsync.reporting.causes import Cause, causes, left, positions
from asyncsync.reporting.failed_list import named_in
from asyncsync.reporting.moved import moved_in_all, share_of_limit
from asyncsync.reporting.units import count, duration

_NAMED_MAX = 10  # lines of one cause; a screen has little more than twice as many
_POSITIONS_MAX = 5


def verdict(
    report: Report,
    *,
    succeeded_log: str | None = None,
    failed_list: str | None = None,
    again: str = "the same command",
    limit_rate: float | None = None,
    tar: Layout | None = None,
    told_copied: Container[CopyJob] = (),
) -> Iterator[str]:
    """Tell a finished run's failures and counts. `succeeded_log`, `failed_list`: names of files.

    `again`: what is to be run to try it again. `limit_rate`: the bytes a second that were allowed.
    `told_copied`: what was told as copied when it had ended, before `tar` got into its place.
    """
    for cause in causes(report.outcomes):
        yield from _about(cause, failed_list)
        yield ""
    if not report.outcomes:
        yield "No image, nothing to copy."
        return
    if tar:
        yield from _taken_back(report, tar, told_copied)
    files = _files(report, succeeded_log, failed_list)
    yield " ".join([counts(report), _moved(report, limit_rate), *files])
    errors = [outcome.error for outcome in report.outcomes if outcome.error]
    if errors and not _ended_early(report):
        yield f"{_retry(errors, again)}: what is in place is skipped."


def untried(report: Report, *, failed_list: str | None = None) -> Iterator[str]:
    """Tell what nobody tried to its end, and why, with names. `failed_list`: that of a file."""
    for group in left(report.outcomes):
        yield f"{group.told}. Run the sync again."
        yield from (f"  {name}" for name in islice(group.named, _NAMED_MAX))
        more = _more(len(group.outcomes) - _NAMED_MAX, failed_list)
        yield from (f"  {words}" for words in more)


def counts(report: Report) -> str:
    """How many images have which status: `9 copied, 2 unchanged, 1 failed.`"""
    told = (f"{n} {status.replace('_', ' ')}" for status, n in report.counts.items() if n)
    return f"{', '.join(told)}."


def _about(cause: Cause, failed_list: str | None) -> Iterator[str]:
    several = len(cause.failures) > 1
    if cause.common and several:
        yield f"{count(len(cause.failures), 'image')}: {cause.failures[0].what}."
    else:
        yield from (f"{failure.named}." for failure in cause.failures[:_NAMED_MAX])
        yield from _more(len(cause.failures) - _NAMED_MAX, failed_list)
    yield f"  {cause.advice}"
    if cause.common and several:
        first = positions(cause.failures[:_POSITIONS_MAX])
        yield " ".join([f"  {first}", *_more(len(cause.failures) - _POSITIONS_MAX, failed_list)])


def _taken_back(report: Report, tar: Layout, told_copied: Container[CopyJob]) -> Iterator[str]:
    """Take back what was told too early, since all of a tar gets into its place, or nothing."""
    lost = [each for each in report.outcomes if each.job in told_copied and not each.in_place]
    if not lost:
        return
    stopped = all(outcome.error is None for outcome in lost)
    held = "is as it was before the run" if stopped else "has nothing of this run"
    told = f"{count(len(lost), 'image')} told as copied above {'is' if len(lost) == 1 else 'are'}"
    yield f"{tar} {held}: {told} not in place."
    yield ""


def _more(number: int, failed_list: str | None) -> Iterator[str]:
    if number > 0:
        yield f"and {number} more ({named_in(failed_list)})"


def _moved(report: Report, limit_rate: float | None) -> str:
    took = duration(report.seconds)
    if moved := moved_in_all(report):
        share = share_of_limit(report, limit_rate)
        return f"{moved} in {took}{f': {share}' if share else ''}."
    begun = (Status.COPIED, Status.CANCELLED)  # these too may tell no bytes
    if any(Step.PULL in each.steps or each.status in begun for each in report.outcomes):
        return f"It took {took}."
    return f"Nothing was moved in {took}."


def _retry(errors: Sequence[CopyError], again: str) -> str:
    if any(error.transient for error in errors):
        return f"Run {again} again to retry"
    if all(isinstance(error, DigestMismatch) and error.where.is_layout for error in errors):
        return "Then run it again with what is whole"  # which may have another name
    return f"Then run {again} again"


def _files(report: Report, succeeded_log: str | None, failed_list: str | None) -> Iterator[str]:
    if succeeded_log and any(outcome.in_place for outcome in report.outcomes):
        goes_on = "; the next run goes on from there" if _ended_early(report) else ""
        yield f"{succeeded_log} names what is in place{goes_on}."
    if failed_list and not report.ok:
        in_place = any(outcome.in_place for outcome in report.outcomes)
        yield f"{failed_list} lists {'the rest' if in_place else 'them'}."


def _ended_early(report: Report) -> bool:
    return bool(report.counts[Status.CANCELLED] or report.counts[Status.NOT_STARTED])
