"""The workflows, run as GitHub runs them, on real registries and a real engine."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from parts.actions import Annotation, Call, JobResult, Run, Runner, StepFailed
from parts.commands import package_folder
from parts.engine import Engine
from parts.processes import clean_environment
from parts.registry import Registry
from parts.relay import Relay

ROOT = Path(__file__).parent.parent.parent
SYNC = ".github/workflows/images-sync.yaml"
LARGE = ".github/workflows/images-sync-large.yaml"
README_COMMANDS = (ROOT / "README.md").read_text().splitlines()
PAYLOADS = [
    "$(touch pwned)",
    "`touch pwned`",
    '"; touch pwned; "',
    "'; touch pwned; '",
    "a[$(touch pwned)]",
    "x && touch pwned",
    "--help",
]

OTHERS_WORKFLOW = """\
on: push
jobs:
  mirror:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - name: Sync
        id: sync
        uses: ./vendor/asyncsync/.github/actions/sync
        with:
          list: mine.txt
          to: ${{ secrets.REGISTRY }}/${{ secrets.REGISTRY_NAMESPACE }}
          user: ${{ secrets.REGISTRY_USER }}
          password: ${{ secrets.REGISTRY_PASSWORD }}
      - name: Tell
        env:
          COPIED: ${{ steps.sync.outputs.copied }}
          UNCHANGED: ${{ steps.sync.outputs.unchanged }}
          FAILED: ${{ steps.sync.outputs.failed }}
        run: echo "$COPIED copied, $UNCHANGED unchanged, $FAILED failed"
"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH whose python3 makes virtual environments that have asyncsync already.

    Installing it anew for every job took most of the time; one test does it for real.
    """
    folder = tmp_path_factory.mktemp("installed")
    python, prepared = shlex.quote(sys.executable), folder / "prepared" / "bin"
    prepared.mkdir(parents=True)
    # -P: the package that is tested, and not the copy in the workspace that it runs in
    _script(prepared / "asyncsync", f'exec {python} -P -m asyncsync "$@"')
    _script(prepared / "pip", "exit 0")
    _script(
        folder / "python3",
        f'if [ "$1 $2" = "-m venv" ]; then cp -r {shlex.quote(str(prepared.parent))} "$3"; '
        f'else exec {python} "$@"; fi',
    )
    return folder


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class GitHub:
    """Our repository at GitHub: its secrets, its settings, and lists that the test writes."""

    def __init__(
        self, folder: Path, engine: Engine, installed: Path, source: str, target: Registry
    ) -> None:
        self.folder, self.engine, self.source, self.target = folder, engine, source, target
        self._installed = installed
        self.secrets: dict[str, str] = {
            "REGISTRY": target.host,
            "REGISTRY_USER": target.user or "",
            "REGISTRY_PASSWORD": target.password,
        }
        self.settings: dict[str, str] = {}
        self.lists: dict[str, str] = {}

    def write(self, *names: str, to: str = "images.yaml") -> None:
        """Write a list; a name without registry is one of the test's own."""
        self.lists[to] = "".join(f"{name}\n" for name in names)

    def named(self, *names: str) -> list[str]:
        return [f"{self.source}/{name}" for name in names]

    def runner(
        self,
        change: Callable[[Path], None] = lambda workspace: None,
        *,
        fork: bool = False,
        hosted: bool = True,
        path: str | None = None,
        stand_ins: Mapping[str, Callable[[Call], None]] | None = None,
    ) -> Runner:
        """Our repository with the test's lists in it; `change` is called at each checkout."""

        def edit(workspace: Path) -> None:
            for name, text in self.lists.items():
                (workspace / name).write_text(text)
            change(workspace)

        return Runner(
            ROOT, folder=self.folder / "github", secrets=self.secrets,
            settings=self.settings, fork=fork, hosted=hosted, edit=edit, stand_ins=stand_ins,
            variables=self.variables() | ({"PATH": path} if path else {}),
        )  # fmt: skip

    def variables(self) -> dict[str, str]:
        path = clean_environment(self.folder)["PATH"]
        return {
            "PATH": f"{self._installed}:{path}",
            "PYTHONPATH": package_folder(),
            "DOCKER_HOST": self.engine.url,
        }


@pytest.fixture
def github(
    tmp_path: Path, engine: Engine, installed: Path, registry: Registry,
    locked_registry: Registry, namespace: str,
) -> GitHub:  # fmt: skip
    there = GitHub(tmp_path, engine, installed, f"{registry.host}/{namespace}", locked_registry)
    # The target is other tests', too; a name as the page may not change a letter of.
    there.secrets["REGISTRY_NAMESPACE"] = f"of_{namespace}/the__team"
    return there


@pytest.fixture
def put(registry: Registry, namespace: str) -> Callable[[str], None]:
    def put(name: str) -> None:
        repository, _, tag = name.partition(":")
        registry.put_image(f"{namespace}/{repository}", tag)

    return put


def workspace_of(job: JobResult) -> Path:
    assert job.workspace is not None
    return job.workspace


def ours(job: JobResult) -> list[Annotation]:
    """The annotations without the one that GitHub adds to whatever fails."""
    return [a for a in job.annotations if not a.message.startswith("Process completed with")]


def nothing_was_executed(run: Run) -> bool:
    ran = [job.workspace for job in run.jobs if job.workspace]
    return not any(list(workspace.parent.rglob("pwned")) for workspace in ran)


def check_no_secret(run: Run, secrets: Mapping[str, str]) -> None:
    """Nothing that GitHub shows has a secret, as text or as a browser shows it.

    The lines that tell the runner what to hide do, and they are in nothing that is kept.
    """
    hidden = [value for value in secrets.values() if len(value) > 3]
    for job in run.jobs:
        assert not job.left_behind
        shown = [job.log, job.summary, html.unescape(re.sub("<!--.*?-->", "", job.summary))]
        shown += [f"{a.title} {a.message}" for a in job.annotations]
        for text in shown:
            assert not [secret for secret in hidden if secret in text]
        for line in job.raw.splitlines():
            assert line.startswith("::add-mask::") or secrets["REGISTRY_PASSWORD"] not in line
    for folder in run.artifacts.values():
        for file in filter(Path.is_file, folder.rglob("*")):
            text = file.read_text()
            assert secrets["REGISTRY_PASSWORD"] not in text
            assert "add-mask" not in text


def test_a_push_brings_the_images_and_tells_of_them(
    github: GitHub, put: Callable[[str], None], namespace: str
) -> None:
    put("a:1")
    put("b:2")
    github.write("# what we need", *github.named("a:1", "b:2"))

    run = github.runner().push(SYNC)

    job = run.job("sync")
    assert run.conclusion == "success", job.log
    assert github.target.tags(f"of_{namespace}/the__team/a") == ["1"]
    assert github.target.tags(f"of_{namespace}/the__team/b") == ["2"]
    assert len(job.step("Succeeded").lines) == 2
    assert not [name for name in github.engine.images() if namespace in name]  # disk is short there
    assert ours(job) == []
    assert "2 copied" in job.summary
    outputs = job.steps[2].outputs
    assert {name: outputs[name] for name in ("copied", "unchanged", "failed")} == {
        "copied": "2", "unchanged": "0", "failed": "0",
    }  # fmt: skip
    kept = run.artifacts["image-sync"]
    assert {file.name for file in kept.iterdir()} >= {"succeeded.log", "report.json", "failed.yaml"}
    assert json.loads((kept / "report.json").read_text())["counts"]["copied"] == 2
    check_no_secret(run, github.secrets)
    assert run.permissions == {}
    assert job.permissions == {"contents": "read"}
    assert job.timeout_minutes == 350
    assert run.concurrency == {"group": "Image Synchr-refs/heads/main", "cancel-in-progress": False}


def test_a_registry_that_the_job_has_set_for_others_is_not_the_actions(
    github: GitHub, put: Callable[[str], None], namespace: str, tmp_path: Path
) -> None:
    """As workflows that publish to ghcr.io have it: the login given goes where the images go."""
    put("a:1")
    source = tmp_path / "other"
    (source / ".github/workflows").mkdir(parents=True)
    env = "    env: {REGISTRY: ghcr.io, REGISTRY_NAMESPACE: me, REGISTRY_USER: u}\n"
    workflow = OTHERS_WORKFLOW.replace("    steps:\n", f"{env}    steps:\n", 1)
    (source / ".github/workflows/mirror.yaml").write_text(workflow)
    (source / "mine.txt").write_text(f"{github.source}/a:1\n")
    (source / "vendor/asyncsync/.github").mkdir(parents=True)
    shutil.copytree(ROOT / ".github/actions", source / "vendor/asyncsync/.github/actions")
    runner = Runner(
        source, folder=tmp_path / "github", secrets=github.secrets, variables=github.variables()
    )
    job = runner.push(".github/workflows/mirror.yaml").job("mirror")
    assert job.conclusion == "success", job.log


@pytest.mark.parametrize("workflow", [SYNC, LARGE])
def test_the_remark_on_a_login_becomes_a_step_that_logs_in(
    github: GitHub, registry: Registry, namespace: str, tmp_path: Path, workflow: str
) -> None:
    source, locked = tmp_path / "other", github.target
    shutil.copytree(ROOT / ".github", source / ".github")
    path = source / workflow
    path.write_text(re.sub(r"(?m)^      # (?=- uses: docker|  )", "      ", path.read_text()))
    locked.put_image(f"from_{namespace}/a", "1")
    (source / "my list").write_text(f"{locked.host}/from_{namespace}/a:1\n")
    secrets = {
        "REGISTRY": registry.host, "REGISTRY_USER": "u", "REGISTRY_PASSWORD": "anything",
        "REGISTRY_NAMESPACE": f"to_{namespace}",
        "SOURCE_USER": locked.user or "", "SOURCE_PASSWORD": locked.password,
    }  # fmt: skip

    def log_in(call: Call) -> None:
        login = f"{call.inputs['username']}:{call.inputs['password']}"
        auths = {locked.host: {"auth": base64.b64encode(login.encode()).decode()}}
        config = Path(call.environment["HOME"]) / ".docker/config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"auths": auths}))

    runner = Runner(
        source, folder=tmp_path / "github", secrets=secrets, variables=github.variables(),
        stand_ins={"docker/login-action": log_in},
    )  # fmt: skip
    run = runner.dispatch(workflow, inputs={"list": "my list"})
    assert run.conclusion == "success", "\n".join(job.log for job in run.jobs)
    assert registry.tags(f"to_{namespace}/a") == ["1"]
    check_no_secret(run, secrets)


def others_job(github: GitHub, folder: Path, inputs: Mapping[str, str]) -> JobResult:
    """What becomes of a job of another repository that gives the action these inputs."""
    source = folder / "other"
    (source / ".github/workflows").mkdir(parents=True)
    given = "".join(f"          {name}: {json.dumps(value)}\n" for name, value in inputs.items())
    workflow = OTHERS_WORKFLOW.replace("          list: mine.txt\n", given)
    (source / ".github/workflows/mirror.yaml").write_text(workflow)
    (source / "mine.txt").write_text(f"{github.source}/a:1\n")
    (source / "vendor/asyncsync/.github").mkdir(parents=True)
    shutil.copytree(ROOT / ".github/actions", source / "vendor/asyncsync/.github/actions")
    runner = Runner(
        source, folder=folder / "github", secrets=github.secrets, variables=github.variables()
    )
    return runner.push(".github/workflows/mirror.yaml").job("mirror")


def test_what_the_action_is_given_for_the_direct_way_reaches_the_command(
    github: GitHub, tmp_path: Path
) -> None:
    """An engine that is named refuses all of it, by name."""
    inputs = {
        "list": "x", "via": "engine", "platform": "linux/amd64,linux/arm64",
        "with-referrers": "true", "limit-rate": "20MiB/s", "from": "oci:./carried in",
    }  # fmt: skip
    job = others_job(github, tmp_path, inputs)
    assert job.conclusion == "failure"
    assert (
        "--via engine cannot do an OCI layout (oci:./carried in) and several platforms of an image "
        "(linux/amd64, linux/arm64) and --with-referrers and --limit-rate. "
        "Leave that out, or take --via direct."
    ) in job.log


@pytest.mark.parametrize(
    ("inputs", "refused"),
    [
        ({"ca-file": "no such.pem"}, "'--ca-file': File 'no such.pem' does not exist"),
        ({"plain-http": "a.example:1 * b/c"}, "'--plain-http': '*' is no registry"),
        ({"insecure-skip-verify": "a.example:1\nb/c"}, "'--insecure-skip-verify': 'b/c' is no"),
        ({"mirror": "docker.io=https://a.example b=c"}, "'--mirror': a mirror is written https"),
    ],
    ids=lambda given: next(iter(given), "") if isinstance(given, dict) else "",
)
def test_how_registries_are_reached_is_told_to_the_action_as_to_the_command(
    github: GitHub, tmp_path: Path, inputs: dict[str, str], refused: str
) -> None:
    job = others_job(github, tmp_path, {"list": "mine.txt", **inputs})
    assert job.conclusion == "failure"
    assert refused in job.log


@pytest.mark.timeout(400)
def test_the_action_installs_all_that_it_needs_and_serves_other_repositories(
    github: GitHub, put: Callable[[str], None], namespace: str, tmp_path: Path
) -> None:
    """Nothing is installed beforehand; the other repository has this one in a folder."""
    put("a:1")
    other = tmp_path / "other"
    (other / ".github/workflows").mkdir(parents=True)
    (other / "mine.txt").write_text(f"{github.source}/a:1\n")
    (other / ".github/workflows/mirror.yaml").write_text(OTHERS_WORKFLOW)
    ours = other / "vendor/asyncsync"
    for name in ("asyncsync", ".github/actions"):
        shutil.copytree(ROOT / name, ours / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, ours / name)
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    runner = Runner(
        other, folder=tmp_path / "github", secrets=github.secrets,
        variables={
            "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}",
            "DOCKER_HOST": github.engine.url, **pip,
            # where pip's own settings are
            "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", f"{os.environ['HOME']}/.config"),
        },
    )  # fmt: skip

    run = runner.push(".github/workflows/mirror.yaml")

    job = run.job("mirror")
    assert run.conclusion == "success", job.log
    assert job.step("Tell").lines == ("1 copied, 0 unchanged, 0 failed",)
    assert json.loads(Path(job.step("Sync").outputs["report"]).read_text())["via"] == "engine"
    assert github.target.tags(f"of_{namespace}/the__team/a") == ["1"]


def test_the_next_push_finds_everything_in_place(
    github: GitHub, put: Callable[[str], None]
) -> None:
    put("a:1")
    github.write(*github.named("a:1"))
    github.runner().push(SYNC)
    run = github.runner().push(SYNC)
    assert run.conclusion == "success"
    assert "1 unchanged" in run.job("sync").summary


def test_a_missing_image_is_told_at_its_line_and_the_others_are_shown(
    github: GitHub, put: Callable[[str], None]
) -> None:
    put("a:1")
    github.write("# base", *github.named("gone:7", "a:1"))

    run = github.runner().push(SYNC)

    job = run.job("sync")
    assert run.conclusion == "failure"
    (told,) = ours(job)
    assert (told.level, told.file, told.line) == ("error", "images.yaml", 2)
    assert "has no tag 7" in told.message or "gone" in told.message
    assert "Correct the name or the tag in the list" in told.message
    (line,) = job.step("Succeeded").lines
    assert "a:1" in line
    assert "1 copied" in job.summary
    assert "1 failed" in job.summary
    failed = (run.artifacts["image-sync"] / "failed.yaml").read_text()
    assert f"{github.source}/gone:7" in failed.splitlines()
    assert job.steps[2].outputs["failed"] == "1"


def test_mistakes_of_a_list_are_told_at_their_lines_and_nothing_moves(github: GitHub) -> None:
    github.write("Nginx:1", "ok:1", "bad tag:1")
    run = github.runner().push(SYNC)
    job = run.job("sync")
    assert run.conclusion == "failure"
    assert [(a.level, a.file, a.line) for a in ours(job)] == [
        ("error", "images.yaml", 1), ("error", "images.yaml", 3),
    ]  # fmt: skip
    assert job.step("Succeeded").lines == ("No image yet.",)
    assert "2 mistakes" in job.summary


@pytest.mark.parametrize("workflow", [SYNC, LARGE])
@pytest.mark.parametrize("missing", ["REGISTRY", "REGISTRY_USER", "REGISTRY_PASSWORD"])
def test_a_missing_secret_is_named_in_one_error(
    github: GitHub, workflow: str, missing: str
) -> None:
    del github.secrets[missing]
    github.write(*github.named("a:1"))
    run = github.runner().push(workflow)
    assert run.conclusion == "failure"
    (told,) = ours(run.jobs[0])
    assert told.title == "Secrets are missing"
    assert told.message.startswith(f"Not set: {missing}. Set it in")
    assert "fork" not in told.message
    assert ("not as a variable" in told.message) == (missing == "REGISTRY_PASSWORD")
    assert run.jobs[0].summary == f"**Secrets are missing.** {told.message}\n"
    assert {job.conclusion for job in run.jobs[1:]} <= {"skipped"}


def test_a_fork_is_told_why_it_has_no_secrets(github: GitHub) -> None:
    github.secrets.clear()
    github.write(*github.named("a:1"))
    run = github.runner(fork=True).push(SYNC)
    (told,) = ours(run.job("sync"))
    assert told.message.startswith("Not set: REGISTRY REGISTRY_USER REGISTRY_PASSWORD.")
    assert "This is a fork" in told.message
    assert run.job("sync").step("Succeeded").lines == ("No image yet.",)
    assert run.artifacts == {}


def test_a_namespace_may_be_missing(
    github: GitHub, put: Callable[[str], None], namespace: str
) -> None:
    put(f"{namespace}-root:1")
    del github.secrets["REGISTRY_NAMESPACE"]
    github.write(*github.named(f"{namespace}-root:1"))
    assert github.runner().push(SYNC).conclusion == "success"
    assert github.target.tags(f"{namespace}-root") == ["1"]


def test_all_but_the_password_may_be_variables_and_are_shown_then(
    github: GitHub, put: Callable[[str], None], namespace: str
) -> None:
    put("a:1")
    for name in ("REGISTRY", "REGISTRY_NAMESPACE", "REGISTRY_USER"):
        github.settings[name] = github.secrets.pop(name)
    github.write(*github.named("a:1"))
    run = github.runner().push(SYNC)
    assert run.conclusion == "success"
    assert f"to {github.target.host}/of_{namespace}/the__team, 8 at once" in run.job("sync").log


def test_what_is_chosen_by_hand_holds(github: GitHub, put: Callable[[str], None]) -> None:
    put("a:1")
    github.write(*github.named("gone:1", "a:1"), to="other list.yaml")
    chosen = {
        "list": "other list.yaml", "concurrency": "1", "fail-fast": "true", "via": "engine",
        "timeout": "60",
    }  # fmt: skip
    run = github.runner().dispatch(SYNC, inputs=chosen)
    job = run.job("sync")
    assert job.timeout_minutes == 60
    report = json.loads((run.artifacts["image-sync"] / "report.json").read_text())
    assert [outcome["status"] for outcome in report["outcomes"]] == ["failed", "not_started"]
    assert [(a.level, a.file) for a in ours(job)] == [
        ("error", "other list.yaml"), ("warning", None),
    ]  # fmt: skip
    assert " 1 at once" in job.log


@pytest.mark.parametrize("workflow", [SYNC, LARGE])
def test_all_that_is_chosen_by_hand_reaches_the_command(
    github: GitHub, put: Callable[[str], None], installed: Path, tmp_path: Path, workflow: str
) -> None:
    put("a:1")
    github.write(*github.named("a:1"), to="a list.txt")
    noted, noting = tmp_path / "noted", tmp_path / "noting"
    shutil.copytree(installed, noting)
    told = f'printf "%s;" "$@" $(env | grep ^ASYNCSYNC_ | sort) >>{noted}; echo >>{noted}'
    _script(
        noting / "prepared/bin/asyncsync", f'{told}\nexec {sys.executable} -P -m asyncsync "$@"'
    )
    _script(
        noting / "python3", (installed / "python3").read_text().replace(str(installed), str(noting))
    )
    chosen = {
        "list": "a list.txt", "concurrency": "3", "fail-fast": "true", "via": "direct",
        "timeout": "60",
    }  # fmt: skip
    run = github.runner(path=f"{noting}:{os.environ['PATH']}").dispatch(workflow, inputs=chosen)
    assert run.conclusion == "success", "\n".join(job.log for job in run.jobs)
    (sync,) = (line.split(";") for line in noted.read_text().splitlines() if line[:5] == "sync;")
    shard = ["--shard=1/1"] if workflow == LARGE else []
    assert sync[1 : sync.index("--") + 2] == [
        "--deadline=3240s", *shard, "--report=report.json", "--", "a list.txt",
    ]  # fmt: skip
    assert {
        "ASYNCSYNC_CONCURRENCY=3", "ASYNCSYNC_FAIL_FAST=true", "ASYNCSYNC_VIA=direct",
        "ASYNCSYNC_CLEAN=true", "ASYNCSYNC_FAILED_LIST=failed.yaml",
    } <= set(sync)  # fmt: skip


@pytest.mark.parametrize(
    "minutes", ["0", "4", "5.5", "1e3", "-1", "90m", "soon", "a[$(touch pwned)]"]
)
def test_a_wrong_timeout_is_one_error(github: GitHub, minutes: str) -> None:
    github.write(*github.named("a:1"))
    for workflow in (SYNC, LARGE):
        run = github.runner().dispatch(workflow, inputs={"timeout": minutes})
        (told,) = ours(run.jobs[0])
        assert told.title == "Wrong timeout"
        assert told.message == "The timeout is whole minutes without a unit, 5 or more, as 90."
        assert run.conclusion == "failure"


@pytest.mark.parametrize(
    ("minutes", "deadline"),
    [("350", "20400s"), ("60", "3240s"), ("5", "180s"), ("360", "21000s"), ("1440", "21000s")],
)
def test_the_deadline_leaves_time_for_what_comes_before_and_behind(
    github: GitHub, put: Callable[[str], None], minutes: str, deadline: str
) -> None:
    """Six hours is all that GitHub's own machines give."""
    put("a:1")
    github.write(*github.named("a:1"))
    job = github.runner().dispatch(SYNC, inputs={"timeout": minutes}).job("sync")
    assert job.step("settings").outputs == {"deadline": deadline}
    assert job.conclusion == "success"


def test_an_own_machine_may_take_longer_than_six_hours(
    github: GitHub, put: Callable[[str], None]
) -> None:
    put("a:1")
    github.write(*github.named("a:1"))
    job = github.runner(hosted=False).dispatch(SYNC, inputs={"timeout": "1440"}).job("sync")
    assert job.step("settings").outputs == {"deadline": "85800s"}
    assert job.conclusion == "success"


@pytest.mark.parametrize("python", ["exit 1", "echo '#!/bin/sh'; exit 1"])
def test_a_machine_without_a_fitting_python_is_told_so(
    github: GitHub, tmp_path: Path, python: str
) -> None:
    github.write(*github.named("a:1"))
    old = tmp_path / "old"
    old.mkdir()
    _script(old / "python3", python)
    job = github.runner(path=f"{old}:{os.environ['PATH']}").push(SYNC).job("sync")
    (told,) = ours(job)
    assert told.message == (
        "This runner needs Python 3.11 or newer, with venv. "
        "A step with actions/setup-python before this one brings it."
    )


@pytest.fixture(
    params=["$(touch pwned)", "`touch pwned`", "\"'; touch pwned #", "a\\b %41 ${IFS} <&>|*?~"],
    ids=["dollar", "backtick", "quotes", "others"],
)
def odd_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """A registry whose password is a shell's nightmare."""
    with Registry(tmp_path / "odd", user="odd user", password=request.param) as registry:
        yield registry


def test_a_secret_arrives_as_it_is_whatever_it_holds(
    github: GitHub, put: Callable[[str], None], odd_registry: Registry
) -> None:
    put("a:1")
    github.secrets |= {
        "REGISTRY": odd_registry.host, "REGISTRY_USER": "odd user",
        "REGISTRY_PASSWORD": odd_registry.password,
    }  # fmt: skip
    github.write(*github.named("a:1"))
    run = github.runner().push(SYNC)
    assert run.conclusion == "success", run.job("sync").log
    assert nothing_was_executed(run)
    check_no_secret(run, github.secrets)


@pytest.mark.parametrize("workflow", [SYNC, LARGE])
@pytest.mark.parametrize("name", ["REGISTRY", "REGISTRY_NAMESPACE"])
@pytest.mark.parametrize("mixed_up", ["pa$$_w*rd", "-`p` | <b>"])
def test_a_password_in_the_wrong_secret_is_not_shown(
    github: GitHub, workflow: str, name: str, mixed_up: str
) -> None:
    """What refuses it shows it, and GitHub hides it only as it was given."""
    github.secrets[name] = mixed_up
    for path in ("images.yaml", "images-large.yaml"):
        github.write(*github.named("a:1"), to=path)
    run = github.runner().push(workflow)
    assert run.conclusion == "failure"
    assert "***" in run.jobs[0].summary
    check_no_secret(run, github.secrets)


def test_a_secret_of_several_lines_injects_nothing(
    github: GitHub, put: Callable[[str], None]
) -> None:
    put("a:1")
    github.secrets["REGISTRY_PASSWORD"] = "first-half\n::error::pwned\nsecond-half"
    github.write(*github.named("a:1"))
    run = github.runner().push(SYNC)
    job = run.job("sync")
    assert run.conclusion == "failure"
    assert not any("pwned" in annotation.message for annotation in ours(job))
    (told,) = ours(job)
    assert told.title.startswith("Authentication failed: ")
    check_no_secret(run, github.secrets | {"1": "first-half", "2": "second-half"})


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_input_is_text_and_nothing_else(github: GitHub, payload: str) -> None:
    github.write(*github.named("a:1"))
    run = github.runner().dispatch(SYNC, inputs={"list": payload, "concurrency": payload})
    assert run.conclusion == "failure"
    assert nothing_was_executed(run)
    for inputs in ({"list": payload}, {"list": "images.yaml", "shards": payload}):
        run = github.runner().dispatch(LARGE, inputs=inputs)
        assert run.job("plan").conclusion == "failure"
        assert nothing_was_executed(run)


def test_a_hostile_list_is_text_and_nothing_else(github: GitHub) -> None:
    github.write(
        *PAYLOADS, "::error::pwned", "##[error]pwned", "a:1 | <img src=x> | [x](http://evil)",
        "::add-mask::a", "::stop-commands::x", "name\r::error::pwned",
    )  # fmt: skip
    run = github.runner().push(SYNC)
    job = run.job("sync")
    assert run.conclusion == "failure"
    assert nothing_was_executed(run)
    assert len(ours(job)) == 10
    assert all(a.file == "images.yaml" for a in ours(job)[:9])
    assert "<img" not in job.summary
    assert "](http://evil" not in job.summary
    masks = [m for step in job.steps for m in step.masks]
    assert "a" not in masks


def test_a_cancelled_job_tells_what_is_in_place_and_the_next_one_goes_on(
    github: GitHub, put: Callable[[str], None], relay: Relay, namespace: str
) -> None:
    names = [f"image{n}:1" for n in range(12)]
    for name in names:
        put(name)
    relay.pause()  # or all of them might be there before the first one is told
    late = [f"{relay.host}/{namespace}/{name}" for name in names[1:]]
    github.write(*github.named(names[0]), *late)

    def is_told_of_a_copy(line: str) -> bool:
        return line.lstrip().startswith("copied")

    run = github.runner().dispatch(SYNC, inputs={"concurrency": "1"}, cancel_when=is_told_of_a_copy)

    job = run.job("sync")
    assert run.conclusion == "cancelled"
    report = json.loads((run.artifacts["image-sync"] / "report.json").read_text())
    assert len(report["outcomes"]) == 12
    assert report["counts"]["copied"] == 1
    assert len(job.step("Succeeded").lines) == 1
    assert "not started: SIGINT stopped the run" in job.summary
    relay.resume()
    run = github.runner().push(SYNC)
    assert run.conclusion == "success"
    assert "11 copied, 1 unchanged" in run.job("sync").summary


def test_a_large_list_is_split_and_told_as_one(
    github: GitHub, put: Callable[[str], None], namespace: str
) -> None:
    names = ["a:1", "a:2", "b:1", "c:1", "d:1"]
    for name in names:
        put(name)
    github.write(*github.named(*names), to="images-large.yaml")

    run = github.runner().dispatch(LARGE, inputs={"shards": "3"})

    assert run.conclusion == "success", "\n".join(job.log for job in run.jobs)
    parts = run.jobs_of("sync")
    assert [job.name for job in parts] == ["Part 1/3", "Part 2/3", "Part 3/3"]
    assert [job.summary for job in parts] == ["", "", ""]
    login = f"{github.target.user}:{github.target.password}"
    derived = base64.b64encode(login.encode()).decode().rstrip("=")
    assert all(derived in job.step("Sync").masks for job in parts)
    assert "5 copied" in run.job("summary").summary
    report = json.loads((run.artifacts["image-sync"] / "report.json").read_text())
    assert [outcome["line"] for outcome in report["outcomes"]] == [1, 2, 3, 4, 5]
    assert github.target.tags(f"of_{namespace}/the__team/a") == ["1", "2"]
    check_no_secret(run, github.secrets)


def test_a_large_list_with_a_missing_image_is_annotated_once_and_at_its_line(
    github: GitHub, put: Callable[[str], None]
) -> None:
    put("a:1")
    github.write(*github.named("a:1", "gone:1"), to="images-large.yaml")
    run = github.runner().dispatch(LARGE, inputs={"shards": "2"})
    assert [job.conclusion for job in run.jobs_of("sync")] == ["success", "failure"]
    assert [ours(job) for job in run.jobs_of("sync")] == [[], []]
    merged = run.job("summary")
    assert merged.conclusion == "failure"
    assert [(a.file, a.line) for a in ours(merged)] == [("images-large.yaml", 2)]
    assert "1 copied" in merged.summary
    assert "1 failed" in merged.summary


def test_a_warning_about_a_large_list_is_told_once(
    github: GitHub, put: Callable[[str], None]
) -> None:
    put("a:1")
    github.write(*github.named("a:1", "a:1"), to="images-large.yaml")
    run = github.runner().dispatch(LARGE, inputs={"shards": "2"})
    assert run.conclusion == "success"
    (told,) = (annotation for job in run.jobs for annotation in ours(job))
    assert (told.level, told.file, told.line) == ("warning", "images-large.yaml", 2)


def test_a_large_list_that_is_cancelled_is_told_all_the_same(
    github: GitHub, put: Callable[[str], None]
) -> None:
    put("a:1")
    put("b:1")
    github.write(*github.named("a:1", "b:1"), to="images-large.yaml")
    run = github.runner().dispatch(
        LARGE, inputs={"shards": "2"}, cancel_when=lambda line: line.lstrip().startswith("copied")
    )
    assert [job.conclusion for job in run.jobs_of("sync")] == ["cancelled", "cancelled"]
    assert "1 copied, 1 not started" in run.job("summary").summary
    failed = (run.artifacts["image-sync"] / "failed.yaml").read_text().splitlines()
    assert [line for line in failed if not line.startswith("#")] == github.named("b:1")
    assert run.rerun_failed().conclusion == "success"


def test_a_part_that_cannot_begin_says_why(github: GitHub) -> None:
    """No report tells of it, so it tells itself."""
    github.write(*github.named("a:1"), to="images-large.yaml")
    run = github.runner().dispatch(LARGE, inputs={"concurrency": "1000"})
    (told,) = ours(run.job("Part 1/1"))
    assert told.title == "Nothing was copied"
    assert told.message == "ASYNCSYNC_CONCURRENCY: '1000' is no whole number from 1 to 256"
    assert "1 not started" in run.job("summary").summary


@pytest.mark.parametrize("lost", [{"2"}, {"1", "2"}], ids=["one part", "all parts"])
def test_a_part_that_left_no_report_is_not_forgotten(
    github: GitHub, put: Callable[[str], None], lost: set[str]
) -> None:
    put("a:1")
    put("b:1")
    github.write(*github.named("a:1", "b:1"), to="images-large.yaml")
    machines = iter(["plan", "1", "2", "summary"])

    def lose_parts(_: Path) -> None:
        if next(machines) in lost:
            raise StepFailed("the machine is gone")

    run = github.runner(lose_parts).dispatch(LARGE, inputs={"shards": "2"})

    merged = run.job("summary")
    assert merged.conclusion == "failure"
    assert f"{len(lost)} not started" in merged.summary
    failed = (run.artifacts["image-sync"] / "failed.yaml").read_text().splitlines()
    missing = github.named("a:1", "b:1")[-len(lost) :]
    assert [line for line in failed if not line.startswith("#")] == missing


@pytest.mark.parametrize("lost", ["half a report", "an artifact"])
def test_what_is_damaged_of_a_part_hides_no_other_part(
    github: GitHub, put: Callable[[str], None], lost: str
) -> None:
    put("a:1")
    put("b:1")
    github.write(*github.named("a:1", "b:1"), to="images-large.yaml")

    def download(call: Call) -> None:
        artifacts, parts = github.folder / "github/run-1/artifacts", call.workspace / "parts"
        shutil.copytree(artifacts / "part-0-1", parts / "part-0-1")
        if lost == "an artifact":
            raise StepFailed("part-1-1 does not have its digest")
        shutil.copytree(artifacts / "part-1-1", parts / "part-1-1")
        os.truncate(parts / "part-1-1" / "report.json", 100)

    runner = github.runner(stand_ins={"actions/download-artifact": download})
    run = runner.dispatch(LARGE, inputs={"shards": "2"})

    assert [job.conclusion for job in run.jobs_of("sync")] == ["success", "success"]
    merged = run.job("summary")
    assert merged.conclusion == "failure"
    assert "1 copied, 1 not started" in merged.summary
    named = "parts/part-1-1/report.json is no report of sync"
    unread = [told.message for told in ours(merged) if told.title == "1 report left out"]
    assert [message.partition(":")[0] for message in unread] == [named] * (lost != "an artifact")
    failed = (run.artifacts["image-sync"] / "failed.yaml").read_text().splitlines()
    assert [line for line in failed if not line.startswith("#")] == github.named("b:1")


def test_failed_parts_alone_are_run_again_and_the_summary_tells_all(
    github: GitHub, put: Callable[[str], None]
) -> None:
    """What was copied is not copied again, and what failed before is not told any more."""
    put("a:1")
    github.write(*github.named("a:1", "late:1"), to="images-large.yaml")
    first = github.runner().dispatch(LARGE, inputs={"shards": "2"})
    assert [job.conclusion for job in first.jobs_of("sync")] == ["success", "failure"]
    put("late:1")
    second = first.rerun_failed()
    assert second.conclusion == "success", "\n".join(job.log for job in second.jobs)
    assert second.jobs_of("sync")[0] is first.jobs_of("sync")[0]
    assert "2 copied" in second.job("summary").summary
    assert "failed" not in second.job("summary").summary


def test_a_destination_mended_between_two_attempts_is_the_summarys_too(
    github: GitHub, put: Callable[[str], None], namespace: str
) -> None:
    put("a:1")
    github.write(*github.named("a:1"), to="images-large.yaml")
    right, github.secrets["REGISTRY"] = github.secrets["REGISTRY"], "127.0.0.1:1"
    first = github.runner().push(LARGE)
    assert [job.conclusion for job in first.jobs] == ["success", "failure", "failure"]
    github.secrets["REGISTRY"] = right
    second = first.rerun_failed()
    assert second.conclusion == "success", "\n".join(job.log for job in second.jobs)
    assert "1 copied" in second.job("summary").summary
    assert github.target.tags(f"of_{namespace}/the__team/a") == ["1"]


def test_a_short_secret_costs_a_large_list_no_deadline(
    github: GitHub, put: Callable[[str], None]
) -> None:
    """GitHub drops an output of a job that contains a secret, be it as short as 20."""
    put("a:1")
    github.secrets["REGISTRY_NAMESPACE"] = "20"
    github.write(*github.named("a:1"), to="images-large.yaml")
    run = github.runner().push(LARGE)
    assert run.conclusion == "success"
    (part,) = run.jobs_of("sync")
    assert part.step("settings").outputs == {"deadline": "20400s"}


@pytest.mark.parametrize(
    ("images", "shards", "jobs"),
    [(0, "0", 1), (50, "0", 1), (51, "0", 2), (2000, "0", 20), (3, "4", 4), (3, "007", 7)],
)
def test_a_list_is_split_by_its_length_unless_told_otherwise(
    images: int, shards: str, jobs: int, github: GitHub
) -> None:
    github.write(*(f"image{n}:1" for n in range(images)), to="images-large.yaml")

    def copy_nothing(workspace: Path) -> None:
        action = workspace / ".github/actions/sync/action.yml"
        declared = action.read_text().partition("outputs:")[0]
        nothing = "runs: {using: composite, steps: [{run: 'true', shell: bash}]}\n"
        action.write_text(declared + nothing)

    run = github.runner(copy_nothing).dispatch(LARGE, inputs={"shards": shards})
    names = [job.name for job in run.jobs_of("sync")]
    assert names == [f"Part {index}/{jobs}" for index in range(1, jobs + 1)]


@pytest.mark.parametrize("shards", ["257", "-1", "1.5", "many", "1000"])
def test_a_wrong_number_of_jobs_is_one_error(github: GitHub, shards: str) -> None:
    github.write("a:1", to="images-large.yaml")
    run = github.runner().dispatch(LARGE, inputs={"shards": shards})
    (told,) = ours(run.job("plan"))
    assert told.title == "Wrong number of jobs"
    assert {job.conclusion for job in run.jobs[1:]} == {"skipped"}


def test_ci_runs_the_readmes_test_command_as_root_on_every_python(
    tmp_path: Path, installed: Path
) -> None:
    """`sudo` here only notes what it was given: the suite cannot run inside itself."""
    command = next(line for line in README_COMMANDS if line.startswith("tests/run"))
    noted = tmp_path / "noted"
    _script(tmp_path / "sudo", f'echo "$@" >>{noted}; env | grep ^ASYNCSYNC_ >>{noted}')

    def python(call: Call) -> Mapping[str, str]:
        return {"python-path": f"/python/{call.inputs['python-version']}/bin/python"}

    run = Runner(
        ROOT, folder=tmp_path / "github", stand_ins={"actions/setup-python": python},
        variables={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    ).push(".github/workflows/ci.yaml")  # fmt: skip

    assert run.conclusion == "success"
    *names, lowest = (job.name for job in run.jobs_of("test"))
    assert (names[0], names[-1]) == ("Python 3.11", "Python 3.x")  # the newest, whatever it is
    assert lowest == "Python 3.11, lowest versions"
    lines = noted.read_text().splitlines()
    kept = "CI,ASYNCSYNC_PYTHON,ASYNCSYNC_CONSTRAINTS"
    assert lines[::3] == [f"--preserve-env={kept} {command}"] * (len(names) + 1)
    assert set(lines[1:3]) == {
        "ASYNCSYNC_PYTHON=/python/3.11/bin/python", "ASYNCSYNC_CONSTRAINTS=",
    }  # fmt: skip
    assert set(lines[-2:]) == {
        "ASYNCSYNC_PYTHON=/python/3.11/bin/python", "ASYNCSYNC_CONSTRAINTS=tests/lowest.txt",
    }  # fmt: skip
