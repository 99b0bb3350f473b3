"""What is not in place, as a list for the next run; each reason is a comment above its image."""

from __future__ import annotations

from collections.abc import Iterator

from asyncsync.model.foreign import shown
from asyncsync.model.outcome import Outcome, Report

_OURS = "# asyncsync:"  # by it we know a list that we wrote, and may replace


def wrote(text: str) -> bool:
    """Whether `text` is a list that came from here, or none at all."""
    return not text.strip() or text.startswith(_OURS)


def named_in(path: str | None) -> str:
    """Where all that is not in place is named: in the list that was written as `path`, if any."""
    return f"all in {path}" if path else "--failed-list FILE writes them all"


def failed_list(report: Report) -> str:
    """The text of the list. Read as a list, it gives the same sources in the same order."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    missing = [outcome for outcome in report.outcomes if not outcome.in_place]
    if not missing:
        yield f"{_OURS} every image is in place."
        return
    yield f"{_OURS} {len(missing)} of {len(report.outcomes)} images are not in place."
    for outcome in missing:
        yield f"# {_reason(outcome)}"
        # The whole name: the short one of docker.io/a.b/c would be read as a registry's.
        yield outcome.job.source.entry


def _reason(outcome: Outcome) -> str:
    why = outcome.error or (outcome.notes[-1] if outcome.notes else None)
    status = outcome.status.replace("_", " ")
    return shown(f"{status}: {why}") if why else status
