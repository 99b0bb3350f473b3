"""README is true: its commands run, its transcript is what they print, its tables are complete."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import anyio
import click
import pytest
import yaml
from parts.commands import Command
from parts.engine import Engine
from parts.registry import Registry
from parts.serve import ServedFolder

from asyncsync import api, settings
from asyncsync.cli.serve import serve
from asyncsync.cli.sync import sync

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LIST = "images.yaml"
TARGET = "registry.example/team"
PLATFORMS = tuple(
    f"linux/{name}"
    for name in ("amd64", "arm64", "arm/v7", "ppc64le", "s390x", "386", "riscv64", "arm/v6")
)

pytestmark = pytest.mark.timeout(240)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


class Stage:
    """The world that README speaks of, on loopback: its list, its images, its registry."""

    def __init__(self, source: Registry, target: Registry, namespace: str, folder: Path) -> None:
        self.folder, self.target = folder, f"{target.host}/team"
        self._at = f"{source.host}/{namespace}/"
        self._host = source.host
        list_ = blocks("yaml")[0]
        source.put_index(f"{namespace}/alpine", "3.22", PLATFORMS, layers=1)
        for name in ("nginx:1.27", "quay.io/prometheus/prometheus:v3.1.0"):
            repository, tag = name.split(":")
            source.put_image(f"{namespace}/{repository}", tag, size=300_000)
        (folder / LIST).write_text(re.sub(r"^(?=\w)", self._at, list_, flags=re.MULTILINE))

    def staged(self, text: str) -> str:
        """README's words, as they are to be on this stage."""
        return text.replace(TARGET, self.target).replace("registry.example", self.target[:-5])

    def said(self, text: str) -> list[str]:
        """What was printed here, as README would have it, without figures and order."""
        text = (
            text.replace(self._at, "").replace(self.target, TARGET).replace(self._host, "docker.io")
        )
        return same(text)


def same(text: str) -> list[str]:
    """Lines without sizes, times, versions, columns and order."""
    text = text.replace("docker.io/library/", "")
    text = re.sub(r"Docker \S+ answers at \S+", "Docker answers", text)
    text = re.sub(r"here linux/\w+", "here linux/amd64", text)  # the engine's own
    text = re.sub(r"\n {9,}", " ", text)  # a long name has its target on a line of its own
    text = re.sub(r"\b\d[\d.]* (?:B|kB|MB|GB|s|min|h)\b", "#", text)
    return sorted(" ".join(line.split()) for line in text.splitlines())


@pytest.fixture
def stage(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> Stage:
    return Stage(registry, own_registry, namespace, asyncsync_command.folder)


def test_the_transcript_is_what_the_commands_print(
    stage: Stage, engine: Engine, asyncsync_command: Command
) -> None:
    transcript = blocks("console")[0]
    for told in transcript.split("$ asyncsync ")[1:]:
        command, _, output = told.partition("\n")
        done = asyncsync_command(*stage.staged(command).split(), engine=engine)
        assert stage.said(done.stderr + done.stdout) == same(output)


def test_the_transcript_of_the_direct_way_is_what_the_command_prints(
    stage: Stage, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    many = PLATFORMS[:5]
    names = {
        "python:3.13": (many, 3),
        "nginx:1.27": (many[:3], 3),
        "nginx:1.27-perl": (many[:3], 4),
    }
    own_registry.put_index("team/python", "3.13", many, layers=1, seed="python")
    for name, (platforms, layers) in names.items():
        repository, tag = name.split(":")
        registry.put_index(
            f"{namespace}/{repository}", tag, platforms, layers=layers, seed=repository,
            attestation=True,
        )  # fmt: skip
    (stage.folder / LIST).write_text("".join(f"{stage._at}{name}\n" for name in names))
    command, _, output = blocks("console")[3].removeprefix("$ asyncsync ").partition("\n")
    done = asyncsync_command(*stage.staged(command).split())
    said = (stage.said(done.stderr + done.stdout), same(output))
    shared = re.compile(r", # shared(?= #$)")  # by which of the two it was brought is chance
    assert [len([line for line in lines if shared.search(line)]) for lines in said] == [1, 1]
    here, told = ([shared.sub("", line) for line in lines] for lines in said)
    assert here == told


def test_the_five_lines_carry_images_to_where_no_network_is(
    stage: Stage, registry: Registry, own_registry: Registry, asyncsync_command: Command
) -> None:
    lines = re.findall(r"^\$ (.*)$", blocks("console")[4], re.MULTILINE)
    assert len(lines) == 5
    listed = (stage.folder / LIST).read_text().splitlines()
    (stage.folder / LIST).write_text("\n".join(line for line in listed if "redis" not in line))
    (stage.folder / "stick").mkdir()
    script = stage.staged("\n".join(lines)).replace("/media/stick", "stick")
    ours = f'asyncsync() {{ "{sys.executable}" -m asyncsync "$@"; }}\nset -e\n'
    since = registry.mark()
    done = subprocess.run(
        ["bash", "-c", ours + script], cwd=stage.folder, env=asyncsync_command.environment(),
        text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("3 copied.") == 2
    for name, tag in (("alpine", "3.22"), ("nginx", "1.27"), ("prometheus", "v3.1.0")):
        (source,) = [line for line in listed if f"/{name}:" in line]
        repository = source.partition("#")[0].strip().partition("/")[2].rpartition(":")[0]
        assert own_registry.digest_of(f"team/{name}", tag) == registry.digest_of(repository, tag)
    assert registry.requests("GET", "/blobs/", since=since)


def test_the_commands_for_ci_run_and_leave_their_files(
    stage: Stage, engine: Engine, asyncsync_command: Command
) -> None:
    export, command = re.findall(r"^\$ (.*)$", blocks("console")[1], re.MULTILINE)
    variables = dict(pair.split("=") for pair in stage.staged(export).split()[1:])
    done = asyncsync_command(*command.split()[1:], engine=engine, env=variables)
    assert done.returncode == 1, done.stderr  # its list has a tag that does not exist
    assert done.stdout == (stage.folder / "report.json").read_text()
    assert "redis:7.99" in (stage.folder / "failed.yaml").read_text()


def test_the_parts_of_a_list_are_copied_and_told_as_one(
    stage: Stage, engine: Engine, asyncsync_command: Command
) -> None:
    commands = re.findall(r"^\$ asyncsync (.*)$", blocks("console")[2], re.MULTILINE)
    env = {"REGISTRY": stage.target}
    for command in commands:
        written, _, output = command.partition(" > ")
        done = asyncsync_command(*written.split(), engine=engine, env=env)
        if output:
            (stage.folder / output).write_text(done.stdout)
    assert done.returncode == 1, done.stderr  # its list has a tag that does not exist
    assert done.stdout.splitlines()[-2].startswith("3 copied, 1 failed.")


def test_the_step_for_other_workflows_fits_the_action() -> None:
    (step,) = yaml.safe_load(blocks("yaml")[1])
    path = step["uses"].removeprefix("OWNER/asyncsync/").removesuffix("@COMMIT")
    action = yaml.safe_load((ROOT / path / "action.yml").read_text())
    assert set(step["with"]) <= set(action["inputs"])
    (told,) = re.findall(r"# outputs: (.*)", README)
    assert told.split(", ") == list(action["outputs"])


def test_the_secrets_and_workflows_that_it_names_are_the_real_ones() -> None:
    workflows = [read.read_text() for read in sorted((ROOT / ".github/workflows").glob("images*"))]
    for text in workflows:
        for name in set(re.findall(r"secrets\.(\w+)", text)):
            assert f"`{name}`" in README
        (title,) = re.findall(r"^name: (.*)$", text, re.MULTILINE)
        assert f"*{title}*" in README


def test_the_commands_of_the_start_do_all_the_set_up(
    stage: Stage, engine: Engine, own_registry: Registry, asyncsync_command: Command
) -> None:
    """In a folder with nothing but the repository's own files, as a fresh clone is."""
    clone = stage.folder / "clone"
    clone.mkdir()
    for name in ("asyncsync", "pyproject.toml", "README.md", "LICENSE"):
        copy: Callable[..., object] = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, clone / name)
    listed = (stage.folder / LIST).read_text().splitlines()
    (clone / LIST).write_text("\n".join(line for line in listed if "redis" not in line))
    demo, line = (block.rstrip("\n") for block in blocks("bash")[:2])
    assert "\n" not in demo + line
    environment = {**os.environ, **asyncsync_command.environment(engine)}
    environment["HOME"] = os.environ["HOME"]  # where pip's own settings are
    for name in ("PYTHONPATH", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        environment.pop(name, None)
    environment["PATH"] = f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"
    for command, told in ((demo, "  .venv/bin/asyncsync sync --to YOUR-REGISTRY/NAMESPACE"),
                          (stage.staged(line), "3 copied")):  # fmt: skip
        done = subprocess.run(
            ["bash", "-c", command], cwd=clone, env=environment, text=True, capture_output=True,
            timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1].startswith(told)
    assert own_registry.tags("team/nginx") == ["1.27"]


def run_python(code: str, stage: Stage, engine: Engine) -> None:
    """Run an example: its `await` stands where a reader's own async code would have it."""
    code = stage.staged(code).replace('"nginx:1.27", "alpine:3.22"', f'"{stage._at}nginx:1.27"')
    code = code.replace(f'"{LIST}"', repr(str(stage.folder / LIST)))
    scope: dict[str, object] = {}
    exec("async def example():\n" + textwrap.indent(code, "    "), scope)  # noqa: S102  README's
    anyio.run(scope["example"])  # type: ignore[arg-type]


@pytest.mark.parametrize("code", blocks("python"))
def test_the_library_examples_run(
    code: str, stage: Stage, engine: Engine, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    monkeypatch.setenv("DOCKER_CONFIG", str(stage.folder))
    run_python(code, stage, engine)
    assert "nginx:1.27 copied" in capsys.readouterr().out


@pytest.mark.parametrize("function", [api.sync, api.open_sync], ids=lambda f: str(f.__name__))
def test_the_examples_in_docstrings_run(
    function: object, stage: Stage, engine: Engine, own_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    monkeypatch.setenv("DOCKER_CONFIG", str(stage.folder))
    listed = (stage.folder / LIST).read_text().splitlines()
    (stage.folder / LIST).write_text("\n".join(line for line in listed if "redis" not in line))
    (example,) = re.findall(r"\n\n((?: {4}.*\n)+)\n", inspect.getdoc(function) or "")
    code = textwrap.dedent(example).replace('["nginx:1.27"]', f'["{stage._at}nginx:1.27"]')
    run_python("import asyncsync\n" + code, stage, engine)
    assert own_registry.tags("team/nginx") == ["1.27"]


def test_the_benchmark_that_it_names_runs() -> None:
    line = blocks("bash")[-1].splitlines()[-1]
    script = line.split()[-1]
    done = subprocess.run(
        [sys.executable, script, "--jobs", "500", "--rounds", "1"], cwd=ROOT, text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "scheduler ÷ a task a job" in done.stdout


@pytest.mark.engine  # it starts an engine and registries of its own
@pytest.mark.registry
def test_the_benchmark_of_the_engine_way_runs_and_judges_its_goals() -> None:
    line = blocks("bash")[-1].splitlines()[-2]
    _, script, *options = line.split()
    small = ["--images", "2", "--rounds", "1", "--scale", "0.05"]
    contenders = ["--contenders", "serial,xargs-8,asyncsync-8"]
    done = subprocess.run(
        [sys.executable, script, *options, *small, *contenders], cwd=ROOT, text=True,
        capture_output=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "latency: 45 ms round trip; default limits of 3 down, 5 up" in done.stdout
    for judged in ("× serial (goal 4)", "× xargs-8 (goal 1)", "with nothing changed (goal 10)"):
        assert judged in done.stdout
    assert f"repeat: python {script} {' '.join(options)}" in done.stdout


def test_every_option_and_variable_is_in_the_table_and_no_other() -> None:
    (table,) = re.findall(r"^\| option \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    rows = [row.replace("\\|", "/").split("|")[1:-1] for row in table.strip().splitlines()[2:]]
    told = {option for row in rows for option in re.findall(r"--?[a-z][a-z-]*", row[0])}
    options = [param for param in sync.params if isinstance(param, click.Option)]
    real = {name for option in options for name in option.opts} - {"-h", "--help"}
    assert told == real
    text = " ".join(row[1] for row in rows)
    help_ = " ".join(option.help or "" for option in options)
    assert set(re.findall(r"(?:ASYNCSYNC|REGISTRY)_[A-Z_]+", help_)) <= set(
        re.findall(r"\w+", text)
    )


def test_the_defaults_in_table_and_help_are_the_library_s() -> None:
    default = settings.Settings()
    at_once = f"{settings.ENGINE_CONCURRENCY}; direct: {settings.DIRECT_CONCURRENCY}"
    for option, value in (
        ("concurrency", at_once), ("retries", default.retries), ("via", default.via)
    ):  # fmt: skip
        assert re.search(rf"^\| .*`--{option} .*\| {value} \|", README, re.MULTILINE)
        help_ = next(param.help for param in sync.params if param.name == option)  # type: ignore[attr-defined]
        assert f"default: {value}]" in help_
    assert f"1 to {settings.CONCURRENCY_MAX}" in README


def test_a_folder_is_served_as_it_says(tmp_path: Path, asyncsync_command: Command) -> None:
    with ServedFolder(tmp_path / "made") as made:
        made.put_image("nginx", "1.27")
    shutil.copytree(made.data, asyncsync_command.folder / "export")
    (transcript,) = [block for block in blocks("console") if "Serving export" in block]
    command, told = transcript.removeprefix("$ asyncsync ").splitlines()
    with asyncsync_command.started(*command.split(), "--listen", "127.0.0.1:0") as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        process.terminate()
        process.communicate(timeout=20)
    assert re.sub(r":\d{4,5}\b", ":5000", line) == told


def test_every_option_of_serve_is_in_its_table_and_no_other() -> None:
    (table,) = re.findall(r"^\| option of `serve` \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    rows = [row.replace("\\|", "/").split("|")[1:-1] for row in table.strip().splitlines()[2:]]
    told = {option for row in rows for option in re.findall(r"--?[a-z][a-z-]*", row[0])}
    options = [param for param in serve.params if isinstance(param, click.Option)]
    assert told == {name for option in options for name in option.opts} - {"-h", "--help"}
    for option in options:
        if isinstance(option.default, str):
            assert any(f" {option.default} " in row[1] for row in rows)
            assert f"default: {option.default}]" in (option.help or "")


def test_the_rooms_of_the_architecture_are_the_rooms_of_the_package() -> None:
    picture = README[README.index("asyncsync/\n  __init__.py") :]
    picture = picture[: picture.index("```")]
    told = set(re.findall(r"^ +([a-z_]+(?:\.py)?)", picture, re.MULTILINE))
    package = ROOT / "asyncsync"
    real = {path.name for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert real - {"__pycache__", "__main__.py"} <= told | {"stores"}
