"""The files of a command: the list that it reads, and those that it writes."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from asyncsync import lists
from asyncsync.api import list_bytes
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown

if TYPE_CHECKING:
    from asyncsync.model.place import Layout
    from asyncsync.model.spec import ImageSpec

STDIN = "-"
_DRAFT_MAX = 50  # characters of up to 4 bytes: a file's name has at most 255 bytes


def list_text(name: str, layout: Layout | None = None) -> str:
    """The text of the list `name`; `-` is stdin. Raises ListError, ConfigurationError."""
    data = read_stdin() if name == STDIN else list_bytes(name, layout)
    return lists.decode(data, name)


def read_list(name: str, layout: Layout | None = None) -> tuple[ImageSpec, ...]:
    """The images of the list `name`; `-` is stdin. Raises ListError, ConfigurationError."""
    return lists.read(list_text(name, layout), name, layout)


def read_stdin(most: int = lists.LIST_BYTES_MAX + 1) -> bytes:
    """What comes by stdin, up to `most` bytes. Raises ConfigurationError if it is closed."""
    if sys.stdin is None:
        raise ConfigurationError("stdin is closed. Name a file, or give it something to read.")
    return sys.stdin.buffer.read(most)


def check_writable(option: str, path: Path, others: dict[Path, str]) -> None:
    """Make sure that `path` can be written, and is none of `others`. Changes nothing.

    Raises ConfigurationError that names `option`.
    """
    try:
        if _special(path):
            problem = None if os.access(path, os.W_OK) else "it is write-protected"
        else:
            real = Path(os.path.realpath(path))
            if taken := others.get(real):
                what = f"{option} {shown(str(path))} is {taken}"
                raise ConfigurationError(f"{what}. Name another file.")
            others[real] = f"what {option} writes"
            problem = _problem(real)
    except (OSError, ValueError) as error:
        problem = reason(error)
    if problem:
        raise _unwritable(option, path, problem)


def _problem(real: Path) -> str | None:
    if real.is_dir():
        return "it is a folder"
    if not real.parent.is_dir():
        return f"there is no folder {shown(str(real.parent))}"
    if real.exists():
        return None if os.access(real, os.W_OK) else "it is write-protected"
    return None if os.access(real.parent, os.W_OK | os.X_OK) else "its folder is write-protected"


def _unwritable(option: str, path: Path, why: str) -> ConfigurationError:
    what = f"{option} {shown(str(path))} cannot be written: {why}"
    return ConfigurationError(f"{what}. Name another file.")


@contextmanager
def open_kept(option: str, path: Path) -> Iterator[TextIO]:
    """Open `path` to write behind what it has. Raises ConfigurationError that names `option`."""
    try:
        file = open(path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115  closed below
    except (OSError, ValueError) as error:
        raise _unwritable(option, path, reason(error)) from None
    try:
        yield file
    finally:
        with suppress(OSError):  # every line was flushed, and what failed then was told then
            file.close()


def empty(file: TextIO, path: Path) -> None:
    """Empty the open `file` of `path`, unless another run is writing to it. Raises OSError."""
    if not _special(path) and _is_ours_alone(file):
        file.truncate(0)


def _is_ours_alone(file: TextIO) -> bool:
    """Whether no other run writes to it; those that come after this one know of it."""
    alone = True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        alone = False
    except OSError:  # a file system without locks
        return True
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return alone


def replace(path: Path, text: str) -> None:
    """Write `text`; a reader sees the old file or the new one, never half. Raises OSError."""
    if _special(path):
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            file.write(text)
        return
    real = Path(os.path.realpath(path))
    if not os.access(real.parent, os.W_OK):
        real.write_text(text, encoding="utf-8", newline="\n")
        return
    draft = real.with_name(f".{real.name[:_DRAFT_MAX]}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(real)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _special(path: Path) -> bool:
    """Whether it is a device or a pipe, as /dev/stdout: others write there too, none replaces it.

    Also where stdout is a file in truth: its rows stand there already.
    """
    if path.is_dir():
        return False
    return (path.exists() and not path.is_file()) or str(path).startswith("/dev/")


def reason(error: Exception) -> str:
    """Why it failed, in the system's words: `Permission denied`."""
    return shown((isinstance(error, OSError) and error.strerror) or str(error))
