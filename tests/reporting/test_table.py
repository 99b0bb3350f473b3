"""The table names for each image what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from asyncsync.model.errors import NotFound
from asyncsync.model.job import CopyJob, Plan
from asyncsync.model.outcome import Outcome, Status
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.reporting.table import Table, plan_lines


def test_each_row_tells_status_name_and_what_it_cost_or_where_to_look(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    outcomes = [
        ended("nginx:1.27", Status.COPIED, 1, bytes_moved=71_300_000, seconds=6.2),
        ended("nvidia/cuda:12.4.1", Status.COPIED, 2, bytes_moved=3_900_000_000, seconds=251),
        ended("quay.io/prometheus/prometheus:v3.1", Status.UNCHANGED, 3, seconds=0.3),
        failed("redis:7.99", NotFound, "there is no tag 7.99", 7),
        ended("busybox:1", Status.CANCELLED, 8, seconds=1),
        ended("alpine:3", Status.NOT_STARTED, 9),
        ended("alpine:4", Status.COPIED, 10, seconds=2),
    ]
    table = Table([outcome.job for outcome in outcomes])

    assert [table.row(outcome) for outcome in outcomes] == [
        "  copied       nginx:1.27                           71.3 MB    6.2 s",
        "  copied       nvidia/cuda:12.4.1                    3.9 GB    4 min 11 s",
        "  unchanged    quay.io/prometheus/prometheus:v3.1",
        "  failed       redis:7.99                          images.yaml:7",
        "  cancelled    busybox:1                           images.yaml:8",
        "  not started  alpine:3                            images.yaml:9",
        "  copied       alpine:4                                        2.0 s",
    ]


def test_a_row_of_the_direct_way_tells_platforms_and_what_did_not_move(
    ended: Callable[..., Outcome],
) -> None:
    python = ended("python:3.13", Status.COPIED, 1, bytes_moved=412_000_000, seconds=31)
    small = ended("alpine:3.22", Status.COPIED, 2, bytes_moved=3_800_000, seconds=1.9)
    none = ended("app:1", Status.COPIED, 3, seconds=0.4)
    outcomes = [
        replace(python, platforms=5, bytes_there=96_000_000),
        replace(small, platforms=1),
        replace(small, platforms=12, bytes_there=96_000_000, bytes_shared=71_300_000),
        replace(none, platforms=2, bytes_shared=71_300_000),
        replace(none, bytes_there=71_300_000),
        replace(python, status=Status.UNCHANGED),
    ]
    table = Table([outcome.job for outcome in outcomes])

    assert [table.row(outcome) for outcome in outcomes] == [
        "  copied       python:3.13  5 platforms   412 MB moved, 96.0 MB were there     31 s",
        "  copied       alpine:3.22  1 platform    3.8 MB moved                         1.9 s",
        "  copied       alpine:3.22  12 platforms  "
        "3.8 MB moved, 96.0 MB were there, 71.3 MB shared    1.9 s",
        "  copied       app:1        2 platforms   71.3 MB shared                       0.4 s",
        "  copied       app:1                      71.3 MB were there                   0.4 s",
        "  unchanged    python:3.13",
    ]


def test_colour_is_in_the_status_alone_and_moves_no_column(ended: Callable[..., Outcome]) -> None:
    outcome = ended("nginx:1.27", Status.COPIED, seconds=1)
    plain, coloured = Table([outcome.job]), Table([outcome.job], coloured=True)

    row = coloured.row(outcome)

    assert row.replace("\x1b[32m", "").replace("\x1b[0m", "") == plain.row(outcome)
    assert row.startswith("  \x1b[32mcopied\x1b[0m ")


def test_a_long_name_pushes_its_own_row_alone(ended: Callable[..., Outcome]) -> None:
    long, short = ended(f"ghcr.io/{'a' * 90}:1", Status.COPIED), ended("b:1", Status.COPIED)
    table = Table([long.job, short.job])
    assert len(table.row(short)) < 100 < len(table.row(long))


def test_a_plan_is_told_line_by_line_and_counted() -> None:
    names = {
        "nginx:1.27": "r.example/team/nginx:1.27",
        "ghcr.io/openrailassociation/osrd-edge/osrd-core:dev": "r.example/team/osrd-core:dev",
    }
    jobs = [
        CopyJob(Reference.parse(source), Reference.parse(target), (), Position("l", 1))
        for source, target in names.items()
    ]
    assert list(plan_lines(Plan(tuple(jobs)))) == [
        "  nginx:1.27                                r.example/team/nginx:1.27",
        "  ghcr.io/openrailassociation/osrd-edge/osrd-core:dev",
        "                                            r.example/team/osrd-core:dev",
        "2 images. Nothing was copied.",
    ]


def test_a_plan_names_the_platform_asked_for() -> None:
    nginx = Reference.parse("nginx:1"), Reference.parse("r.example/nginx:1")
    job = CopyJob(*nginx, (Platform.parse("linux/arm64"),), Position("l", 1))
    assert list(plan_lines(Plan((job,)))) == [
        "  nginx:1  r.example/nginx:1 (linux/arm64)",
        "1 image. Nothing was copied.",
    ]
