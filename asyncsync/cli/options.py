"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, TypeVar

import click

from asyncsync.cli import values

F = TypeVar("F", bound=Callable[..., object])


def what_and_where(command: F) -> F:
    """LIST, --to, --from, --platform, --shard, --output: which images, where to, told how."""
    for add in reversed(
        (
            click.argument("images", metavar="[LIST]", default="images.yaml"),
            click.option(
                "--to",
                metavar="DEST",
                type=values.Parsed("dest", values.destination),
                help="Destination: registry[:port][/namespace], or oci:FOLDER.  "
                "[REGISTRY with NAMESPACE]",
            ),
            click.option(
                "--from",
                "from_",
                metavar="oci:FOLDER",
                type=values.Parsed("layout", values.layout),
                help="Read the images from an OCI layout (folder or .tar), by the names that they "
                "have there.",
            ),
            click.option(
                "--platform",
                "platforms",
                metavar="OS/ARCH[/VARIANT]",
                multiple=True,
                type=values.Parsed("platform", values.platforms),
                callback=_together,
                help="Platform to copy, repeatable, or several with commas.  "
                "[ASYNCSYNC_PLATFORM; default: engine: its own; direct: all]",
            ),
            click.option(
                "--shard",
                metavar="I/N",
                type=values.Parsed("shard", values.shard),
                help="Only the I-th of N parts of the list, so that N runs share the work.",
            ),
            click.option(
                "--output",
                type=click.Choice(["table", "json"]),
                default="table",
                help="What stdout carries.  [default: table]",
            ),
        )
    ):
        command = add(command)
    return command


def _together(
    _context: click.Context, _option: click.Parameter, given: tuple[tuple[Any, ...], ...]
) -> tuple[Any, ...]:
    """All that was given, whether the option was repeated or written once with commas."""
    return tuple(chain.from_iterable(given))
