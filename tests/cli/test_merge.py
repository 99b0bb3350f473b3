"""`asyncsync merge`: exact words, exit codes, and files that cannot be what they should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from asyncsync.cli import asyncsync
from asyncsync.model.digest import Digest
from asyncsync.model.errors import NotFound, Where
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.reporting.json import report_json


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("images.yaml").write_text("a:1\nb:1\nc:1\n")
    call_plan = call("plan", "--to", "r.example/team", "--output", "json")
    Path("plan.json").write_text(call_plan.stdout)
    return tmp_path


def call(*args: str) -> Result:
    return CliRunner().invoke(asyncsync, args)


def outcome(name: str, line: int, status: Status = Status.COPIED) -> Outcome:
    job = CopyJob(
        Reference.parse(name), Reference.parse(f"r.example/team/{name}"), (),
        Position("images.yaml", line),
    )  # fmt: skip
    if status is not Status.FAILED:
        return Outcome(job, status, Digest.of(b""), bytes_moved=1000)
    error = NotFound("there is no tag 1", Where("docker.io", str(job.source), Step.RESOLVE))
    return Outcome(job, status, error=error)


def write(name: str, *outcomes: Outcome) -> str:
    Path(name).write_text(report_json(Report("engine", 2.0, outcomes)))
    return name


def test_parts_that_brought_everything_are_told_as_one_success() -> None:
    one = write("1.json", outcome("a:1", 1), outcome("c:1", 3))
    two = write("2.json", outcome("b:1", 2))
    told = call("merge", "--plan", "plan.json", one, two, "--report", "all.json")
    assert told.exit_code == 0
    assert told.stdout == "3 copied. 3.0 kB moved in 2.0 s.\n"
    document = json.loads(Path("all.json").read_text())
    assert [each["line"] for each in document["outcomes"]] == [1, 2, 3]


def test_a_part_whose_report_is_missing_is_not_in_place() -> None:
    one = write("1.json", outcome("a:1", 1), outcome("c:1", 3, Status.FAILED))
    told = call("merge", "--plan", "plan.json", one, "--failed-list", "failed.yaml")
    assert told.exit_code == 1
    assert told.stdout.splitlines() == [
        "1 image not started: no report tells of it. Run the sync again.",
        "  b:1 (images.yaml:2)",
        "c:1 (images.yaml:3): there is no tag 1 (resolve at docker.io).",
        "  Correct the name or the tag in the list, or comment the line out with #.",
        "",
        "1 copied, 1 failed, 1 not started. 1.0 kB moved in 2.0 s. failed.yaml lists the rest.",
    ]
    names = [line for line in Path("failed.yaml").read_text().splitlines() if line[0] != "#"]
    assert names == ["docker.io/library/b:1", "docker.io/library/c:1"]


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        (None, "2.json cannot be read: No such file or directory."),
        (b"", "2.json is no report of sync: it is no JSON: Expecting value: "
              "line 1 column 1 (char 0)."),
        (b'{"version": 1, "via": "eng', "2.json is no report of sync: it is no JSON: "
         "Unterminated string starting at: line 1 column 23 (char 22)."),
        (b"{}", "2.json is no report of sync: the document.version is not a whole "
                "number."),
        (b"\xff", "2.json is no report of sync: 'utf-8' codec can't decode byte 0xff in "
                  "position 0: invalid start byte."),
    ],
)  # fmt: skip
def test_with_a_plan_a_report_that_cannot_be_read_is_named_and_costs_no_other(
    damaged: bytes | None, why: str
) -> None:
    one = write("1.json", outcome("a:1", 1), outcome("c:1", 3))
    if damaged is not None:
        Path("2.json").write_bytes(damaged)
    told = call("merge", "--plan", "plan.json", one, "2.json", "--failed-list", "failed.yaml")
    assert told.exit_code == 1
    assert told.stderr == f"{why} It is left out.\n"
    assert told.stdout.splitlines() == [
        "1 image not started: no report tells of it. Run the sync again.",
        "  b:1 (images.yaml:2)",
        "2 copied, 1 not started. 2.0 kB moved in 2.0 s. failed.yaml lists the rest.",
    ]
    assert call("merge", one, "2.json").exit_code == 2
    Path("2.json").write_bytes(damaged or b"")
    kept = call("merge", "--plan", "plan.json", one, "2.json", "--report", "2.json")
    assert (kept.exit_code, Path("2.json").read_bytes()) == (2, damaged or b"")


def test_a_damaged_report_of_what_another_run_brought_is_named_and_no_failure() -> None:
    Path("damaged.json").touch()
    whole = write("1.json", *(outcome(f"{name}:1", line) for line, name in enumerate("abc", 1)))
    told = call("merge", "--plan", "plan.json", "damaged.json", whole)
    assert (told.exit_code, told.stdout) == (0, "3 copied. 3.0 kB moved in 2.0 s.\n")
    assert told.stderr.startswith("damaged.json is no report of sync")


def test_a_plan_that_cannot_be_read_ends_the_merge() -> None:
    Path("plan.json").write_text("{")
    told = call("merge", "--plan", "plan.json", write("1.json", outcome("a:1", 1)))
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("plan.json is no plan: ")


def test_of_many_images_without_a_report_the_first_ten_are_named() -> None:
    Path("images.yaml").write_text("".join(f"a{number}:1\n" for number in range(1, 14)))
    Path("plan.json").write_text(call("plan", "--to", "r.example/team", "--output", "json").stdout)
    told = call("merge", "--plan", "plan.json").stdout.splitlines()
    assert told == [
        "13 images not started: no report tells of it. Run the sync again.",
        *(f"  a{number}:1 (images.yaml:{number})" for number in range(1, 11)),
        "  and 3 more (--failed-list FILE writes them all)",
        "13 not started. Nothing was moved in 0.0 s.",
    ]
    told = call("merge", "--plan", "plan.json", "--failed-list", "failed.yaml").stdout.splitlines()
    assert told[11] == "  and 3 more (all in failed.yaml)"


def test_json_on_stdout_is_the_merged_report() -> None:
    one = write("1.json", outcome("a:1", 1))
    told = call("merge", one, "--output", "json")
    assert json.loads(told.stdout) == json.loads(Path("1.json").read_text())


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("absent.json",), "absent.json cannot be read: No such file or directory.\n"),
        (("images.yaml",), "images.yaml is no report of sync: it is no JSON: "),
        (("plan.json",), "plan.json is no report of sync: it is a plan; --plan comes"),
        (("binary",), "binary is no report of sync: "),
        (("--plan", "ok.json"), "ok.json is no plan: it is a report of sync; "),
        (("ok.json", "--report", "no/where"), "--report no/where cannot be written: there is no"),
        (("ok.json", "--report", "x", "--failed-list", "x"), "--report x is what --failed-list"),
        (("ok.json", "--report", "ok.json"), "--report ok.json is what is merged."),
        (("ok.json", "--failed-list", "images.yaml"), "--failed-list images.yaml is a list of im"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_one_message(
    args: tuple[str, ...], told: str
) -> None:
    write("ok.json", outcome("a:1", 1))
    Path("binary").write_bytes(b"\xff\xfe\x00")
    done = call("merge", *args)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


def test_nothing_to_merge_says_what_to_name() -> None:
    done = call("merge")
    assert done.exit_code == 2
    assert "Name the reports to merge" in done.stderr


@pytest.mark.parametrize(
    "args", [("-",), ("--plan", "-"), ("1.json", "--failed-list", "-"), ("1.json", "--report", "-")]
)
def test_what_stdin_and_stdout_are_called_is_refused(args: tuple[str, ...]) -> None:
    write("1.json", outcome("nginx:1", 1))
    Path("-").write_text(Path("1.json").read_text())
    told = call("merge", *args)
    assert told.exit_code == 2
    assert told.stderr.endswith("write ./- for a file of that name\n")
    assert Path("-").read_text() == Path("1.json").read_text()
    assert call("merge", "./-").exit_code == 0


def test_a_file_that_cannot_be_written_is_named_and_all_the_rest_is_told() -> None:
    write("ok.json", outcome("a:1", 1))
    done = call("merge", "ok.json", "--report", "/dev/full", "--failed-list", "failed.yaml")
    assert done.exit_code == 1
    assert done.stderr == "--report /dev/full cannot be written (No space left on device).\n"
    assert done.stdout.startswith("1 copied.")
    assert Path("failed.yaml").exists()


def test_a_report_that_cannot_be_told_is_no_success(tmp_path: Path) -> None:
    write("ok.json", outcome("a:1", 1))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "asyncsync", "merge", "--output", "json", "ok.json"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "stdout cannot be written (No space left on device).\n"


def test_what_failed_is_to_be_synced_again_and_not_merged_again() -> None:
    write("1.json", outcome("a:1", 1, Status.FAILED))
    done = call("merge", "1.json")
    assert done.stdout.splitlines()[-1] == ("Then run the sync again: what is in place is skipped.")


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["absent.json"], "absent.json cannot be read"),
        (["--no-such-option"], "No such option"),
        (["--output", "xml", "1.json"], "Invalid value for '--output'"),
        ([], "Name the reports to merge"),
    ],
)
def test_on_github_a_merge_that_fails_does_not_say_that_nothing_was_copied(
    monkeypatch: pytest.MonkeyPatch, args: list[str], why: str
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "page.md")
    done = call("merge", *args)
    assert f"::error title=Nothing was merged::{why}" in done.stderr
    assert Path("page.md").read_text().startswith("## Nothing was merged\n")


def test_on_github_the_parts_have_one_page_and_one_annotation_of_a_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name, file in (("GITHUB_STEP_SUMMARY", "page.md"), ("GITHUB_OUTPUT", "outputs")):
        monkeypatch.setenv(name, file)
    write("1.json", outcome("a:1", 1))
    write("2.json", outcome("b:1", 2, Status.FAILED))
    done = call("merge", "1.json", "2.json", "--report", "all.json")
    assert len([line for line in done.stderr.splitlines() if line.startswith("::error")]) == 1
    assert Path("page.md").read_text().startswith("## 1 copied, **1 failed**\n")
    assert f"report={Path('all.json').absolute()}" in Path("outputs").read_text()


def test_on_github_the_reports_that_cannot_be_read_are_one_annotation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "page.md")
    one = write("1.json", outcome("a:1", 1))
    gone = [f"{number}.json" for number in range(2, 9)]
    done = call("merge", "--plan", "plan.json", one, *gone)
    (told, _) = (line for line in done.stderr.splitlines() if line.startswith("::"))
    absent = "cannot be read: No such file or directory. It is left out.%0A"
    first = "".join(f"{name} {absent}" for name in gone[:5])
    assert told == f"::warning title=7 reports left out::{first}And 2 more; the log has them all."
    assert Path("page.md").read_text().startswith("## 1 copied, 2 not started\n")


def test_a_list_that_a_run_wrote_is_replaced_by_what_is_left_of_it_and_by_nothing_else() -> None:
    left = "# asyncsync: 2 of 9 images are not in place.\na:1\nb:1\n"
    Path("images.yaml").write_text(left)
    parts = write("1.json", outcome("a:1", 1)), write("2.json", outcome("b:1", 2, Status.FAILED))
    done = call("merge", *parts, "--report", "images.yaml")
    assert (done.exit_code, Path("images.yaml").read_text()) == (2, left)
    done = call("merge", *parts, "--failed-list", "images.yaml", "--report", "images.yaml")
    assert "--report images.yaml is what --failed-list writes" in done.stderr
    done = call("merge", *parts, "--failed-list", "./images.yaml")
    assert done.exit_code == 1
    assert "images.yaml lists the rest." in done.stdout
    assert Path("images.yaml").read_text().splitlines()[-1] == "docker.io/library/b:1"


@pytest.mark.parametrize("option", ["--report", "--failed-list"])
def test_neither_a_report_nor_the_plan_that_is_merged_is_written_over(option: str) -> None:
    report = write("1.json", outcome("a:1", 1))
    for read in (report, "plan.json"):
        before = Path(read).read_text()
        done = call("merge", report, "--plan", "plan.json", option, read)
        assert f"{option} {read} is what is merged" in done.stderr
        assert (done.exit_code, Path(read).read_text()) == (2, before)


@pytest.mark.parametrize("text", [b"# mine\n# asyncsync: 1\na:1\n", b"# asyncsync: \xff\na:1\n"])
def test_a_list_of_somebody_else_is_not_replaced_by_what_is_left_of_it(text: bytes) -> None:
    Path("images.yaml").write_bytes(text)
    done = call("merge", write("1.json", outcome("a:1", 1)), "--failed-list", "images.yaml")
    assert done.exit_code == 2
    assert "--failed-list images.yaml is a list of images" in done.stderr
    assert Path("images.yaml").read_bytes() == text


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 100_000, "/", "../..", "::error::x"])
def test_whatever_a_report_calls_its_list_is_a_name_and_nothing_else(name: str) -> None:
    document = json.loads(Path(write("1.json", outcome("a:1", 1, Status.FAILED))).read_text())
    document["outcomes"][0]["file"] = name
    Path("1.json").write_text(json.dumps(document))
    done = call("merge", "1.json", "--failed-list", "failed.yaml")
    assert done.exit_code == 1
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "bug" not in done.stderr
    assert not any(line.startswith("::") for line in done.output.splitlines())


def test_a_report_that_is_about_something_else_than_the_plan_is_told() -> None:
    Path("other.yaml").write_text("z:1\n")
    strange = write("strange.json", outcome("z:1", 1))
    told = call("merge", "--plan", "plan.json", strange)
    assert told.exit_code == 1
    assert told.stderr == (
        "strange.json: 1 image of it not in the plan, and left out. "
        "Were both made for the same destination?\n"
    )
    assert told.stdout.startswith("3 images not started: no report tells of it. Run the sync ag")
