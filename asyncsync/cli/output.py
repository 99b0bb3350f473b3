"""stdout and stderr, which may vanish: whoever reads them may leave, the copying goes on."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from asyncsync.cli.live import Live


class Output:
    """Writes lines at once, and nothing more after the reader has left."""

    def __init__(self, file: TextIO | None, live: Live | None = None) -> None:
        # Python has None for a stream that was closed before it began
        self._file: TextIO = file or open(os.devnull, "w")  # noqa: SIM115  as long as the process
        self.lost: OSError | None = None
        self.live = live

    def line(self, text: str) -> None:
        """Write one line so that it is seen now."""
        self.write(f"{text}\n")
        self.flush()

    def write(self, text: str) -> None:
        """Write, unless nobody reads any more; live lines make room."""
        if self.live:
            self.live.clear()
        if self.lost is None:
            try:
                self._file.write(text)
            except OSError as error:
                self._lose(error)

    def flush(self) -> None:
        """Hand on what was written."""
        if self.lost is None:
            try:
                self._file.flush()
            except OSError as error:
                self._lose(error)

    @property
    def failed(self) -> OSError | None:
        """Why something is lost that somebody waits for. A reader who left waits for nothing."""
        return None if isinstance(self.lost, BrokenPipeError) else self.lost

    @property
    def coloured(self) -> bool:
        """Whether a person sees it in a terminal and has nothing against colours."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return self._file.isatty() and not plain

    def _lose(self, error: OSError) -> None:
        self.lost = error
        # Else Python flushes once more at its end, complains, and changes the exit code.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())
            os.close(nowhere)
