"""`asyncsync sync`: its options. What it does with them is in `running`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from asyncsync.cli import values
from asyncsync.cli.ending import Ending
from asyncsync.cli.options import what_and_where

if TYPE_CHECKING:
    from typing import Unpack

    from asyncsync.cli.settings import Given

_FILE = values.Parsed("path", values.written)


@click.command(short_help="Copy the images of a list.")
@what_and_where
@click.option(
    "-c",
    "--concurrency",
    metavar="N",
    type=values.Parsed("number", values.concurrency),
    help="Images at once, 1 to 256.  [ASYNCSYNC_CONCURRENCY; default: 8; direct: 64]",
)
@click.option(
    "--fail-fast/--no-fail-fast",
    default=None,
    help="Stop at the first failed image.  [ASYNCSYNC_FAIL_FAST]",
)
@click.option(
    "--via",
    metavar="auto|engine|direct",
    type=values.Parsed("way", values.via),
    help="How to copy: engine lets a Docker Engine pull and push, direct needs none; auto takes an "
    "engine where one answers and can do all that is asked.  [ASYNCSYNC_VIA; default: auto]",
)
@click.option(
    "--user",
    metavar="NAME",
    help="User at the destination's registry; without one, what docker login stored.  "
    "[REGISTRY_USER]",
)
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password for --user from stdin.  [REGISTRY_PASSWORD]",
)
@click.option(
    "--retries",
    metavar="N",
    type=values.Parsed("number", values.retries),
    help="Times that a failed step is tried again, if that can help.  "
    "[ASYNCSYNC_RETRIES; default: 3]",
)
@click.option(
    "--timeout",
    metavar="DURATION",
    type=values.Parsed("duration", values.duration),
    help="Longest time for one image, as 90s, 20m or 5h30m.  [ASYNCSYNC_TIMEOUT]",
)
@click.option(
    "--deadline",
    metavar="DURATION",
    type=values.Parsed("duration", values.duration),
    help="End in order before so much time is over: what is left is told, for the next run.",
)
@click.option(
    "--clean/--no-clean",
    default=None,
    help="Free the engine's disk behind each image.  [ASYNCSYNC_CLEAN]",
)
@click.option(
    "--exact/--no-exact",
    default=None,
    help="Never adapt an image that the target refuses as it is.  [ASYNCSYNC_EXACT]",
)
@click.option(
    "--with-referrers",
    is_flag=True,
    help="Direct way: bring along what refers to an image, as signatures and SBOMs.",
)
@click.option(
    "--limit-rate",
    metavar="RATE",
    type=values.Parsed("rate", values.rate),
    help="Direct way: bytes a second for the whole run, as 20MiB/s or 500KB/s.",
)
@click.option(
    "--plain-http",
    metavar="HOST",
    multiple=True,
    type=values.Parsed("host", values.host),
    help="This registry speaks no TLS. Repeatable.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="Certificates (PEM) to trust beside the system's.",
)
@click.option(
    "--insecure-skip-verify",
    metavar="HOST",
    multiple=True,
    type=values.Parsed("host", values.host),
    help="Do not check this registry's certificate. Repeatable.",
)
@click.option(
    "--mirror",
    "mirrors",
    metavar="HOST=URL",
    multiple=True,
    type=values.Parsed("mirror", values.mirror),
    help="Read from this mirror of a registry first, as docker.io=https://mirror.example. "
    "Repeatable, asked in this order.",
)
@click.option(
    "--succeeded-log",
    metavar="PATH",
    type=_FILE,
    help="Where each image that is in place is written down.  "
    "[ASYNCSYNC_SUCCEEDED_LOG; default: succeeded.log]",
)
@click.option(
    "--failed-list",
    metavar="PATH",
    type=_FILE,
    help="Write every image that is not in place, as a list for the next run.  "
    "[ASYNCSYNC_FAILED_LIST]",
)
@click.option("--report", metavar="PATH", type=_FILE, help="Write the JSON of --output json there.")
@click.option(
    "--log-format",
    metavar="console|json",
    type=values.Parsed("format", values.log_format),
    help="How stderr is written.  [ASYNCSYNC_LOG_FORMAT; default: console]",
)
@click.option("-q", "--quiet", is_flag=True, help="Tell errors, failures and counts alone.")
@click.option("-v", "--verbose", count=True, help="Tell each image on stderr; -vv: each step.")
@click.pass_obj
def sync(ending: Ending, images: str, **given: Unpack[Given]) -> None:
    """Copy the images of a list into a registry, or into a folder to be carried to one.

    LIST is a file with an image a line, images.yaml if none is named; - reads stdin. What is in
    place already is skipped, so the same command again goes on where the last one ended. A
    variable in [brackets] does the same as its option; the option wins.

    \b
    Examples:
        asyncsync sync --to registry.example/team
        REGISTRY=registry.example NAMESPACE=team asyncsync sync --concurrency 4
        pass show registry | asyncsync sync --to registry.example/team --user me --password-stdin
        asyncsync sync --failed-list failed.yaml; asyncsync sync failed.yaml
        asyncsync sync --to oci:./export; asyncsync sync --from oci:./export --to registry.example

    \b
    Exit codes: 0 all images are in place; 1 some are not; 2 something is wrong with the command,
    the list or the engine, and nothing was moved; 130, 143, 129 stopped by Ctrl-C, SIGTERM, SIGHUP.
    """
    from asyncsync.cli.running import run

    raise click.exceptions.Exit(run(ending, images, given))
