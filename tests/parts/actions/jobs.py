"""Jobs: whether one runs, for which combinations of its matrix, and what came of each."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from parts.actions.files import JobPlan, Workflow, WorkflowRefused
from parts.actions.log import Annotation, Masks, StepLog
from parts.actions.machine import Cancellation, Machine, Status
from parts.actions.processes import Grace, end_left_behind
from parts.actions.stand_ins import StandIn
from parts.actions.steps import StepResult, Steps, find_step
from parts.expressions import (
    ExpressionFailed,
    Scope,
    Value,
    fill,
    fill_text,
    holds,
    text_of,
    truthy,
)

_MATRIX_MAX = 256  # jobs of one matrix
_EVERY_SECRET = re.compile(r"\{\{[^}]*\bsecrets\b(?!\.)")  # toJSON(secrets), secrets[…]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What came of a job, or of one combination of its matrix."""

    id: str
    name: str
    result: Status
    conclusion: Status  # as `needs` knows it: success if the job may fail
    matrix: Mapping[str, Value] = field(default_factory=dict)
    runs_on: Value = None
    permissions: Value = None
    concurrency: Value = None
    timeout_minutes: Value = None
    env: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[StepResult, ...] = ()
    own_annotations: tuple[Annotation, ...] = ()
    workspace: Path | None = None
    left_behind: tuple[str, ...] = ()  # command lines that still ran when the job ended

    def step(self, name: str) -> StepResult:
        """The step with this name or id; one within a composite action if no other has it."""
        return find_step(self.steps, name)

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        return (*(a for step in self.steps for a in step.annotations), *self.own_annotations)

    @property
    def summary(self) -> str:
        return "".join(step.summary for step in self.steps)

    @property
    def log(self) -> str:
        return "\n".join(line for step in self.steps for line in step.lines)

    @property
    def raw(self) -> str:
        return "\n".join(line for step in self.steps for line in step.raw_lines)


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Runs the jobs of a workflow, one after another, each on a machine of its own."""

    workflow: Workflow
    folder: Path
    contexts: Mapping[str, Value]  # github, inputs, vars, secrets
    variables: Mapping[str, str]
    stand_ins: Mapping[str, StandIn]
    cancellation: Cancellation
    grace: Grace
    seconds_a_minute: float
    hosted: bool = True
    kept: tuple[JobResult, ...] = ()  # of the attempt before; what succeeded is not run again

    def run(self) -> Iterator[JobResult]:
        """Run them all. A job that does not run has one result: skipped, or cancelled."""
        results: dict[str, list[JobResult]] = {}
        for plan in self.workflow.jobs.values():
            results[plan.id] = []
            for result in self._job(plan, results):
                results[plan.id].append(result)
                yield result

    def _job(self, plan: JobPlan, results: Mapping[str, list[JobResult]]) -> Iterator[JobResult]:
        needs = {need: _need(results[need]) for need in plan.needs}
        scope = Scope({**self.contexts, "needs": needs})
        above = [_worst(results[job]) for job in self.workflow.ancestors(plan.id)]
        if not holds(plan.condition, replace(scope, functions=self._status_functions(above))):
            yield JobResult(
                id=plan.id, name=plan.name or plan.id, result="skipped", conclusion="skipped"
            )
            return
        try:
            fail_fast, combinations = _strategy(fill(plan.strategy, scope))
        except ExpressionFailed as error:
            yield _failed(plan, error)
            return
        kept = self._kept(plan, results)
        ends = False
        for index, matrix in enumerate(combinations):
            total = len(combinations)
            strategy = {"fail-fast": fail_fast, "job-index": index, "job-total": total}
            scope = scope.having(matrix=matrix or None, strategy=strategy)
            try:
                about = _about(plan, scope, matrix)
                result = about if ends else kept.get(about.name)
                result = result or self._one(plan, scope, about, index)
            except ExpressionFailed as error:
                result = _failed(plan, error)
            ends = (fail_fast and result.conclusion == "failure") or result.result == "cancelled"
            yield result

    def _kept(
        self, plan: JobPlan, results: Mapping[str, list[JobResult]]
    ) -> Mapping[str, JobResult]:
        """What is not run again: successes that follow upon nothing that was."""
        above = [result for job in self.workflow.ancestors(plan.id) for result in results[job]]
        if not all(any(result is kept for kept in self.kept) for result in above):
            return {}
        ours = (result for result in self.kept if result.id == plan.id)
        return {result.name: result for result in ours if result.conclusion == "success"}

    def _one(self, plan: JobPlan, scope: Scope, about: JobResult, index: int) -> JobResult:
        contexts = {**scope.contexts}
        github = contexts["github"]
        contexts["github"] = {**(github if isinstance(github, Mapping) else {}), "job": plan.id}
        machine = Machine(
            folder=self.folder / f"{plan.id}-{index}", variables=self.variables,
            masks=Masks(*self._secrets(plan)), contexts=contexts, cancellation=self.cancellation,
            grace=self.grace, seconds_a_minute=self.seconds_a_minute, hosted=self.hosted,
        )  # fmt: skip
        for written in (self.workflow.env, plan.env):
            machine.environment |= {k: fill_text(v, scope) for k, v in written.items()}
        env = dict(machine.environment)
        defaults = fill(plan.defaults, Steps(machine, {}).scope(env))
        steps = Steps(
            machine, self.stand_ins, defaults=defaults if isinstance(defaults, Mapping) else {}
        )
        try:
            done = steps.run(plan.steps)
        finally:
            left_behind = end_left_behind(machine.tracking_id)
        log = StepLog(machine.masks, machine.workspace)
        outputs = _outputs(plan, steps.scope(machine.environment), machine.masks, log)
        goes_on = machine.status == "failure" and truthy(fill(plan.continue_on_error, scope))
        return replace(
            about, result=machine.status, conclusion="success" if goes_on else machine.status,
            env=env, steps=done, outputs=outputs, own_annotations=tuple(log.annotations),
            workspace=machine.workspace, left_behind=left_behind,
        )  # fmt: skip

    def _secrets(self, plan: JobPlan) -> Iterator[str]:
        """What a job hides: the secrets that it names, since it is given no others."""
        written = f"{plan} {self.workflow.env}"
        every = _EVERY_SECRET.search(written)
        secrets = self.contexts["secrets"]
        for name, value in secrets.items() if isinstance(secrets, Mapping) else ():
            named = re.search(rf"\bsecrets\.{name}\b", written, re.IGNORECASE)
            if named or every or name == "GITHUB_TOKEN":
                yield text_of(value)

    def _status_functions(self, above: Sequence[Status]) -> Mapping[str, Callable[[], bool]]:
        cancelled = self.cancellation.happened
        return {
            "always": lambda: True,
            "cancelled": lambda: cancelled,
            "failure": lambda: "failure" in above and not cancelled,
            "success": lambda: set(above) <= {"success"} and not cancelled,
        }


def _about(plan: JobPlan, scope: Scope, matrix: Mapping[str, Value]) -> JobResult:
    """What is known of a job before it runs; if it never does, it was cancelled."""
    minutes = fill(plan.timeout_minutes, scope)
    if isinstance(minutes, bool) or not isinstance(minutes, int | float):
        raise ExpressionFailed(f"timeout-minutes is no number: {minutes!r}")
    combination = f" ({', '.join(map(text_of, matrix.values()))})" if matrix else ""
    return JobResult(
        id=plan.id, name=fill_text(plan.name, scope) or f"{plan.id}{combination}", matrix=matrix,
        result="cancelled", conclusion="cancelled", runs_on=fill(plan.runs_on, scope),
        permissions=plan.permissions, concurrency=fill(plan.concurrency, scope),
        timeout_minutes=minutes,
    )  # fmt: skip


def _failed(plan: JobPlan, error: ExpressionFailed) -> JobResult:
    """A job that never began, since something written about it has no value."""
    annotation = Annotation(level="error", message=str(error))
    return JobResult(
        id=plan.id, name=plan.name or plan.id, result="failure", conclusion="failure",
        own_annotations=(annotation,),
    )  # fmt: skip


def _need(results: Sequence[JobResult]) -> Mapping[str, Value]:
    outputs = {k: v for result in results for k, v in result.outputs.items()}
    return {"result": _worst(results), "outputs": outputs}


def _worst(results: Sequence[JobResult]) -> Status:
    told = {result.conclusion for result in results}
    order: tuple[Status, ...] = ("failure", "cancelled", "success")
    return next((status for status in order if status in told), "skipped")


def _outputs(plan: JobPlan, scope: Scope, masks: Masks, log: StepLog) -> dict[str, str]:
    outputs = {name: fill_text(value, scope) for name, value in plan.outputs.items()}
    for name in [name for name, value in outputs.items() if masks.hide(value) != value]:
        log.tell("warning", f"Skip output '{name}' since it may contain secret.")
        del outputs[name]
    return {name: value for name, value in outputs.items() if value}


def _strategy(strategy: Value) -> tuple[bool, list[dict[str, Value]]]:
    """Whether one failure ends the others, and the combinations of the matrix."""
    if not isinstance(strategy, Mapping) or "matrix" not in strategy:
        return True, [{}]
    matrix = strategy["matrix"]
    if not isinstance(matrix, Mapping) or "exclude" in matrix:
        raise WorkflowRefused(f"a matrix that is no mapping, or has an exclude: {matrix!r}")
    axes = {name: values for name, values in matrix.items() if name != "include"}
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ExpressionFailed(f"Matrix vector '{name}' does not contain any values")
    lists = [list(values) for values in axes.values() if isinstance(values, list)]
    combinations: list[dict[str, Value]] = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*lists)
    ] if axes else []  # fmt: skip
    include = matrix.get("include") or []
    _include(combinations, axes, include if isinstance(include, list) else [])
    if not 0 < len(combinations) <= _MATRIX_MAX:
        raise ExpressionFailed(f"the matrix has {len(combinations)} combinations")
    return truthy(strategy.get("fail-fast", True)), combinations


def _include(
    combinations: list[dict[str, Value]], axes: Mapping[str, Value], include: Sequence[Value]
) -> None:
    originals = [dict(combination) for combination in combinations]
    for entry in include:
        if not isinstance(entry, Mapping):
            raise WorkflowRefused(f"include holds what is no mapping: {entry!r}")
        shared = [name for name in entry if name in axes]
        fits = [
            combination
            for combination, original in zip(combinations, originals, strict=False)
            if all(original[name] == entry[name] for name in shared)
        ]
        for combination in fits:
            combination.update(entry)
        if not fits:
            combinations.append(dict(entry))
