"""The summary page of a run, in GitHub's Markdown: the verdict, failures, then all images. Pure.

Whatever somebody else wrote is shown as it is: no sign of it marks up, links, calls a person or
ends a cell. GitHub drops a page that is too large, so a page has a limit, and is cut by whole
rows and entries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from asyncsync.model.errors import AuthenticationFailed, PermissionDenied, RateLimited
from asyncsync.model.foreign import shown
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.spec import Mistake, Position
from asyncsync.reporting.causes import IDLE_MAX, LEFT_MAX, Cause, Failure, causes, left
from asyncsync.reporting.moved import detailed, moved, moved_in_all, platforms, share_of_limit
from asyncsync.reporting.units import count, duration, size

PAGE_BYTES_MAX = 900 * 1024  # GitHub drops a step's page of more than 1 MiB, whole
_NAMED_MAX = 50  # positions of one cause; more are found faster in a file
_LINE_MAX = 1100  # characters: a message with its step and registry, both bounded already
_NOTE_MAX = 200  # characters; a row is to be seen at a glance
_DIGEST_MAX = 12  # hexadecimal digits, as docker shows
_NAMED_IN = "--report FILE writes them all"
_AGAIN = "*Re-run failed jobs* goes on from here: what is in place is skipped."
_LOGIN = (
    "Here a step with docker/login-action before this one logs in; REGISTRY_USER and "
    "REGISTRY_PASSWORD are under *Settings → Secrets and variables → Actions*. "
)
_BREAK = "<br>\n  "  # the blanks keep the next line within its entry

Link: TypeAlias = Callable[[Position], str | None]
"""A place in a list → the address of a page that shows it, or None where there is none."""

# A reference to a character keeps Markdown from acting on it. GitHub's later passes act on the
# text itself (addresses, @names, #numbers, :emoji:, $math$): an empty comment cuts that in two.
_SPLIT = "<!---->"
_SPLIT_AFTER = frozenset("@#$:.")
_ACTIVE = re.compile(
    r"""
      (?<! \w ) _++ | _++ (?! \w )   # emphasis; inside a word it is none, and stays: GitHub
                                     # looks for a secret name letter by letter
    | ^ [!-/:-@\[-^`{-~]             # what begins a list, a heading, a rule
    | ^ [0-9] (?= [0-9]* [.)] (?: \s | $ ) )
    | (?<=[wW]) \.                   # www.
    | : (?= / | [\w+-]+: )           # http://, :tada:
    | \# (?= \w )                    # numbers of issues
    | [$&*<>@\[-^`{-~]               # emphasis, links, HTML, code, cells; the others do nothing
    """,
    re.VERBOSE,
)


def no_link(_: Position) -> None:
    """Say of every place that no page shows it."""


def plain(text: str, *, limit: int = _LINE_MAX) -> str:
    """Markdown that a page shows as exactly `shown(text)`, in a paragraph, a cell or a link."""
    return _ACTIVE.sub(_harmless, shown(text, limit=limit))


def _harmless(match: re.Match[str]) -> str:
    return "".join(f"&#{ord(s)};{_SPLIT if s in _SPLIT_AFTER else ''}" for s in match[0])


def summary(
    report: Report,
    *,
    destination: str | None = None,
    link: Link = no_link,
    report_path: str | None = None,
    failed_list: str | None = None,
    limit_rate: float | None = None,
    limit_bytes: int = PAGE_BYTES_MAX,
) -> str:
    """The page of a finished run, of at most `limit_bytes` in UTF-8; `""` if not even that fits.

    `report_path`, `failed_list`: names of files that have what the page leaves out. `limit_rate`:
    the bytes a second that were allowed.
    """
    found, outcomes = causes(report.outcomes), report.outcomes
    files = [plain(name) for name in (report_path, failed_list) if name]
    head = _head(report, destination, limit_rate)
    behind = _untried(report) + _to_click(found)
    alone = _told_alone(outcomes)
    idle = len(outcomes) - len(alone)
    last = [_idle_row(idle, files)] if idle else []
    # What comes with whatever is cut, with the longest numbers that it can have.
    frame = _cut_off(found, len(outcomes), files) + _table(last, len(outcomes), len(outcomes))
    room = limit_bytes - _bytes(head) - _bytes(behind) - _bytes(frame)
    if room < 0:
        return ""
    failures, room = _fitting((_cause(cause, link, files) for cause in found), room)
    left = found[len(failures) :]
    rows, _ = _fitting(map(_row, alone) if not left else (), room)
    cut = _cut_off(left, len(alone) - len(rows), files)
    whole = [*rows, *last] if not left else rows
    table = _table(whole, len(rows) + idle, len(outcomes)) if whole else ""
    return "".join([head, *failures, behind, cut, table])


def mistakes(
    found: Sequence[Mistake],
    *,
    list_name: str,
    link: Link = no_link,
    secrets: Iterable[str] = (),
    limit_bytes: int = PAGE_BYTES_MAX,
) -> str:
    """The page of a list or a plan that is wrong; `list_name` is how messages call it."""
    head = f"## {count(len(found), 'mistake')} in {plain(list_name)}. Nothing was copied.\n\n"
    room = limit_bytes - _bytes(head) - _bytes(_more_mistakes(len(found)))
    if room < 0:
        return ""
    hidden = tuple(secrets)
    entries, _ = _fitting((_mistake(each, link, hidden) for each in found), room)
    return "".join([head, *entries, _more_mistakes(len(found) - len(entries))])


def message(heading: str, lines: Iterable[str], *, limit_bytes: int = PAGE_BYTES_MAX) -> str:
    """The page of a command that could not go on, and that says in `lines` why."""
    told = "<br>\n".join(filter(None, map(plain, lines)))
    page = f"## {plain(heading)}\n\n{told}\n"
    return page if _bytes(page) <= limit_bytes else ""


def _bytes(text: str) -> int:
    return len(text.encode())


def _fitting(pieces: Iterable[str], room: int) -> tuple[list[str], int]:
    """Take pieces as long as there is room for them whole; and how much room is left."""
    taken: list[str] = []
    for piece in pieces:
        needed = _bytes(piece)
        if needed > room:
            break
        taken.append(piece)
        room -= needed
    return taken, room


def _head(report: Report, destination: str | None, limit_rate: float | None) -> str:
    if not report.outcomes:
        return "## No image, nothing to copy\n\n"
    counts = (
        f"**{number} {status}**" if status is Status.FAILED else f"{number} {_words(status)}"
        for status, number in report.counts.items()
        if number
    )
    came = f"{size(report.bytes_moved)} in " if report.bytes_moved else ""
    if report.bytes_there or report.bytes_shared:
        came = f"{moved_in_all(report)} in "
    to = f" to {plain(destination)}" if destination else ""
    share = share_of_limit(report, limit_rate)
    via = f"{plain(report.via)}{f': {share}' if share else ''}"
    return f"## {', '.join(counts)}\n\n{came}{duration(report.seconds)}{to}, via {via}.\n\n"


def _untried(report: Report) -> str:
    """An entry for each reason why images were not tried to their end."""
    return "".join(
        f"- {plain(each.told)}.{_BREAK}Run it again: what is in place is skipped.\n"
        for each in left(report.outcomes)[:LEFT_MAX]
    )


def _to_click(found: Sequence[Cause]) -> str:
    """What mends a failure on GitHub, where an advice has the words of a terminal."""
    errors = (failure.error for cause in found for failure in cause.failures)
    login = any(
        isinstance(error, AuthenticationFailed | RateLimited)
        or (isinstance(error, PermissionDenied) and not error.where.at_target)  # perhaps hidden
        for error in errors
    )
    return f"\n{_LOGIN if login else ''}{_AGAIN}\n" if found else ""


def _cause(cause: Cause, link: Link, files: Sequence[str]) -> str:
    """One entry: whom it hit, what is wrong, what to do, and where in the list."""
    advice, number = plain(cause.advice), len(cause.failures)
    more = f"and {number - _NAMED_MAX} more{_all_in(files)}" if number > _NAMED_MAX else ""
    if number == 1:
        return f"- {_named(cause.failures[0], link)}{_BREAK}{advice}\n"
    whom = f"- **{count(number, 'image')}**"
    if cause.common:
        places = _places(cause.failures[:_NAMED_MAX], link)
        told = f"{whom}: {plain(cause.failures[0].what)}."
        return f"{_BREAK.join([told, advice, f'{places} {more}'.rstrip()])}\n"
    lines = [f"{whom}: {advice}"]
    lines += [f"  - {_named(failure, link)}" for failure in cause.failures[:_NAMED_MAX]]
    lines += [f"  - {more}"] if more else []
    return "".join(f"{line}\n" for line in lines)


def _named(failure: Failure, link: Link) -> str:
    job = failure.outcome.job
    place = _linked(f"{shown(job.at.file)}:{job.at.line}", job.at, link)
    return f"**{plain(job.source.familiar)}** ({place}): {plain(failure.what)}."


def _places(failures: Sequence[Failure], link: Link) -> str:
    """Links to places, as `images.yaml:12, 14, 18`; a file's name stands once."""
    file, places = None, []
    for at in (failure.outcome.job.at for failure in failures):
        text = str(at.line) if at.file == file else f"{shown(at.file)}:{at.line}"
        places.append(_linked(text, at, link))
        file = at.file
    return ", ".join(places)


def _linked(text: str, at: Position, link: Link) -> str:
    address = link(at)
    return f"[{plain(text)}]({address})" if address else plain(text)


def _cut_off(left: Sequence[Cause], rows: int, files: Sequence[str]) -> str:
    """Say what is not on the page, and where it is; nothing where all is there."""
    what = []
    if left:
        failures = sum(len(cause.failures) for cause in left)
        what.append(f"{count(len(left), 'cause')} of {count(failures, 'failure')}")
    if rows:
        what.append(f"{count(rows, 'row')} of the table")
    if not what:
        return ""
    where = _all_in(files) or f"; {_NAMED_IN}"
    return f"\nLeft out, since the page would be too large: {' and '.join(what)}{where}.\n"


def _all_in(files: Sequence[str]) -> str:
    return f" (all in {' and '.join(files)})" if files else ""


def _table(rows: Sequence[str], told: int, number: int) -> str:
    return (
        f"\n<details><summary>{told} of {count(number, 'image')}</summary>\n\n"
        "| Status | Image | Target | Digest | Size | Time | Note |\n"
        "| --- | --- | --- | --- | ---: | ---: | --- |\n"
        f"{''.join(rows)}\n</details>\n"
    )


def _told_alone(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Those that have a row each: many that were not started have one for all of them."""
    begun = [each for each in outcomes if each.status is not Status.NOT_STARTED]
    return begun if len(outcomes) - len(begun) > IDLE_MAX else outcomes


def _idle_row(number: int, files: Sequence[str]) -> str:
    status, where = _words(Status.NOT_STARTED), f"all in {' and '.join(files)}"
    return f"| {status} | {number} images |  |  |  |  | {where if files else _NAMED_IN} |\n"


def _row(outcome: Outcome) -> str:
    job, status = outcome.job, _words(outcome.status)
    cells = (
        f"**{status}**" if outcome.status is Status.FAILED else status,
        plain(job.source.familiar),
        plain(str(job.target)),
        outcome.digest.hex[:_DIGEST_MAX] if outcome.digest else "",
        _size(outcome),
        duration(outcome.seconds) if outcome.seconds else "",
        plain(outcome.error.what if outcome.error else "; ".join(outcome.notes), limit=_NOTE_MAX),
    )
    return f"| {' | '.join(cells)} |\n"


def _size(outcome: Outcome) -> str:
    if detailed(outcome):
        return ": ".join(filter(None, [platforms(outcome), moved(outcome)]))
    return size(outcome.bytes_moved) if outcome.bytes_moved else ""


def _words(status: Status) -> str:
    return status.replace("_", " ")


def _mistake(mistake: Mistake, link: Link, secrets: tuple[str, ...]) -> str:
    at = mistake.at
    place = _linked(f"{shown(at.file)}:{at.line}", at, link)
    lines = (plain(shown(line, secrets=secrets)) for line in mistake.text.split("\n"))
    return f"- **{place}**: {_BREAK.join(filter(None, lines))}\n"


def _more_mistakes(number: int) -> str:
    return f"\nAnd {number} more, which the log names.\n" if number else ""
