"""The JSON shapes are a contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, DigestMismatch, Where
from asyncsync.model.job import Plan, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.platform import Platform
from asyncsync.model.spec import ListWarning, Position
from asyncsync.reporting.json import plan_json, report_json


def test_a_report_has_the_shape_that_programs_rely_on(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    copied = ended("nginx:1.27", Status.COPIED, 1, bytes_moved=1000, seconds=2.00049)
    outcomes = (
        replace(
            copied, notes=("for linux/amd64 only",), bytes_there=20, bytes_shared=300, platforms=5
        ),
        failed("redis:7", DigestMismatch, "another one", 2, step=Step.VERIFY, registry="r.example"),
    )
    assert json.loads(report_json(Report("engine", 3.25, outcomes))) == {
        "version": 1,
        "via": "engine",
        "counts": {"copied": 1, "unchanged": 0, "failed": 1, "cancelled": 0, "not_started": 0},
        "bytes_moved": 1000,
        "bytes_there": 20,
        "bytes_shared": 300,
        "seconds": 3.25,
        "outcomes": [
            {
                "source": "docker.io/library/nginx:1.27",
                "target": "r.example/team/nginx:1.27",
                "file": "images.yaml",
                "line": 1,
                "status": "copied",
                "digest": str(Digest.of(b"nginx:1.27")),
                "bytes_moved": 1000,
                "bytes_there": 20,
                "bytes_shared": 300,
                "platforms": 5,
                "seconds": 2.0,
                "attempts": 1,
                "notes": ["for linux/amd64 only"],
                "error": None,
            },
            {
                "source": "docker.io/library/redis:7",
                "target": "r.example/team/redis:7",
                "file": "images.yaml",
                "line": 2,
                "status": "failed",
                "digest": None,
                "bytes_moved": 0,
                "bytes_there": 0,
                "bytes_shared": 0,
                "platforms": 0,
                "seconds": 1.5,
                "attempts": 1,
                "notes": [],
                "error": {
                    "kind": "DigestMismatch",
                    "step": "verify",
                    "registry": "r.example",
                    "message": "another one",
                    "advice": DigestMismatch("", Where("r.example")).advice(),
                    "transient": False,
                    "retry_after": None,
                },
            },
        ],
    }


def test_a_plan_has_the_shape_that_programs_rely_on(ended: Callable[..., Outcome]) -> None:
    job = replace(ended("nginx:1", Status.COPIED).job, platforms=(Platform.parse("linux/arm64"),))
    warning = ListWarning(Position("images.yaml", 3), "it stands twice")
    assert json.loads(plan_json(Plan((job,), (warning,)))) == {
        "version": 1,
        "jobs": [
            {
                "source": "docker.io/library/nginx:1",
                "target": "r.example/team/nginx:1",
                "platforms": ["linux/arm64"],
                "file": "images.yaml",
                "line": 1,
            }
        ],
        "warnings": [{"file": "images.yaml", "line": 3, "message": "it stands twice"}],
    }


def test_hostile_words_are_bounded_and_ascii(failed: Callable[..., Outcome], hostile: str) -> None:
    text = report_json(Report("engine", 1, (failed("a:1", CopyError, hostile + "名"),)))
    assert text.isascii()
    (outcome,) = json.loads(text)["outcomes"]
    assert outcome["error"]["message"].isprintable()
    assert len(outcome["error"]["message"]) <= 500
