"""`asyncsync demo`: its words where it cannot begin, and how it calls itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from asyncsync.cli import asyncsync
from asyncsync.cli.demonstrating import program


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def demo(*options: str | Path) -> Result:
    return CliRunner().invoke(asyncsync, ["demo", *map(str, options)])


def test_help_says_what_it_needs_and_what_it_leaves() -> None:
    told = " ".join(CliRunner().invoke(asyncsync, ["demo", "--help"]).stdout.split())
    for word in ("no Docker, no network and no login", "Nothing is left behind", "--keep FOLDER"):
        assert word in told
    assert "asyncsync demo" in CliRunner().invoke(asyncsync, ["--help"]).stdout


def test_a_folder_that_has_something_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    done = demo("--keep", "kept")
    assert done.exit_code == 2
    assert done.stderr == "--keep kept is not empty: it has mine.txt. Name a new folder.\n"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("keep", "why"),
    [
        ("file", "file cannot be written: File exists."),
        ("file/inner", "file/inner cannot be written: Not a directory."),
        ("a\x1b[31mb/" + "c" * 300, "File name too long."),
    ],
)
def test_a_folder_that_cannot_be_made_is_told_in_one_line(keep: str, why: str) -> None:
    Path("file").write_text("")
    done = demo("--keep", keep)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert why in done.stderr
    assert done.stderr.endswith("Name another folder with --keep.\n")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_it_is_called_as_it_was_started_unless_its_name_alone_will_do(tmp_path: Path) -> None:
    here, other = tmp_path / "venv" / "bin", tmp_path / "other"
    for folder in (here, other):
        folder.mkdir(parents=True)
        (folder / "asyncsync").write_text("")
        (folder / "asyncsync").chmod(0o755)
    started = os.fspath(here / "asyncsync")
    assert program(started, {"PATH": str(here)}) == "asyncsync"
    assert program(started, {"PATH": str(other)}) == started
    assert program(started, {}) == started
    assert program("venv/bin/asyncsync", {"PATH": f"{here}:{other}"}) == "asyncsync"
    module = "/x/asyncsync/__main__.py"
    assert program(module, {"PATH": str(here)}) == "asyncsync"
    assert program(module, {"PATH": str(tmp_path)}) == f"{sys.orig_argv[0]} -m asyncsync"
