"""What is not in place is a list again."""

from __future__ import annotations

from collections.abc import Callable

from asyncsync import lists
from asyncsync.model.errors import CopyError, NotFound
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.reporting.failed_list import failed_list


def written(*outcomes: Outcome) -> str:
    return failed_list(Report("engine", 1, outcomes))


def test_each_image_stands_below_its_reason(
    ended: Callable[..., Outcome], failed: Callable[..., Outcome]
) -> None:
    assert written(
        ended("a:1", Status.COPIED),
        failed("redis:7.99", NotFound, "there is no tag 7.99"),
        ended("b:1", Status.CANCELLED),
        ended("ghcr.io/c/c:1", Status.NOT_STARTED),
    ) == (
        "# asyncsync: 3 of 4 images are not in place.\n"
        "# failed: docker.io/library/redis:7.99: there is no tag 7.99 (resolve at docker.io). "
        "Correct the name or the tag in the list, or comment the line out with #.\n"
        "docker.io/library/redis:7.99\n"
        "# cancelled\n"
        "docker.io/library/b:1\n"
        "# not started\n"
        "ghcr.io/c/c:1\n"
    )


def test_it_is_read_back_with_the_same_sources_in_the_same_order(
    failed: Callable[..., Outcome], hostile: str
) -> None:
    names = [
        "nginx:1.27",
        "images:1",
        "docker.io/a.b/c:1",
        "localhost:5000/x/y:latest",
        "[::1]:5000/x:1",
        f"ghcr.io/a/b:tag@sha256:{'0' * 64}",
        f"ghcr.io/a/b@sha256:{'1' * 64}",
    ]
    outcomes = [failed(name, CopyError, hostile, n) for n, name in enumerate(names)]

    specs = lists.read(written(*outcomes), "failed.yaml")

    assert [spec.source for spec in specs] == [outcome.job.source for outcome in outcomes]


def test_nothing_missing_is_an_empty_list(ended: Callable[..., Outcome]) -> None:
    text = written(ended("a:1", Status.COPIED))
    assert text == "# asyncsync: every image is in place.\n"
    assert lists.read(text, "failed.yaml") == ()
