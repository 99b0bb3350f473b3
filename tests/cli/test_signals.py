"""A signal ends the command in order and soon; the next one at once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from parts.commands import Command

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
SOON = 5.0  # seconds, as promised


@pytest.fixture(autouse=True)
def hangups_heard() -> Iterator[None]:
    """Under nohup, the tests themselves ignore SIGHUP, and what they start would inherit that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Silent:
    """An engine that takes every connection and says nothing."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.asked = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self._kept.append(self._socket.accept()[0])
            except OSError:
                return
            self.asked.set()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for each in (self._socket, *self._kept):
            each.close()


@contextmanager
def silent_engine(folder: Path) -> Iterator[Silent]:
    silent = Silent(folder / "silent.sock")
    try:
        yield silent
    finally:
        silent.close()


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_the_engine_is_awaited_ends_in_order(
    asyncsync_command: Command, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "images.yaml").write_text("nginx:1\n")
    args = ("sync", "--to", "r.example", "--failed-list", "failed.yaml")
    with (
        silent_engine(tmp_path) as engine,
        asyncsync_command.started(*args, engine=engine) as process,
    ):
        assert engine.asked.wait(20)
        sent = time.monotonic()
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)

    assert process.returncode == code
    assert time.monotonic() - sent < SOON
    assert "not started  nginx:1" in stdout
    assert "Stopping: nothing is under way." in stderr
    assert "Traceback" not in stderr
    assert "docker.io/library/nginx:1" in (tmp_path / "failed.yaml").read_text()


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_the_list_is_read_ends_without_a_traceback(
    tmp_path: Path, asyncsync_command: Command, number: signal.Signals, code: int
) -> None:
    # A list that is a pipe: opening it to write returns once the command has opened it to read.
    fifo = tmp_path / "images.yaml"
    os.mkfifo(fifo)
    with asyncsync_command.started("sync", "--to", "r.example") as process, fifo.open("wb"):
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)

    assert (process.returncode, stdout) == (code, "")
    assert stderr == "Stopped. Nothing was copied.\n"


# Its copies clean up for a minute, shielded, whatever anybody wants: the worst that a copy can do.
STUBBORN = """
import sys
from functools import partial
from pathlib import Path
import anyio
from asyncsync.cli.following import follow
from asyncsync.cli.output import Output
from asyncsync.cli.settings import Given, settings
from asyncsync.cli.signals import Interruption
from asyncsync.cli.telling import Telling
from asyncsync.model.events import StepStarted
from asyncsync.model.job import Destination, Step
from asyncsync.lists import entries
from asyncsync.planning import plan
from asyncsync.reporting.log import Level, open_log
from asyncsync.reporting.narration import Narration
from asyncsync.reporting.succeeded_log import SucceededLog
from asyncsync.scheduling import running

to = Destination.parse("r.example")
jobs = plan(entries(["nginx:1", "redis:1"]), [to])

async def stubborn(job, observe):
    observe(StepStarted(job, Step.PULL))
    print("begun", flush=True)
    with anyio.CancelScope(shield=True):
        await anyio.sleep(60)

given = dict.fromkeys(Given.__annotations__) | {
    "to": to, "platforms": (), "plain_http": (), "output": "table", "quiet": False,
    "insecure_skip_verify": (), "mirrors": (), "with_referrers": False,
}
log = open_log(sys.stderr, log_format="console", level=Level.WARNING)
interruption = Interruption()
interruption.listen()
with open("succeeded.log", "w") as file:
    telling = Telling(
        jobs, settings(given, {}), log, Narration(log, failures_shown=True),
        Output(sys.stdout), SucceededLog(file, lambda: None),
    )
    opening = running(jobs.jobs, stubborn, concurrency=1, observe=telling.observe)
    anyio.run(partial(follow, opening, telling, interruption))
"""


@contextmanager
def stubborn(folder: Path, command: Command) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], cwd=folder, env=command.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def test_copies_that_do_not_let_go_are_left_and_everything_is_told(
    tmp_path: Path, asyncsync_command: Command
) -> None:
    with stubborn(tmp_path, asyncsync_command) as process:
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=20)

    assert process.returncode == 143
    assert time.monotonic() - sent < SOON
    assert stderr.startswith("Stopping: 1 image under way is given up. Send another signal ")
    assert stdout.splitlines()[-1].startswith("1 cancelled, 1 not started.")


def test_a_terminal_that_is_gone_and_says_so_twice_is_heard_once(
    tmp_path: Path, asyncsync_command: Command
) -> None:
    with stubborn(tmp_path, asyncsync_command) as process:
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Stopping: 1 image under way is given up.")
        process.send_signal(signal.SIGHUP)
        stdout, _ = process.communicate(timeout=20)

    assert process.returncode == 129
    assert stdout.splitlines()[-1].startswith("1 cancelled, 1 not started.")


def test_a_hangup_that_nohup_ignores_stays_ignored(
    asyncsync_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "images.yaml").write_text("nginx:1\n")
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup: children keep it
    try:
        with (
            silent_engine(tmp_path) as engine,
            asyncsync_command.started("sync", "--to", "r.example", engine=engine) as process,
        ):
            assert engine.asked.wait(20)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=20)
    finally:
        signal.signal(signal.SIGHUP, ignored)

    assert process.returncode == 143
    assert "Stopping: nothing is under way." in stderr


def test_a_second_signal_ends_at_once(tmp_path: Path, asyncsync_command: Command) -> None:
    with stubborn(tmp_path, asyncsync_command) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == (
            "Stopping: 1 image under way is given up. Press Ctrl-C again to end at once.\n"
        )
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)

    assert process.returncode == 130
    assert (stdout, stderr) == ("", ""), "it went on to its end"
