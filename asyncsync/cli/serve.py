"""`asyncsync serve`: its options. What it does with them is in `serving`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from asyncsync.cli import values

if TYPE_CHECKING:
    from asyncsync.cli.ending import Ending
    from asyncsync.server import Address

_FILE = click.Path(path_type=Path)


@click.command(short_help="Serve a folder as a registry.")
@click.argument("folder", metavar="FOLDER", type=values.Parsed("folder", values.folder))
@click.option(
    "--listen",
    "address",
    metavar="ADDRESS:PORT",
    default="127.0.0.1:5000",
    type=values.Parsed("address", values.address),
    help="Where to listen; port 0 is a free one.  [default: 127.0.0.1:5000]",
)
@click.option("--read-only", is_flag=True, help="Let nobody push or delete.")
@click.option(
    "--htpasswd",
    metavar="FILE",
    type=_FILE,
    help="Let in the users of this file alone; made by: htpasswd -B -c FILE USER",
)
@click.option(
    "--tls-cert", metavar="FILE", type=_FILE, help="Speak TLS, with this certificate (PEM)."
)
@click.option("--tls-key", metavar="FILE", type=_FILE, help="The certificate's key (PEM).")
@click.option(
    "--log-format",
    metavar="console|json",
    default="console",
    type=values.Parsed("format", values.log_format),
    help="How stderr is written.  [default: console]",
)
@click.option("-v", "--verbose", count=True, help="Tell each request on stderr.")
@click.pass_obj
def serve(
    ending: Ending,
    folder: Path,
    address: Address,
    read_only: bool,  # noqa: FBT001  an option
    htpasswd: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    log_format: Literal["console", "json"],
    verbose: int,
) -> None:
    """Serve a folder of images as a registry, until Ctrl-C or SIGTERM.

    FOLDER is an OCI image layout, as sync --to oci:FOLDER writes it; it is made if it is missing.
    docker, podman and others pull from it and push to it. Whoever can reach it can write, unless
    --htpasswd or --read-only is given, one of which is needed beyond this machine; docker wants
    TLS there, too.

    \b
    Examples:
        asyncsync serve ./export
        asyncsync serve ./export --read-only --listen 0.0.0.0:5000
        asyncsync serve ./export --listen 0.0.0.0:443 --htpasswd users \\
            --tls-cert cert.pem --tls-key key.pem

    \b
    Exit codes: 2 something is wrong with the command, the folder or the address; 130, 143, 129
    stopped by Ctrl-C, SIGTERM, SIGHUP.
    """
    from asyncsync.cli.serving import run

    code = run(
        ending,
        folder,
        address,
        read_only=read_only,
        htpasswd=htpasswd,
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_format=log_format,
        verbose=verbose,
    )
    raise click.exceptions.Exit(code)
