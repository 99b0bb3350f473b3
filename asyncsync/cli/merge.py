"""`asyncsync merge`: the reports of several runs, told as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from asyncsync.cli.ending import FAILED, Ending

if TYPE_CHECKING:
    from collections.abc import Callable
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
    from asyncsync.cli.files import check_writable
    from asyncsync.reporting.json_reading import read_plan, read_report
    from asyncsync.reporting.merging import merged

    if not reports and plan_file is None:
        raise click.UsageError("Name the reports to merge, or the plan they were to carry out.")
    taken: dict[Path, str] = {}
    for option, path in (("--failed-list", failed_list), ("--report", report)):
        if path:
            check_writable(option, path, taken)
    plan = _read(plan_file, read_plan) if plan_file else None
    whole = merged([_read(path, read_report) for path in reports], plan)
    _tell(ending, whole, output, failed_list=failed_list, report_file=report)
    raise click.exceptions.Exit(0 if whole.ok else FAILED)


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
) -> None:
    import sys

    from asyncsync.cli.files import reason, replace
    from asyncsync.cli.output import Output
    from asyncsync.model.errors import ConfigurationError
    from asyncsync.model.foreign import shown
    from asyncsync.reporting import failed_list as lists
    from asyncsync.reporting.json import report_json
    from asyncsync.reporting.verdict import verdict

    try:
        if failed_list:
            replace(failed_list, lists.failed_list(whole))
        if report_file:
            replace(report_file, f"{report_json(whole)}\n")
    except OSError as error:
        name = shown(str(error.filename or "a file"))
        raise ConfigurationError(f"{name} cannot be written: {reason(error)}.") from error
    if ending.page:
        ending.page.tell_report(
            whole, destination=None, report_path=report_file, failed_list=failed_list
        )
    out = Output(sys.stdout)
    named = shown(str(failed_list)) if failed_list else None
    for line in (
        [report_json(whole)]
        if output == "json"
        else verdict(whole, succeeded_log=None, failed_list=named)
    ):
        out.line(line)
    if out.failed:
        ending.tell(f"stdout cannot be written: {reason(out.failed)}.")
