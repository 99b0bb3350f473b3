"""Who may transfer now: few large blobs, the largest first, and small ones beside them."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, wait_all_tasks_blocked
from hypothesis import given, settings
from hypothesis import strategies as st
from parts.turns import cancel_after, nobody_waits_for_ever, turns

from asyncsync.transports.direct.lanes import SMALL_BYTES_MAX, Lanes

MIB = 1024 * 1024


@dataclass
class Transfers:
    """Transfers that keep their places until they are let go, in the order of their begin."""

    lanes: Lanes
    begun: list[str] = field(default_factory=list)
    going: dict[str, Event] = field(default_factory=dict)

    async def transfer(self, name: str, size: int) -> None:
        async with self.lanes.place(size):
            self.begun.append(name)
            self.going[name] = Event()
            await self.going[name].wait()
            del self.going[name]

    async def end(self, name: str) -> None:
        self.going[name].set()
        await wait_all_tasks_blocked()


async def test_the_largest_waiting_blob_goes_first_then_who_came_first() -> None:
    transfers = Transfers(Lanes(large=1))
    async with create_task_group() as group:
        for name, mib in {"first": 2, "5": 5, "9": 9, "5 again": 5, "7": 7}.items():
            group.start_soon(transfers.transfer, name, mib * MIB)
            await wait_all_tasks_blocked()
        for name in ("first", "9", "7", "5", "5 again"):
            assert list(transfers.going) == [name]
            await transfers.end(name)


async def test_who_comes_later_but_is_larger_than_all_who_wait_is_next() -> None:
    transfers = Transfers(Lanes(large=1))
    async with create_task_group() as group:
        for name, mib in {"first": 9, "5": 5, "6": 6}.items():
            group.start_soon(transfers.transfer, name, mib * MIB)
            await wait_all_tasks_blocked()
        await transfers.end("first")
        group.start_soon(transfers.transfer, "7", 7 * MIB)
        await wait_all_tasks_blocked()
        for name in ("6", "7", "5"):
            await transfers.end(name)
    assert transfers.begun == ["first", "6", "7", "5"]


async def test_small_blobs_go_in_the_order_in_which_they_came() -> None:
    transfers = Transfers(Lanes(small=1))
    sizes = {"a": 10, "b": 1, "c": SMALL_BYTES_MAX, "d": 0}
    async with create_task_group() as group:
        for name, size in sizes.items():
            group.start_soon(transfers.transfer, name, size)
            await wait_all_tasks_blocked()
        for name in sizes:
            await transfers.end(name)
    assert transfers.begun == list(sizes)


async def test_neither_small_nor_large_blobs_wait_for_the_others() -> None:
    transfers = Transfers(Lanes(large=1, small=1))
    async with create_task_group() as group:
        for name, size in {"large": 2 * MIB, "large 2": 3 * MIB, "small": 1, "small 2": 1}.items():
            group.start_soon(transfers.transfer, name, size)
            await wait_all_tasks_blocked()
        assert transfers.begun == ["large", "small"]
        await transfers.end("small")
        assert transfers.begun == ["large", "small", "small 2"]
        await transfers.end("large")
        assert transfers.begun == ["large", "small", "small 2", "large 2"]
        for name in ("small 2", "large 2"):
            await transfers.end(name)


async def test_8_large_and_32_small_blobs_are_transferred_at_once_unless_told_otherwise() -> None:
    transfers = Transfers(Lanes())
    async with create_task_group() as group:
        for n in range(50):
            group.start_soon(transfers.transfer, f"large {n}", 2 * MIB)
            group.start_soon(transfers.transfer, f"small {n}", 1)
        await wait_all_tasks_blocked()
        assert Counter(name.split()[0] for name in transfers.going) == {"large": 8, "small": 32}
        group.cancel_scope.cancel()


@pytest.mark.parametrize("order", ["cancelled, then given", "given, then cancelled"])
async def test_a_place_given_to_somebody_who_is_cancelled_in_that_turn_goes_on_to_the_next(
    order: str,
) -> None:
    lanes = Lanes(large=1)
    transfers = Transfers(lanes)
    scope = CancelScope()

    async def transfer_in_scope() -> None:
        with scope:
            await transfers.transfer("largest", 9 * MIB)

    async with create_task_group() as group:
        async with lanes.place(9 * MIB):
            group.start_soon(transfer_in_scope)
            group.start_soon(transfers.transfer, "next", 2 * MIB)
            await wait_all_tasks_blocked()
            if order == "cancelled, then given":
                scope.cancel()
        scope.cancel()  # no turn of the loop since the place was given
        await wait_all_tasks_blocked()
        assert transfers.begun[-1] == "next"
        await transfers.end("next")


async def test_those_who_gave_up_do_not_disturb_the_order_of_the_others() -> None:
    transfers = Transfers(Lanes(large=1))
    async with create_task_group() as group:
        group.start_soon(transfers.transfer, "first", 2 * MIB)
        await wait_all_tasks_blocked()
        async with create_task_group() as gone:
            for mib in (4, 9, 5, 8, 6, 7):
                group.start_soon(transfers.transfer, str(mib), mib * MIB)
                for other in range(3, 13):
                    gone.start_soon(transfers.transfer, "gone", other * MIB)
            await wait_all_tasks_blocked()
            gone.cancel_scope.cancel()
        for name in ("first", "9", "8", "7", "6", "5", "4"):
            assert list(transfers.going) == [name]
            await transfers.end(name)


async def test_a_place_is_free_again_however_the_transfer_ends() -> None:
    lanes = Lanes(large=1)
    with pytest.raises(LookupError):
        async with lanes.place(2 * MIB):
            raise LookupError
    async with nobody_waits_for_ever(), lanes.place(2 * MIB):
        pass


@dataclass(frozen=True)
class Transfer:
    size: int
    arrives: int  # turns of the loop before it asks for a place
    lasts: int
    cancelled: int | None  # turns after its arrival


transfer_plans = st.builds(
    Transfer,
    st.sampled_from([1, 2, SMALL_BYTES_MAX, 2 * MIB, 3 * MIB, 4 * MIB]),
    st.integers(0, 6),
    st.integers(0, 6),
    st.none() | st.none() | st.integers(0, 8),
)


@pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])
@settings(max_examples=300, deadline=None)
@given(
    script=st.lists(transfer_plans, max_size=25), large=st.integers(1, 3), small=st.integers(1, 3)
)
def test_no_schedule_loses_a_place_or_gives_one_too_many(
    script: list[Transfer], large: int, small: int, uvloop: bool
) -> None:
    async def main() -> None:
        lanes = Lanes(large, small)
        at_once: Counter[bool] = Counter()  # small or not
        begun: set[int] = set()

        async def play(n: int, transfer: Transfer) -> None:
            await turns(transfer.arrives)
            with CancelScope() as scope:
                if transfer.cancelled is not None:
                    group.start_soon(cancel_after, transfer.cancelled, scope)
                async with lanes.place(transfer.size):
                    is_small = transfer.size <= SMALL_BYTES_MAX
                    at_once[is_small] += 1
                    begun.add(n)
                    assert at_once[False] <= large
                    assert at_once[True] <= small
                    try:
                        await turns(transfer.lasts)
                    finally:
                        at_once[is_small] -= 1

        async with nobody_waits_for_ever() as group:
            for n, transfer in enumerate(script):
                group.start_soon(play, n, transfer)
        assert begun >= {n for n, plan in enumerate(script) if plan.cancelled is None}
        async with nobody_waits_for_ever(), AsyncExitStack() as all_places:
            for size in [2 * MIB] * large + [1] * small:
                await all_places.enter_async_context(lanes.place(size))

    anyio.run(main, backend_options={"use_uvloop": uvloop})
