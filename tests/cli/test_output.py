"""A reader that leaves ends the table, not the copying."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from parts.commands import Command
from parts.registry import Registry
from parts.scripted_engine import ScriptedEngine

from asyncsync.cli.output import Output


def test_a_line_is_seen_at_once() -> None:
    file = io.StringIO()
    Output(file).line("now")
    assert file.getvalue() == "now\n"


def test_after_the_reader_has_left_nothing_is_raised() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        out = Output(file)
        os.close(reading)
        out.line("nobody reads this")
        assert isinstance(out.lost, BrokenPipeError)
        out.line("nor that")


def test_colours_are_for_terminals_alone() -> None:
    assert not Output(io.StringIO()).coloured


def test_a_plan_that_nobody_reads_to_its_end_is_no_traceback(
    asyncsync_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "images.yaml").write_text("".join(f"image-{n}:1\n" for n in range(20_000)))
    with asyncsync_command.started("plan", "--to", "r.example") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(20) == 0


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("command", ["plan", "sync"])
def test_a_result_that_could_not_be_written_is_no_success(
    command: str, output: str, asyncsync_command: Command, tmp_path: Path, registry: Registry,
    namespace: str,
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1")
    (tmp_path / "images.yaml").write_text(f"{registry.host}/{namespace}/a:1\n")
    arguments = (command, "--to", f"{registry.host}/to", "--output", output)
    with ScriptedEngine() as engine, open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "asyncsync", *arguments], cwd=tmp_path, text=True, stdout=full,
            stderr=subprocess.PIPE, env=asyncsync_command.environment(engine), check=False,
        )  # fmt: skip
    assert ended.returncode in (1, 2)
    assert "stdout cannot be written" in ended.stderr
    assert "No space left on device" in ended.stderr
    assert "bug" not in ended.stderr


def test_files_on_a_full_disk_are_told_of_once_and_are_no_bug(
    asyncsync_command: Command, tmp_path: Path, registry: Registry, namespace: str
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    (tmp_path / "images.yaml").write_text(f"{registry.host}/{namespace}/a:1\n")
    files = ("--succeeded-log", "/dev/full", "--report", "/dev/full", "--failed-list", "/dev/full")
    with ScriptedEngine() as engine:
        ended = asyncsync_command("sync", "--to", f"{registry.host}/to", *files, engine=engine)
    assert ended.returncode == 1
    assert "bug" not in ended.stderr
    assert "names what is in place" not in ended.stdout
    assert ended.stderr.count("cannot be written") == 1


FULL = "stdout cannot be written (No space left on device).\n"


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("--help >/dev/full", 1, FULL),
        ("sync --help >/dev/full", 1, FULL),
        ("--version >/dev/full", 1, FULL),
        ("--version >/dev/full 2>/dev/full", 1, ""),
        ("--help >&-", 0, ""),
        ("bogus 2>/dev/full", 2, ""),
        ("sync --to a@b 2>/dev/full", 2, ""),
        ("bogus 2>&-", 2, ""),
        ("merge 2>&-", 2, ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_click_itself_cannot_write_is_a_line_at_most(
    command: str, code: int, told: str, unbuffered: str, asyncsync_command: Command
) -> None:
    ended = subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" -m asyncsync {command}'], text=True,
        env={**asyncsync_command.environment(), "PYTHONUNBUFFERED": unbuffered},
        capture_output=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout + ended.stderr) == (code, told)


def test_streams_that_are_closed_are_no_traceback(
    asyncsync_command: Command, tmp_path: Path
) -> None:
    (tmp_path / "images.yaml").write_text("nginx:1\n")
    shell = ["sh", "-c", f'exec "{sys.executable}" -m asyncsync plan "$@" >&- 2>&-', "sh"]
    for args, code in ((("--to", "r.example"), 0), (("none.yaml", "--to", "r.example"), 2)):
        ended = subprocess.run(
            [*shell, *args], cwd=tmp_path, env=asyncsync_command.environment(), check=False
        )
        assert ended.returncode == code
    shell[2] = f'exec "{sys.executable}" -m asyncsync plan - --to r.example <&-'
    refused = subprocess.run(
        shell, cwd=tmp_path, env=asyncsync_command.environment(), check=False, text=True,
        capture_output=True,
    )  # fmt: skip
    assert (refused.returncode, refused.stderr[:16]) == (2, "stdin is closed.")
