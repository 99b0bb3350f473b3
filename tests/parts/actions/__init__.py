"""GitHub Actions on this machine: workflows and composite actions, run as GitHub's runner does.

    runner = Runner(ROOT, folder=tmp_path, secrets={"TARGET": "…"}, variables={"DOCKER_HOST": "…"})
    run = runner.dispatch(".github/workflows/images-sync.yaml", inputs={"fail-fast": "true"})
    assert run.job("sync").step("Copy").outcome == "success"

After the sources of actions/runner: what is written here of GitHub's behaviour was read there.
What is not known is refused, never skipped: a test that passes has run all of its workflow.
"""

from __future__ import annotations

from parts.actions.files import WorkflowRefused
from parts.actions.jobs import JobResult
from parts.actions.log import Annotation, Command
from parts.actions.processes import Grace
from parts.actions.runner import Run, Runner
from parts.actions.stand_ins import Call, StepFailed
from parts.actions.steps import StepResult

__all__ = [
    "Annotation", "Call", "Command", "Grace", "JobResult", "Run", "Runner", "StepFailed",
    "StepResult", "WorkflowRefused",
]  # fmt: skip
