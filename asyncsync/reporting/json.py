"""A run and a plan as JSON, for programs. The shapes are a contract: add to them, never rename.

`json_reading` reads them back.
"""

from __future__ import annotations

import json

from asyncsync.model.errors import CopyError
from asyncsync.model.foreign import shown
from asyncsync.model.job import Plan
from asyncsync.model.outcome import Outcome, Report

_VERSION = 1


def report_json(report: Report) -> str:
    """The document of `sync --output json` and `--report`."""
    return _text(
        {
            "version": _VERSION,
            "via": shown(report.via),
            "counts": {str(status): n for status, n in report.counts.items()},
            "bytes_moved": report.bytes_moved,
            "bytes_there": report.bytes_there,
            "bytes_shared": report.bytes_shared,
            "seconds": round(report.seconds, 3),
            "outcomes": [_outcome(outcome) for outcome in report.outcomes],
        }
    )


def plan_json(plan: Plan) -> str:
    """The document of `plan --output json`."""
    return _text(
        {
            "version": _VERSION,
            "jobs": [
                {
                    "source": str(job.source),
                    "target": str(job.target),
                    "platforms": [str(platform) for platform in job.platforms],
                    "file": shown(job.at.file),
                    "line": job.at.line,
                }
                for job in plan.jobs
            ],
            "warnings": [
                {
                    "file": shown(warning.at.file),
                    "line": warning.at.line,
                    "message": shown(warning.text),
                }
                for warning in plan.warnings
            ],
        }
    )


def _outcome(outcome: Outcome) -> dict[str, object]:
    job = outcome.job
    return {
        "source": str(job.source),
        "target": str(job.target),
        "file": shown(job.at.file),
        "line": job.at.line,
        "status": str(outcome.status),
        "digest": str(outcome.digest) if outcome.digest else None,
        "bytes_moved": outcome.bytes_moved,
        "bytes_there": outcome.bytes_there,
        "bytes_shared": outcome.bytes_shared,
        "platforms": outcome.platforms,
        "seconds": round(outcome.seconds, 3),
        "attempts": outcome.attempts,
        "notes": [shown(note) for note in outcome.notes],
        "error": _error(outcome.error) if outcome.error else None,
    }


def _error(error: CopyError) -> dict[str, object]:
    return {
        "kind": type(error).__name__,
        "step": str(error.where.step) if error.where.step else None,
        "registry": shown(error.where.registry),
        "message": shown(error.what),
        "advice": shown(error.advice()),
        "transient": error.transient,
        "retry_after": error.retry_after,
    }


def _text(document: dict[str, object]) -> str:
    # ASCII: readable whatever encoding stdout has
    return json.dumps(document, indent=2)
