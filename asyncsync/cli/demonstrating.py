"""What `demo` does: a folder, two registries in this process, and `sync` at work between them."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import anyio
from anyio import CancelScope, to_thread

from asyncsync.cli.ending import FAILED, Ending
from asyncsync.cli.files import reason
from asyncsync.cli.output import Output
from asyncsync.cli.stage import LIST, Stage
from asyncsync.model.digest import Digest
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown
from asyncsync.server import Address, Answered, serving
from asyncsync.server.sample import samples
from asyncsync.stores.layout.folder import LayoutFolder

if TYPE_CHECKING:
    from asyncsync.cli.signals import Interruption

SOURCE, TARGET = "source", "target"  # the registries' folders
_ANY_PORT = Address("127.0.0.1", 0)


def run(ending: Ending, keep: Path | None) -> int:
    """Carry out `asyncsync demo` and return its exit code. Raises AsyncsyncError."""
    interruption, out = ending.interruption, Output(sys.stdout)
    with _kept(keep) if keep else _passing(interruption) as folder, _writing(folder):
        went_well = anyio.run(_demonstrate, folder, out, interruption)
        if interruption.signal is not None:
            raise KeyboardInterrupt
    for line in _closing(folder, kept=keep is not None, program=program(sys.argv[0], os.environ)):
        out.line(line)
    if out.failed:
        raise ConfigurationError(f"stdout cannot be written: {reason(out.failed)}.")
    return 0 if went_well else FAILED


async def _demonstrate(folder: Path, out: Output, interruption: Interruption) -> bool:
    """Show all of it; whether all came as it should. A signal ends it in order."""
    loop, went_well, asked = asyncio.get_running_loop(), False, 0

    def count(_: Answered) -> None:
        nonlocal asked
        asked += 1

    with (
        CancelScope() as scope,
        interruption.calling(lambda: loop.call_soon_threadsafe(scope.cancel)),
    ):
        await to_thread.run_sync(_fill, folder / SOURCE)
        async with (
            serving(folder / SOURCE, _ANY_PORT, read_only=True, tell=count) as full,
            serving(folder / TARGET, _ANY_PORT, tell=count) as empty,
        ):
            source, to = str(full.address), f"{empty.address}/team"
            stage = Stage(folder, out, source=source, to=to, asked=lambda: asked)
            went_well = await stage.play()
    return went_well


def _fill(path: Path) -> None:
    """Write the samples into a new layout. Blocks."""
    layout = LayoutFolder.open(path, create=True)
    for sample in samples():
        for blob in sample.blobs:
            digest = Digest.of(blob)
            if layout.size(digest) is None:
                with layout.writing() as writer:
                    writer.write(blob)
                    writer.commit(digest)
        layout.put_entry(sample.entry)


@contextmanager
def _kept(folder: Path) -> Iterator[Path]:
    """The folder that was asked for. It must be new or empty, or it would show another thing."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        strange = next(folder.iterdir(), None)
    if strange:
        what = f"--keep {shown(str(folder))} is not empty: it has {shown(strange.name)}"
        raise ConfigurationError(f"{what}. Name a new folder.")
    yield folder


@contextmanager
def _passing(interruption: Interruption) -> Iterator[Path]:
    """A folder for as long as the block runs."""
    try:
        folder = Path(mkdtemp(prefix="asyncsync-demo-"))
    except OSError as error:
        what = f"No temporary folder can be made: {reason(error)}"
        raise ConfigurationError(f"{what}. Name a folder with --keep.") from None
    try:
        yield folder
    finally:
        with interruption.calling(lambda: None):  # a signal now must not leave half of it
            shutil.rmtree(folder)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what is wrong with the disk, if anything is."""
    try:
        yield
    except OSError as error:
        what = f"{shown(str(path))} cannot be written: {reason(error)}"
        raise ConfigurationError(f"{what}. Name another folder with --keep.") from None


def _closing(folder: Path, *, kept: bool, program: str) -> Iterator[str]:
    """Where all of it is, and what to type next; this last, where the eye is."""
    name = shown(str(folder))
    if kept:
        yield f"All of it is in {name}: lists, succeeded.log, the registries' folders."
        typed = shown(shlex.quote(str(folder / TARGET)))
        yield f"The second registry is there again with: {program} serve {typed}"
    else:
        yield f"All of it was in {name}, and is deleted. --keep FOLDER keeps it."
    yield f"Yours: write one image a line into {LIST}, then type"
    yield f"  {program} sync --to YOUR-REGISTRY/NAMESPACE"


def program(started: str, environ: Mapping[str, str]) -> str:
    """How to type our name: as it was `started`, unless the name alone will do."""
    found = shutil.which("asyncsync", path=environ.get("PATH", ""))
    if Path(started).name != "asyncsync":  # python -m asyncsync
        return "asyncsync" if found else f"{shlex.quote(sys.orig_argv[0])} -m asyncsync"
    same = found is not None and os.path.realpath(found) == os.path.realpath(started)
    return "asyncsync" if same else started
