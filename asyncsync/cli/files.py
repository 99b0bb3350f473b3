"""The files of a command: the list that it reads, and those that it writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from asyncsync import lists
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown

if TYPE_CHECKING:
    from asyncsync.model.spec import ImageSpec

STDIN = "-"


def read_list(name: str) -> tuple[ImageSpec, ...]:
    """The images of the list `name`; `-` is stdin. Raises ListError, ConfigurationError."""
    data = read_stdin() if name == STDIN else _bytes(name)
    return lists.read(lists.decode(data, name), name)


def _bytes(name: str) -> bytes:
    # one byte more than a list may have, so that `decode` sees and refuses a longer one
    try:
        with open(name, "rb") as file:
            return file.read(lists.LIST_BYTES_MAX + 1)
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no list {shown(name)}. Write one with an image a line, as nginx:1.27, "
            "or name yours: asyncsync sync LIST (- reads stdin)."
        ) from None
    except IsADirectoryError:
        raise ConfigurationError(
            f"{shown(name)} is a folder. Name the list in it: asyncsync sync "
            f"{shown(str(Path(name) / 'images.yaml'))}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigurationError(f"{shown(name)} cannot be read: {reason(error)}.") from None


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
        raise ConfigurationError(f"{option} {shown(str(path))} cannot be written: {problem}.")


def _problem(real: Path) -> str | None:
    if real.is_dir():
        return "it is a folder"
    if not real.parent.is_dir():
        return f"there is no folder {shown(str(real.parent))}"
    if real.exists():
        return None if os.access(real, os.W_OK) else "it is write-protected"
    return None if os.access(real.parent, os.W_OK | os.X_OK) else "its folder is write-protected"


def open_fresh(option: str, path: Path) -> TextIO:
    """Open `path` for writing, emptied. Raises ConfigurationError that names `option`."""
    try:
        return open(path, "a" if _special(path) else "w", encoding="utf-8", newline="\n")
    except (OSError, ValueError) as error:
        why = reason(error)
        raise ConfigurationError(f"{option} {shown(str(path))} cannot be written: {why}.") from None


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
    draft = real.with_name(f".{real.name[:200]}.{os.getpid()}")
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
