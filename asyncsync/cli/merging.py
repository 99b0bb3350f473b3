"""What `merge` does: read, merge, check the files, write them, tell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from asyncsync.cli.ending import FAILED, Ending
from asyncsync.cli.files import check_writable, list_text, reason, replace
from asyncsync.cli.output import Output
from asyncsync.model.errors import ConfigurationError, ListError
from asyncsync.model.foreign import shown
from asyncsync.model.outcome import Report
from asyncsync.reporting import failed_list as lists
from asyncsync.reporting.json import report_json
from asyncsync.reporting.json_reading import read_plan, read_report
from asyncsync.reporting.merging import merged, strangers
from asyncsync.reporting.units import count
from asyncsync.reporting.verdict import untried, verdict

T = TypeVar("T")
_BYTES_MAX = 512 * 1024 * 1024  # half a million images and more


def run(
    ending: Ending,
    reports: Sequence[Path],
    plan_file: Path | None,
    *,
    failed_list: Path | None,
    report: Path | None,
    output: Literal["table", "json"],
) -> int:
    """Carry out `asyncsync merge` and return its exit code. Raises ConfigurationError."""
    if ending.page:
        ending.page.mask_names()
    plan = _read(plan_file, "plan", read_plan) if plan_file else None
    if plan:
        read = _readable(ending, reports)
    else:
        read = {path: _read(path, "report of sync", read_report) for path in reports}
    told = tuple(read.values())
    whole = merged(told, plan)
    if plan:
        for path, number in zip(read, strangers(told, plan), strict=True):
            if number:
                strange = f"{shown(str(path))}: {count(number, 'image')} of it not in the plan"
                ending.tell(f"{strange}, and left out. Were both made for the same destination?")
    _check(whole, (*reports, *filter(None, [plan_file])), failed_list, report)
    listed = _written(ending, "--failed-list", failed_list, lists.failed_list(whole))
    reported = _written(ending, "--report", report, f"{report_json(whole)}\n")
    if ending.page:
        ending.page.tell_report(whole, destination=None, report_path=reported, failed_list=listed)
    named = shown(str(listed)) if listed else None
    end = verdict(whole, failed_list=named, again="the sync")
    out = Output(sys.stdout)
    missing = untried(whole, failed_list=named)
    for line in [report_json(whole)] if output == "json" else (*missing, *end):
        out.line(line)
    if out.failed:
        ending.tell(f"stdout cannot be written ({reason(out.failed)}).")
    complete = out.failed is None and (listed, reported) == (failed_list, report)
    return 0 if whole.ok and complete else FAILED


def _readable(ending: Ending, reports: Sequence[Path]) -> dict[Path, Report]:
    """The reports that can be read; the plan knows what the others would have told of."""
    read, lost = {}, []
    for path in reports:
        try:
            read[path] = _read(path, "report of sync", read_report)
        except ConfigurationError as error:
            lost.append(f"{error} It is left out.")
            ending.tell(lost[-1])
    if lost and ending.page:
        ending.page.tell_unread(lost)
    return read


def _read(path: Path, what: str, parse: Callable[[str], T]) -> T:
    name = shown(str(path))
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_BYTES_MAX + 1)
        if len(text) > _BYTES_MAX:
            raise ValueError(f"it is larger than {_BYTES_MAX} bytes")
        return parse(text)
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {reason(error)}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{name} is no {what}: {error}.") from error


def _check(
    whole: Report, read: Iterable[Path], failed_list: Path | None, report: Path | None
) -> None:
    """Make sure that nothing is written over what was read, or over a list of images.

    But a list that an earlier run wrote may be replaced by what is left of it, as by `sync`.
    """
    taken = {_real(path): "what is merged" for path in read}
    images = {_real(name) for name in {outcome.job.at.file for outcome in whole.outcomes}}
    if failed_list:
        images = {path for path in images if path != _real(failed_list) or not _ours(path)}
    taken |= dict.fromkeys(images, "a list of images")
    for option, path in (("--failed-list", failed_list), ("--report", report)):
        if path:
            check_writable(option, path, taken)


def _real(name: str | Path) -> Path:
    return Path(os.path.realpath(name))


def _ours(path: Path) -> bool:
    try:
        return path.is_file() and lists.wrote(list_text(str(path)))
    except (ConfigurationError, ListError):
        return False  # whatever it is, we did not write it


def _written(ending: Ending, option: str, path: Path | None, text: str) -> Path | None:
    """`path`, if there is one and it could be written."""
    if path is None:
        return None
    try:
        replace(path, text)
    except OSError as error:
        ending.tell(f"{option} {shown(str(path))} cannot be written ({reason(error)}).")
        return None
    return path
