"""Files are checked before anything moves, and written whole or not at all."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from parts.commands import Command

from asyncsync.cli.files import check_writable, empty, open_kept, read_list, replace
from asyncsync.model.errors import ConfigurationError, ListError


def test_a_list_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "images.yaml"
    path.write_bytes(b"\xef\xbb\xbfnginx:1\r\n")
    (spec,) = read_list(str(path))
    assert str(spec.source) == "docker.io/library/nginx:1"
    assert spec.at.file == str(path)


def test_a_list_that_cannot_be_read_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"There is no list .*none.yaml"):
        read_list(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigurationError, match="is a folder"):
        read_list(str(tmp_path))
    with pytest.raises(ConfigurationError, match="cannot be read: "):
        read_list("a\0b")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be read: Not a directory"):
        read_list(str(tmp_path / "file" / "list"))
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    with pytest.raises(ListError, match="UTF-8"):
        read_list(str(tmp_path / "binary"))


def test_a_list_that_comes_by_stdin_has_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, images in (("nginx:1\n", 1), ("#" * (16 * 2**20), 0)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert len(read_list("-")) == images
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"#" * (16 * 2**20 + 9))))
    with pytest.raises(ListError, match="at most 16 MiB"):
        read_list("-")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ConfigurationError, match="stdin is closed"):
        read_list("-")


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "succeeded.log"
    check_writable("--succeeded-log", path, {})
    assert not path.exists()
    path.write_text("of the last run")
    check_writable("--succeeded-log", path, {})
    assert path.read_text() == "of the last run"


def test_what_cannot_be_written_names_its_option(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "file", Path("a\0b"), Path("/proc/file")):
        with pytest.raises(ConfigurationError, match=r"^--report .* cannot be written: "):
            check_writable("--report", path, {})
            with open_kept("--report", path):
                raise AssertionError


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".", "it is a folder"),
        ("none/file", "there is no folder .*none"),
        ("a\0b", ".*embedded null"),  # the words are Python's, and 3.13 has others than 3.11
    ],
)
def test_what_cannot_be_written_is_known_before_anything_is_opened(
    tmp_path: Path, name: str, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^--report .* cannot be written: {why}") as told:
        check_writable("--report", tmp_path / name, {})
    assert str(told.value).endswith(". Name another file.")  # as where we were given no option


def test_what_cannot_be_opened_is_told_in_the_systems_words(tmp_path: Path) -> None:
    told = pytest.raises(ConfigurationError, match=r"written: No such file or directory\. Name")
    with told, open_kept("--report", tmp_path / "none" / "file"):
        raise AssertionError


def test_two_options_cannot_write_one_file(tmp_path: Path) -> None:
    taken: dict[Path, str] = {}
    check_writable("--failed-list", tmp_path / "a", taken)
    with pytest.raises(ConfigurationError, match=r"--report .* is what --failed-list writes"):
        check_writable("--report", tmp_path / "." / "a", taken)
    for option in ("--failed-list", "--report"):  # a device has room for all
        check_writable(option, Path(os.devnull), taken)


def test_a_file_is_replaced_whole_and_leaves_no_draft(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    replace(link, "new\n")
    assert real.read_text() == "new\n"
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, real]


def test_a_file_may_have_a_name_as_long_as_its_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / f"{'镜' * 83}.md"  # 252 bytes
    replace(path, "new\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_and_not_replaced() -> None:
    replace(Path(os.devnull), "new")
    assert not Path(os.devnull).is_file()


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace(tmp_path / "folder" / "none" / "file", "new")
    assert list((tmp_path / "folder").iterdir()) == []


def test_what_cannot_take_the_place_of_a_folder_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace(tmp_path / "folder", "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_a_file_with_the_longest_of_names_is_replaced_too(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    for text in ("old", "new"):
        replace(path, text)
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_kept_open_has_its_old_text_until_it_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "succeeded.log"
    path.write_text("of the last run\n")
    with open_kept("--succeeded-log", path) as file:
        assert path.read_text() == "of the last run\n"
        empty(file, path)
        assert path.read_text() == ""
        file.write("of this run\n")
    assert path.read_text() == "of this run\n"
    with open_kept("--succeeded-log", Path(os.devnull)) as file:
        empty(file, Path(os.devnull))  # a device cannot be emptied


def test_a_file_into_which_another_run_still_writes_is_not_emptied(tmp_path: Path) -> None:
    path = tmp_path / "succeeded.log"
    path.write_text("of the last run\n")

    def begun(text: str) -> ExitStack:
        running = ExitStack()
        file = running.enter_context(open_kept("--succeeded-log", path))
        empty(file, path)
        file.write(text)
        file.flush()
        return running

    first = begun("first\n")
    second = begun("second\n")
    first.close()
    third = begun("third\n")
    assert path.read_text() == "first\nsecond\nthird\n"
    second.close()
    third.close()
    begun("alone\n").close()
    assert path.read_text() == "alone\n"


def test_a_pipe_takes_a_report_too(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    path = Path(f"/dev/fd/{writing}")  # what a shell makes of >(program)
    check_writable("--report", path, {})
    replace(path, "{}\n")
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == "{}\n"


def test_a_named_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK)) as reading:
        replace(path, "{}\n")
        assert reading.read() == "{}\n"
    assert path.is_fifo()


def test_a_list_that_can_be_read_only_once_is_read_once(
    asyncsync_command: Command, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with asyncsync_command.started(
        "sync", "pipe", "--to", "r.example/team", "--via", "engine"
    ) as process:
        (tmp_path / "pipe").write_text("nginx:1.27\n")
        _, told = process.communicate(timeout=20)
    assert "No Docker Engine answers" in told
