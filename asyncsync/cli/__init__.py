"""The command `asyncsync`. Its modules import click and nothing heavy before a command runs."""

from __future__ import annotations

import gc
import io
import os
import sys

import click

from asyncsync.cli.demo import demo
from asyncsync.cli.ending import Ending
from asyncsync.cli.merge import merge
from asyncsync.cli.plan import plan
from asyncsync.cli.serve import serve
from asyncsync.cli.sync import sync

__all__ = ["asyncsync", "main"]


# What holds if a command does not get to its work, as where it is called wrongly.
_NOTHING = {
    "merge": "Nothing was merged",
    "demo": "Nothing is left behind",
    "serve": "Nothing was served",
}


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        with ctx.ensure_object(Ending).told():
            return super().invoke(ctx)


def _tell_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    if not asked or ctx.resilient_parsing:
        return
    from asyncsync import __version__

    click.echo(f"asyncsync {__version__}")
    ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every option of a command, with examples: asyncsync COMMAND --help",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Tell the version and exit.",
)
@click.pass_context
def asyncsync(ctx: click.Context) -> None:
    """Copy a list of container images into the registry that you can use.

    In parallel, verified, safe to repeat.

    \b
    Write images.yaml, one image a line:
        nginx:1.27
        quay.io/prometheus/prometheus:v3.1
    See what would go where, then copy:
        asyncsync plan --to registry.example/team
        asyncsync sync --to registry.example/team
    Watch it first, on this machine alone:
        asyncsync demo
    """
    ending = ctx.ensure_object(Ending)  # before the command's own words are read
    ending.nothing = _NOTHING.get(ctx.invoked_subcommand or "", ending.nothing)


asyncsync.add_command(sync)
asyncsync.add_command(plan)
asyncsync.add_command(merge)
asyncsync.add_command(demo)
asyncsync.add_command(serve)


def main() -> None:
    """Run the command: the console script, and `python -m asyncsync`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: click would write what is wrong to the one that is left
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  as long as the process
        elif isinstance(stream, io.TextIOWrapper):  # `…` must not end a run in an old locale
            stream.reconfigure(errors="backslashreplace")
    ending = Ending()
    ending.interruption.listen()
    try:
        asyncsync(prog_name="asyncsync", obj=ending)
    except OSError as error:  # of click, which could not tell a help, or what is wrong
        sys.exit(ending.unwritten(error))
    finally:
        # The interpreter looks for garbage once more while it ends: 45 ms for what aiohttp and all
        # others have made, and nobody needs the memory.
        gc.freeze()
