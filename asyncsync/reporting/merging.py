"""The reports of several runs → one, as if a single run had done all of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from asyncsync.model.job import Plan
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.reference import Reference

_Way: TypeAlias = tuple[Reference, Reference]
_UNKNOWN = "no report tells of it"


def merged(reports: Sequence[Report], plan: Plan | None = None) -> Report:
    """One outcome for each image; with a plan, one for each of its jobs and in its order.

    What several reports tell of is taken from one in which it is in place, else from the last.
    What none tells of was not started, as far as is known. `seconds` is the longest run's: they
    went side by side.
    """
    told: dict[_Way, Outcome] = {}
    for outcome in _outcomes(reports):
        known = told.get(_way(outcome))
        if known is None or outcome.in_place or not known.in_place:
            told[_way(outcome)] = outcome
    if plan is not None:
        unknown = (Outcome(job, Status.NOT_STARTED, notes=(_UNKNOWN,)) for job in plan.jobs)
        told = {_way(none): told.get(_way(none), none) for none in unknown}
    ways = {report.via for report in reports}
    return Report(
        via=" and ".join(sorted(ways)) or "engine",
        seconds=max((report.seconds for report in reports), default=0.0),
        outcomes=tuple(told.values()),
    )


def strangers(reports: Sequence[Report], plan: Plan) -> Iterator[int]:
    """How many outcomes of each report are about nothing that the plan has."""
    planned = {(job.source, job.target) for job in plan.jobs}
    for report in reports:
        yield sum(_way(outcome) not in planned for outcome in report.outcomes)


def _way(outcome: Outcome) -> _Way:
    return outcome.job.source, outcome.job.target


def _outcomes(reports: Iterable[Report]) -> Iterable[Outcome]:
    return (outcome for report in reports for outcome in report.outcomes)
