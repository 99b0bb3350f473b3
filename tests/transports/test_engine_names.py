"""Local names: one job at a time for each, and somebody is always the last."""

from __future__ import annotations

import anyio
from anyio import wait_all_tasks_blocked

from asyncsync.transports.engine.names import LocalNames


async def test_a_name_is_held_by_one_job_at_a_time_and_others_do_not_wait() -> None:
    names, holding = LocalNames(), []

    async def hold(name: str, gate: anyio.Event) -> None:
        async with names.hold(name) as held:
            holding.append((name, held.is_last))
            await gate.wait()

    gates = [anyio.Event() for _ in range(3)]
    async with anyio.create_task_group() as group:
        group.start_soon(hold, "same", gates[0])
        await wait_all_tasks_blocked()
        group.start_soon(hold, "same", gates[1])
        group.start_soon(hold, "other", gates[2])
        await wait_all_tasks_blocked()
        assert holding == [("same", True), ("other", True)]
        gates[0].set()
        await wait_all_tasks_blocked()
        assert holding[2:] == [("same", True)]
        for gate in gates:
            gate.set()


async def test_who_is_not_the_last_is_told_so_and_what_is_known_is_kept_for_the_next() -> None:
    names = LocalNames()
    seen: list[tuple[bool | None, bool]] = []

    async def hold() -> None:
        async with names.hold("x") as held:
            held.ours = True if held.ours is None else held.ours
            await wait_all_tasks_blocked()
            seen.append((held.ours, held.is_last))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(hold)
    assert seen == [(True, False), (True, False), (True, True)]
    async with names.hold("x") as held:
        assert held.ours is None, "nobody needed it any more, so it may have left the engine"


async def test_a_job_cancelled_while_it_waits_is_not_counted_any_more() -> None:
    names = LocalNames()

    async def wait() -> None:
        async with names.hold("x"):
            raise AssertionError

    async with names.hold("x") as held:
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await wait_all_tasks_blocked()
            assert not held.is_last
            group.cancel_scope.cancel()
        assert held.is_last
