"""What programs use while they run: time, CPU, memory."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parts.commands import Command, HasUrl
from parts.processes import PartFailed

TIMEOUT_SECONDS = 1800.0
_EVERY_SECONDS = 0.1
_EVERY_SECONDS_AT_FIRST = 0.02  # of a program that may end soon
_STOP_SECONDS = 20.0
_LOGGED_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Watched:
    """A program that was run, with all programs that it started.

    `cpu` in seconds, user and system. `rss`: the most bytes that all of them had at once, or one
    alone, as Linux counts (what two share counts twice). `samples`: the same through its life.
    """

    code: int
    seconds: float
    cpu: float
    rss: int
    samples: tuple[int, ...]


def watch(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    folder: Path,
    log: Path,
    stop_after: float | None = None,
) -> Watched:
    """Run it to its end, or to a SIGTERM after some seconds. Raises PartFailed if it hangs."""
    with log.open("wb") as said:
        begun = time.perf_counter()
        program = subprocess.Popen(
            command, env=env, cwd=folder, stdin=subprocess.DEVNULL,
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            return _watched(program, begun, stop_after)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)  # what it may have left


def _watched(program: subprocess.Popen[bytes], begun: float, stop_after: float | None) -> Watched:
    samples: list[int] = []
    most = 0
    ended = os.pidfd_open(program.pid)  # readable at the end, so that nothing is rounded up
    try:
        stop = None if stop_after is None else begun + stop_after
        give_up = begun + TIMEOUT_SECONDS if stop is None else stop + _STOP_SECONDS
        every = _EVERY_SECONDS_AT_FIRST
        while not select.select([ended], [], [], every)[0]:
            now, alone = 0, 0
            for pid in _family(program.pid):
                its, its_most = _memory(pid)
                now, alone = now + its, max(alone, its_most)
            samples.append(now)
            every = _EVERY_SECONDS_AT_FIRST if len(samples) < 20 else _EVERY_SECONDS
            most = max(most, now, alone)
            if stop is not None and time.perf_counter() > stop:
                os.killpg(program.pid, signal.SIGTERM)
                stop = None
            if time.perf_counter() > give_up:
                raise PartFailed(f"{program.args!r} did not end in time")
        seconds = time.perf_counter() - begun
    finally:
        os.close(ended)
    _, status, usage = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    # Its ru_maxrss is of no use: it begins with what we had when we started it.
    used = usage.ru_utime + usage.ru_stime
    return Watched(program.returncode, seconds, used, most, tuple(samples))


def _family(pid: int) -> Iterator[int]:
    """It and all that descend from it. What ends meanwhile is left out."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from _family(int(child))


def _memory(pid: int) -> tuple[int, int]:
    """The bytes that it has in memory now, and the most that it had."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    found = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in found:  # it has ended, and nobody has waited for it
        return 0, 0
    now, most = (int(found[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def environment(folder: Path, engine: HasUrl | None = None) -> dict[str, str]:
    """What contenders run in: nobody's settings, and no coverage that would slow them down."""
    its = Command(folder).environment(engine)
    return {name: value for name, value in its.items() if not name.startswith("COVERAGE_")}


def tail(log: Path) -> str:
    """The end of what was logged."""
    return log.read_text(errors="replace")[-_LOGGED_CHARACTERS:]


def children_cpu(names: Collection[str]) -> float:
    """What our living children of these names have used, with all that they have waited for."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(") ")
        except OSError:  # it has just ended
            continue
        values = rest.split()
        if name in names and int(values[1]) == os.getpid():
            ticks += sum(map(int, values[11:15]))  # proc(5): utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def stalled_seconds() -> float:
    """In which nothing on this machine could go on without a disk; 0 where the kernel is silent."""
    try:
        return int(Path("/proc/pressure/io").read_text().rpartition("total=")[2]) / 1e6
    except OSError:
        return 0.0


def cores() -> int:
    return len(os.sched_getaffinity(0))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
