"""`asyncsync demo`: its options. What it does with them is in `demonstrating`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from asyncsync.cli.ending import Ending


@click.command(short_help="Show it all on this machine alone.")
@click.option(
    "--keep",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Do it in this folder, which is new or empty, and leave all there.",
)
@click.pass_obj
def demo(ending: Ending, keep: Path | None) -> None:
    """Show plan, sync and a failure, between two small registries that run just for that.

    It needs no Docker, no network and no login, and takes some seconds. Nothing is left behind.

    \b
    Examples:
        asyncsync demo
        asyncsync demo --keep ./demo; asyncsync serve ./demo/target
    """
    from asyncsync.model.foreign import shown

    if keep:  # before all that follows is loaded, which a signal may interrupt
        ending.nothing = f"What there is stays in {shown(str(keep))}"

    from asyncsync.cli.demonstrating import run

    raise click.exceptions.Exit(run(ending, keep))
