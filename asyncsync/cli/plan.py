"""`asyncsync plan`: what would go where. Asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from asyncsync.cli.ending import Ending
from asyncsync.cli.options import what_and_where

if TYPE_CHECKING:
    from asyncsync.model.job import Destination, Shard
    from asyncsync.model.place import Layout
    from asyncsync.model.platform import Platform


@click.command(short_help="Tell what would go where.")
@what_and_where
@click.pass_obj
def plan(
    ending: Ending,
    images: str,
    to: Destination | None,
    from_: Layout | None,
    platforms: tuple[Platform, ...],
    shard: Shard | None,
    output: Literal["table", "json"],
) -> None:
    """Tell what would go where, without asking anybody.

    LIST is a file with an image a line, images.yaml if none is named; - reads stdin.

    \b
    Examples:
        asyncsync plan --to registry.example/team
        REGISTRY=registry.example NAMESPACE=team asyncsync plan more.yaml
        echo nginx:1.27 | asyncsync plan - --to registry.example/team --output json
    """
    import os
    import sys

    from asyncsync.cli.files import read_list, reason
    from asyncsync.cli.output import Output
    from asyncsync.cli.settings import where_to, which_platforms
    from asyncsync.model.errors import ConfigurationError
    from asyncsync.model.foreign import shown
    from asyncsync.planning import part
    from asyncsync.planning import plan as planned
    from asyncsync.reporting.json import plan_json
    from asyncsync.reporting.table import plan_lines

    ending.name_list(images)
    if ending.page:
        ending.page.mask_names()
    destination = where_to(to, os.environ)
    chosen = which_platforms(platforms, os.environ)
    whole = planned(read_list(images, from_), [destination], chosen)
    if shard:
        whole = part(whole, shard)
    if ending.page:
        ending.page.tell_warnings(whole.warnings)
    for warning in whole.warnings:
        ending.tell(shown(str(warning)))
    if not whole.jobs:
        ending.tell(f"{ending.list_name} names no image")
    out = Output(sys.stdout)
    out.line(plan_json(whole) if output == "json" else "\n".join(plan_lines(whole)))
    if out.failed:
        raise ConfigurationError(f"stdout cannot be written: {reason(out.failed)}.")
