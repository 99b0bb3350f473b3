"""Whose turn it is, against the rule in its plainest form; no scheduler."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model.job import CopyJob
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.queueing import Turns


def jobs_from(sources: str) -> list[CopyJob]:
    """A job for each letter, from the registry of that letter."""
    return [
        CopyJob(
            Reference.parse(f"{letter}.example/i:{n}"),
            Reference.parse(f"target.example/i:{n}"),
            (),
            Position("images.yaml", n + 1),
        )
        for n, letter in enumerate(sources)
    ]


def order(sources: str, *, at_once: int) -> str:
    """The sources in the order of their turns, the first that was begun ending first."""
    turns, under_way, taken = Turns(jobs_from(sources)), [], ""
    while job := turns.take():
        taken += str(job.source)[0]
        under_way.append(job)
        if len(under_way) == at_once:
            turns.over(under_way.pop(0))
    return taken


def test_images_of_one_registry_go_in_the_order_of_the_list() -> None:
    jobs = jobs_from("aaaa")
    turns = Turns(jobs)
    assert [turns.take() for _ in range(5)] == [*jobs, None]


def test_registries_have_equal_shares_of_the_workers_while_they_have_images() -> None:
    assert order("aaaaaabb", at_once=4) == "ababaaaa"
    assert order("abcabc", at_once=3) == "abcabc"


def test_one_at_a_time_they_go_in_the_order_of_the_list() -> None:
    assert order("aabbacab", at_once=1) == "aabbacab"


@given(st.text("abcd", max_size=30), st.lists(st.integers(0, 5), max_size=60))
def test_the_next_image_is_the_first_of_the_sources_with_the_fewest_under_way(
    sources: str, course: list[int]
) -> None:
    jobs = jobs_from(sources)
    turns, waiting, under_way = Turns(jobs), list(jobs), []
    for step in course:
        if step and under_way:
            turns.over(under_way.pop(step % len(under_way)))
            continue
        busy = Counter(job.source.place for job in under_way)
        expected = min(waiting, key=lambda job: busy[job.source.place], default=None)
        assert turns.take() == expected
        if expected:
            waiting.remove(expected)
            under_way.append(expected)
    assert turns.rest() == waiting
