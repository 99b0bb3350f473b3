"""What the workflows and actions are made of: pinned, frugal with rights, free of injection."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.processes import program

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
ACTIONS = sorted((ROOT / ".github/actions").glob("*/action.yml"))
FILES = [*WORKFLOWS, *ACTIONS]
_ALLOWED_IN_RUN = re.compile(r"github\.(action_path|workspace)|runner\.\w+")


def read(path: Path) -> Any:
    return yaml.load(path.read_text(), yaml.BaseLoader)  # noqa: S506  safe: it makes texts alone


def steps(path: Path) -> Iterator[dict[str, Any]]:
    document = read(path)
    for job in document.get("jobs", {"": document.get("runs")}).values():
        yield from job["steps"]


def test_there_are_the_workflows_and_the_action_that_readme_speaks_of() -> None:
    assert [path.name for path in WORKFLOWS] == [
        "ci.yaml", "images-sync-large.yaml", "images-sync.yaml",
    ]  # fmt: skip
    assert read(ROOT / ".github/workflows/images-sync.yaml")["name"] == "Image Synchr"
    action = read(ROOT / ".github/actions/sync/action.yml")
    assert {
        "list", "to", "registry", "namespace", "user", "password", "concurrency", "fail-fast",
        "via", "clean",
    } <= set(action["inputs"])  # fmt: skip
    assert {"copied", "unchanged", "failed", "report"} <= set(action["outputs"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_script_has_an_expression_that_others_can_fill(path: Path) -> None:
    for step in steps(path):
        for expression in re.findall(r"\$\{\{(.*?)\}\}", step.get("run", ""), re.DOTALL):
            assert _ALLOWED_IN_RUN.fullmatch(expression.strip()), expression


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_others_actions_are_pinned_and_say_which_version_that_is(path: Path) -> None:
    lines = re.findall(r"^\s*(?:- )?uses: (.*)$", path.read_text(), re.MULTILINE)
    assert len(lines) == sum("uses" in step for step in steps(path))
    for line in lines:
        if not line.startswith("./"):
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_a_workflow_has_no_rights_but_to_read_and_never_runs_for_ever(path: Path) -> None:
    document = read(path)
    assert document["permissions"] == {}
    assert "pull_request_target" not in document["on"]
    assert document["concurrency"]["group"] == "${{ github.workflow }}-${{ github.ref }}"
    for job in document["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        assert "timeout-minutes" in job
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": "false"}


@pytest.mark.parametrize("name", ["images-sync.yaml", "images-sync-large.yaml"])
def test_a_sync_under_way_is_never_cancelled_by_the_next_one(name: str) -> None:
    document = read(ROOT / ".github/workflows" / name)
    assert document["concurrency"]["cancel-in-progress"] == "false"
    assert document["on"]["push"]["branches"] == ["main"]
    (watched,) = document["on"]["push"]["paths"]
    assert document["on"]["workflow_dispatch"]["inputs"]["list"]["default"] == watched


def test_dependabot_looks_after_every_action_and_every_dependency() -> None:
    document = read(ROOT / ".github/dependabot.yml")
    updates = {update["package-ecosystem"]: update for update in document["updates"]}
    assert set(updates) == {"github-actions", "pip"}
    assert updates["github-actions"]["directories"] == ["/", "/.github/actions/*"]


def test_the_lowest_versions_that_ci_tests_are_those_that_are_admitted() -> None:
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lowest = [need.split(",")[0].replace(">=", "==") for need in needs]
    _, *lines = (ROOT / "tests/lowest.txt").read_text().splitlines()
    assert lines == lowest


def lint(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.shellcheck  # which actionlint asks about every script
def test_actionlint_finds_nothing() -> None:
    shellcheck = program("shellcheck")
    assert shellcheck
    assert lint("actionlint", f"-shellcheck={shellcheck}", *map(str, WORKFLOWS)) == ""


@pytest.mark.shellcheck
def test_actionlint_finds_a_wrong_script(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo $X\n"
    )
    assert "SC2086" in lint("actionlint", f"-shellcheck={program('shellcheck')}", str(wrong))


def test_zizmor_finds_nothing_even_when_it_is_pedantic() -> None:
    assert lint("zizmor", "--offline", "--no-progress", "--quiet", "--persona=pedantic", ".") == ""


def test_one_rule_of_zizmor_is_off_and_says_why() -> None:
    rules = read(ROOT / ".github/zizmor.yml")["rules"]
    assert rules == {"self-repository": {"disable": "true"}}
    assert "# `$/" in (ROOT / ".github/zizmor.yml").read_text()


@pytest.mark.shellcheck
@pytest.mark.parametrize("path", ACTIONS, ids=lambda path: str(path.parent.name))
def test_shellcheck_finds_nothing_in_an_actions_scripts(path: Path, tmp_path: Path) -> None:
    """actionlint reads the scripts of workflows alone."""
    for number, step in enumerate(step for step in steps(path) if "run" in step):
        script = tmp_path / f"{number}.sh"
        script.write_text(step["run"])
        assert lint(program("shellcheck") or "shellcheck", "--shell=bash", str(script)) == ""


@pytest.mark.shellcheck
@pytest.mark.parametrize("script", ["tests/run", ".ci/run"])
def test_shellcheck_finds_nothing_in_our_own_scripts(script: str) -> None:
    assert lint(program("shellcheck") or "shellcheck", script) == ""
