"""A step's process: its lines as they come, and its end as the runner brings it about.

After actions/runner, `ProcessInvoker.cs`: SIGINT to the step's own process alone, then SIGTERM,
then SIGKILL, to that process alone too. What it leaves behind is ended after the job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Literal

_STREAM_SECONDS = 5.0  # after the end, for streams that a child holds open
_EXITED = object()
_CLOSED = object()


@dataclass(frozen=True, slots=True)
class Grace:
    """How long the runner waits, in seconds: after SIGINT, and after SIGTERM."""

    sigint: float = 7.5
    sigterm: float = 2.5


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended, and whether it was told to."""

    exit_code: int
    told: Literal["cancelled", "timed out"] | None


def follow(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    take: Callable[[str], bool],
    grace: Grace,
    seconds: float | None = None,
) -> Ended:
    """Run `command` and hand each line of it to `take`, which answers whether to cancel it."""
    # Whoever started us in the background has SIGINT ignored, and a shell cannot undo that.
    process = subprocess.Popen(
        ["env", "--default-signal=INT,QUIT,TERM", *command], cwd=cwd, env=env,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        return _Following(process, take, grace, seconds).to_the_end()
    finally:
        process.kill()
        process.wait()


def left_behind(tracking_id: str) -> list[int]:
    """The processes that still run with this RUNNER_TRACKING_ID."""
    mark = f"RUNNER_TRACKING_ID={tracking_id}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def end_left_behind(tracking_id: str) -> tuple[str, ...]:
    """Kill what a job left running, as the runner does after it; say what that was."""
    told = []
    for pid in left_behind(tracking_id):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            os.kill(pid, signal.SIGKILL)
            told.append(words.replace("\0", " ").strip())
    return tuple(told)


class _Following:
    """A process under way, its lines in a queue, and the signals that are due to it."""

    def __init__(
        self,
        process: subprocess.Popen[str],
        take: Callable[[str], bool],
        grace: Grace,
        seconds: float | None,
    ) -> None:
        self._process, self._take, self._grace = process, take, grace
        self._due: list[tuple[float, signal.Signals]] = []
        self._told: Literal["cancelled", "timed out"] | None = None
        self._limit = None if seconds is None else time.monotonic() + seconds
        self._queue: SimpleQueue[object] = SimpleQueue()
        self._open = 2
        for stream in (process.stdout, process.stderr):
            threading.Thread(target=self._read, args=(stream,), daemon=True).start()
        threading.Thread(target=self._wait, daemon=True).start()

    def to_the_end(self) -> Ended:
        exited: float | None = None
        while exited is None or (self._open and time.monotonic() < exited + _STREAM_SECONDS):
            if exited is None:
                self._send_what_is_due()
            try:
                item = self._queue.get(timeout=self._patience(exited))
            except Empty:
                continue
            if item is _EXITED:
                exited = time.monotonic()
            elif item is _CLOSED:
                self._open -= 1
            elif self._take(str(item)):
                self._tell("cancelled")
        return Ended(self._process.wait(), self._told)

    def _tell(self, why: Literal["cancelled", "timed out"]) -> None:
        if self._told is None:
            self._told, now = why, time.monotonic()
            sigterm = now + self._grace.sigint
            kill = sigterm + self._grace.sigterm
            self._due = [
                (now, signal.SIGINT), (sigterm, signal.SIGTERM), (kill, signal.SIGKILL),
            ]  # fmt: skip

    def _send_what_is_due(self) -> None:
        if self._limit is not None and time.monotonic() >= self._limit:
            self._tell("timed out")
        while self._due and self._due[0][0] <= time.monotonic():
            self._process.send_signal(self._due.pop(0)[1])

    def _patience(self, exited: float | None) -> float | None:
        if exited is not None:
            return max(0, exited + _STREAM_SECONDS - time.monotonic())
        times = [at for at, _ in self._due[:1]]
        if self._limit is not None and self._told is None:
            times.append(self._limit)
        return max(0, min(times) - time.monotonic()) if times else None

    def _read(self, stream: IO[str]) -> None:
        # Universal newlines: a carriage return alone ends a line for the runner too.
        with stream:
            for line in stream:
                self._queue.put(line.removesuffix("\n"))
        self._queue.put(_CLOSED)

    def _wait(self) -> None:
        self._process.wait()
        self._queue.put(_EXITED)
