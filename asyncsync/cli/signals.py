"""SIGINT, SIGTERM and SIGHUP: the first one stops in order, the second one ends the process.

Plain handlers, from a command's first line until the process is gone: an event loop's own ones
leave gaps before and behind it, in which SIGTERM kills silently and SIGINT prints a traceback.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A stop in order takes less; this ends a process in which not even the event loop runs any more,
# or that waits for a thread that waits for a name server.
_END_SECONDS = 4.8


class Interruption:
    """Which signal came, and what it does: while nothing runs, it raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._stop: Callable[[], object] | None = None
        self._over = False

    def listen(self) -> None:
        """Hear signals from now on. Only a program of its own does this, and never undoes it."""
        for number in _HEARD:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: whoever started it wants it to outlive the terminal
            signal.signal(number, self._heard)

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as a shell reports it."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def name(self) -> str:
        """The signal that came: `SIGTERM`."""
        return self.signal.name if self.signal else ""

    @contextmanager
    def calling(self, stop: Callable[[], object]) -> Iterator[None]:
        """Inside the block a signal calls `stop` instead of raising."""
        self._stop = stop
        try:
            yield
        finally:
            self._stop = None

    def over(self) -> None:
        """All is told: from now on a signal ends the process at once."""
        self._over = True

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self.signal is not None:
            return  # a terminal that is gone says so twice, by the shell and by the kernel
        if self._over or self.signal is not None:
            os._exit(128 + number)
        self.signal = signal.Signals(number)
        if self._stop is None:
            raise KeyboardInterrupt
        threading.Thread(target=_end, args=(self.exit_code,), daemon=True).start()
        self._stop()


def _end(code: int) -> None:
    time.sleep(_END_SECONDS)
    os._exit(code)
