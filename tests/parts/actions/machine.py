"""A job's machine: fresh folders, variables, PATH, masks, and what its steps hand to later ones."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from parts.actions.log import Masks, StepLog, read_pairs
from parts.actions.processes import Grace
from parts.expressions import Value, text_of
from parts.processes import clean_environment

SUMMARY_BYTES_MAX = 1024 * 1024  # of one step; a larger one is dropped whole

Status: TypeAlias = Literal["success", "failure", "cancelled", "skipped"]

_FILES = ("ENV", "PATH", "OUTPUT", "STATE", "STEP_SUMMARY")
_FROM_GITHUB = (
    "repository", "repository_owner", "ref", "ref_name", "ref_type", "sha", "head_ref", "base_ref",
    "event_name", "run_id", "run_number", "run_attempt", "workflow", "workflow_ref", "job",
    "actor", "triggering_actor", "server_url", "api_url",
)  # fmt: skip


@dataclass
class Cancellation:
    """Whether somebody has cancelled the run: when a line of a step was `wanted_at`."""

    wanted_at: Callable[[str], bool] = lambda line: False
    happened: bool = False

    def begins_at(self, line: str) -> bool:
        """Whether the run is cancelled at this line, and was not before."""
        if not self.happened and self.wanted_at(line):
            self.happened = True
            return True
        return False


@dataclass
class Machine:
    """What the steps of one job share. `environment` is what `env` and GITHUB_ENV have set."""

    folder: Path
    variables: Mapping[str, str]  # of the runner's own process, as the test gives them
    masks: Masks
    contexts: dict[str, Value]
    cancellation: Cancellation
    grace: Grace = field(default_factory=Grace)
    seconds_a_minute: float = 60
    hosted: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    status: Status = "success"
    tracking_id: str = field(default_factory=lambda: f"github_{uuid.uuid4()}")

    def __post_init__(self) -> None:
        repository = text_of(self.github["repository"]).rpartition("/")[2]
        self.workspace = self.folder / "work" / repository / repository
        self.temp = self.folder / "work" / "_temp"
        self.tools, self.home = self.folder / "tools", self.folder / "home"
        for folder in (self.workspace, self.temp, self.tools, self.home):
            folder.mkdir(parents=True)
        self.contexts["github"] = {**self.github, "workspace": str(self.workspace)}
        self.event_path = self.temp / "_github_workflow" / "event.json"
        self.event_path.parent.mkdir()
        self.event_path.write_text(json.dumps(self.github["event"]))
        self.contexts["runner"] = {
            "os": "Linux", "arch": "X64", "name": "Local", "environment": self.environment_kind,
            "temp": str(self.temp), "tool_cache": str(self.tools),
        }  # fmt: skip

    @property
    def environment_kind(self) -> str:
        return "github-hosted" if self.hosted else "self-hosted"

    @property
    def github(self) -> Mapping[str, Value]:
        github = self.contexts["github"]
        return github if isinstance(github, Mapping) else {}

    def process_environment(
        self, env: Mapping[str, str], action: Path | None = None
    ) -> dict[str, str]:
        """The variables of a process with this `env`: GitHub's own win, CI alone gives way."""
        base = {"CI": "true", **clean_environment(self.home, **self.variables), **env}
        github = {f"GITHUB_{name.upper()}": text_of(self.github.get(name)) for name in _FROM_GITHUB}
        return {
            **base, **github,
            "GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(self.event_path),
            "GITHUB_WORKSPACE": str(self.workspace),
            **({"GITHUB_ACTION_PATH": str(action)} if action else {}),
            "PATH": ":".join([*reversed(self.path), base["PATH"]]),
            "RUNNER_OS": "Linux", "RUNNER_ARCH": "X64", "RUNNER_NAME": "Local",
            "RUNNER_ENVIRONMENT": self.environment_kind, "RUNNER_TEMP": str(self.temp),
            "RUNNER_TOOL_CACHE": str(self.tools), "RUNNER_TRACKING_ID": self.tracking_id,
        }  # fmt: skip


class CommandFiles:
    """The files of one step into which it writes what later steps, or GitHub, are to know."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        folder = machine.temp / "_runner_file_commands"
        folder.mkdir(exist_ok=True)
        mark = uuid.uuid4()
        self._paths = {name: folder / f"{name.lower()}_{mark}" for name in _FILES}
        for path in self._paths.values():
            path.touch()
        self.outputs: dict[str, str] = {}
        self.summary = ""

    @property
    def variables(self) -> dict[str, str]:
        return {f"GITHUB_{name}": str(path) for name, path in self._paths.items()}

    def apply(self, log: StepLog) -> bool:
        """Do what the files say. False if one is wrong, which fails the step."""
        right = True
        reads = {"PATH": self._path, "ENV": self._env, "OUTPUT": self._output, "STATE": read_pairs}
        for name, read in reads.items():
            try:
                read(self._read(name))
            except ValueError as error:
                log.tell("error", f"Unable to process file command '{name.lower()}' successfully.")
                log.tell("error", str(error))
                right = False
        self._take_summary(log)
        return right

    def _read(self, name: str) -> str:
        path = self._paths[name]
        return path.read_bytes().decode(errors="replace") if path.exists() else ""

    def _path(self, text: str) -> None:
        for line in filter(None, text.split("\n")):
            if line in self._machine.path:
                self._machine.path.remove(line)
            self._machine.path.append(line)

    def _env(self, text: str) -> None:
        pairs = dict(read_pairs(text))
        if "NODE_OPTIONS" in {name.upper() for name in pairs}:
            raise ValueError(
                "Can't store NODE_OPTIONS output parameter using '$GITHUB_ENV' command."
            )
        self._machine.environment.update(pairs)

    def _output(self, text: str) -> None:
        self.outputs.update(read_pairs(text))

    def _take_summary(self, log: StepLog) -> None:
        path = self._paths["STEP_SUMMARY"]
        size = os.path.getsize(path) if path.exists() else 0
        if size > SUMMARY_BYTES_MAX:
            log.tell(
                "error",
                "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of 1024k, "
                f"got {size // 1024}k.",
            )
        elif size:
            lines = io.StringIO(self._read("STEP_SUMMARY"), newline=None)
            hide = self._machine.masks.hide
            self.summary = "".join(hide(line.removesuffix("\n")) + "\n" for line in lines)
