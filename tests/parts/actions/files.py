"""Workflow files and `action.yml`: read, checked as GitHub checks them before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from parts.expressions import Scope, Value, check, check_condition, parse_number, text_of

_JOB_STRATEGY = ("github", "inputs", "vars", "needs")
_JOB = (*_JOB_STRATEGY, "strategy", "matrix")
_STEP = (*_JOB, "steps", "job", "runner", "env")
_COMPOSITE = ("github", "inputs", "strategy", "matrix", "steps", "job", "runner", "env")
_STATUS = ("success", "failure", "cancelled", "always")

_WORKFLOW_KEYS = {
    "name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs",
}  # fmt: skip
_JOB_KEYS = {
    "name", "needs", "if", "runs-on", "permissions", "env", "defaults", "concurrency", "outputs",
    "strategy", "timeout-minutes", "continue-on-error", "steps",
}  # fmt: skip
_STEP_KEYS = {
    "id", "name", "if", "uses", "with", "run", "shell", "working-directory", "env",
    "continue-on-error", "timeout-minutes",
}  # fmt: skip
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class WorkflowRefused(Exception):
    """GitHub would not run this file or this call of it, or it needs what is not modelled here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """A step as written: nothing of it is evaluated."""

    id: str | None = None
    name: str | None = None
    condition: str = ""
    uses: str | None = None
    inputs: Mapping[str, Value] = field(default_factory=dict)
    run: str | None = None
    shell: str | None = None
    working_directory: str | None = None
    env: Mapping[str, Value] = field(default_factory=dict)
    continue_on_error: Value = False
    timeout_minutes: Value = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A job as written: nothing of it is evaluated."""

    id: str
    name: str | None
    needs: tuple[str, ...]
    condition: str
    runs_on: Value
    permissions: Value
    concurrency: Value
    env: Mapping[str, Value]
    defaults: Mapping[str, Value]
    outputs: Mapping[str, Value]
    strategy: Mapping[str, Value]
    timeout_minutes: Value
    continue_on_error: Value
    steps: tuple[StepPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow file; its jobs stand in an order in which each follows what it needs."""

    path: str
    name: str
    run_name: Value
    triggers: Mapping[str, Value]
    permissions: Value
    concurrency: Value
    env: Mapping[str, Value]
    jobs: Mapping[str, JobPlan]

    def ancestors(self, job: str) -> set[str]:
        """All jobs that must have ended before `job`."""
        needs = self.jobs[job].needs
        return {*needs, *(above for need in needs for above in self.ancestors(need))}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeAction:
    """An action.yml whose steps run within the caller's job."""

    folder: Path
    defaults: Mapping[str, Value]
    required: frozenset[str]
    outputs: Mapping[str, Value]
    steps: tuple[StepPlan, ...]


def read_workflow(path: Path, name: str) -> Workflow:
    """Read and check the file at `path`, which GitHub knows as `name`."""
    whole = _mapping(_load(path), name, _WORKFLOW_KEYS)
    check([whole.get("run-name"), whole.get("concurrency")], _names(*_JOB_STRATEGY[:3]))
    check(whole.get("env"), _names(*_JOB_STRATEGY[:3], "secrets"))
    defaults = _run_defaults(whole.get("defaults"), name)
    plans = {
        name: _job(name, value, defaults, whole.get("permissions"))
        for name, value in _mapping(whole.get("jobs"), "jobs").items()
    }
    return Workflow(
        path=name, name=text_of(whole.get("name")) or name, run_name=whole.get("run-name"),
        triggers=_triggers(whole.get("on")), permissions=whole.get("permissions"),
        concurrency=whole.get("concurrency"), env=_mapping(whole.get("env"), "env"),
        jobs={job.id: job for job in _in_order(plans)},
    )  # fmt: skip


def read_action(folder: Path) -> CompositeAction:
    """Read and check the action.yml in `folder`. Raises FileNotFoundError without one."""
    path = next((p for n in ("action.yml", "action.yaml") if (p := folder / n).exists()), None)
    if path is None:
        raise FileNotFoundError(folder)
    keys = {"name", "description", "author", "branding", "inputs", "outputs", "runs"}
    whole = _mapping(_load(path), str(path), keys)
    runs = _mapping(whole.get("runs"), "runs", {"using", "steps"})
    if runs.get("using") != "composite":
        raise WorkflowRefused(f"{path}: only composite actions are modelled")
    fields = {"description", "required", "default", "deprecationMessage"}
    inputs = {k: _mapping(v, k, fields) for k, v in _mapping(whole.get("inputs"), "").items()}
    outputs = {
        k: _mapping(v, k, {"description", "value"}).get("value")
        for k, v in _mapping(whole.get("outputs"), "outputs").items()
    }
    defaults = {name: value.get("default") for name, value in inputs.items()}
    required = frozenset(k for k, v in inputs.items() if text_of(v.get("required")) == "true")
    check(defaults, _names("github", "strategy", "matrix", "job", "runner"))
    check(outputs, _names(*_COMPOSITE))
    return CompositeAction(
        folder=folder, defaults=defaults, outputs=outputs,
        required=frozenset(name for name in required if defaults[name] is None),
        steps=_steps(runs.get("steps"), _COMPOSITE, _COMPOSITE, action=True),
    )  # fmt: skip


def _job(id: str, value: Value, defaults: Mapping[str, Value], permissions: Value) -> JobPlan:  # noqa: A002
    job = _mapping(value, f"job {id}", _JOB_KEYS)
    if not _ID.fullmatch(id):
        raise WorkflowRefused(f"{id!r} is no name for a job")
    if "runs-on" not in job:
        raise WorkflowRefused(f"job {id} lacks runs-on")
    condition = text_of(job.get("if"))
    check_condition(condition, _names(*_JOB_STRATEGY, functions=_STATUS))
    check(job.get("strategy"), _names(*_JOB_STRATEGY))
    placed = ("name", "runs-on", "concurrency", "timeout-minutes", "continue-on-error")
    check([job.get(key) for key in placed], _names(*_JOB))
    check(job.get("env"), _names(*_JOB, "secrets"))
    check(job.get("outputs"), _names(*_STEP, "secrets"))
    own_defaults = _run_defaults(job.get("defaults"), f"job {id}")
    check(own_defaults, _names(*_JOB, "env"))
    needs = job.get("needs")
    return JobPlan(
        id=id, name=_text(job.get("name")), condition=condition, runs_on=job["runs-on"],
        needs=(needs,) if isinstance(needs, str) else tuple(map(text_of, _items(needs, "needs"))),
        permissions=job.get("permissions", permissions), concurrency=job.get("concurrency"),
        env=_mapping(job.get("env"), "env"), defaults={**defaults, **own_defaults},
        outputs=_mapping(job.get("outputs"), "outputs"),
        strategy=_mapping(job.get("strategy"), "", {"matrix", "fail-fast", "max-parallel"}),
        timeout_minutes=job.get("timeout-minutes", 360),
        continue_on_error=job.get("continue-on-error", False),
        steps=_steps(job.get("steps"), (*_STEP, "secrets"), _STEP, action=False),
    )  # fmt: skip


def _steps(
    value: Value, contexts: Iterable[str], if_contexts: Iterable[str], *, action: bool
) -> tuple[StepPlan, ...]:
    keys = _STEP_KEYS - {"timeout-minutes"} if action else _STEP_KEYS
    scope, if_scope = _names(*contexts), _names(*if_contexts, functions=_STATUS)
    steps = tuple(
        _step(_mapping(item, "a step", keys), scope, if_scope) for item in _items(value, "steps")
    )
    ids = [step.id for step in steps if step.id]
    if len(set(ids)) < len(ids) or not all(map(_ID.fullmatch, ids)):
        raise WorkflowRefused(f"the steps' ids are wrong or not unique: {', '.join(ids)}")
    for step in steps:
        if action and step.run is not None and step.shell is None:
            raise WorkflowRefused(f"{step.name or step.run!r}: a run of an action needs its shell")
    return steps


def _step(step: Mapping[str, Value], scope: Scope, if_scope: Scope) -> StepPlan:
    if ("run" in step) == ("uses" in step) or ("run" in step and "with" in step):
        raise WorkflowRefused(f"{dict(step)}: a step has run, or uses and with")
    if "uses" in step and step.keys() & {"shell", "working-directory"}:
        raise WorkflowRefused(f"{dict(step)}: only run has a shell and a working-directory")
    condition = text_of(step.get("if"))
    check_condition(condition, if_scope)
    if "${{" in text_of(step.get("uses")):
        raise WorkflowRefused(f"{step['uses']}: uses has no expressions")
    check({k: v for k, v in step.items() if k not in {"if", "id", "uses"}}, scope)
    return StepPlan(
        id=_text(step.get("id")), name=_text(step.get("name")), condition=condition,
        uses=_text(step.get("uses")), inputs=_mapping(step.get("with"), "with"),
        run=_text(step.get("run")), shell=_text(step.get("shell")),
        working_directory=_text(step.get("working-directory")),
        env=_mapping(step.get("env"), "env"), timeout_minutes=step.get("timeout-minutes"),
        continue_on_error=step.get("continue-on-error", False),
    )  # fmt: skip


def _in_order(plans: Mapping[str, JobPlan]) -> list[JobPlan]:
    ordered: dict[str, JobPlan] = {}
    while waiting := [plan for plan in plans.values() if plan.id not in ordered]:
        ready = [plan for plan in waiting if all(need in ordered for need in plan.needs)]
        if not ready:
            raise WorkflowRefused(f"jobs need what is not there, or each other: {list(plans)}")
        ordered.update((plan.id, plan) for plan in ready)
    return list(ordered.values())


def _triggers(value: Value) -> Mapping[str, Value]:
    if isinstance(value, str):
        return {value: None}
    if isinstance(value, list):
        return {text_of(event): None for event in value}
    return _mapping(value, "on")


def _run_defaults(value: Value, where: str) -> Mapping[str, Value]:
    run = _mapping(value, f"defaults of {where}", {"run"}).get("run")
    return _mapping(run, f"defaults.run of {where}", {"shell", "working-directory"})


def _names(*contexts: str, functions: Iterable[str] = ()) -> Scope:
    return Scope(dict.fromkeys(contexts), dict.fromkeys(functions, lambda: True))


def _text(value: Value) -> str | None:
    return None if value is None else text_of(value)


def _items(value: Value, where: str) -> Sequence[Value]:
    if value is not None and not isinstance(value, list):
        raise WorkflowRefused(f"{where}: a list was expected")
    return value or []


def _mapping(value: Value, where: str, keys: set[str] | None = None) -> Mapping[str, Value]:
    if value is not None and not isinstance(value, Mapping):
        raise WorkflowRefused(f"{where}: a mapping was expected")
    mapping = value or {}
    if keys is not None and (unknown := mapping.keys() - keys):
        raise WorkflowRefused(f"{where}: {', '.join(sorted(unknown))} is unknown, or not modelled")
    return mapping


class _Yaml12(yaml.CSafeLoader):
    """YAML 1.2 as GitHub reads it: `on`, `yes` and dates are texts, 010 is ten."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  the class's own, not the parent's


def _number(loader: _Yaml12, node: yaml.ScalarNode) -> Value:
    return parse_number(str(loader.construct_scalar(node)))


def _unique(loader: _Yaml12, node: yaml.MappingNode) -> dict[str, Value]:
    keys = [str(loader.construct_scalar(key)) for key, _ in node.value]
    if len(set(keys)) < len(keys):
        raise WorkflowRefused(f"a key stands twice among {', '.join(keys)}")
    values = [loader.construct_object(value, deep=True) for _, value in node.value]
    return dict(zip(keys, values, strict=True))


_KINDS = {
    "null": (r"~|null|Null|NULL", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
}
for _kind, (_pattern, _first) in _KINDS.items():
    _Yaml12.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), list(_first)
    )
_Yaml12.yaml_implicit_resolvers.setdefault("", []).append(
    ("tag:yaml.org,2002:null", re.compile(r"$"))
)
_Yaml12.add_constructor("tag:yaml.org,2002:int", _number)
_Yaml12.add_constructor("tag:yaml.org,2002:float", _number)
_Yaml12.add_constructor("tag:yaml.org,2002:map", _unique)


def _load(path: Path) -> Value:
    with path.open(encoding="utf-8") as file:
        loaded: Value = yaml.load(file, _Yaml12)  # noqa: S506  a safe loader's child
    return loaded
