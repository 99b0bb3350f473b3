"""`asyncsync merge`: the reports of several runs, told as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from asyncsync.cli import values

if TYPE_CHECKING:
    from pathlib import Path

    from asyncsync.cli.ending import Ending

_READ = values.Parsed("path", values.read)
_WRITTEN = values.Parsed("path", values.written)


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
    type=_WRITTEN,
    help="Write every image that is not in place, as a list for the next run.",
)
@click.option("--report", metavar="PATH", type=_WRITTEN, help="Write the merged JSON there.")
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
    With --plan, one that is missing or damaged is named, and what it would have told is not in
    place.

    \b
    Examples:
        asyncsync plan --output json > plan.json
        asyncsync sync --shard 1/2 --report 1.json    # here
        asyncsync sync --shard 2/2 --report 2.json    # and on another machine
        asyncsync merge --plan plan.json 1.json 2.json

    \b
    Exit codes: 0 all images are in place; 1 some are not; 2 a file cannot be written, or be read
    (with --plan: the plan).
    """
    from asyncsync.cli.merging import run

    if not reports and plan_file is None:
        raise click.UsageError("Name the reports to merge, or the plan they were to carry out.")
    code = run(ending, reports, plan_file, failed_list=failed_list, report=report, output=output)
    raise click.exceptions.Exit(code)
