"""What was written as JSON is read back; anything else is refused with where it differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    NotFound,
    RateLimited,
    RegistryUnavailable,
    TypeRefused,
)
from asyncsync.model.job import Plan, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.platform import Platform
from asyncsync.model.spec import ListWarning, Position
from asyncsync.reporting.causes import causes
from asyncsync.reporting.json import plan_json, report_json
from asyncsync.reporting.json_reading import NotOurs, read_plan, read_report

Ended, Failed = Callable[..., Outcome], Callable[..., Outcome]


@pytest.fixture
def report(ended: Ended, failed: Failed) -> Report:
    copied = ended("nginx:1.27", Status.COPIED, 1, bytes_moved=1000, seconds=2.5)
    outcomes = (
        replace(copied, notes=("adapted",), bytes_there=20, bytes_shared=300, platforms=5),
        failed("redis:7", NotFound, "there is no tag 7", 2),
        failed("quay.io/a/b:1", RateLimited, "too many", 3, step=Step.PULL, retry_after=40.0),
        failed("c:1", CopyError, "what nobody knows", 4),
        ended("d:1", Status.NOT_STARTED, 5),
        ended("e:1", Status.CANCELLED, 6),
        ended("f:1", Status.UNCHANGED, 7),
    )
    return Report("engine", 3.25, outcomes)


def test_a_report_is_read_back_as_it_was_written(report: Report) -> None:
    again = read_report(report_json(report))
    assert json.loads(report_json(again)) == json.loads(report_json(report))
    assert [o.job for o in again.outcomes] == [o.job for o in report.outcomes]
    assert (again.bytes_there, again.bytes_shared, again.outcomes[0].platforms) == (20, 300, 5)
    assert [(c.advice, c.common) for c in causes(again.outcomes)] == [
        (c.advice, c.common) for c in causes(report.outcomes)
    ]


@pytest.mark.parametrize("kind", [AuthenticationFailed, RegistryUnavailable, TypeRefused])
def test_what_one_failure_alone_was_advised_is_read_back(
    failed: Failed, kind: type[CopyError]
) -> None:
    outcome = failed("nginx:1", kind, "what", 1)
    assert outcome.error is not None
    outcome.error.advising("Turn it off and on again.")
    text = report_json(Report("direct", 1.0, (outcome,)))
    (again,) = read_report(text).outcomes
    assert again.error is not None
    assert again.error.advice() == outcome.error.advice()
    assert again.error.advice().count("Turn it off and on again.") == 1


def test_a_plan_is_read_back_as_it_was_written(ended: Ended) -> None:
    job = replace(ended("nginx:1", Status.COPIED).job, platforms=(Platform.parse("linux/arm64"),))
    plan = Plan((job,), (ListWarning(Position("images.yaml", 3), "it stands twice"),))
    assert read_plan(plan_json(plan)) == plan


def test_a_kind_of_error_that_a_newer_version_knows_is_an_error_all_the_same(
    report: Report,
) -> None:
    text = report_json(report).replace("NotFound", "Eclipsed")
    error = read_report(text).outcomes[1].error
    assert type(error) is CopyError
    assert error.what == "there is no tag 7"


def test_a_report_of_an_older_version_knows_less_of_what_did_not_move(report: Report) -> None:
    document = json.loads(report_json(report))
    for told in (document, *document["outcomes"]):
        for name in ("bytes_there", "bytes_shared", "platforms"):
            told.pop(name, None)
    again = read_report(json.dumps(document))
    assert again.bytes_moved == report.bytes_moved
    assert (again.bytes_there, again.bytes_shared, again.outcomes[0].platforms) == (0, 0, 0)


def test_a_report_of_an_older_version_lacks_some_words_of_an_error(report: Report) -> None:
    document = json.loads(report_json(report))
    for outcome in document["outcomes"]:
        if outcome["error"]:
            del outcome["error"]["transient"], outcome["error"]["retry_after"]
    assert read_report(json.dumps(document)).counts == report.counts


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 2}, "its version is 2; this asyncsync reads version 1"),
        ({"version": None}, "the document.version is not a whole number"),
        ({"outcomes": {}}, "the document.outcomes is not a list"),
        ({"outcomes": [1]}, "the document.outcomes[0] is no object"),
        ({"seconds": -1}, "the document.seconds is not a number from 0 up"),
        ({"seconds": True}, "the document.seconds is not a number"),
        ({"seconds": 10**400}, "the document.seconds is not a number from 0 up"),
        ({"via": 1}, "the document.via is not text"),
    ],
)
def test_what_is_no_report_is_told_by_its_field(
    report: Report, change: dict[str, Any], told: str
) -> None:
    document = {**json.loads(report_json(report)), **change}
    with pytest.raises(NotOurs) as wrong:
        read_report(json.dumps(document))
    assert str(wrong.value) == told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": "Nginx:1"}, "the document.outcomes[0].source: "),
        ({"target": 5}, "the document.outcomes[0].target is not text"),
        ({"digest": "sha256:12"}, "the document.outcomes[0].digest: "),
        ({"digest": None}, "docker.io/library/nginx:1.27: a digest belongs to"),
        ({"status": "lost"}, "the document.outcomes[0].status: 'lost' is no status"),
        ({"status": "failed"}, "docker.io/library/nginx:1.27: an error belongs to"),
        ({"bytes_moved": 10**30}, "the document.outcomes[0].bytes_moved is not a whole"),
        ({"bytes_there": -1}, "the document.outcomes[0].bytes_there is not a whole number from 0"),
        ({"bytes_shared": "1"}, "the document.outcomes[0].bytes_shared is not a whole number"),
        ({"platforms": ["a"]}, "the document.outcomes[0].platforms is not a whole number"),
        ({"notes": [1]}, "the document.outcomes[0].notes[0].notes is not text"),
        ({"line": "1"}, "the document.outcomes[0].line is not a whole number"),
    ],
)
def test_what_is_wrong_about_an_outcome_is_told_by_its_field(
    report: Report, change: dict[str, Any], told: str
) -> None:
    document = json.loads(report_json(report))
    document["outcomes"][0].update(change)
    with pytest.raises(NotOurs) as wrong:
        read_report(json.dumps(document))
    assert str(wrong.value).startswith(told)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"version": NaN}', "null", "9" * 5000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(NotOurs):
        read_report(text)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = ("source", "target", "file", "line", "status", "digest", "bytes_moved", "seconds",
           "attempts", "notes", "error", "bytes_there", "bytes_shared", "platforms")  # fmt: skip


@given(st.sampled_from(_FIELDS), _anything)
def test_any_value_in_any_field_gives_a_report_or_a_refusal(field: str, value: object) -> None:
    outcome = {
        "source": "a.example/b:1", "target": "c.example/b:1", "file": "images.yaml", "line": 1,
        "status": "not_started", "digest": None, "bytes_moved": 0, "seconds": 0, "attempts": 0,
        "notes": [], "error": None, field: value,
    }  # fmt: skip
    document = {"version": 1, "via": "engine", "seconds": 1, "outcomes": [outcome]}
    try:
        report = read_report(json.dumps(document))
    except NotOurs as wrong:
        assert str(wrong)
    else:
        told = json.loads(report_json(report))["outcomes"][0]["target"]
        assert told == "c.example/b:1" or field == "target"
