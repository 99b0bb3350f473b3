"""Whatever ends a command is words and an exit code, never a traceback."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from asyncsync.cli.ending import Ending
from asyncsync.cli.running import run
from asyncsync.cli.settings import Given
from asyncsync.model.errors import ConfigurationError, ListError
from asyncsync.model.job import Destination
from asyncsync.model.spec import Mistake, Position

SECRET = "hunter2-of-the-tests"


def ended_by(error: BaseException, *, traceback: bool = False) -> tuple[list[str], int]:
    lines: list[str] = []
    ending = Ending()
    ending.tell, ending.traceback, ending.secrets = lines.append, traceback, (SECRET,)
    ending.name_list("images.yaml")
    with pytest.raises(click.exceptions.Exit) as exit_, ending.told():
        raise error
    return lines, exit_.value.exit_code


def test_what_a_user_can_mend_is_told_with_exit_code_2() -> None:
    error = ConfigurationError("This is wrong.\n  Do that.")
    assert ended_by(error) == (["This is wrong.", "  Do that."], 2)


def test_mistakes_are_counted() -> None:
    error = ListError([Mistake(Position("images.yaml", n), "no") for n in (1, 2, 3)])
    lines, code = ended_by(error)
    assert lines[-1] == "3 mistakes in images.yaml. Nothing was copied."
    assert (len(lines), code) == (4, 2)


def test_a_bug_says_that_it_is_one_and_how_to_tell_more() -> None:
    assert ended_by(KeyError(SECRET)) == (
        [
            "This is a bug in asyncsync (KeyError). "
            "Please report it, with what the same command tells with -vv."
        ],
        1,
    )


def test_asked_for_more_a_bug_tells_where_but_no_secret() -> None:
    lines, code = ended_by(KeyError(SECRET), traceback=True)
    assert code == 1
    assert lines[0].endswith("(KeyError). Please report it, with what follows.")
    assert any("test_ending.py" in line for line in lines)
    assert lines[-1] == "  KeyError: '***'"


@pytest.mark.parametrize(("verbose", "where"), [(0, False), (1, False), (2, True)])
def test_where_a_bug_is_is_told_by_a_sync_at_vv_alone(
    verbose: int, where: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("images.yaml").write_text("# none\n")
    given: Given = dict.fromkeys(Given.__annotations__)  # type: ignore[assignment]
    options = {
        "to": Destination.parse("r.example/team"), "platforms": (), "plain_http": (),
        "insecure_skip_verify": (), "mirrors": (), "with_referrers": False, "output": "table",
        "verbose": verbose,
    }  # fmt: skip
    lines: list[str] = []
    ending = Ending()
    run(ending, "images.yaml", {**given, **options})  # type: ignore[typeddict-item]
    ending.tell = lines.append
    with pytest.raises(click.exceptions.Exit), ending.told():
        raise KeyError("here")
    assert (lines[-1] == "  KeyError: 'here'") is where


def test_a_bug_is_told_with_what_caused_it() -> None:
    bug = KeyError("here")
    bug.__cause__ = LookupError(f"there {SECRET}")
    lines, _ = ended_by(bug, traceback=True)
    assert lines[-1] == "  LookupError: there ***"


def test_a_list_from_stdin_is_called_so() -> None:
    ending, lines = Ending(), list[str]()
    ending.tell = lines.append
    ending.name_list("-")
    with pytest.raises(click.exceptions.Exit), ending.told():
        raise ListError([Mistake(Position("-", 1), "no")])
    assert lines[-1] == "1 mistake in stdin. Nothing was copied."


def test_what_ended_already_keeps_its_exit_code() -> None:
    with pytest.raises(click.exceptions.Exit) as exit_, Ending().told():
        raise click.exceptions.Exit(143)
    assert exit_.value.exit_code == 143


def test_ctrl_c_is_no_traceback() -> None:
    assert ended_by(KeyboardInterrupt()) == (["Stopped. Nothing was copied."], 130)


def test_foreign_words_in_an_error_stay_one_line() -> None:
    (line,), _ = ended_by(ConfigurationError("\x1b[2J::error::" + "x" * 10**6))
    assert line.isprintable()
    assert len(line) <= 500
