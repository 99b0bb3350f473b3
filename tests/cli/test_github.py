"""What GitHub Actions shows of a command, of its own accord and nowhere else."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from parts.processes import clean_environment

from asyncsync.cli import asyncsync
from asyncsync.cli.ending import Ending
from asyncsync.cli.github import Checkout, Page
from asyncsync.cli.output import Output
from asyncsync.cli.settings import Given, settings
from asyncsync.cli.telling import Telling
from asyncsync.model.digest import Digest
from asyncsync.model.errors import ConfigurationError, CopyError, NotFound, Where
from asyncsync.model.job import CopyJob, Destination, Plan, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Mistake, Position
from asyncsync.reporting.failed_list import failed_list
from asyncsync.reporting.json import report_json
from asyncsync.reporting.log import Level, open_log
from asyncsync.reporting.markdown import PAGE_BYTES_MAX
from asyncsync.reporting.narration import Narration
from asyncsync.reporting.succeeded_log import SucceededLog, succeeded_line
from asyncsync.reporting.table import Table
from asyncsync.reporting.verdict import verdict

SECRET = "hunter2-of-the-tests"
SHA = "0123456789abcdef0123456789abcdef01234567"
BLOB = f"https://github.com/owner/repo/blob/{SHA}"
SYNC = ("sync", "lists/images.yaml", "--to", "r.example/team")
MISTAKES = "Nginx:1.27\n\nghcr.io/x/y：1.0\n"


class Workflow:
    """A step of a workflow: its variables, its files, and the checkout that it stands in."""

    def __init__(self, folder: Path) -> None:
        self.summary, self.outputs = folder / "summary.md", folder / "outputs"
        self.checkout = folder / "checkout"
        (self.checkout / "lists").mkdir(parents=True)
        self.variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.outputs),
            "GITHUB_WORKSPACE": str(self.checkout),
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "owner/repo",
            "GITHUB_SHA": SHA,
            "DOCKER_HOST": f"unix://{folder}/no-engine.sock",
            "DOCKER_CONFIG": str(folder / "no-docker-config"),
        }

    def write(self, text: str) -> None:
        (self.checkout / "lists/images.yaml").write_text(text)

    def __call__(self, *args: str, stdin: str | None = None, **more: str) -> Result:
        return CliRunner().invoke(asyncsync, args, input=stdin, env={**self.variables, **more})


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workflow:
    workflow = Workflow(tmp_path)
    monkeypatch.chdir(workflow.checkout)
    return workflow


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("::")]


@pytest.mark.parametrize("command", ["sync", "plan"])
def test_the_mistakes_of_a_list_stand_at_its_lines_and_on_the_page(
    command: str, workflow: Workflow
) -> None:
    workflow.write(MISTAKES)
    told = workflow(command, *SYNC[1:])
    assert told.exit_code == 2
    assert told.stdout == ""
    title = "title=Mistake in the list"
    assert told.stderr.splitlines()[-3:] == [
        "2 mistakes in lists/images.yaml. Nothing was copied.",
        f"::error file=lists/images.yaml,line=1,col=1,{title}::"
        "no image is called 'Nginx:1.27': names are lower case. Write nginx:1.27",
        f"::error file=lists/images.yaml,line=3,col=12,{title}::"
        "'：' is a full-width colon. Write ghcr.io/x/y:1.0",
    ]
    assert workflow.summary.read_text() == (
        "## 2 mistakes in lists/images.yaml. Nothing was copied.\n\n"
        f"- **[lists/images.yaml:1]({BLOB}/lists/images.yaml#L1)**: "
        "no image is called 'Nginx:1.27': names are lower case. Write nginx:1.27\n"
        f"- **[lists/images.yaml:3]({BLOB}/lists/images.yaml#L3)**: "
        "&#39;：' is a full-width colon. Write ghcr.io/x/y:1.0\n"
    )
    assert not workflow.outputs.exists()


@pytest.mark.parametrize("variable", ["", "false", "1", "TRUE"])
def test_elsewhere_there_is_nothing_of_it(variable: str, workflow: Workflow) -> None:
    for text, code in ((MISTAKES, 2), ("# nothing\n", 0)):
        workflow.write(text)
        login = {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": SECRET}
        told = workflow(*SYNC, GITHUB_ACTIONS=variable, **login)
        assert told.exit_code == code
        assert commands(told.output) == []
        assert SECRET not in told.output
    assert not workflow.summary.exists()
    assert not workflow.outputs.exists()


@pytest.mark.parametrize("command", ["sync", "plan"])
def test_what_is_wrong_with_a_command_is_annotated_and_on_the_page(
    command: str, workflow: Workflow
) -> None:
    workflow.write("nginx:1.27\n")
    told = workflow(command, "lists/images.yaml")
    where_to = "Where to? Set REGISTRY (and NAMESPACE), or say --to registry.example/team."
    assert told.exit_code == 2
    assert commands(told.stderr) == [f"::error title=Nothing was copied::{where_to}"]
    assert workflow.summary.read_text() == f"## Nothing was copied\n\n{where_to}\n"


@pytest.mark.parametrize(
    ("option", "value"), [("--deadline", "soon"), ("--shard", "5/4"), ("--to", "nowhere")]
)
def test_an_option_that_makes_no_sense_is_annotated_and_on_the_page(
    option: str, value: str, workflow: Workflow
) -> None:
    told = workflow("sync", option, value)
    assert told.exit_code == 2
    (error,) = commands(told.stderr)
    assert error.startswith("::error title=Nothing was copied::Invalid value for '")
    assert "Nothing was copied" in workflow.summary.read_text()


def test_what_a_plan_warns_of_stands_at_its_line(workflow: Workflow) -> None:
    workflow.write("nginx:1.27\nnginx:1.27\n")
    told = workflow(*SYNC, "--via", "engine")
    assert told.exit_code == 2, "there is no engine"
    warning, error = commands(told.stderr)
    assert warning.startswith(
        "::warning file=lists/images.yaml,line=2,col=1,title=Warning about the list::nginx:1.27 "
    )
    assert error.startswith("::error title=Nothing was copied::No Docker Engine answers")


def test_a_run_without_images_has_a_page_and_outputs(workflow: Workflow) -> None:
    workflow.write("# nothing yet\n")
    told = workflow(*SYNC, "--report", "report.json")
    assert (told.exit_code, commands(told.output)) == (0, [])
    assert workflow.summary.read_text().startswith("## No image, nothing to copy\n")
    assert workflow.outputs.read_text() == (
        "copied=0\nunchanged=0\nfailed=0\ncancelled=0\nnot_started=0\n"
        f"report={workflow.checkout}/report.json\n"
    )


def test_secrets_are_masked_before_anything_else_is_written(workflow: Workflow) -> None:
    workflow.write("nginx:1.27\nnginx:1.27\n")
    told = workflow(*SYNC, "--via", "engine", REGISTRY_USER="me", REGISTRY_PASSWORD=SECRET)
    assert told.output.splitlines()[0] == f"::add-mask::{SECRET}"
    assert "::add-mask::" not in told.stdout
    assert SECRET not in "".join(
        line for line in told.stderr.splitlines() if not line.startswith("::add-mask::")
    )


def test_a_part_of_a_large_list_masks_and_leaves_its_report_to_be_told_by_another_job(
    workflow: Workflow,
) -> None:
    workflow.write("127.0.0.1:1/a:1\n127.0.0.1:1/a:1\n")  # where nobody listens
    login = {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": SECRET, "ASYNCSYNC_PAGE": "false"}
    told = workflow(*SYNC, "--via", "direct", "--retries", "0", **login)
    assert told.exit_code == 1
    assert f"::add-mask::{SECRET}" in commands(told.stderr)
    assert all(command.startswith("::add-mask::") for command in commands(told.stderr))
    assert not workflow.summary.exists()
    assert not workflow.outputs.exists()


def test_a_part_of_a_large_list_says_what_keeps_it_from_having_a_report(
    workflow: Workflow,
) -> None:
    workflow.write("nginx:1.27\n")
    told = workflow(*SYNC, ASYNCSYNC_CONCURRENCY="many", ASYNCSYNC_PAGE="false")
    assert told.exit_code == 2
    (error,) = commands(told.stderr)
    assert error.startswith("::error title=Nothing was copied::ASYNCSYNC_CONCURRENCY: 'many' is")
    assert not workflow.summary.exists()


def test_stdout_stays_json_and_masks_go_to_stderr(workflow: Workflow) -> None:
    workflow.write("# nothing yet\n")
    told = workflow(*SYNC, "--output", "json", "--user", "me", "--password-stdin", stdin=SECRET)
    assert json.loads(told.stdout)["outcomes"] == []
    assert told.stderr.splitlines()[0] == f"::add-mask::{SECRET}"


def test_passwords_of_proxies_are_masked_as_written_and_as_meant(workflow: Workflow) -> None:
    workflow.write("# nothing yet\n")
    told = workflow(*SYNC, HTTPS_PROXY="http://me:p%40ssword@proxy.example:3128")
    assert commands(told.stderr)[:2] == ["::add-mask::p%2540ssword", "::add-mask::p@ssword"]


def test_a_name_that_the_page_writes_in_another_way_is_masked_in_that_way_too(
    workflow: Workflow,
) -> None:
    """Harbor's robots have a dollar in their names, and GitHub looks for the very letters."""
    workflow.write("# nothing yet\n")
    told = workflow(
        "sync", "lists/images.yaml", REGISTRY="r.example", NAMESPACE="my_team",
        REGISTRY_USER="robot$sync", REGISTRY_PASSWORD=SECRET,
    )  # fmt: skip
    assert "::add-mask::robot&#36;<!---->sync" in commands(told.stderr)


def test_a_name_is_masked_as_it_stands_alone_and_as_it_stands_in_a_sentence(
    workflow: Workflow,
) -> None:
    workflow.write("# nothing yet\n")
    told = workflow(*SYNC, REGISTRY_USER="+robot$sync", REGISTRY_PASSWORD=SECRET)
    masks = {"::add-mask::&#43;robot&#36;<!---->sync", "::add-mask::+robot&#36;<!---->sync"}
    assert masks <= set(commands(told.stderr))


def test_names_are_masked_that_an_option_says_and_before_a_variable_is_found_wrong(
    workflow: Workflow,
) -> None:
    workflow.write("# nothing yet\n")
    told = workflow(
        "sync", "lists/images.yaml", "--to", "www.r.example/www.team", "--user", "+me",
        "--password-stdin", stdin=SECRET,
    )  # fmt: skip
    written = ("www&#46;<!---->r.example", "www&#46;<!---->team", "&#43;me")
    assert {f"::add-mask::{name}" for name in written} <= set(commands(told.stderr))
    wrong = {"REGISTRY_USER": "robot$sync", "ASYNCSYNC_CONCURRENCY": "many"}
    mask, error = commands(workflow(*SYNC, **wrong).stderr)
    assert mask == "::add-mask::robot&#36;<!---->sync"
    assert error.startswith("::error ")


def test_a_plan_and_a_merge_mask_such_names_as_well(workflow: Workflow, tmp_path: Path) -> None:
    workflow.write("# nothing yet\n")
    login = {"REGISTRY": "www.r.example", "REGISTRY_USER": "robot$sync"}
    told = workflow("plan", "lists/images.yaml", "--output", "json", **login)
    masks = ["::add-mask::www&#46;<!---->r.example", "::add-mask::robot&#36;<!---->sync"]
    assert commands(told.stderr) == masks
    (tmp_path / "plan.json").write_text(told.stdout)
    told = workflow("merge", "--plan", str(tmp_path / "plan.json"), **login)
    assert told.exit_code == 0
    assert commands(told.stderr) == masks


@pytest.mark.parametrize(
    ("registry", "hidden"),
    [
        ("www.r.example/team", ["www.r.example", "www&#46;<!---->r.example"]),
        ("r.example:5000/my_team/", ["r.example:5000"]),
        ("r.example/", ["r.example"]),
        ("r.example", []),
        ("ghcr.io/team", []),
        ("index.docker.io/team", []),
        ("localhost:5000/team", []),
        ("127.0.0.1:5000/team", []),
        ("[::1]:5000/team", []),
        ("not a host/team", []),
        ("/team", []),
    ],
)
def test_of_a_registry_with_a_namespace_in_one_secret_the_host_is_hidden_alone_too(
    workflow: Workflow, registry: str, hidden: list[str]
) -> None:
    workflow.write("# nothing yet\n")
    told = workflow("plan", "lists/images.yaml", REGISTRY=registry)
    masks = [line for line in commands(told.stderr) if line.startswith("::add-mask::")]
    assert [mask for mask in masks if "team" not in mask] == [f"::add-mask::{h}" for h in hidden]


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("kept", ["stdout", "stderr", "both, through a pipe"])
def test_no_mask_gets_into_a_file(output: str, kept: str, workflow: Workflow) -> None:
    workflow.write("# nothing yet\n")
    file = workflow.checkout / "kept"
    login = {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": SECRET}
    with file.open("w") as stream:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if kept in streams:
            streams[kept] = stream
        else:  # 2>&1 | tee kept
            streams["stderr"] = subprocess.STDOUT
        ended = subprocess.run(
            [sys.executable, "-m", "asyncsync", *SYNC, "--output", output], text=True,
            env=clean_environment(workflow.checkout, **workflow.variables, **login), **streams,
            check=True,
        )  # fmt: skip
    assert SECRET not in file.read_text()
    assert SECRET not in (ended.stdout or "")
    assert ("::add-mask::" in (ended.stderr or "")) == (kept == "stdout")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GITHUB_STEP_SUMMARY", "/no/such/folder/file"),
        ("GITHUB_OUTPUT", "/"),
        ("GITHUB_OUTPUT", "/dev/full"),
    ],
)
def test_what_cannot_be_written_there_is_a_warning_and_no_failure(
    variable: str, value: str, workflow: Workflow
) -> None:
    workflow.write("# nothing yet\n")
    told = workflow(*SYNC, "--log-format", "json", **{variable: value})
    assert told.exit_code == 0
    _, warning = (json.loads(line) for line in told.stderr.splitlines())
    assert (warning["event"], warning["level"]) == ("refused", "warning")
    assert warning["reason"].startswith(variable)


@pytest.mark.parametrize("variable", ["GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"])
def test_a_page_that_a_job_does_not_want_is_not_written_and_not_missed(
    variable: str, workflow: Workflow
) -> None:
    workflow.write("# nothing yet\n")
    told = workflow(*SYNC, **{variable: ""})
    assert told.exit_code == 0
    assert told.stderr == "lists/images.yaml names no image\n"


def job(n: int, file: str = "lists/images.yaml") -> CopyJob:
    name = f"r{n}.example/a/b:{n}"
    target = Reference.parse(f"r.example/team/b:{n}")
    return CopyJob(Reference.parse(name), target, (), Position(file, n))


def failed(n: int, what: str = "no", file: str = "lists/images.yaml") -> Outcome:
    where = Where(f"r{n}.example", None, Step.PULL)
    return Outcome(job(n, file), Status.FAILED, error=NotFound(what, where))


def copied(n: int) -> Outcome:
    return Outcome(job(n), Status.COPIED, Digest.of(b"it"), 1000, 1.0)


def page_of(variables: Mapping[str, str]) -> tuple[Page, list[str]]:
    warned: list[str] = []
    return Page(variables, warned.append), warned


def test_a_report_is_added_to_what_the_step_has_written(workflow: Workflow) -> None:
    workflow.summary.write_text("# Mine")
    workflow.outputs.write_text("mine=1")
    page, warned = page_of(workflow.variables)
    page.tell_report(
        Report("engine", 2, (copied(1),)),
        destination="r.example/team",
        report_path=Path("r\ncopied=9"),
    )
    lines = workflow.summary.read_text().split("\n")
    assert lines[:4] == [
        "# Mine",
        "## 1 copied",
        "",
        "1.0 kB in 2.0 s to r.example/team, via engine.",
    ]
    lines = workflow.outputs.read_text().split("\n")
    assert lines[:2] == ["mine=1", "copied=1"]
    assert lines[6].startswith("report<<")
    assert lines[7:] == [
        f"{workflow.checkout}/r",
        "copied=9",
        lines[6].removeprefix("report<<"),
        "",
    ]
    assert warned == []


def test_failures_stand_at_their_lines_and_the_files_that_name_all_are_named(
    workflow: Workflow, capsys: pytest.CaptureFixture[str]
) -> None:
    page, _ = page_of(workflow.variables)
    common = (failed(0, "no"),) * 51
    page.tell_report(
        Report("engine", 2, (*common, *map(failed, range(1, 12)))),
        destination=None,
        report_path=Path("report.json"),
        failed_list=Path("failed.yaml"),
    )
    told = commands(capsys.readouterr().err)
    assert told[1].startswith("::error file=lists/images.yaml,line=1,")
    assert told[-1].endswith(" and failed.yaml lists the images.")
    text = workflow.summary.read_text()
    assert f"([lists/images.yaml:1]({BLOB}/lists/images.yaml#L1))" in text
    assert "and 1 more (all in report.json and failed.yaml)" in text


def test_what_is_wrong_is_not_written_on_a_page_that_is_full(workflow: Workflow) -> None:
    workflow.summary.write_bytes(b"x" * (PAGE_BYTES_MAX - 200))
    page, _ = page_of(workflow.variables)
    wrong = [Mistake(Position("lists/images.yaml", n), "no image" * 20) for n in range(9)]
    page.tell_mistakes(wrong, list_name="lists/images.yaml")
    page.tell_trouble(["This is a bug." * 20], nothing="Nothing was copied")
    assert workflow.summary.stat().st_size <= PAGE_BYTES_MAX


def test_a_secret_in_a_list_is_hidden_where_its_mistake_is_shown(
    workflow: Workflow, capsys: pytest.CaptureFixture[str]
) -> None:
    page, _ = page_of(workflow.variables)
    wrong = [Mistake(Position("lists/images.yaml", 1), f"no image is called {SECRET}")]
    page.tell_mistakes(wrong, list_name="lists/images.yaml", secrets=[SECRET])
    for text in (capsys.readouterr().err, workflow.summary.read_text()):
        assert "no image is called" in text
        assert SECRET not in text


@pytest.mark.parametrize("room", [5000, 100, 0, -5000])
def test_all_of_a_steps_page_together_stays_below_the_limit(room: int, workflow: Workflow) -> None:
    there = PAGE_BYTES_MAX - room
    workflow.summary.write_bytes(b"x" * there)
    page, _ = page_of(workflow.variables)
    page.tell_report(Report("engine", 2, tuple(map(copied, range(1, 500)))), destination=None)
    size = workflow.summary.stat().st_size
    assert size <= max(PAGE_BYTES_MAX, there + 1)
    assert (size > there + 1000) == (room == 5000)


def test_a_run_that_crashed_is_told_with_its_failures_and_no_eleventh_error(
    workflow: Workflow, capsys: pytest.CaptureFixture[str]
) -> None:
    page, _ = page_of(workflow.variables)
    page.tell_report(Report("engine", 2, tuple(map(failed, range(1, 10)))), destination=None)
    page.tell_trouble(["This is a bug."], nothing="Nothing was copied")
    page.tell_trouble(["This is another."], nothing="Nothing was copied")
    told = commands(capsys.readouterr().err)
    assert len(told) == 10
    assert told[-1] == "::error title=The run did not come to its end::This is a bug."
    text = workflow.summary.read_text()
    assert text.startswith("## **9 failed**\n")
    assert text.endswith("\n## The run did not come to its end\n\nThis is another.\n")


def telling(folder: Path, page: Page, *jobs: CopyJob) -> Telling:
    given: Given = dict.fromkeys(Given.__annotations__)  # type: ignore[assignment]
    options = {
        "to": Destination.parse("r.example/team"), "platforms": (), "plain_http": (),
        "insecure_skip_verify": (), "mirrors": (), "with_referrers": False,
        "succeeded_log": folder / "succeeded.log", "failed_list": folder / "failed.yaml",
        "report": Path("/dev/full"), "output": "table", "quiet": False, "verbose": 0,
    }  # fmt: skip
    chosen = settings({**given, **options}, {})  # type: ignore[typeddict-item]
    log = open_log(io.StringIO(), log_format="console", level=Level.WARNING)
    return Telling(
        Plan(jobs), chosen, log, Narration(log, failures_shown=True), Output(io.StringIO()),
        SucceededLog(io.StringIO(), lambda: None), page=page,
    )  # fmt: skip


def test_the_end_of_a_run_is_told_once_and_names_only_files_that_were_written(
    workflow: Workflow, capsys: pytest.CaptureFixture[str]
) -> None:
    page, _ = page_of(workflow.variables)
    of_run = telling(workflow.checkout, page, job(1), job(2))
    report = Report("engine", 2, (copied(1), failed(2)))
    of_run.finish(report)
    of_run.finish(report)
    assert len(commands(capsys.readouterr().err)) == 1
    assert workflow.summary.read_text().count("## ") == 1
    assert "to r.example/team" in workflow.summary.read_text()
    assert "report=\n" in workflow.outputs.read_text()


def test_a_bug_is_on_the_page_too(
    workflow: Workflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in workflow.variables.items():
        monkeypatch.setenv(name, value)
    ending = Ending()
    with pytest.raises(click.exceptions.Exit), ending.told():
        raise KeyError(SECRET)
    (told,) = commands(capsys.readouterr().err)
    assert told.startswith(
        "::error title=Nothing was copied::This is a bug in asyncsync (KeyError)"
    )
    assert "This is a bug" in workflow.summary.read_text()
    assert SECRET not in told + workflow.summary.read_text()


def test_foreign_words_in_an_error_hold_no_secret_and_no_command(
    workflow: Workflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in workflow.variables.items():
        monkeypatch.setenv(name, value)
    ending = Ending()
    ending.secrets = (SECRET,)
    with pytest.raises(click.exceptions.Exit), ending.told():
        raise ConfigurationError(f"a {SECRET}\n::set-output name=x::y\n  ::error::<b>|")
    told = capsys.readouterr().err
    assert commands("\n".join(line.lstrip() for line in told.splitlines())) == [
        "::error title=Nothing was copied::a ***%0Aset-output name=x::y%0A  error::<b>|"
    ]
    assert SECRET not in told + workflow.summary.read_text()
    assert "<b>" not in workflow.summary.read_text()


def test_a_list_is_linked_by_its_path_in_the_repository(workflow: Workflow, tmp_path: Path) -> None:
    workflow.write("nginx:1.27\n")
    (workflow.checkout / "a b#ü.yaml").write_text("")
    (workflow.checkout / "link.yaml").symlink_to("lists/images.yaml")
    (tmp_path / "elsewhere.yaml").write_text("")
    checkout = Checkout(workflow.variables)
    inside = "lists/images.yaml"
    for name in (inside, f"./{inside}", f"{workflow.checkout}/{inside}", "lists/../link.yaml"):
        assert checkout.inside(name) == inside
        assert checkout.link(Position(name, 7)) == f"{BLOB}/lists/images.yaml#L7"
    assert checkout.link(Position("a b#ü.yaml", 1)) == f"{BLOB}/a%20b%23%C3%BC.yaml#L1"
    for name in ("../elsewhere.yaml", "-", "<entries>", "a\0b", "/", f"{workflow.checkout}-2/x"):
        assert checkout.inside(name) is None
        assert checkout.link(Position(name, 1)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GITHUB_SERVER_URL", "javascript:alert(1)"),
        ("GITHUB_SERVER_URL", "https://github.com/x) [y](http://z"),
        ("GITHUB_SERVER_URL", ""),
        ("GITHUB_REPOSITORY", "owner/repo/x"),
        ("GITHUB_REPOSITORY", "owner/repo\n"),
        ("GITHUB_SHA", "main"),
        ("GITHUB_SHA", f"{SHA})"),
    ],
)
def test_variables_that_are_not_what_they_should_be_give_no_links(
    name: str, value: str, workflow: Workflow
) -> None:
    checkout = Checkout({**workflow.variables, name: value})
    assert checkout.link(Position("lists/images.yaml", 1)) is None
    assert checkout.inside("lists/images.yaml") == "lists/images.yaml"


@pytest.mark.parametrize("workspace", ["", "relative", "/no/such/folder"])
def test_without_a_checkout_no_list_is_in_it(workspace: str, workflow: Workflow) -> None:
    checkout = Checkout({**workflow.variables, "GITHUB_WORKSPACE": workspace})
    assert checkout.inside("lists/images.yaml") is None


def everything(hostile: str) -> str:
    """All that one run prints and keeps, whose every foreign word is `hostile`."""
    outcomes = (
        *(failed(n, hostile, hostile) for n in (1, 2)),
        *(
            Outcome(job(3 + n, hostile), Status.FAILED, error=CopyError(hostile, Where(hostile)))
            for n in range(2)
        ),
        Outcome(job(6, hostile), Status.COPIED, Digest.of(b""), notes=(hostile,)),
        Outcome(job(7, hostile), Status.NOT_STARTED),
    )
    report = Report("engine", 1, outcomes)
    table = Table([outcome.job for outcome in outcomes])
    return "\n".join([
        *map(table.row, outcomes),
        *verdict(report, succeeded_log=None, failed_list=None),
        report_json(report),
        failed_list(report),
        *map(succeeded_line, outcomes[-2:-1]),
    ])  # fmt: skip


@pytest.mark.parametrize(
    "hostile",
    ["::error::x", "\n::error::x", "\r::error::x", " \u2028 ::error::x", "a\n  ::add-path::/x", ":",
     "##[error]x", "##[add-path]/x", "\x00::error::x", "x##[", "#", "##"],
)  # fmt: skip
def test_no_printed_line_is_a_command(hostile: str) -> None:
    for line in everything(hostile).replace("\r", "\n").split("\n"):
        start, *more = line.lstrip().split("::")
        assert start or len(more) < 2, "a runner looks for `::`, whatever, and `::` again"
        assert "##[" not in line
