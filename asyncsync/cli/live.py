"""The lines below everything else in a terminal: what is under way right now.

They are taken away before anything is written above them, and drawn again at the next look, so a
row of the table is never cut by them and the screen keeps nothing of them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

_LINES_MAX = 8  # the rows above them are what a person reads


class Live:
    """Draws lines at the end of a terminal, and takes them away again."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._drawn = 0

    @property
    def height(self) -> int:
        """How many lines there is room for."""
        return max(1, min(_LINES_MAX, shutil.get_terminal_size().lines - 2))

    def show(self, lines: Sequence[str]) -> None:
        """Draw these lines in place of those before."""
        self.clear()
        width = shutil.get_terminal_size().columns - 1  # a full line would wrap, and be two
        cut = [line[:width] for line in lines[: self.height]]
        self._write("".join(f"{line}\n" for line in cut))
        self._drawn = len(cut)

    def clear(self) -> None:
        """Take the lines away."""
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")  # up to the first of them, and all below
            self._drawn = 0

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a terminal that was closed: the copying goes on
            self._file.write(text)
            self._file.flush()


def live(out: TextIO | None, err: TextIO | None) -> Live | None:
    """Live lines, if a person watches both streams in a terminal that can take lines away."""
    if out is None or err is None or not (out.isatty() and err.isatty()):
        return None
    return None if os.environ.get("TERM", "dumb") == "dumb" else Live(err)
