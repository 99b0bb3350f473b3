"""In a terminal the images under way stand below the rows, and leave nothing behind."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from parts.commands import Command
from parts.engine import Engine
from parts.registry import Registry
from parts.relay import Relay

from asyncsync.cli.live import Live, live
from asyncsync.cli.output import Output


def screen(text: str) -> list[str]:
    """What a terminal shows in the end: as much of one as our escape codes need."""
    lines = [""]
    for part in re.split(r"(\x1b\[\d+A\x1b\[J|\x1b\[[\d;]*m|\n)", text.replace("\r\n", "\n")):
        if up := re.fullmatch(r"\x1b\[(\d+)A\x1b\[J", part):
            assert lines[-1] == "", "lines are taken away from the start of a line"
            lines = [*lines[: len(lines) - 1 - int(up[1])], ""]
        elif part == "\n":
            lines.append("")
        elif not part.startswith("\x1b"):
            assert "\x1b" not in part
            lines[-1] += part
    return lines


def test_what_is_written_stands_above_and_nothing_is_left_of_the_live_lines() -> None:
    terminal = io.StringIO()
    below = Live(terminal)
    out = Output(terminal, below)
    out.line("first")
    below.show(["one under way", "another"])
    below.show(["another"])
    assert screen(terminal.getvalue()) == ["first", "another", ""]
    out.line("second")
    assert screen(terminal.getvalue()) == ["first", "second", ""]
    below.clear()
    assert screen(terminal.getvalue()) == ["first", "second", ""]


def test_a_line_is_cut_where_the_terminal_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    terminal = io.StringIO()
    Live(terminal).show(["x" * 100] * 50)
    assert screen(terminal.getvalue()) == ["x" * 19] * 3 + [""]


def test_there_are_no_live_lines_without_a_terminal() -> None:
    assert live(io.StringIO(), io.StringIO()) is None
    assert live(None, None) is None


@pytest.mark.timeout(120)
def test_in_a_terminal_the_command_ends_with_rows_alone(
    engine: Engine, registry: Registry, own_registry: Registry, relay: Relay, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    for n in range(3):
        registry.put_image(f"{namespace}/app{n}", "1", size=1_500_000)
    entries = [f"{relay.host}/{namespace}/app{n}:1" for n in range(3)]
    (asyncsync_command.folder / "images.yaml").write_text("\n".join(entries))
    relay.throttle(3_000_000)
    ours, theirs = pty.openpty()
    environment = {**asyncsync_command.environment(engine), "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        [sys.executable, "-m", "asyncsync", "sync", "--to", own_registry.host],
        cwd=asyncsync_command.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        told = b""
        while chunk := _read(ours):
            told += chunk
        os.close(ours)
        assert process.wait(30) == 0
    text = told.decode()
    assert re.search(r"  pull +127\.0\.0\.1:\d+/ns-\w+/app\d:1", text), "nothing was live"
    rows = screen(text)
    assert [row.split()[0] for row in rows[1:4]] == ["copied"] * 3
    assert rows[4] == ""
    assert rows[5].startswith("3 copied.")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side is closed
        return b""
