"""The log on stderr: sentences for people, objects for machines, silence where all is well."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from asyncsync.model.errors import (
    CopyError,
    DiskFull,
    NotFound,
    RateLimited,
    RegistryUnavailable,
    Where,
)
from asyncsync.model.events import (
    BytesMoved,
    Chosen,
    Ended,
    Event,
    Noted,
    Retried,
    Spared,
    StepEnded,
    StepStarted,
    Waited,
    Walked,
    Warned,
)
from asyncsync.model.job import Destination, Plan, Step
from asyncsync.model.outcome import Outcome, Status
from asyncsync.model.place import Layout
from asyncsync.model.spec import ListWarning, Position
from asyncsync.reporting.log import Level, LogFormat, open_log
from asyncsync.reporting.narration import Narration


def told(
    *events: Event,
    level: Level = Level.WARNING,
    log_format: LogFormat = "console",
    failures_shown: bool = True,
    plan: Plan | None = None,
    concurrency: int | None = 8,
) -> list[str]:
    file = io.StringIO()
    log = open_log(file, log_format=log_format, level=level)
    narration = Narration(log, failures_shown=failures_shown)
    to = Destination.parse("r.example/team")
    narration.begin(plan or Plan(()), to=to, concurrency=concurrency)
    for event in events:
        narration(event)
    return file.getvalue().splitlines()


def told_in_json(*events: Event, **how: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told(*events, log_format="json", **how)]


@pytest.fixture
def events(ended: Callable[..., Outcome], failed: Callable[..., Outcome]) -> list[Event]:
    copied = ended("nginx:1.27", Status.COPIED, bytes_moved=71_300_000, seconds=6.2)
    job = copied.job
    error = RegistryUnavailable("503 from it", Where("r.example", str(job.source), Step.PUSH), True)
    return [
        Chosen("engine", "Docker 28.5 answers at unix:///var/run/docker.sock"),
        Warned("r.example", "::error::this tag will go in March"),
        StepStarted(job, Step.PULL),
        BytesMoved(job, 1000),
        StepEnded(job, Step.PULL, 4.25),
        Retried(job, 2, 1.7, error),
        Retried(job, 3, 17, error),
        Waited(job, "the registry asked for it", 12),
        Waited(job, "another image needs the same", 1),
        Noted(job, "reduced to linux/amd64"),
        Ended(copied),
        Ended(ended("a:1", Status.UNCHANGED)),
        Ended(failed("redis:7.99", NotFound, "there is no tag 7.99")),
        Ended(ended("b:1", Status.CANCELLED)),
        Ended(ended("c:1", Status.NOT_STARTED)),
    ]


CHOSEN = (
    "0 images to r.example/team, 8 at once, via=engine: "
    "Docker 28.5 answers at unix:///var/run/docker.sock"
)
WARNINGS = [
    "r.example: error::this tag will go in March",
    "nginx:1.27: push at r.example failed (503 from it); attempt 3 in 17 s",
    "nginx:1.27: waited 12 s: the registry asked for it",
    "nginx:1.27: reduced to linux/amd64",
]
FAILED = (
    "redis:7.99: there is no tag 7.99 (resolve at docker.io). "
    "Correct the name or the tag in the list, or comment the line out with #."
)


def test_by_default_it_tells_the_way_and_warnings(events: list[Event]) -> None:
    assert told(*events) == [CHOSEN, *WARNINGS]


@pytest.mark.parametrize(
    ("via", "concurrency", "at_once"),
    [("engine", None, 8), ("direct", None, 64), ("engine", 3, 3), ("direct", 3, 3)],
)
def test_how_many_go_at_once_is_told_with_the_way_that_they_go(
    via: str, concurrency: int | None, at_once: int
) -> None:
    assert told(Chosen(via, "as asked"), concurrency=concurrency) == [
        f"0 images to r.example/team, {at_once} at once, via={via}: as asked"
    ]


def test_the_first_long_wait_for_a_cause_is_told_by_default_and_each_by_v(
    ended: Callable[..., Outcome],
) -> None:
    jobs = [ended(f"nginx:{number}", Status.COPIED).job for number in (1, 2, 3)]

    def waits(attempt: int, registry: str) -> list[Event]:
        where = Where(registry, None, Step.RESOLVE)
        return [
            Retried(job, attempt, 10.0 + number, RateLimited(f"429, request {number}", where))
            for number, job in enumerate(jobs)
        ]

    events = [*waits(3, "docker.io"), *waits(3, "quay.io"), *waits(4, "docker.io")]
    assert told(*events) == [
        "nginx:1: resolve at docker.io failed (429, request 0); attempt 3 in 10 s",
        "nginx:1: resolve at quay.io failed (429, request 0); attempt 3 in 10 s",
    ]
    assert len(told(*events, level=Level.INFO)) == len(events)


def test_a_failure_that_no_table_shows_is_told_there(events: list[Event]) -> None:
    assert told(*events, failures_shown=False) == [CHOSEN, *WARNINGS, FAILED]
    assert told(*events, failures_shown=False, level=Level.ERROR) == [FAILED]


def test_one_v_tells_each_image(events: list[Event]) -> None:
    assert told(*events, level=Level.INFO) == [
        CHOSEN,
        WARNINGS[0],
        "nginx:1.27: push at r.example failed (503 from it); attempt 2 in 1.7 s",
        *WARNINGS[1:3],
        "nginx:1.27: waited 1.0 s: another image needs the same",
        WARNINGS[3],
        "nginx:1.27: copied, 71.3 MB in 6.2 s",
        "a:1: unchanged",
        FAILED,
        "b:1: cancelled",
        "c:1: not started",
    ]


def test_two_v_tell_each_step(events: list[Event]) -> None:
    lines = told(*events, level=Level.DEBUG)
    assert lines[2:4] == ["nginx:1.27: pull started", "nginx:1.27: pull ended after 4.2 s"]


def test_quiet_is_silent_where_the_table_tells_failures(events: list[Event]) -> None:
    assert told(*events, level=Level.ERROR) == []


def test_json_has_one_object_a_line_with_event_level_and_time(events: list[Event]) -> None:
    objects = told_in_json(*events, level=Level.DEBUG, failures_shown=False)

    assert len(objects) == len(events) - 1  # bytes are summed up, not logged
    for each in objects:
        stamp = each.pop("timestamp")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", stamp)
    image = "docker.io/library/nginx:1.27"
    assert objects[0] == {
        "event": "chosen", "level": "info", "via": "engine", "images": 0, "concurrency": 8,
        "destination": "r.example/team",
        "why": "Docker 28.5 answers at unix:///var/run/docker.sock",
    }  # fmt: skip
    assert objects[1] == {
        "event": "cautioned", "level": "warning", "registry": "r.example",
        "text": "error::this tag will go in March",
    }  # fmt: skip
    assert objects[4] == {
        "event": "retried", "level": "info", "image": image, "step": "push",
        "registry": "r.example", "attempt": 2, "wait_seconds": 1.7, "reason": "503 from it",
    }  # fmt: skip
    assert objects[9]["event"] == "copied"
    assert (objects[9]["bytes"], objects[9]["seconds"]) == (71_300_000, 6.2)
    assert objects[11] == {
        "event": "failed", "level": "error", "image": "docker.io/library/redis:7.99",
        "step": "resolve", "registry": "docker.io", "kind": "NotFound", "attempt": 1,
        "reason": "there is no tag 7.99",
        "advice": "Correct the name or the tag in the list, or comment the line out with #.",
    }  # fmt: skip


def test_what_is_odd_about_a_list_is_a_warning() -> None:
    plan = Plan((), (ListWarning(Position("images.yaml", 9, 1), "nginx:1 stands twice."),))
    assert told(plan=plan) == ["images.yaml:9:1: nginx:1 stands twice."]
    assert told(plan=plan, level=Level.ERROR) == []
    (warning,) = told_in_json(plan=plan)
    assert (warning["file"], warning["line"], warning["column"]) == ("images.yaml", 9, 1)


@pytest.mark.parametrize("level", [Level.WARNING, Level.INFO])
def test_copies_into_a_tar_that_is_not_in_its_place_are_taken_back_where_no_table_does(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome], level: Level
) -> None:
    def end(*lost: Outcome, failures_shown: bool = False) -> list[str]:
        file = io.StringIO()
        log = open_log(file, log_format="console", level=level)
        narration = Narration(log, failures_shown=failures_shown)
        narration.take_back(Layout.parse("oci:./mix.tar"), lost)
        return file.getvalue().splitlines()

    stopped = replace(ended("a:1", Status.CANCELLED), notes=("SIGINT stopped the run",))
    broken = failed("a:1", DiskFull, "no space is left", registry="oci:./mix.tar")
    told = "oci:./mix.tar has nothing of this run: {} copied into it {} not in place ({})."
    assert end(stopped) == (
        [told.format("1 image", "is", "SIGINT stopped the run")] if level is Level.INFO else []
    )
    advice = DiskFull("", Where("oci:./mix.tar")).advice()
    assert end(broken, broken) == [f"{told.format('2 images', 'are', 'no space is left')} {advice}"]
    assert end() == end(broken, failures_shown=True) == []


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_hostile_words_stay_one_line(
    ended: Callable[..., Outcome],
    failed: Callable[..., Outcome],
    hostile: str,
    log_format: LogFormat,
) -> None:
    job = ended("nginx:1", Status.COPIED).job
    events: list[Event] = [
        Chosen("engine", hostile),
        Noted(job, hostile),
        Waited(job, hostile, 60),
        Retried(job, 2, 10.0, CopyError(hostile, Where(hostile, None, Step.PUSH))),
        Ended(failed("nginx:1", CopyError, hostile)),
    ]
    lines = told(*events, log_format=log_format, failures_shown=False)
    assert len(lines) == len(events)
    for line in lines:
        assert line.isprintable()
        assert len(line) < 2500
        assert not line.startswith(("::", "##["))


def test_what_did_not_need_to_move_is_told_with_the_image(ended: Callable[..., Outcome]) -> None:
    copied = ended("nginx:1.27", Status.COPIED, bytes_moved=1000, seconds=6.2)
    events = [
        Walked(copied.job, 5),
        Spared(copied.job, 20_000, shared=False),
        Spared(copied.job, 300_000, shared=True),
        Ended(replace(copied, bytes_there=20_000, bytes_shared=300_000, platforms=5)),
    ]
    assert told(*events, level=Level.DEBUG) == [
        "nginx:1.27: copied, 1.0 kB, 20.0 kB were there, 300 kB shared in 6.2 s"
    ]
    (line,) = told_in_json(*events, level=Level.DEBUG)
    assert (line["bytes"], line["bytes_there"], line["bytes_shared"]) == (1000, 20_000, 300_000)
