"""Folders for sockets, and what killed engines leave in them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from parts.processes import run

_SHORT = "/tmp"  # a socket's path has at most 107 bytes, and pytest's folders are long


def short_folder() -> Path:
    """A new folder with a short name."""
    return Path(tempfile.mkdtemp(prefix="asyncsync-", dir=_SHORT))


def remove_short_folder(folder: Path) -> None:
    """Remove it, and everything that is still mounted below it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):  # the innermost are last
        if mount.startswith(f"{folder}/"):
            run("umount", "--lazy", mount, check=False)
    shutil.rmtree(folder, ignore_errors=True)
