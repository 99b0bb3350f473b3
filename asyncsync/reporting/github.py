"""What GitHub Actions understands of a run: annotations, masks and outputs. Pure.

A command is a line `::name property=value,…::data`. GitHub shows ten annotations of a level for a
step and drops the rest, so a cause has one, and no image its own while other causes wait.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from asyncsync.model.foreign import shown
from asyncsync.model.outcome import Report
from asyncsync.model.spec import ListWarning, Mistake, Position
from asyncsync.reporting.causes import LEFT_MAX, Cause, Failure, causes, left, positions
from asyncsync.reporting.units import count

ANNOTATIONS_MAX = 10  # of a level and a step; GitHub drops what is above
_TITLE_MAX = 255  # characters; REST API, "Create a check run": annotations
_POSITIONS_MAX = 5
_UNREAD_MAX = 5
_MASKED_MIN = 4  # characters; a shorter mask would blank out ordinary words of the log
_WORDS = {"CopyError": "Not copied", "TlsError": "TLS error"}  # others' names are words already

Inside: TypeAlias = Callable[[str], str | None]
"""A list's name → its path in the repository, or None where it is not in there."""


def nowhere(_: object) -> None:
    """Say of every list that it is in no repository."""


class Level(StrEnum):
    """How loud an annotation is, as GitHub calls it."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Annotation:
    """One remark. `at`: where in the repository; `str()` is the command that makes it."""

    level: Level
    title: str
    message: str
    at: Position | None = None

    def __str__(self) -> str:
        at = self.at
        place = {"file": at.file, "line": str(at.line), "col": str(at.column)} if at else {}
        return _command(self.level, self.message, **place, title=self.title)


def failures(
    report: Report, *, inside: Inside = nowhere, failed_list: str | None = None
) -> Iterator[Annotation]:
    """At most ten errors for what failed, a cause each; a warning for what was not tried."""
    found = causes(report.outcomes)
    spare = max(0, ANNOTATIONS_MAX - len(found))
    told = found if len(found) <= ANNOTATIONS_MAX else found[: ANNOTATIONS_MAX - 1]
    for cause in told:
        each = 1 if cause.common else min(len(cause.failures), 1 + spare)
        spare -= each - 1
        yield from _about(cause, each, inside)
    if further := found[len(told) :]:
        yield _further(further, failed_list)
    yield from _not_tried(report)


def mistakes(
    found: Sequence[Mistake], *, inside: Inside = nowhere, secrets: Iterable[str] = ()
) -> Iterator[Annotation]:
    """An error for each mistake of a list or a plan; the tenth says how many are left."""
    return _each(Level.ERROR, "Mistake in the list", found, ANNOTATIONS_MAX, inside, tuple(secrets))


def warnings(found: Sequence[ListWarning], *, inside: Inside = nowhere) -> Iterator[Annotation]:
    """A warning for each thing in a list that is hardly meant; one is left for the run's end."""
    return _each(Level.WARNING, "Warning about the list", found, ANNOTATIONS_MAX - 1, inside, ())


def unread(why: Sequence[str]) -> Annotation:
    """A warning that reports could not be read, for the reasons `why`; never empty."""
    lines = [*why[:_UNREAD_MAX]]
    if len(why) > _UNREAD_MAX:
        lines.append(f"And {len(why) - _UNREAD_MAX} more; the log has them all.")
    title = f"{count(len(why), 'report')} left out"
    return Annotation(Level.WARNING, title, "\n".join(lines))


def masks(secrets: Iterable[str]) -> Iterator[str]:
    """The commands that make GitHub blank out `secrets`, and each line of them, in all logs."""
    forms = (form for secret in secrets for form in (secret, *secret.splitlines()))
    for form in dict.fromkeys(forms):
        if len(form.strip()) >= _MASKED_MIN:
            yield _command("add-mask", form)


def outputs(report: Report, report_path: str | None) -> str:
    """The text for GITHUB_OUTPUT: how many images have which status, and where the report is."""
    counts = "".join(f"{status}={number}\n" for status, number in report.counts.items())
    return counts + _output("report", report_path or "")


def _output(name: str, value: str) -> str:
    if not re.search(r"[\r\n]", value):
        return f"{name}={value}\n"
    # No text can hold its own digest, so none can end itself early and set another output.
    end = f"end-{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"
    return f"{name}<<{end}\n{value}\n{end}\n"


def _command(name: str, data: str, **properties: str) -> str:
    told = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name} {told}::{_data(data)}" if told else f"::{name}::{_data(data)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _about(cause: Cause, each: int, inside: Inside) -> Iterator[Annotation]:
    """Annotate the first `each` failures; the last of them speaks for the rest."""
    *alone, last = cause.failures[:each]
    for failure in alone:
        yield _failure(cause, failure, (), inside)
    yield _failure(cause, last, cause.failures[each:], inside)


def _failure(cause: Cause, failure: Failure, rest: Sequence[Failure], inside: Inside) -> Annotation:
    job, at = failure.outcome.job, _within(failure.outcome.job.at, inside)
    of_all = cause.common and bool(rest)
    whom = count(1 + len(rest), "image") if of_all else job.source.familiar
    lines = [f"{failure.what if at or of_all else failure.named}.", cause.advice]
    if of_all and at is None:
        lines.append(_some((failure, *rest)))
    elif rest:
        lines.append(f"Also {_some(rest)}")
    title = shown(f"{_kind(failure)}: {whom}", limit=_TITLE_MAX)
    return Annotation(Level.ERROR, title, "\n".join(lines), at)


def _kind(failure: Failure) -> str:
    name = type(failure.error).__name__
    return _WORDS.get(name) or re.sub("(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _within(at: Position, inside: Inside) -> Position | None:
    file = inside(at.file)
    return Position(file, at.line, at.column) if file else None


def _some(failures: Sequence[Failure]) -> str:
    """`images.yaml:12, 14, 18 and 32 more`."""
    named, left = positions(failures[:_POSITIONS_MAX]), len(failures) - _POSITIONS_MAX
    return f"{named} and {left} more" if left > 0 else named


def _further(further: Sequence[Cause], failed_list: str | None) -> Annotation:
    images = sum(len(cause.failures) for cause in further)
    also = f", and {shown(failed_list)} lists the images" if failed_list else ""
    message = (
        f"{count(images, 'image')} failed of {count(len(further), 'more cause')}. "
        f"The summary page of the run names them{also}."
    )
    return Annotation(Level.ERROR, f"{len(further)} more causes", message)


def _not_tried(report: Report) -> Iterator[Annotation]:
    if groups := left(report.outcomes):
        told = [f"{each.told}." for each in groups[:LEFT_MAX]]
        again = "Run it again: what is in place is skipped."
        yield Annotation(Level.WARNING, "Not copied", "\n".join([*told, again]))


def _each(
    level: Level,
    title: str,
    found: Sequence[Mistake | ListWarning],
    most: int,
    inside: Inside,
    secrets: tuple[str, ...],
) -> Iterator[Annotation]:
    for number, each in enumerate(found[:most], start=1):
        at = _within(each.at, inside)
        lines = [
            shown(line, secrets=secrets) for line in (each.text if at else str(each)).split("\n")
        ]
        if number == most and len(found) > most:
            lines.append(f"And {len(found) - most} more; the log has them all.")
        yield Annotation(level, title, "\n".join(lines), at)
