"""How long layers wait for an engine's connections is added up over all its streams."""

from __future__ import annotations

from asyncsync.transports.engine.queue import Queue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_in_which_anything_waits_counts_once_however_much_waits() -> None:
    clock = Clock()
    queue = Queue(10, clock)
    with queue.stream() as first, queue.stream() as second:
        first(3)
        clock.now += 4
        second(1)
        clock.now += 4
        first(0)
        clock.now += 1
        assert not queue.binds
        clock.now += 1
        assert queue.binds  # while it lasts, too
        second(0)
    assert queue.binds


def test_the_time_between_does_not_count() -> None:
    clock = Clock()
    queue = Queue(10, clock)
    for _ in range(3):
        with queue.stream() as waiting:
            waiting(1)
            clock.now += 3
            waiting(0)
            clock.now += 100
    assert not queue.binds


def test_a_stream_that_ends_waits_no_more() -> None:
    clock = Clock()
    queue = Queue(10, clock)
    with queue.stream() as waiting:
        waiting(5)
    clock.now += 100
    assert not queue.binds
