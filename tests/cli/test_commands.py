"""The commands as they are typed: exact words, exit codes, and nothing moved."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from asyncsync.cli import asyncsync

SECRET = "hunter2-of-the-tests"
MISTAKES = "Nginx:1.27\n\nghcr.io/x/y：1.0\n"
TOLD = """\
images.yaml:1:1: no image is called 'Nginx:1.27': names are lower case. Write nginx:1.27
images.yaml:3:12: '：' is a full-width colon. Write ghcr.io/x/y:1.0
2 mistakes in images.yaml. Nothing was copied.
"""
SYNC = ("sync", "--to", "r.example/team", "--via", "engine")  # none is there: nobody is asked


LAST = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_freeze_count() > 0))
sys.argv = ["asyncsync", "--version"]
from asyncsync.cli import main
main()
"""


@pytest.fixture(autouse=True)
def nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and no variable that anybody has set."""
    for name in os.environ:
        if name.startswith(("ASYNCSYNC_", "REGISTRY", "NAMESPACE", "DOCKER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "no-docker-config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str, stdin: str | None = None, **variables: str) -> Result:
    return CliRunner().invoke(asyncsync, args, input=stdin, env=variables)


def write(text: str = "nginx:1.27\n", name: str = "images.yaml") -> None:
    Path(name).write_text(text)


def test_help_names_the_commands_and_shows_them_at_work() -> None:
    told = call("--help")
    assert told.exit_code == 0
    for word in ("sync", "plan", "images.yaml", "asyncsync plan --to registry.example/team"):
        assert word in told.stdout


@pytest.mark.parametrize(
    "word",
    [
        "--to", "REGISTRY with NAMESPACE", "-c, --concurrency", "ASYNCSYNC_CONCURRENCY",
        "--fail-fast", "ASYNCSYNC_FAIL_FAST", "--via", "ASYNCSYNC_VIA", "--platform",
        "ASYNCSYNC_PLATFORM", "--user", "REGISTRY_USER", "--password-stdin", "REGISTRY_PASSWORD",
        "--retries", "ASYNCSYNC_RETRIES", "--timeout", "ASYNCSYNC_TIMEOUT", "--clean",
        "--deadline", "--shard",
        "ASYNCSYNC_CLEAN", "--succeeded-log", "ASYNCSYNC_SUCCEEDED_LOG", "--failed-list",
        "ASYNCSYNC_FAILED_LIST", "--plain-http", "--ca-file", "--output", "--report", "--exact",
        "ASYNCSYNC_EXACT", "--with-referrers", "--limit-rate", "--insecure-skip-verify", "--mirror",
        "--log-format", "ASYNCSYNC_LOG_FORMAT", "-q, --quiet", "-v, --verbose", "Exit codes",
    ],
)  # fmt: skip
def test_the_help_of_sync_has_every_option_and_variable(word: str) -> None:
    assert word in call("sync", "--help").stdout


def test_the_version_is_the_packages() -> None:
    from asyncsync import __version__

    told = call("--version")
    assert (told.stdout, told.exit_code) == (f"asyncsync {__version__}\n", 0)


def test_plan_tells_what_would_go_where() -> None:
    write("nginx:1.27\nghcr.io/a/b/core:dev\nnginx:1.27\n")
    told = call("plan", REGISTRY="r.example:5000", NAMESPACE="team")
    assert told.stdout == (
        "  nginx:1.27            r.example:5000/team/nginx:1.27\n"
        "  ghcr.io/a/b/core:dev  r.example:5000/team/core:dev\n"
        "2 images. Nothing was copied.\n"
    )
    assert told.stderr.startswith("images.yaml:3:1: nginx:1.27 ")
    assert told.exit_code == 0


def test_plan_tells_one_part_of_the_list() -> None:
    write("a:1\nb:1\na:2\n")
    told = call("plan", "--to", "r.example", "--shard", "2/2")
    assert told.stdout.splitlines() == ["  b:1  r.example/b:1", "1 image. Nothing was copied."]


def test_a_part_without_images_is_a_warning_and_no_failure() -> None:
    write("a:1\n")
    told = call("sync", "--to", "r.example", "--shard", "2/2")
    assert told.exit_code == 0
    assert told.stderr == "part 2/2 of images.yaml names no image\n"


def test_plan_reads_stdin_and_writes_json() -> None:
    told = call(
        "plan", "-", "--to", "r.example", "--platform", "linux/arm64", "--output", "json",
        stdin="nginx:1.27",
    )  # fmt: skip
    assert json.loads(told.stdout) == {
        "version": 1,
        "jobs": [
            {
                "source": "docker.io/library/nginx:1.27",
                "target": "r.example/nginx:1.27",
                "platforms": ["linux/arm64"],
                "file": "-",
                "line": 1,
            }
        ],
        "warnings": [],
    }
    assert (told.stderr, told.exit_code) == ("", 0)


def test_platforms_are_repeated_or_written_with_commas() -> None:
    write("a:1\n")
    to = ("plan", "--to", "r.example", "--output", "json")
    told = call(*to, "--platform", "linux/arm64,linux/amd64", "--platform", "linux/s390x")
    (job,) = json.loads(told.stdout)["jobs"]
    assert job["platforms"] == ["linux/arm64", "linux/amd64", "linux/s390x"]


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_all_mistakes_of_a_list_are_told_and_nothing_is_touched(command: str) -> None:
    write(MISTAKES)
    write("of the last run", "succeeded.log")
    told = call(command, "--to", "r.example/team")
    assert (told.stdout, told.stderr, told.exit_code) == ("", TOLD, 2)
    assert Path("succeeded.log").read_text() == "of the last run"


def test_two_images_that_would_become_one_are_told() -> None:
    write("quay.io/b/app:1\nghcr.io/a/app:1\n")
    told = call(*SYNC)
    assert told.stderr.splitlines()[-1] == "1 mistake in images.yaml. Nothing was copied."
    assert "r.example/team/app:1" in told.stderr
    assert told.exit_code == 2


def test_all_mistakes_are_counted_though_a_thousand_are_told() -> None:
    told = call(*SYNC, "-", stdin="UPPER:1\n" * 2000).stderr.splitlines()
    assert told[-2:] == [
        "-:1001:1: 1000 more mistakes from here on",
        "2000 mistakes in stdin. Nothing was copied.",
    ]
    assert len(told) == 1002


def test_mistakes_on_stdin_are_told_by_line() -> None:
    told = call(*SYNC, "-", stdin="UPPER:1\n")
    assert told.stderr.startswith("-:1:1: ")
    assert told.stderr.endswith("1 mistake in stdin. Nothing was copied.\n")
    assert told.exit_code == 2


def test_a_missing_list_says_how_to_make_one() -> None:
    told = call(*SYNC)
    assert told.stderr == (
        "There is no list images.yaml. Write one with an image a line, as nginx:1.27.\n"
    )
    assert told.exit_code == 2


@pytest.mark.parametrize("command", ["plan", "sync"])
@pytest.mark.parametrize("layout", ["export", "export.tar"])
def test_a_list_that_is_missing_here_but_came_along_with_its_images_is_named(
    command: str, layout: str
) -> None:
    args = (command, "--from", f"oci:{layout}", "--to", "r.example")
    Path("export").mkdir()
    Path("export.tar").touch()
    for_nobody = "There is no list images.yaml. Write one with an image a line, as nginx:1.27.\n"
    assert call(*args).stderr == for_nobody
    Path("export/images.yaml").write_text("nginx:1.27\n")
    told = call(*args)
    assert told.exit_code == 2
    there = (
        "There is no list images.yaml, but oci:./export holds one. Name that: export/images.yaml.\n"
    )
    assert told.stderr == (there if layout == "export" else for_nobody)
    assert call("plan", *args[1:], "export/images.yaml").exit_code == 0


def test_an_image_in_place_of_a_list_is_told_where_it_belongs() -> None:
    told = call("sync", "nginx:1.27", "--to", "r.example")
    assert "An image itself goes in by stdin (LIST is -)" in told.stderr
    assert told.exit_code == 2


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_no_destination_says_how_to_name_one(command: str) -> None:
    write()
    told = call(command, REGISTRY="", NAMESPACE="team")
    assert told.stderr == (
        "Where to? Set REGISTRY (and NAMESPACE), or say --to registry.example/team.\n"
    )
    assert told.exit_code == 2


@pytest.mark.parametrize(
    "args",
    [
        ("--to", "https://r.example/"),
        ("--concurrency", "0"),
        ("--concurrency", "257"),
        ("--via", "telepathy"),
        ("--platform", "linux"),
        ("--platform", " ,"),
        ("--via", "engine", "--platform", "linux/amd64", "--platform", "linux/arm64"),
        ("--via", "engine", "--with-referrers"),
        ("--via", "engine", "--limit-rate", "20MiB/s"),
        ("--limit-rate", "20Mbit/s"),
        ("--insecure-skip-verify", "https://r.example"),
        ("--mirror", "https://mirror.example"),
        ("--mirror", f"docker.io=https://me:{SECRET}@mirror.example"),
        ("--mirror", f"docker.io=https://mirror.example?token={SECRET}"),
        ("--mirror", "docker.io=http://mirror.example"),
        ("--retries", "-1"),
        ("--timeout", "soon"),
        ("--deadline", "0"),
        ("--shard", "0/4"),
        ("--shard", "5/4"),
        ("--plain-http", "http://r.example"),
        ("--ca-file", "none.pem"),
        ("--output", "xml"),
        ("--log-format", "xml"),
        ("--password", SECRET),
        ("--user", "me"),
        ("--succeeded-log", "."),
        ("--succeeded-log", "none/file"),
        ("--failed-list", "."),
        ("--report", "none/file"),
        ("--succeeded-log", "-"),
        ("--failed-list", "-"),
        ("--report", "-"),
        ("--report", "succeeded.log"),
        ("--succeeded-log", "images.yaml"),
        ("--report", "images.yaml"),
        ("-q", "-v"),
        (".",),
        ("none.yaml",),
        ("images.yaml", "more.yaml"),
    ],
)
def test_a_wrong_command_is_a_message_and_touches_nothing(args: tuple[str, ...]) -> None:
    write()
    told = call(*SYNC, *args)
    assert told.exit_code == 2
    assert told.stdout == ""
    assert told.stderr.strip()
    assert "Traceback" not in told.stderr
    assert SECRET not in told.stderr
    assert os.listdir() == ["images.yaml"]
    assert Path("images.yaml").read_text() == "nginx:1.27\n"


@pytest.mark.parametrize("option", ["--succeeded-log", "--failed-list", "--report"])
@pytest.mark.parametrize(
    ("ends", "file", "told"),
    [
        (("--to", "oci:export.tar"), "export.tar", "oci:./export.tar"),
        (("--to", "oci:export"), "export/index.json", "a part of oci:./export"),
        (("--from", "oci:export", "--to", "r.example"), "export/oci-layout", "a part of oci:./ex"),
    ],
)
def test_no_file_is_written_over_a_layout(
    option: str, ends: tuple[str, ...], file: str, told: str
) -> None:
    write("nginx:1\n")
    Path("export").mkdir(exist_ok=True)
    Path(file).write_text("as it was")
    ended = call("sync", *ends, option, file)
    assert ended.exit_code == 2
    assert f"{option} {file} is {told}" in ended.stderr
    assert Path(file).read_text() == "as it was"


def test_a_file_called_as_stdin_and_stdout_are_is_written_where_its_folder_is_named() -> None:
    write("# nothing\n")
    files = ("--succeeded-log", "./-", "--failed-list", "left/-", "--report", "right/-")
    for folder in ("left", "right"):
        Path(folder).mkdir()
    assert call(*SYNC, *files).exit_code == 0
    assert all(Path(name).is_file() for name in ("-", "left/-", "right/-"))
    told = call(*SYNC, "--report", "-")
    assert "stdout carries the results; write ./- for a file of that name" in told.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--plain-http", "s.example"), "Write --plain-http s.example:5000."),
        (("--insecure-skip-verify", "t.example"), "Write --insecure-skip-verify t.example:81."),
        (
            ("--mirror", "s.example=https://mirror.example"),
            "--mirror s.example says nothing of s.example:5000, which is another registry. "
            "Write --mirror s.example:5000=URL.",
        ),
    ],
)
def test_a_host_without_the_port_that_it_has_in_the_list_is_a_mistake(
    args: tuple[str, ...], told: str
) -> None:
    write("s.example:5000/team/a:1\n")
    ended = call("sync", "--to", "t.example:81/x", *args)
    assert ended.exit_code == 2
    assert ended.stderr.strip().endswith(told)


@pytest.mark.parametrize(
    "args",
    [
        ("--plain-http", "s.example:5000"),
        ("--plain-http", "other.example"),
        ("--plain-http", "s.example", "--mirror", "s.example:5000=http://s.example"),
        ("--mirror", "docker.io=https://mirror.example"),
    ],
)
def test_a_host_that_is_no_part_of_the_list_may_be_told_of(args: tuple[str, ...]) -> None:
    write("s.example:5000/team/a:1\n")
    ended = call("sync", "--to", "t.example", "--via", "engine", *args)
    assert "No Docker Engine answers" in ended.stderr


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("REGISTRY", "https://host/"),
        ("NAMESPACE", "Team"),
        ("REGISTRY_NAMESPACE", "Team"),
        ("REGISTRY_USER", "me"),
        ("REGISTRY_PASSWORD", SECRET),
        ("ASYNCSYNC_CONCURRENCY", "many"),
        ("ASYNCSYNC_FAIL_FAST", "maybe"),
        ("ASYNCSYNC_VIA", "telepathy"),
        ("ASYNCSYNC_PLATFORM", "linux/amd64,linux"),
        ("ASYNCSYNC_EXACT", "2"),
        ("ASYNCSYNC_RETRIES", "-1"),
        ("ASYNCSYNC_TIMEOUT", "soon"),
        ("ASYNCSYNC_CLEAN", "2"),
        ("ASYNCSYNC_SUCCEEDED_LOG", "none/file"),
        ("ASYNCSYNC_SUCCEEDED_LOG", "-"),
        ("ASYNCSYNC_FAILED_LIST", "none/file"),
        ("ASYNCSYNC_FAILED_LIST", "-"),
        ("ASYNCSYNC_LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_variable_is_one_message(variable: str, text: str) -> None:
    write()
    told = call("sync", **{"REGISTRY": "r.example", variable: text})
    assert told.exit_code == 2
    assert told.stdout == ""
    assert len(told.stderr.splitlines()) == 1
    assert SECRET not in told.stderr
    if not variable.endswith(("_LOG", "_LIST", "USER", "PASSWORD")):
        assert told.stderr.startswith(f"{variable}: ")


def test_stdin_is_not_list_and_password_at_once() -> None:
    told = call(*SYNC, "-", "--user", "me", "--password-stdin", stdin=SECRET)
    assert told.exit_code == 2
    assert "stdin cannot be list and password at once" in told.stderr
    assert SECRET not in told.output


def test_an_empty_password_is_told() -> None:
    write()
    told = call(*SYNC, "--user", "me", "--password-stdin", stdin="\n")
    assert (told.exit_code, told.stderr) == (2, "--password-stdin: stdin has no password.\n")


def test_a_password_that_is_no_text_is_told() -> None:
    write()
    told = CliRunner().invoke(asyncsync, [*SYNC, "--user", "me", "--password-stdin"], input=b"\xff")
    assert (told.exit_code, told.stderr) == (2, "--password-stdin: stdin is no UTF-8.\n")


@pytest.mark.parametrize("options", [(), ("--output", "json"), ("--log-format", "json")])
def test_a_failure_is_exit_code_1_and_logged_where_no_table_beside_shows_it(
    options: tuple[str, ...],
) -> None:
    write("127.0.0.1:1/app:1\n")  # where nobody listens
    told = call("sync", "--to", "127.0.0.1:1/team", "--via", "direct", "--retries", "0", *options)
    assert told.exit_code == 1
    assert "nothing listens at 127.0.0.1:1" in told.stdout
    assert ("nothing listens at 127.0.0.1:1" in told.stderr) == bool(options)


def test_an_empty_list_is_a_warning_and_no_failure() -> None:
    write("# nothing yet\n")
    told = call(*SYNC, "--failed-list", "failed.yaml", "--report", "report.json")
    assert told.stderr == "images.yaml names no image\n"
    assert told.stdout == "\nNo image, nothing to copy.\n"
    assert told.exit_code == 0
    assert Path("succeeded.log").read_text() == ""
    assert Path("failed.yaml").read_text() == "# asyncsync: every image is in place.\n"
    assert json.loads(Path("report.json").read_text())["outcomes"] == []


def test_json_on_stderr_is_json_for_mistakes_too() -> None:
    write(MISTAKES)
    told = call(*SYNC, "--log-format", "json")
    objects = [json.loads(line) for line in told.stderr.splitlines()]
    assert [each["reason"] for each in objects] == TOLD.splitlines()
    assert {(each["event"], each["level"]) for each in objects} == {("refused", "error")}


def test_an_absent_engine_is_a_message_and_nothing_moves() -> None:
    write()
    told = call(*SYNC, "--via", "engine", REGISTRY_USER="me", REGISTRY_PASSWORD=SECRET)
    assert told.exit_code == 2
    assert told.stdout == ""
    assert "no-engine.sock" in told.stderr
    assert told.stderr.endswith("or copy without it: --via direct.\n")
    assert "Traceback" not in told.stderr
    assert SECRET not in told.stderr


def test_a_hostile_name_of_a_list_stays_one_line() -> None:
    told = call(*SYNC, "\x1b[2J::error::none\n.yaml")
    assert told.exit_code == 2
    assert told.stderr.rstrip("\n").isprintable()


def test_a_list_written_by_hand_is_not_replaced_by_what_is_left_of_it() -> None:
    write("# mine\nnginx:1.27\n")
    told = call(*SYNC, "--failed-list", "images.yaml")
    assert told.exit_code == 2
    assert "--failed-list images.yaml is the list itself" in told.stderr
    assert Path("images.yaml").read_text() == "# mine\nnginx:1.27\n"
    write("# asyncsync: 1 of 2 images are not in place.\nnginx:1.27\n")
    told = call(*SYNC, "--failed-list", "images.yaml", "--via", "engine")
    assert "No Docker Engine answers" in told.stderr, "a list that we wrote may be replaced"
    told = call(*SYNC, "--report", "images.yaml")
    assert "--report images.yaml is the list itself" in told.stderr, "but by a list alone"


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_an_empty_destination_is_told_so(command: str) -> None:
    write()
    told = call(command, "--to", "")
    assert told.exit_code == 2
    assert "it is empty; write registry.example/team" in told.stderr


def test_plan_names_what_goes_into_a_layout_and_comes_out_of_one() -> None:
    write("ghcr.io/org/app:1\n")
    told = call("plan", "--to", "oci:export")
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout == (
        "  ghcr.io/org/app:1  oci:./export:app:1\n1 image. Nothing was copied.\n"
    )
    write("org/app:1\n")
    told = call("plan", "--from", "oci:./export", "--to", "r.example/team")
    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout == "  org/app:1  r.example/team/app:1\n1 image. Nothing was copied.\n"
    told = call("plan", "--from", "oci:./export", "--to", "r.example", "--output", "json")
    (job,) = json.loads(told.stdout)["jobs"]
    assert (job["source"], job["target"]) == ("oci:./export:org/app:1", "r.example/app:1")
    assert os.listdir() == ["images.yaml"], "nobody is asked, and nothing is made"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--from", "oci:./export", "--to", "r.example/team"),
         "There is no folder export. Name one that an export has written, as oci:./export."),
        (("--from", "oci:./e.tar", "--to", "r.example/team"),
         "There is no file e.tar. Name one that an export has written, as oci:./export.tar."),
        (("--from", "oci:.", "--to", "r.example/team"),
         ". is no OCI layout: it has no oci-layout. Name what an export has written."),
        (("--to", "oci:."),
         ". is no OCI layout, and holds other things (broken.tar). Name an empty folder, or a new "
         "one."),
        (("--to", "oci:images.yaml"),
         "images.yaml is no folder. Name a folder, or a name in .tar."),
        (("--to", "oci:no/such/e.tar"), "no/such/e.tar cannot be written: there is no folder"),
        (("--to", "oci:broken.tar"), "broken.tar is no tar, or is damaged. If it is compressed, "
         "unpack it first."),
        (("--to", "oci:./export", "--via", "engine"),
         "--via engine cannot do an OCI layout (oci:./export). Leave that out, or take --via "
         "direct."),
        (("--from", "r.example/team", "--to", "s.example"), "is no layout: oci:FOLDER, as"),
        (("--to", "oci:~/export"), "no shell expands the '~' there. Write oci:$HOME/export"),
        (("--to", "oci:./export", "--user", "me"),
         "--user and --password-stdin are for a registry, and oci:./export is a layout"),
    ],
)  # fmt: skip
def test_a_layout_that_cannot_be_used_is_a_message_and_nothing_moves(
    args: tuple[str, ...], message: str
) -> None:
    write()
    write("no tar", "broken.tar")
    write("of the last run", "succeeded.log")
    told = call("sync", *args)
    assert told.exit_code == 2, told.stderr
    assert Path("succeeded.log").read_text() == "of the last run"
    assert message in told.stderr
    assert "Traceback" not in told.stderr
    assert set(os.listdir()) <= {"images.yaml", "succeeded.log", "broken.tar"}


@pytest.mark.parametrize(
    ("args", "variables", "message"),
    [
        (("--via", "engine"), {}, "No Docker Engine answers"),
        (
            ("--via", "direct", "--ca-file", "no.pem"),
            {},
            "--ca-file no.pem: holds no certificate in PEM form",
        ),
        (("--via", "direct"), {"DOCKER_CONFIG": "."}, "config.json:1:2: this is no JSON"),
        (("--via", "direct"), {"HTTPS_PROXY": "socks5://p.example"}, "the proxy for https is"),
    ],
)
def test_a_run_that_cannot_begin_leaves_what_the_last_one_wrote(
    args: tuple[str, ...], variables: dict[str, str], message: str
) -> None:
    write()
    write("no certificate", "no.pem")
    write("{", "config.json")
    write("of the last run", "succeeded.log")
    told = call("sync", "--to", "r.example/team", *args, **variables)
    assert (told.exit_code, told.stdout) == (2, "")
    assert message in told.stderr
    assert Path("succeeded.log").read_text() == "of the last run"


@pytest.mark.parametrize("images", ["127.0.0.1:1/app:1\n", "# none\n"])
def test_a_run_that_begins_forgets_what_the_last_one_wrote(images: str) -> None:
    write(images)
    write("of the last run", "succeeded.log")
    call("sync", "--to", "127.0.0.1:1/team", "--via", "direct", "--retries", "0")
    assert Path("succeeded.log").read_text() == ""


@pytest.mark.parametrize(
    ("to", "instead"),
    [
        ("./export", "oci:./export"),
        ("./export.tar", "oci:./export.tar"),
        ("../x", "oci:../x"),
        ("/x", "oci:/x"),
        ("oci:export.tar.gz", "oci:export.tar"),
        ("oci:./export.tgz", "oci:./export.tar"),
        ("oci:export.tar.zst", "oci:export.tar"),
    ],
)
def test_a_folder_or_a_packed_tar_is_told_how_a_layout_is_written(to: str, instead: str) -> None:
    write()
    told = call("sync", "--to", to)
    assert told.exit_code == 2
    assert told.stderr.endswith(f"Write {instead}\n")


def test_an_ending_command_looks_for_no_garbage() -> None:
    told = subprocess.run([sys.executable, "-c", LAST], text=True, capture_output=True, check=True)
    assert told.stdout.splitlines()[-1] == "True"
