"""How many requests a registry gets at once, and when none: by its answers and a moved clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio
import pytest
from anyio import CancelScope, create_task_group, fail_after, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from parts.clock import Clock

from asyncsync.model.errors import CopyError, RateLimited, RegistryUnavailable, Where
from asyncsync.stores.registry.rates import Kind, Quota, Rates, quota

AT = Where("docker.io")
NO_HEADERS: Mapping[str, str] = {}
NONE_LEFT = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600"}


def too_many(wait: float | None = None) -> RateLimited:
    return RateLimited("docker.io answered 429", AT, transient=True, retry_after=wait)


def spent(wait: float | None = None) -> RateLimited:
    return RateLimited("you have reached your pull rate limit", AT, retry_after=wait)


def unavailable(wait: float | None = None) -> RegistryUnavailable:
    return RegistryUnavailable("docker.io answered 503", AT, transient=True, retry_after=wait)


def rates_of(at_once: int, clock: Clock | None = None) -> Rates:
    clock = clock or Clock()
    return Rates(dict.fromkeys(Kind, at_once), clock=clock, sleep=clock.sleep)


class Asker:
    """A task that wants a turn, keeps it until told how it was answered, and learns that."""

    def __init__(self, rates: Rates, kind: Kind = Kind.READS) -> None:
        self._rates, self._kind = rates, kind
        self._over = anyio.Event()
        self._answer: tuple[int, CopyError | None] = (200, None)
        self.begun = False
        self.refused: CopyError | None = None

    async def ask(self) -> None:
        try:
            async with self._rates.turn(self._kind) as turn:
                self.begun = True
                await self._over.wait()
                self._rates.learn(turn, self._answer[0], NO_HEADERS, self._answer[1])
        except CopyError as error:
            self.refused = error

    def end(self, status: int = 200, failed: CopyError | None = None) -> None:
        self._answer = status, failed
        self._over.set()


async def answered(
    rates: Rates, status: int, failed: CopyError | None = None, kind: Kind = Kind.READS
) -> None:
    """Ask once, and get this."""
    with fail_after(5):
        async with rates.turn(kind) as turn:
            rates.learn(turn, status, NO_HEADERS, failed)


async def begun(askers: list[Asker]) -> list[int]:
    """Which of them have their turn, or had it, once nothing moves."""
    await wait_all_tasks_blocked()
    return [number for number, asker in enumerate(askers) if asker.begun]


async def test_no_more_begin_than_may_and_the_others_follow_in_the_order_of_asking() -> None:
    rates = rates_of(3)
    askers = [Asker(rates) for _ in range(6)]
    async with create_task_group() as group:
        for asker in askers:
            group.start_soon(asker.ask)
        assert await begun(askers) == [0, 1, 2]
        askers[1].end()
        assert await begun(askers) == [0, 1, 2, 3]
        for asker in askers:
            asker.end()
    assert await begun(askers) == [0, 1, 2, 3, 4, 5]


async def test_each_kind_has_places_of_its_own() -> None:
    rates = rates_of(1)
    askers = [Asker(rates, kind) for kind in Kind for _ in range(2)]
    async with create_task_group() as group:
        for asker in askers:
            group.start_soon(asker.ask)
        assert await begun(askers) == [0, 2, 4, 6, 8]
        group.cancel_scope.cancel()


def test_by_default_64_of_a_kind_are_under_way() -> None:
    assert {Rates().at_once(kind) for kind in Kind} == {64}
    assert Rates({Kind.WRITES: 4}).at_once(Kind.WRITES) == 4


async def test_too_many_requests_halve_the_number_once_for_all_that_were_under_way() -> None:
    rates = rates_of(16)
    async with AsyncExitStack() as stack:
        turns = [await stack.enter_async_context(rates.turn(Kind.BLOBS)) for _ in range(16)]
        for turn in turns:
            rates.learn(turn, 429, NO_HEADERS, too_many())
        assert rates.at_once(Kind.BLOBS) == 8
        assert rates.at_once(Kind.HEADS) == 16


async def test_who_begins_after_that_may_halve_it_again_but_never_below_one() -> None:
    rates = rates_of(5)
    numbers = []
    for _ in range(4):
        await answered(rates, 429, too_many())
        numbers.append(rates.at_once(Kind.READS))
    assert numbers == [2, 1, 1, 1]


async def test_while_more_are_under_way_than_may_be_nobody_begins() -> None:
    rates = rates_of(4)
    askers = [Asker(rates) for _ in range(6)]
    async with create_task_group() as group:
        for asker in askers:
            group.start_soon(asker.ask)
        await begun(askers)
        askers[0].end(429, too_many())
        askers[1].end()
        assert await begun(askers) == [0, 1, 2, 3]
        askers[2].end()
        assert await begun(askers) == [0, 1, 2, 3, 4]
        for asker in askers:
            asker.end()
    assert await begun(askers) == [0, 1, 2, 3, 4, 5]


async def test_it_grows_by_one_after_as_many_successes_as_the_number_is_and_to_the_start() -> None:
    rates = rates_of(4)
    await answered(rates, 429, too_many())
    numbers = []
    for _ in range(8):
        await answered(rates, 200)
        numbers.append(rates.at_once(Kind.READS))
    assert numbers == [2, 3, 3, 3, 4, 4, 4, 4]


async def test_a_place_that_is_won_back_goes_to_who_waits() -> None:
    rates = rates_of(2)
    await answered(rates, 429, too_many())
    askers = [Asker(rates) for _ in range(4)]
    async with create_task_group() as group:
        for asker in askers:
            group.start_soon(asker.ask)
        assert await begun(askers) == [0]
        askers[0].end()
        assert await begun(askers) == [0, 1, 2]
        for asker in askers:
            asker.end()


async def test_it_does_so_before_the_answer_is_read_to_its_end() -> None:
    rates = rates_of(2)
    await answered(rates, 429, too_many())
    asker = Asker(rates)
    async with create_task_group() as group, rates.turn(Kind.READS) as turn:
        group.start_soon(asker.ask)
        assert await begun([asker]) == []
        rates.learn(turn, 200, NO_HEADERS)
        assert await begun([asker]) == [0]
        asker.end()


async def test_what_began_before_the_number_was_halved_does_not_make_it_grow() -> None:
    rates = rates_of(4)
    async with AsyncExitStack() as stack:
        first, *others = [await stack.enter_async_context(rates.turn(Kind.READS)) for _ in range(4)]
        rates.learn(first, 429, NO_HEADERS, too_many())
        for turn in others:
            rates.learn(turn, 200, NO_HEADERS)
    assert rates.at_once(Kind.READS) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_registry_that_is_ill_is_asked_neither_less_nor_more(status: int) -> None:
    rates = rates_of(2)
    await answered(rates, 429, too_many())
    for _ in range(5):
        await answered(rates, status, unavailable())
    assert rates.at_once(Kind.READS) == 1


@pytest.mark.parametrize(("status", "error"), [(429, too_many(60)), (503, unavailable(60))])
async def test_a_wish_to_wait_holds_every_kind_and_halves_its_own(
    status: int, error: CopyError
) -> None:
    clock = Clock()
    rates = rates_of(8, clock)
    await answered(rates, status, error)
    assert [rates.at_once(kind) for kind in (Kind.READS, Kind.HEADS)] == [4, 8]
    askers = [Asker(rates, kind) for kind in Kind]
    async with create_task_group() as group:
        for asker in askers:
            group.start_soon(asker.ask)
        clock.advance(59.9)
        assert await begun(askers) == []
        clock.advance(60)
        assert await begun(askers) == [0, 1, 2, 3, 4]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("wait", [None, 0.0])
async def test_too_many_requests_without_a_wish_to_wait_hold_nobody(wait: float | None) -> None:
    clock = Clock()
    rates = rates_of(8, clock)
    await answered(rates, 429, too_many(wait))
    await answered(rates, 200)
    assert clock.slept == []


@pytest.mark.parametrize("status", [401, 500, 502, 504])
async def test_a_wish_to_wait_beside_any_other_answer_holds_nobody_else(status: int) -> None:
    clock = Clock()
    rates = rates_of(8, clock)
    await answered(rates, status, unavailable(60))
    await answered(rates, 200)
    assert clock.slept == []
    assert rates.at_once(Kind.READS) == 8


@pytest.mark.parametrize("waits", [(60.0, 7.0), (7.0, 60.0)])
async def test_of_several_wishes_the_longest_holds(waits: tuple[float, ...]) -> None:
    clock = Clock()
    rates = rates_of(8, clock)
    asker = Asker(rates)
    async with create_task_group() as group, AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(rates.turn(Kind.HEADS)) for _ in waits]
        rates.learn(first, 429, NO_HEADERS, too_many(waits[0]))
        group.start_soon(asker.ask)
        await wait_all_tasks_blocked()
        rates.learn(second, 429, NO_HEADERS, too_many(waits[1]))
        clock.advance(59.9)
        assert await begun([asker]) == []
        clock.advance(0.2)
        assert await begun([asker]) == [0]
        asker.end()


async def test_who_would_be_held_for_longer_than_any_retry_waits_is_refused_at_once() -> None:
    clock = Clock()
    rates = rates_of(2, clock)
    await answered(rates, 429, too_many(3600))
    clock.advance(600)
    for kind in Kind:
        with pytest.raises(RateLimited) as refused:
            await answered(rates, 200, kind=kind)
        assert refused.value.retry_after == 3000
        assert refused.value.where == AT
    clock.advance(2101)
    asker = Asker(rates)
    async with create_task_group() as group:
        group.start_soon(asker.ask)
        assert await begun([asker]) == []  # short enough now to be waited for
        clock.advance(900)
        assert await begun([asker]) == [0]
        asker.end()


async def test_a_registry_that_says_for_how_long_it_is_away_is_told_as_away() -> None:
    rates = rates_of(2)
    await answered(rates, 503, unavailable(3600))
    with pytest.raises(RegistryUnavailable, match="503"):
        await answered(rates, 200)


@pytest.mark.parametrize("error", [too_many(3600), spent()])
async def test_those_who_wait_are_refused_as_soon_as_waiting_is_in_vain(error: CopyError) -> None:
    clock = Clock()
    rates = rates_of(2, clock)
    askers = [Asker(rates) for _ in range(5)]
    async with create_task_group() as group:
        for asker in askers:
            group.start_soon(asker.ask)
        await begun(askers)
        askers[0].end(429, error)
        assert await begun(askers) == [0, 1]
        refusals = [asker.refused for asker in askers[2:]]
        assert all(isinstance(refused, RateLimited) for refused in refusals)
        assert len({id(refused) for refused in refusals}) == 3  # each has its own
        askers[1].end()
    assert askers[1].refused is None


async def test_so_are_those_who_wait_behind_others_that_are_still_under_way() -> None:
    rates = rates_of(1)
    askers = [Asker(rates) for _ in range(3)]
    async with create_task_group() as group:
        for asker in askers:
            group.start_soon(asker.ask)
        assert await begun(askers) == [0]
        await answered(rates, 429, spent(), Kind.HEADS)
        assert await begun(askers) == [0]
        assert [bool(asker.refused) for asker in askers] == [False, True, True]
        askers[0].end()


async def test_so_are_those_who_sat_out_a_shorter_wait() -> None:
    clock = Clock()
    rates = rates_of(3, clock)
    asker = Asker(rates)
    async with create_task_group() as group, AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(rates.turn(Kind.BLOBS)) for _ in "12"]
        rates.learn(first, 429, NO_HEADERS, too_many(60))
        group.start_soon(asker.ask)
        assert await begun([asker]) == []
        rates.learn(second, 429, NO_HEADERS, too_many(3600))
        await wait_all_tasks_blocked()
        assert isinstance(asker.refused, RateLimited)
        group.cancel_scope.cancel()


async def test_a_spent_quota_stops_what_counts_against_it_and_nothing_else() -> None:
    clock = Clock()
    rates = rates_of(4, clock)
    await answered(rates, 429, spent(wait=21600))  # the rest of the window: no hold
    for kind in (Kind.HEADS, Kind.BLOBS, Kind.WRITES, Kind.UPLOADS):
        await answered(rates, 200, kind=kind)
    for _ in range(2):
        with pytest.raises(RateLimited, match="pull rate limit") as refused:
            await answered(rates, 200)
        assert not refused.value.transient
    clock.advance(3600)
    with pytest.raises(RateLimited):
        await answered(rates, 200)
    assert clock.slept == []


async def test_a_spent_quota_told_to_a_head_stops_heads_too() -> None:
    rates = rates_of(4)
    await answered(rates, 429, spent(), Kind.HEADS)
    for kind in (Kind.HEADS, Kind.READS):
        with pytest.raises(RateLimited):
            await answered(rates, 200, kind=kind)
    await answered(rates, 200, kind=Kind.BLOBS)


async def test_the_refusal_says_what_is_left_of_the_quota() -> None:
    rates = rates_of(4)
    async with rates.turn(Kind.READS) as turn:
        rates.learn(turn, 429, NONE_LEFT, spent())
    with pytest.raises(RateLimited) as refused:
        await answered(rates, 200)
    assert "pull rate limit; 0 of 100 pulls left in 6 h (docker.io). Wait" in str(refused.value)
    assert "log in" in refused.value.advice()


async def test_it_says_nothing_of_a_rest_that_another_account_may_have() -> None:
    rates = rates_of(4)
    async with rates.turn(Kind.READS) as turn:
        rates.learn(turn, 429, {**NONE_LEFT, "ratelimit-remaining": "76;w=21600"}, spent())
    with pytest.raises(RateLimited) as refused:
        await answered(rates, 200)
    assert "76" not in str(refused.value)


async def test_no_pull_left_does_not_stop_anything_before_the_registry_does() -> None:
    rates = rates_of(4)
    async with rates.turn(Kind.READS) as turn:
        rates.learn(turn, 200, NONE_LEFT)
    await answered(rates, 200)
    assert rates.quota == Quota(100, 0, 21600)  # an answer without it changes nothing


@pytest.mark.parametrize(
    ("limit", "remaining", "expected"),
    [
        ("100;w=21600", "76;w=21600", "76 of 100 pulls left in 6 h"),
        (" 100 ; w=21600 ", "76", "76 of 100 pulls left in 6 h"),
        ("200", "76;w=5400", "76 of 200 pulls left in 90 min"),
        ("200", "0", "0 of 200 pulls left"),
        ("10;w=0", "1;w=0", "1 of 10 pulls left"),
        ("10;w=7", "1;w=7", "1 of 10 pulls left in 7 s"),
        ("100;w=3600;comment=free", "5;w=3600", "5 of 100 pulls left in 1 h"),
        ("100, 100;w=3600", "5", "5 of 100 pulls left"),
        ("100;w=21600", "", None),
        ("", "76", None),
        ("-1", "76", None),
        ("100", "many", None),
        ("100", "1e3", None),
        ("100", "٧٦", None),
        ("9" * 10, "1", None),
        ("100;w=" + "9" * 10, "1", "1 of 100 pulls left"),
        ("100" + " " * 60000 + ";w=1", "1", "1 of 100 pulls left"),
        ("100\x00", "1", None),
    ],
)
def test_what_is_left_is_read_where_it_is_said_and_nothing_else_is_an_error(
    limit: str, remaining: str, expected: str | None
) -> None:
    read = quota(CIMultiDict({"RateLimit-Limit": limit, "RateLimit-Remaining": remaining}))
    assert (str(read) if read else None) == expected


def test_most_registries_say_nothing_of_quotas() -> None:
    assert quota(CIMultiDict()) is None


@given(st.text(), st.text())
def test_no_text_of_a_header_is_too_strange(limit: str, remaining: str) -> None:
    read = quota({"ratelimit-limit": limit, "ratelimit-remaining": remaining})
    assert read is None or read.remaining >= 0


async def test_an_error_in_its_turn_gives_the_place_back() -> None:
    rates = rates_of(1)
    with pytest.raises(RegistryUnavailable):
        async with rates.turn(Kind.READS):
            raise unavailable()
    await answered(rates, 200)


@dataclass(frozen=True)
class Request:
    """What one asker of a random schedule does, and what comes back."""

    kind: Kind
    length: int  # turns of the loop until its answer
    cancelled_after: int | None
    answer: tuple[int, float | None]


requests = st.builds(
    Request,
    st.sampled_from([Kind.HEADS, Kind.READS]),
    st.integers(0, 6),
    st.none() | st.none() | st.integers(0, 30),
    st.sampled_from(
        [(200, None), (200, None), (429, None), (429, 5.0), (503, 9.0), (503, None), (429, 0.0)]
    ),
)


@dataclass(frozen=True)
class Seen:
    begun: int
    ended: int
    cancelled: int


async def played(at_once: int, schedule: list[Request]) -> Seen:
    """Play it to its end. Asserts what must hold whenever a request begins."""
    clock = Clock()
    rates = rates_of(at_once, clock)
    under_way: Counter[Kind] = Counter()
    total: Counter[str] = Counter()
    held_until = 0.0

    async def ask(request: Request, scope: CancelScope) -> None:
        nonlocal held_until
        status, wait = request.answer
        failed = {429: too_many, 503: unavailable}[status](wait) if status != 200 else None
        with scope:
            async with rates.turn(request.kind) as turn:
                total["begun"] += 1
                under_way[request.kind] += 1
                try:
                    assert under_way[request.kind] <= rates.at_once(request.kind) <= at_once
                    assert clock.now >= held_until
                    for _ in range(request.length):
                        await checkpoint()
                    rates.learn(turn, status, NO_HEADERS, failed)
                    if wait is not None:
                        held_until = max(held_until, clock.now + wait)
                finally:
                    under_way[request.kind] -= 1
            total["ended"] += 1
        total["cancelled"] += scope.cancelled_caught

    async def cancel(scope: CancelScope, after: int) -> None:
        for _ in range(after):
            await checkpoint()
        scope.cancel()

    async with create_task_group() as group:
        group.start_soon(clock.follow)
        with fail_after(20):
            async with create_task_group() as askers:
                for request in schedule:
                    scope = CancelScope()
                    askers.start_soon(ask, request, scope)
                    if request.cancelled_after is not None:
                        askers.start_soon(cancel, scope, request.cancelled_after)
            for kind in Kind:  # all places are there again, so nothing has leaked
                async with AsyncExitStack() as stack:
                    for _ in range(rates.at_once(kind)):
                        await stack.enter_async_context(rates.turn(kind))
        group.cancel_scope.cancel()
    return Seen(total["begun"], total["ended"], total["cancelled"])


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 5), st.lists(requests, max_size=30))
def test_however_requests_end_no_more_are_under_way_than_may_and_each_has_its_turn(
    at_once: int, schedule: list[Request]
) -> None:
    seen = anyio.run(played, at_once, schedule)
    assert seen.ended + seen.cancelled == len(schedule)
    assert seen.begun >= seen.ended
