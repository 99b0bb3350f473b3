"""Steps, of a job or of a composite action: whether each runs, how, and what comes of it."""

from __future__ import annotations

import shlex
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parts.actions.files import CompositeAction, StepPlan, WorkflowRefused, read_action
from parts.actions.log import Annotation, Command, StepLog
from parts.actions.machine import CommandFiles, Machine, Status
from parts.actions.processes import Ended, follow
from parts.actions.stand_ins import Call, StandIn, StepFailed
from parts.expressions import (
    CaseSensitive,
    ExpressionFailed,
    Scope,
    Value,
    fill,
    fill_text,
    holds,
    number_of,
    text_of,
    truthy,
)

_SHELLS = {
    "bash": "bash --noprofile --norc -e -o pipefail {0}", "sh": "sh -e {0}", "python": "python {0}",
}  # fmt: skip
_DEFAULT_SHELL = "bash -e {0}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What came of a step. `steps` are those of the composite action that it used."""

    name: str
    id: str | None = None
    uses: str | None = None
    outcome: Status = "skipped"  # before continue-on-error
    conclusion: Status = "skipped"
    exit_code: int | None = None
    header: tuple[str, ...] = ()  # what GitHub shows first: script and env, secrets hidden
    lines: tuple[str, ...] = ()  # secrets hidden
    raw_lines: tuple[str, ...] = ()  # as the step wrote them
    commands: tuple[Command, ...] = ()  # all that were obeyed, as they were written
    annotations: tuple[Annotation, ...] = ()
    masks: tuple[str, ...] = ()  # all that were hidden when the step had ended
    outputs: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""  # with those of the composite action's steps
    steps: tuple[StepResult, ...] = ()

    def step(self, name: str) -> StepResult:
        """The step of the composite action with this name or id."""
        return find_step(self.steps, name)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def raw(self) -> str:
        return "\n".join(self.raw_lines)


def find_step(steps: Sequence[StepResult], name: str) -> StepResult:
    """The one step with this name or id; within composite actions only if none is around them."""
    found: list[StepResult] = []
    level = steps
    while level and not found:
        found = [step for step in level if name in {step.name, step.id}]
        level = [inner for step in level for inner in step.steps]
    if len(found) != 1:
        names = ", ".join(repr(step.id or step.name) for step in steps)
        raise LookupError(f"{len(found)} steps are called {name!r}; there are {names}")
    return found[0]


@dataclass
class _Under:
    """A step under way: what it has left so far."""

    log: StepLog
    outcome: Status = "success"
    exit_code: int | None = None
    header: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    steps: tuple[StepResult, ...] = ()


class Steps:
    """Runs the steps of a job (`action` is None) or of a composite action, one after another."""

    def __init__(
        self,
        machine: Machine,
        stand_ins: Mapping[str, StandIn],
        *,
        defaults: Mapping[str, Value] | None = None,
        action: CompositeAction | None = None,
        inputs: Mapping[str, Value] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        self.status: Status = "success"  # of an action; a job's is the machine's
        self._machine, self._stand_ins = machine, stand_ins
        self._defaults, self._action, self._inputs = defaults or {}, action, inputs
        self._overrides = overrides or {}  # env of the steps around: stronger than GITHUB_ENV
        self._context: dict[str, Value] = {}

    def run(self, plans: Sequence[StepPlan]) -> tuple[StepResult, ...]:
        """Run `plans`, or skip them by their conditions."""
        return tuple(self._step(plan) for plan in plans)

    def scope(self, env: Mapping[str, str] | None = None) -> Scope:
        """What expressions may name now. Places were checked when the file was read."""
        contexts = {
            **self._machine.contexts, "steps": self._context, "env": CaseSensitive(env or {}),
            "job": {"status": self._machine.status},
        }  # fmt: skip
        if self._action is not None:
            contexts["inputs"] = self._inputs
            contexts["github"] = {**self._machine.github, "action_path": str(self._action.folder)}
        return Scope(contexts, self._status_functions())

    def _status_functions(self) -> Mapping[str, Callable[[], bool]]:
        def status() -> Status:
            return self._machine.status if self._action is None else self.status

        return {
            "success": lambda: status() == "success",
            "failure": lambda: status() == "failure",
            "cancelled": lambda: self._machine.status == "cancelled",
            "always": lambda: True,
        }

    def _step(self, plan: StepPlan) -> StepResult:
        env = {**self._machine.environment, **self._overrides}
        own = {name: fill_text(value, self.scope(env)) for name, value in plan.env.items()}
        scope = self.scope({**env, **own})
        name = fill_text(plan.name, scope) or _first_line(plan)
        if not holds(plan.condition, scope):
            return self._told(plan, StepResult(name=name, id=plan.id, uses=plan.uses))
        under = _Under(StepLog(self._machine.masks, self._machine.workspace))
        try:
            if plan.run is not None:
                self._script(plan, {**env, **own}, under)
            elif plan.uses is not None and plan.uses.startswith("./"):
                self._composite(plan, scope, {**self._overrides, **own}, under)
            else:
                self._stand_in(plan, scope, {**env, **own}, under)
        except ExpressionFailed as error:
            under.log.tell("error", str(error))
            under.outcome = "failure"
        goes_on = under.outcome == "failure" and truthy(fill(plan.continue_on_error, scope))
        conclusion: Status = "success" if goes_on else under.outcome
        return self._told(plan, self._result(plan, name, under, conclusion))

    def _result(self, plan: StepPlan, name: str, under: _Under, conclusion: Status) -> StepResult:
        log, hide = under.log, self._machine.masks.hide
        return StepResult(
            name=hide(name) if "${{" in (plan.name or "") else name, id=plan.id, uses=plan.uses,
            outcome=under.outcome, conclusion=conclusion, exit_code=under.exit_code,
            header=under.header,
            lines=tuple(log.lines), raw_lines=tuple(log.raw_lines), commands=tuple(log.commands),
            annotations=tuple(log.annotations), masks=tuple(self._machine.masks.values),
            outputs=under.outputs, summary=under.summary, steps=under.steps,
        )  # fmt: skip

    def _told(self, plan: StepPlan, result: StepResult) -> StepResult:
        if plan.id is not None:
            self._context[plan.id] = {
                "outputs": result.outputs, "outcome": result.outcome,
                "conclusion": result.conclusion,
            }  # fmt: skip
        if self._action is None:
            if result.conclusion == "failure" and self._machine.status == "success":
                self._machine.status = "failure"
        elif result.conclusion in {"failure", "cancelled"} and self.status != "cancelled":
            self.status = result.conclusion
        return result

    def _script(self, plan: StepPlan, env: Mapping[str, str], under: _Under) -> None:
        scope = self.scope(env)
        script = fill_text(plan.run, scope)
        shell = fill_text(plan.shell, scope) or text_of(self._defaults.get("shell"))
        folder = fill_text(plan.working_directory, scope)
        folder = folder or text_of(self._defaults.get("working-directory"))
        header = [*script.splitlines(), *(f"{name}: {value}" for name, value in env.items())]
        under.header = tuple(map(self._machine.masks.hide, header))
        files = CommandFiles(self._machine)
        action = self._action.folder if self._action else None
        environment = self._machine.process_environment(env, action) | files.variables
        path = self._machine.temp / f"{uuid.uuid4()}.sh"
        path.write_text(script, encoding="utf-8")
        try:
            ended = self._follow(
                _words(shell, path, environment["PATH"]), self._machine.workspace / folder,
                environment, plan, env, under.log,
            )  # fmt: skip
            under.exit_code = ended.exit_code
            under.outcome = self._outcome(plan, ended, under.log)
        except (FileNotFoundError, NotADirectoryError) as error:
            under.log.tell("error", f"An error occurred trying to start process: {error}")
            under.outcome = "failure"
        if not files.apply(under.log) and under.outcome == "success":
            under.outcome = "failure"
        under.outputs, under.summary = files.outputs, files.summary

    def _follow(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        plan: StepPlan,
        env: Mapping[str, str],
        log: StepLog,
    ) -> Ended:
        minutes = int(number_of(fill(plan.timeout_minutes, self.scope(env))))

        def take(line: str) -> bool:
            log.take(line)
            return self._machine.cancellation.begins_at(line) and self._cancels(plan, env)

        return follow(
            command, cwd=cwd, env=environment, take=take, grace=self._machine.grace,
            seconds=minutes * self._machine.seconds_a_minute if minutes else None,
        )  # fmt: skip

    def _cancels(self, plan: StepPlan, env: Mapping[str, str]) -> bool:
        """Mark the job as cancelled. A step whose condition still holds then runs on."""
        self._machine.status = "cancelled"
        before, self.status = self.status, "cancelled"
        runs_on = holds(plan.condition, self.scope(env))
        self.status = before
        return not runs_on

    def _outcome(self, plan: StepPlan, ended: Ended, log: StepLog) -> Status:
        if ended.told == "cancelled":
            log.tell("error", "The operation was canceled.")
            return "cancelled"
        if ended.told == "timed out":
            minutes = text_of(plan.timeout_minutes)
            log.tell("error", f"The action '{plan.name}' has timed out after {minutes} minutes.")
            return "failure"
        if ended.exit_code != 0:
            log.tell("error", f"Process completed with exit code {ended.exit_code}.")
            return "failure"
        return "success"

    def _composite(
        self, plan: StepPlan, scope: Scope, overrides: Mapping[str, str], under: _Under
    ) -> None:
        try:
            action = read_action((self._machine.workspace / (plan.uses or "")).resolve())
        except FileNotFoundError as error:
            under.log.tell(
                "error",
                f"Can't find 'action.yml' or 'action.yaml' under '{error}'. "
                "Did you forget to run actions/checkout before running your local action?",
            )
            under.outcome = "failure"
            return
        given = {name: fill_text(value, scope) for name, value in plan.inputs.items()}
        inputs = self._action_inputs(action, given, scope, under.log)
        steps = Steps(
            self._machine, self._stand_ins, action=action, inputs=inputs, overrides=overrides
        )
        under.steps = steps.run(action.steps)
        for step in under.steps:
            under.log.include(step)
        env = {**self._machine.environment, **overrides}
        under.outputs = {k: fill_text(v, steps.scope(env)) for k, v in action.outputs.items()}
        under.summary = "".join(step.summary for step in under.steps)
        under.outcome = steps.status

    def _action_inputs(
        self, action: CompositeAction, given: Mapping[str, str], scope: Scope, log: StepLog
    ) -> Mapping[str, Value]:
        if missing := action.required - given.keys():
            raise WorkflowRefused(f"{action.folder}: {', '.join(missing)} is required, not given")
        if unknown := given.keys() - action.defaults.keys():
            log.tell("warning", f"Unexpected input(s) {', '.join(map(repr, sorted(unknown)))}")
        defaults = {k: fill_text(v, scope) for k, v in action.defaults.items() if k not in given}
        return {**defaults, **given}

    def _stand_in(
        self, plan: StepPlan, scope: Scope, env: Mapping[str, str], under: _Under
    ) -> None:
        name, found, _ = (plan.uses or "").partition("@")
        if not found or name not in self._stand_ins:
            raise WorkflowRefused(f"{plan.uses}: no stand-in is known for this action")
        action = self._action.folder if self._action else None
        call = Call(
            uses=plan.uses or "",
            inputs={key: fill_text(value, scope) for key, value in plan.inputs.items()},
            workspace=self._machine.workspace, write=under.log.take,
            environment=self._machine.process_environment(env, action),
        )  # fmt: skip
        try:
            under.outputs = self._stand_ins[name](call) or {}
        except StepFailed as error:
            under.log.tell("error", str(error))
            under.outcome = "failure"


def _first_line(plan: StepPlan) -> str:
    """The name that GitHub gives to a step without one."""
    return f"Run {plan.uses or next(iter((plan.run or '').strip().splitlines()), '')}"


def _words(shell: str, script: Path, path: str) -> list[str]:
    words = shlex.split(_SHELLS.get(shell, shell) if shell else _DEFAULT_SHELL)
    if not any("{0}" in word for word in words):
        raise WorkflowRefused(f"shell {shell!r} is unknown, or not modelled")
    found = shutil.which(words[0], path=path)  # the script's own PATH counts, as for the runner
    if found is None:
        raise FileNotFoundError(f"{words[0]}: command not found")
    return [found, *(word.replace("{0}", str(script)) for word in words[1:])]
