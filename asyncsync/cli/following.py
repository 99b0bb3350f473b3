"""Follows a run from its opening to its last line, and ends it in order: by a signal, in time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from anyio import CancelScope

from asyncsync.cli.ending import FAILED

if TYPE_CHECKING:
    from asyncsync.cli.deadline import Deadline
    from asyncsync.cli.signals import Interruption
    from asyncsync.cli.telling import Telling
    from asyncsync.model.outcome import Outcome, Report

# After a signal: how long the copies may take to clean up, before what is known is told without
# them. A stop is promised within 5 s.
_STOP_SECONDS = 3.5
_LOOK_SECONDS = 0.5  # how often it is looked whether somebody waits for a word; of live lines too


class Running(Protocol):
    """A run under way, as the library opens one. Its report is complete behind the block."""

    def __aiter__(self) -> AsyncIterator[Outcome]: ...
    def stop(self) -> None: ...
    def drain(self) -> None: ...
    @property
    def report(self) -> Report: ...


async def follow(
    opening: AbstractAsyncContextManager[Running],
    telling: Telling,
    interruption: Interruption,
    deadline: Deadline | None = None,
) -> Report:
    """Open the run and tell it to its end. Raises what the library raises, the end told before."""
    connecting = CancelScope()  # the run cannot be stopped before there is one
    run: Running | None = None

    def stop() -> None:
        if run is None:
            connecting.cancel()
        else:
            run.stop()

    def drain() -> None:
        if run is None:
            connecting.cancel()  # nothing has begun, and nothing may begin any more
        else:
            run.drain()

    with (
        _told_inside(telling),
        _stopping(stop, telling, interruption),
        _in_time(deadline, drain, stop, telling, interruption),
        _repeating(_LOOK_SECONDS, telling.tell_alive),
    ):
        try:
            with connecting:
                async with opening as run:
                    async for outcome in run:
                        telling.tell(outcome)
        except Exception:
            if run is not None:  # it had begun: what is in place is told, whatever ended it
                telling.finish(run.report)
            raise
        report = telling.so_far() if run is None else run.report
        telling.finish(report)
        interruption.over()  # all is told: a signal has nothing left to stop
        return report


@contextmanager
def _told_inside(telling: Telling) -> Iterator[None]:
    """Inside the block, asyncio tells its own mishaps to the log, in place of tracebacks.

    There is one, say, where a certificate is refused within TLS through a proxy that speaks TLS
    itself (seen with Python 3.11.7 and 3.12.1).
    """

    def tell(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        if "handle" in told:  # a callback failed, as a timer of ours: that is a bug, and is seen
            loop.default_exception_handler(told)
        else:
            telling.tell_inside(told["message"])

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(tell)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


@contextmanager
def _stopping(
    stop: Callable[[], None], telling: Telling, interruption: Interruption
) -> Iterator[None]:
    """Inside the block, a signal is answered and calls `stop`, which may take only so long."""
    loop = asyncio.get_running_loop()

    def begin() -> None:
        telling.tell_stopping(interruption.name)
        loop.call_later(_STOP_SECONDS, _leave, telling, interruption)
        stop()

    with interruption.calling(lambda: loop.call_soon_threadsafe(begin)):
        yield


def _leave(telling: Telling, interruption: Interruption) -> None:
    """End although something hangs: what is known is told, and nothing twice."""
    telling.finish(telling.so_far())
    os._exit(FAILED if interruption.signal is None else interruption.exit_code)


@contextmanager
def _in_time(
    deadline: Deadline | None,
    drain: Callable[[], None],
    stop: Callable[[], None],
    telling: Telling,
    interruption: Interruption,
) -> Iterator[None]:
    """Inside the block, nothing is begun from the last call on, and all is over by the end.

    The loop's time is the deadline's: asyncio and uvloop have both from the monotonic clock.
    """
    if deadline is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def last_call() -> None:
        telling.tell_closing(deadline.end - loop.time())
        drain()

    def end() -> None:
        telling.tell_expired()
        rest = min(_STOP_SECONDS, deadline.over - loop.time())
        timers.append(loop.call_later(rest, _leave, telling, interruption))
        stop()

    timers = [loop.call_at(deadline.last_call, last_call), loop.call_at(deadline.end, end)]
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


@contextmanager
def _repeating(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call again and again while the block is left to wait.

    A timer and no task: a task group would wrap in a group whatever the block raises.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def again() -> None:
        nonlocal timer
        timer = loop.call_later(seconds, again)
        call()

    timer = loop.call_later(seconds, again)
    try:
        yield
    finally:
        timer.cancel()
