"""`asyncsync merge`: the reports of several runs, told as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from asyncsync.cli.ending import FAILED, Ending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from asyncsync.model.outcome import Report

    T = TypeVar("T")

_READ = click.Path(path_type=Path)
_BYTES_MAX = 512 * 1024 * 1024  # half a million images and more


@click.command(short_help="Tell the reports of several runs as one.")
@click.argument("reports", metavar="[REPORT]...", nargs=-1, type=_READ)
@click.option(
    "--plan",
    "plan_file",
    metavar="FILE",
    type=_READ,
    help="What plan --output json wrote: an image that no report tells of is not in place.",
)
@click.option(
    "--failed-list",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Write every image that is not in place, as a list for the next run.",
)
@click.option(
    "--report", metavar="PATH", type=click.Path(path_type=Path), help="Write the merged JSON there."
)
@click.option(
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="What stdout carries.  [default: table]",
)
@click.pass_obj
def merge(
    ending: Ending,
    reports: tuple[Path, ...],
    plan_file: Path | None,
    failed_list: Path | None,
    report: Path | None,
    output: Literal["table", "json"],
) -> None:
    """Tell the reports of several runs as one.

    REPORT is a file that sync --report wrote; runs that shared a list by --shard leave several.

    \b
    Examples:
        asyncsync plan --output json > plan.json
        asyncsync sync --shard 1/2 --report 1.json    # here
        asyncsync sync --shard 2/2 --report 2.json    # and on another machine
        asyncsync merge --plan plan.json 1.json 2.json

    \b
    Exit codes: 0 all images are in place; 1 some are not; 2 a file cannot be read or written.
    """
    from asyncsync.reporting.json_reading import read_plan, read_report
    from asyncsync.reporting.merging import merged

    ending.nothing = "Nothing was merged"
    if not reports and plan_file is None:
        raise click.UsageError("Name the reports to merge, or the plan they were to carry out.")
    plan = _read(plan_file, read_plan) if plan_file else None
    whole = merged([_read(path, read_report) for path in reports], plan)
    _check(whole, [*reports, *filter(None, [plan_file])], failed_list, report)
    complete = _tell(ending, whole, output, failed_list=failed_list, report_file=report)
    raise click.exceptions.Exit(0 if whole.ok and complete else FAILED)


def _check(
    whole: Report, read: Sequence[Path], failed_list: Path | None, report_file: Path | None
) -> None:
    """Make sure that nothing is written over what was read, or over a list of images."""
    import os

    from asyncsync.cli.files import check_writable

    taken = {Path(os.path.realpath(path)): "what is merged" for path in read}
    lists = {outcome.job.at.file for outcome in whole.outcomes}
    taken |= {Path(os.path.realpath(name)): "a list of images" for name in lists}
    for option, path in (("--failed-list", failed_list), ("--report", report_file)):
        if path:
            check_writable(option, path, taken)


def _read(path: Path, parse: Callable[[str], T]) -> T:
    from asyncsync.cli.files import reason
    from asyncsync.model.errors import ConfigurationError
    from asyncsync.model.foreign import shown

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
        raise ConfigurationError(f"{name} is not what sync or plan wrote: {error}.") from error


def _tell(
    ending: Ending,
    whole: Report,
    output: Literal["table", "json"],
    *,
    failed_list: Path | None,
    report_file: Path | None,
) -> bool:
    """Write the files, then tell; whether all of it could be written."""
    import sys

    from asyncsync.cli.files import reason, replace
    from asyncsync.cli.output import Output
    from asyncsync.model.foreign import shown
    from asyncsync.reporting import failed_list as lists
    from asyncsync.reporting.json import report_json
    from asyncsync.reporting.verdict import verdict

    def written(option: str, path: Path | None, text: Callable[[Report], str]) -> Path | None:
        if path is None:
            return None
        try:
            replace(path, text(whole))
        except OSError as error:
            ending.tell(f"{option} {shown(str(path))} cannot be written ({reason(error)}).")
            return None
        return path

    listed = written("--failed-list", failed_list, lists.failed_list)
    reported = written("--report", report_file, lambda report: f"{report_json(report)}\n")
    if ending.page:
        ending.page.tell_report(whole, destination=None, report_path=reported, failed_list=listed)
    out = Output(sys.stdout)
    named = shown(str(listed)) if listed else None
    told = verdict(whole, failed_list=named, again="the sync")
    for line in [report_json(whole)] if output == "json" else told:
        out.line(line)
    if out.failed:
        ending.tell(f"stdout cannot be written ({reason(out.failed)}).")
    return out.failed is None and (listed, reported) == (failed_list, report_file)
