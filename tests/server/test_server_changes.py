"""Who adds and who takes away do not meet."""

from __future__ import annotations

from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from asyncsync.server.changes import Changes


async def test_many_add_at_once_and_one_alone_takes_away() -> None:
    changes = Changes()
    adding = removing = 0
    most = 0

    async def add() -> None:
        nonlocal adding, most
        async with changes.together():
            adding += 1
            most = max(most, adding)
            for _ in range(3):
                assert removing == 0
                await checkpoint()
            adding -= 1

    async def remove() -> None:
        nonlocal removing
        async with changes.alone():
            removing += 1
            for _ in range(3):
                assert (adding, removing) == (0, 1)
                await checkpoint()
            removing -= 1

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(remove if number % 7 == 3 else add)
    assert most > 1


async def test_one_who_gives_up_holds_up_nobody() -> None:
    changes = Changes()
    entered, leave = anyio.Event(), anyio.Event()

    async def add() -> None:
        async with changes.together():
            entered.set()
            await leave.wait()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(add)
            await entered.wait()
            with anyio.move_on_after(0) as waiting:
                async with changes.alone():
                    raise AssertionError("somebody adds")
            assert waiting.cancelled_caught
            group.cancel_scope.cancel()
        async with changes.alone():
            pass
        async with changes.together():
            pass


async def test_who_takes_away_is_not_held_up_by_those_who_go_on_adding() -> None:
    changes = Changes()
    came: list[str] = []
    leaving = {"first": anyio.Event(), "second": anyio.Event()}

    async def add(name: str) -> None:
        async with changes.together():
            came.append(name)
            await leaving[name].wait()

    async def remove() -> None:
        async with changes.alone():
            came.append("remover")

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for start in (partial(add, "first"), remove, partial(add, "second")):
                group.start_soon(start)
                await anyio.wait_all_tasks_blocked()
            assert came == ["first"]
            leaving["first"].set()
            await anyio.wait_all_tasks_blocked()
            assert came == ["first", "remover", "second"]
            leaving["second"].set()
