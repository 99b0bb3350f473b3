"""What moved and what did not need to, in words: of one image, and of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from asyncsync.model.outcome import Outcome, Report
from asyncsync.reporting.units import count, rate, size

# A shorter run says nothing about its rate: to ask the registries takes as long as to move.
_TELLING_SECONDS = 1.0


def moved(outcome: Outcome) -> str:
    """`412 MB moved, 96.0 MB were there, 12.3 MB shared`; what is nothing is left out."""
    told = [f"{size(outcome.bytes_moved)} moved"] if outcome.bytes_moved else []
    return ", ".join([*told, *_spared(outcome, "shared")])


def platforms(outcome: Outcome) -> str:
    """`5 platforms`; nothing where nobody knows."""
    return count(outcome.platforms, "platform") if outcome.platforms else ""


def detailed(outcome: Outcome) -> bool:
    """Whether the way that was gone knows more of the image than what came in."""
    return bool(outcome.platforms or outcome.bytes_there or outcome.bytes_shared)


def moved_in_all(report: Report) -> str:
    """The same of a whole run, to stand before `in 5 s`; nothing where nothing is known."""
    told = [f"{size(report.bytes_moved)} moved"] if report.bytes_moved else []
    spared = list(_spared(report, "shared between images and not moved again"))
    if not spared:
        return "".join(told)
    return f"{', '.join([*(told or ['Nothing was moved']), *spared])},"


def share_of_limit(report: Report, limit_rate: float | None) -> str:
    """`97 % of what 20 MiB/s allow`; nothing without a limit, or where a figure would mislead."""
    enough = min(report.bytes_moved / limit_rate, report.seconds) if limit_rate else 0.0
    if limit_rate is None or enough < _TELLING_SECONDS:
        return ""
    # What was saved up while nothing moved may pass at once, which makes it a little more than all.
    share = min(report.bytes_moved / report.seconds / limit_rate, 1.0)
    return f"{share * 100:.0f} % of what {rate(limit_rate)} allow"


def _spared(told: Outcome | Report, shared: str) -> Iterator[str]:
    if told.bytes_there:
        yield f"{size(told.bytes_there)} were there"
    if told.bytes_shared:
        yield f"{size(told.bytes_shared)} {shared}"
