"""Time as turns of the event loop, for schedules that are played without a clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CancelScope, create_task_group
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

ENOUGH_TURNS = 3000  # ten times what the longest schedule of our tests needs


async def turns(count: int) -> None:
    """Let `count` turns of the loop go by."""
    for _ in range(count):
        await checkpoint()


async def at_once(_: float) -> None:
    """A sleep of any time that is over in the next turn."""
    await checkpoint()


async def cancel_after(count: int, scope: CancelScope) -> None:
    """Cancel `scope` in so many turns."""
    await turns(count)
    scope.cancel()


@asynccontextmanager
async def nobody_waits_for_ever() -> AsyncIterator[TaskGroup]:
    """A group for tasks that wait for nothing but each other. Fails if they do not end."""

    async def watch() -> None:
        await turns(ENOUGH_TURNS)
        raise AssertionError("somebody waits for ever")

    async with create_task_group() as watching:
        watching.start_soon(watch)
        async with create_task_group() as group:
            yield group
        watching.cancel_scope.cancel()
