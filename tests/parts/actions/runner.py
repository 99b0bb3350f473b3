"""The door: a repository with its secrets and settings, the events that start its workflows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from parts.actions.files import Workflow, WorkflowRefused, read_workflow
from parts.actions.jobs import JobResult, Jobs
from parts.actions.machine import Cancellation, Status
from parts.actions.processes import Grace
from parts.actions.stand_ins import Artifacts, StandIn, built_in
from parts.expressions import Scope, Value, fill, fill_text, parse_number, text_of

_SHA = "5ca1ab1e" * 5
_TOKEN = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
_SERVER = "https://github.com"
_INPUT_TYPES = {"string", "boolean", "number", "choice", "environment"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a workflow's run."""

    name: str
    jobs: tuple[JobResult, ...]
    artifacts: Mapping[str, Path]  # by name, each a folder
    conclusion: Status
    permissions: Value
    concurrency: Value
    rerun_failed: Callable[[], Run]  # the button: failed jobs again, and what follows upon them

    def job(self, name: str) -> JobResult:
        """The one job with this id or name. A job with a matrix has a name for each."""
        found = [job for job in self.jobs if name in {job.id, job.name}]
        if len(found) != 1:
            there = ", ".join(repr(job.name) for job in self.jobs)
            raise LookupError(f"{len(found)} jobs are called {name!r}; there are {there}")
        return found[0]

    def jobs_of(self, id: str) -> tuple[JobResult, ...]:  # noqa: A002  as a workflow calls it
        """The jobs of a matrix, in its order."""
        return tuple(job for job in self.jobs if job.id == id)


class Runner:
    """Runs workflows of the repository in `source`; each job's machine is a folder in `folder`.

    `edit` changes what checkout has copied. `hosted`: the machines are GitHub's own. `fork`: the
    repository is a fork, and a pull request comes from one, so without secrets. `stand_ins` are
    functions for actions by their names, without `@…`; `variables` are those that the runner's own
    process would have.
    """

    def __init__(
        self,
        source: Path,
        *,
        folder: Path,
        secrets: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,  # the repository's `vars`
        variables: Mapping[str, str] | None = None,
        repository: str = "team/mirror",
        branch: str = "main",
        fork: bool = False,
        hosted: bool = True,
        stand_ins: Mapping[str, StandIn] | None = None,
        edit: Callable[[Path], None] | None = None,
        grace: Grace = Grace(),  # noqa: B008  a value
        seconds_a_minute: float = 60,  # of a step's timeout-minutes
    ) -> None:
        self._source, self._folder, self._edit = source, folder, edit
        self._secrets, self._settings = secrets or {}, settings or {}
        self._variables, self._stand_ins = variables or {}, stand_ins or {}
        self._repository, self._branch, self._fork = repository, branch, fork
        self._hosted = hosted
        self._grace, self._seconds_a_minute = grace, seconds_a_minute

    def push(self, workflow: str, *, cancel_when: Callable[[str], bool] | None = None) -> Run:
        """Run it as after a push: every `inputs.x` is null."""
        event = {"ref": f"refs/heads/{self._branch}", "after": _SHA}
        return self._run("push", workflow, event=event, cancel_when=cancel_when)

    def schedule(self, workflow: str, *, cancel_when: Callable[[str], bool] | None = None) -> Run:
        """Run it as at its hour: every `inputs.x` is null."""
        return self._run("schedule", workflow, event={}, cancel_when=cancel_when)

    def pull_request(
        self, workflow: str, *, cancel_when: Callable[[str], bool] | None = None
    ) -> Run:
        """Run it as for a pull request: from a fork, if `fork`, and then without secrets."""
        head = f"stranger/{self._name}" if self._fork else self._repository
        repo: Value = {"full_name": head, "fork": self._fork}
        pull: Value = {"number": 7, "head": {"ref": "patch", "sha": _SHA, "repo": repo}}
        event: dict[str, Value] = {"action": "synchronize", "number": 7, "pull_request": pull}
        secrets = {} if self._fork else self._secrets
        return self._run(
            "pull_request", workflow, event=event, cancel_when=cancel_when, secrets=secrets
        )

    def dispatch(
        self,
        workflow: str,
        *,
        inputs: Mapping[str, str] | None = None,
        cancel_when: Callable[[str], bool] | None = None,
    ) -> Run:
        """Run it by hand with `inputs`, texts as the form sends them; others have defaults."""
        return self._run(
            "workflow_dispatch", workflow, event={"ref": f"refs/heads/{self._branch}"},
            inputs=inputs or {}, cancel_when=cancel_when,
        )  # fmt: skip

    @property
    def _name(self) -> str:
        return self._repository.rpartition("/")[2]

    def _run(
        self,
        event_name: str,
        path: str,
        *,
        event: Mapping[str, Value],
        cancel_when: Callable[[str], bool] | None,
        secrets: Mapping[str, str] | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> Run:
        workflow = read_workflow(self._source / path, path)
        if event_name not in workflow.triggers:
            raise WorkflowRefused(f"{path} is not started by {event_name}")
        typed = {} if inputs is None else _dispatch_inputs(workflow, inputs)
        number = 1 + len(list(self._folder.glob("run-*")))
        folder = self._folder / f"run-{number}"
        artifacts = Artifacts(folder / "artifacts")

        def attempt(count: int, before: tuple[JobResult, ...]) -> Run:
            return self._attempt(
                workflow, folder / f"attempt-{count}", artifacts,
                self._github(event_name, workflow, event, typed, number, count), typed,
                secrets=secrets, cancel_when=cancel_when if count == 1 else None, kept=before,
                again=lambda done: attempt(count + 1, done),
            )  # fmt: skip

        return attempt(1, ())

    def _attempt(
        self,
        workflow: Workflow,
        folder: Path,
        artifacts: Artifacts,
        github: Mapping[str, Value],
        typed: Mapping[str, Value],
        *,
        secrets: Mapping[str, str] | None,
        cancel_when: Callable[[str], bool] | None,
        kept: tuple[JobResult, ...],
        again: Callable[[tuple[JobResult, ...]], Run],
    ) -> Run:
        artifacts.begin_attempt()
        all_secrets = {"GITHUB_TOKEN": _TOKEN, **(self._secrets if secrets is None else secrets)}
        contexts: dict[str, Value] = {
            "github": github, "inputs": typed, "vars": self._settings, "secrets": all_secrets,
        }  # fmt: skip
        cancellation = Cancellation(cancel_when) if cancel_when else Cancellation()
        jobs = Jobs(
            workflow=workflow, folder=folder, contexts=contexts, variables=self._variables,
            cancellation=cancellation, grace=self._grace,
            stand_ins=built_in(self._source, self._edit, artifacts) | dict(self._stand_ins),
            seconds_a_minute=self._seconds_a_minute, hosted=self._hosted, kept=kept,
        )  # fmt: skip
        done = tuple(jobs.run())
        scope = Scope(contexts)
        return Run(
            name=fill_text(workflow.run_name, scope) or workflow.name, jobs=done,
            artifacts=artifacts.paths, permissions=workflow.permissions,
            concurrency=fill(workflow.concurrency, scope), conclusion=_conclusion(done),
            rerun_failed=lambda: again(done),
        )  # fmt: skip

    def _github(
        self,
        event_name: str,
        workflow: Workflow,
        event: Mapping[str, Value],
        inputs: Mapping[str, Value],
        number: int,
        attempt: int,
    ) -> Mapping[str, Value]:
        pull = event_name == "pull_request"
        ref = "refs/pull/7/merge" if pull else f"refs/heads/{self._branch}"
        owner = self._repository.partition("/")[0]
        repository: Mapping[str, Value] = {
            "name": self._name, "full_name": self._repository, "fork": self._fork,
            "default_branch": "main", "owner": {"login": owner}, "private": False,
        }  # fmt: skip
        texts = {name: text_of(value) for name, value in inputs.items()}
        by_hand = {"inputs": texts} if event_name == "workflow_dispatch" else {}
        return {
            "repository": self._repository, "repository_owner": owner, "sha": _SHA, "ref": ref,
            "ref_name": "7/merge" if pull else self._branch, "ref_type": "branch",
            "head_ref": "patch" if pull else "", "base_ref": self._branch if pull else "",
            "event_name": event_name, "event": {**event, **by_hand, "repository": repository},
            "run_id": str(1_000_000 + number), "run_number": str(number),
            "run_attempt": str(attempt), "workflow": workflow.name, "actor": owner,
            "workflow_ref": f"{self._repository}/{workflow.path}@{ref}",
            "triggering_actor": owner, "server_url": _SERVER, "api_url": "https://api.github.com",
            "token": _TOKEN,
        }  # fmt: skip


def _dispatch_inputs(workflow: Workflow, given: Mapping[str, str]) -> dict[str, Value]:
    """What the form or the API makes of `given`: texts, but booleans as booleans."""
    trigger = workflow.triggers["workflow_dispatch"]
    declared = trigger.get("inputs") if isinstance(trigger, Mapping) else None
    declared = declared if isinstance(declared, Mapping) else {}
    if unknown := given.keys() - declared.keys():
        raise WorkflowRefused(f"{workflow.path} has no input {', '.join(unknown)}")
    return {name: _input(name, about, given.get(name)) for name, about in declared.items()}


def _input(name: str, about: Value, given: str | None) -> Value:
    about = about if isinstance(about, Mapping) else {}
    kind = text_of(about.get("type")) or "string"
    options = about.get("options")
    value = text_of(about.get("default")) if given is None else given
    if text_of(about.get("required")) == "true" and not value:
        raise WorkflowRefused(f"input {name} is required")
    if kind not in _INPUT_TYPES or (kind == "choice") != isinstance(options, list):
        raise WorkflowRefused(f"input {name} has a wrong type or options")
    if kind == "boolean":
        if value not in {"", "true", "false"}:
            raise WorkflowRefused(f"input {name}: {value!r} is neither true nor false")
        return value == "true"
    if kind == "number" and parse_number(value) != parse_number(value):  # NaN
        raise WorkflowRefused(f"input {name}: {value!r} is no number")
    if isinstance(options, list) and value not in {"", *map(text_of, options)}:
        raise WorkflowRefused(f"input {name}: {value!r} is none of its options")
    return value


def _conclusion(jobs: tuple[JobResult, ...]) -> Status:
    told = {job.conclusion for job in jobs}
    order: tuple[Status, ...] = ("failure", "cancelled", "success")
    return next((status for status in order if status in told), "skipped")
