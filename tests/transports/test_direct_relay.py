"""One blob from source to target, when either breaks, lies, or stands still."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from anyio import create_task_group, sleep_forever, wait_all_tasks_blocked
from hypothesis import given
from hypothesis import strategies as st
from parts.clock import Clock
from parts.places import (
    SOURCE,
    TARGET,
    Listener,
    MemoryReading,
    MemorySource,
    MemoryTarget,
    MemoryUpload,
    broken,
)
from parts.turns import at_once

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, DigestMismatch, RegistryUnavailable, TimedOut
from asyncsync.model.events import Retried
from asyncsync.model.job import CopyJob
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.transports.direct.blobs import Need
from asyncsync.transports.direct.contracts import Content
from asyncsync.transports.direct.idling import LARGE_CHUNK_BYTES
from asyncsync.transports.direct.pace import BURST_BYTES_MIN, Pace
from asyncsync.transports.direct.relay import EARLY_BYTES_MAX, Relay
from asyncsync.transports.stepping import Steps

DATA = bytes(range(256))
JOB = CopyJob(
    Reference(SOURCE, "team/image", "1"), Reference(TARGET, "image", "1"), (), Position("l", 1, 1)
)


@dataclass
class Link:
    """A relay between a source that has `data` and an empty target."""

    data: bytes = DATA
    source: MemorySource = field(default_factory=MemorySource)
    target: MemoryTarget = field(default_factory=MemoryTarget)
    retries: int = 3
    algorithm: str = "sha256"
    sleep: Callable[[float], Awaitable[None]] = at_once
    listener: Listener = field(default_factory=Listener)
    moved: list[int] = field(default_factory=list)

    @property
    def need(self) -> Need:
        digest = Digest.of(self.data, self.algorithm)
        return Need(JOB.source.by_digest(digest), JOB.target.by_digest(digest), len(self.data))

    def relay(self, pace: Pace | None = None, **options: Any) -> Relay:
        self.source.blobs[self.need.source] = self.data
        retrying = Retrying(self.retries, chance=lambda: 0.5, sleep=self.sleep)
        steps = Steps(JOB, self.listener, retrying)
        return Relay(
            self.source, self.target, steps, pace or Pace(None), self.moved.append, **options
        )

    @property
    def arrived(self) -> bool:
        return self.target.blobs.get(self.need.target) == self.data


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [b"", b"x", DATA, DATA * 3])
async def test_a_blob_of_any_size_arrives_and_its_bytes_are_told(
    data: bytes, algorithm: str
) -> None:
    link = Link(data, algorithm=algorithm)
    assert await link.relay().move(link.need)
    assert link.arrived
    assert sum(link.moved) == len(data)
    assert link.target.cancelled == []


async def test_what_the_target_has_is_not_read_at_the_source() -> None:
    link = Link()
    link.target.blobs[link.need.target] = DATA
    assert not await link.relay().move(link.need)
    assert link.source.asked == []
    assert link.moved == []


async def test_an_early_read_brings_a_small_blob_once_also_where_the_target_breaks() -> None:
    link = Link(target=MemoryTarget(breaks=deque([100, 0])))
    assert await link.relay(early=True).move(link.need)
    assert link.arrived
    assert [start for _, start, _ in link.source.asked] == [0]
    assert sum(link.moved) == len(DATA)


async def test_an_early_read_is_given_up_once_the_target_has_the_blob() -> None:
    link = Link(source=MemorySource(opens=sleep_forever))
    link.target.blobs[link.need.target] = DATA
    assert not await link.relay(early=True).move(link.need)
    assert link.moved == []


async def test_an_early_read_is_given_up_once_the_target_refuses() -> None:
    link = Link(source=MemorySource(opens=sleep_forever), target=MemoryTarget(closed=True))
    with pytest.raises(RegistryUnavailable):
        await link.relay(early=True).move(link.need)


@pytest.mark.parametrize("sent", [b"", DATA[:-1], DATA[::-1], DATA * 2])
async def test_an_early_read_that_brings_something_else_is_no_more_than_no_early_read(
    sent: bytes,
) -> None:
    link = Link()
    link.source.lies[link.need.target.digest] = sent
    with pytest.raises(CopyError) as caught:
        await link.relay(early=True).move(link.need)
    assert caught.value.where.registry == str(SOURCE)
    assert link.target.blobs == {}


async def test_an_early_read_that_breaks_is_a_try_like_any_other() -> None:
    link = Link(source=MemorySource(breaks=deque([0, 0, 0])))
    assert await link.relay(early=True).move(link.need)
    assert link.arrived
    assert len(link.listener.texts("Retried")) == 3
    assert len(link.target.done) == 2, "one upload was begun, and it was sent"


async def test_only_small_blobs_are_read_early() -> None:
    link = Link(b"x" * (EARLY_BYTES_MAX + 1), source=MemorySource(opens=sleep_forever))
    link.target.blobs[link.need.target] = link.data
    assert not await link.relay(early=True).move(link.need)
    assert link.source.asked == []


async def test_a_source_that_breaks_goes_on_in_the_same_upload_with_what_is_missing() -> None:
    link = Link(source=MemorySource(breaks=deque([50, 0, 100])))
    assert await link.relay().move(link.need)
    assert link.arrived
    assert [start for _, start, _ in link.source.asked] == [0, 50, 50, 150]
    assert link.source.sent == sum(link.moved) == len(DATA)
    assert len(link.target.done) == 2, "one upload was begun, and it was sent"
    assert len(link.listener.texts("Retried")) == 3


async def test_a_source_that_breaks_is_given_time_before_it_is_asked_again() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    link = Link(source=MemorySource(breaks=deque([50, 0, 100])), sleep=sleep)
    assert await link.relay().move(link.need)
    told = [event for event in link.listener.events if isinstance(event, Retried)]
    assert slept == [event.wait for event in told]
    assert slept[1] == 2 * slept[0] == 2 * slept[2] > 0
    assert [event.attempt for event in told] == [2, 3, 2]


@given(
    source=st.lists(st.integers(10, 200), max_size=4),
    target=st.lists(st.integers(0, 250), max_size=3),
    resumes=st.booleans(),
)
def test_whoever_breaks_the_right_bytes_arrive(
    source: list[int], target: list[int], resumes: bool
) -> None:
    link = Link(
        source=MemorySource(breaks=deque(source)),
        target=MemoryTarget(breaks=deque(target), resumes=resumes),
    )
    assert anyio.run(link.relay().move, link.need)
    assert link.arrived


def a_mirror(link: Link, **how: Any) -> MemorySource:
    """A mirror that has the blob of `link`."""
    return MemorySource(blobs={link.need.source: link.data}, **how)


@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("instead", [DATA[:-1] + b"?", b"?" * 100, b"?" * 300, DATA + b"?" * 50])
async def test_a_mirror_that_sends_other_bytes_is_left_and_the_registry_itself_sends_them(
    instead: bytes, retries: int
) -> None:
    link = Link(retries=retries)
    lying = a_mirror(link, lies={link.need.target.digest: instead})
    link.source.mirrors = [lying]
    assert await link.relay().move(link.need)
    assert link.arrived
    assert link.source.mirrors == []
    first, *_ = (event for event in link.listener.events if isinstance(event, Retried))
    assert first.error.what.startswith("m.example "), "who sent them is named"


async def test_wrong_bytes_of_a_mirror_never_become_a_blob_and_are_told() -> None:
    link = Link()
    link.source.mirrors = [a_mirror(link, lies={link.need.target.digest: b"?" * 256})]
    assert await link.relay().move(link.need)
    assert [what.split()[0] for what in link.target.done] == ["begin", "begin", "sent"]
    assert link.target.cancelled == [link.need.target]
    (told,) = [event for event in link.listener.events if isinstance(event, Retried)]
    assert "m.example sent other bytes" in str(told.error)
    assert (told.attempt, told.wait) == (2, 0)
    assert sum(link.moved) == 2 * len(DATA)


async def test_of_mirrors_each_is_left_that_lies_before_the_registry_is_asked() -> None:
    link = Link()
    mirrors = [a_mirror(link, lies={link.need.target.digest: bytes(256)}) for _ in range(3)]
    link.source.mirrors = list(mirrors)
    assert await link.relay().move(link.need)
    assert link.arrived
    assert [len(each.asked) for each in (*mirrors, link.source)] == [1, 1, 1, 1]


async def test_a_registry_that_lies_as_its_mirror_does_is_named_after_one_try() -> None:
    link = Link()
    lies = {link.need.target.digest: bytes(256)}
    link.source.mirrors, link.source.lies = [a_mirror(link, lies=lies)], lies
    with pytest.raises(DigestMismatch, match=r"s\.example sent other bytes"):
        await link.relay().move(link.need)
    assert len(link.source.asked) == 1
    assert link.need.target not in link.target.blobs


@pytest.mark.parametrize("retries", [0, 2])
async def test_where_a_mirror_breaks_for_good_the_registry_goes_on_in_the_same_upload(
    retries: int,
) -> None:
    link = Link(retries=retries)
    mirror = a_mirror(link, breaks=deque([100, *[0] * 50]))
    link.source.mirrors = [mirror]
    assert await link.relay().move(link.need)
    assert link.arrived
    assert [start for _, start, _ in mirror.asked] == [0, *[100] * retries]
    assert [start for _, start, _ in link.source.asked] == [100]
    assert len(link.target.done) == 2, "one upload was begun, and it was sent"
    assert sum(link.moved) == len(DATA)
    told = [event for event in link.listener.events if isinstance(event, Retried)]
    assert [event.attempt for event in told] == list(range(2, retries + 3))
    assert told[-1].wait == 0, "somebody else is asked, so nobody has to be waited for"


async def test_a_registry_that_stays_away_behind_a_lying_mirror_is_not_asked_for_ever() -> None:
    link = Link(retries=1, source=MemorySource(breaks=deque([0] * 50)))
    link.source.mirrors = [a_mirror(link, lies={link.need.target.digest: bytes(256)})]
    with pytest.raises(RegistryUnavailable, match=r"s\.example broke"):
        await link.relay().move(link.need)
    assert len(link.source.asked) == 2


async def test_a_registry_that_breaks_for_good_behind_its_mirror_fails_the_blob() -> None:
    link = Link(retries=1, source=MemorySource(breaks=deque([0] * 50)))
    link.source.mirrors = [a_mirror(link, breaks=deque([100, *[0] * 50]))]
    with pytest.raises(RegistryUnavailable, match=r"s\.example broke"):
        await link.relay().move(link.need)
    assert len(link.source.asked) == 2, "it has its own retries"
    assert link.target.cancelled == [link.need.target]


async def test_a_source_that_stays_away_is_asked_as_often_as_retries_say_and_no_more() -> None:
    breaks = deque([50, *[0] * 100])
    link = Link(retries=2, source=MemorySource(breaks=breaks), target=MemoryTarget(resumes=True))
    with pytest.raises(RegistryUnavailable) as caught:
        await link.relay().move(link.need)
    assert caught.value.where.registry == str(SOURCE)
    assert len(link.source.asked) == 3
    assert link.target.cancelled == [link.need.target]
    assert not link.arrived


async def test_each_break_after_new_bytes_has_all_retries_again() -> None:
    link = Link(retries=1, source=MemorySource(breaks=deque([10] * 20)))
    assert await link.relay().move(link.need)
    assert link.arrived


async def test_a_source_that_breaks_behind_each_few_bytes_is_not_asked_for_ever() -> None:
    source = MemorySource(breaks=deque([100, *[1] * 1000]), chunk_bytes=1)
    link = Link(DATA * 4, retries=2, source=source)
    with pytest.raises(RegistryUnavailable) as caught:
        await link.relay().move(link.need)
    assert caught.value.where.registry == str(SOURCE)
    assert [start for _, start, _ in link.source.asked] == [0, 100, 101]


async def test_a_target_that_breaks_and_knows_how_far_it_came_gets_the_rest() -> None:
    link = Link(target=MemoryTarget(breaks=deque([105]), resumes=True))
    assert await link.relay().move(link.need)
    assert link.arrived
    assert [start for _, start, _ in link.source.asked] == [0, 105]
    assert link.target.cancelled == []


async def test_a_target_that_breaks_and_cannot_say_gets_the_blob_from_its_start() -> None:
    link = Link(target=MemoryTarget(breaks=deque([100])))
    assert await link.relay().move(link.need)
    assert link.arrived
    assert [start for _, start, _ in link.source.asked] == [0, 0]
    assert link.target.cancelled == [link.need.target]


async def test_a_target_that_claims_more_than_it_was_sent_gets_the_blob_from_its_start() -> None:
    class Boastful(MemoryUpload):
        async def offset(self) -> int:
            return len(DATA)

    link = Link(target=MemoryTarget(uploads=Boastful, breaks=deque([100])))
    assert await link.relay().move(link.need)
    assert link.arrived
    assert [start for _, start, _ in link.source.asked] == [0, 0]
    assert link.target.cancelled == [link.need.target]


async def test_a_target_that_stays_away_is_named() -> None:
    link = Link(retries=2, target=MemoryTarget(breaks=deque([0] * 100)))
    with pytest.raises(RegistryUnavailable) as caught:
        await link.relay().move(link.need)
    assert caught.value.where.registry == str(TARGET)
    assert len(link.target.cancelled) == 3


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (DATA[:-1] + b"?", "other bytes"),
        (b"?" + DATA[1:], "other bytes"),
        (DATA + b"more", "more than the 256 bytes"),
        (DATA[:-5], "at 251 of 256"),
        (DATA[:10], "at 10 of 256"),
    ],
    ids=["last byte", "first byte", "longer", "shorter", "much shorter"],
)
async def test_a_source_that_lies_is_named_and_the_target_never_gets_the_last_bytes(
    lie: bytes, says: str
) -> None:
    link = Link()
    link.source.lies[link.need.target.digest or Digest.of(b"")] = lie
    with pytest.raises(DigestMismatch, match=says) as caught:
        await link.relay().move(link.need)
    assert caught.value.where.registry == str(SOURCE)
    assert link.target.received < len(DATA)
    assert link.target.blobs == {}
    assert link.target.cancelled == [link.need.target]


async def test_a_blob_that_should_be_empty_and_by_its_digest_is_not_is_never_sent() -> None:
    link = Link()
    claimed = Need(link.need.source, link.need.target, 0)
    with pytest.raises(DigestMismatch) as caught:
        await link.relay().move(claimed)
    assert caught.value.where.registry == str(SOURCE)
    assert link.target.blobs == {}


async def test_a_source_that_has_no_more_to_give_is_not_asked_to_go_on() -> None:
    class Closed(MemoryReading):
        goes_on = False  # as a layout's file, which is as long as it is

    class Files(MemorySource):
        @asynccontextmanager
        async def blob(
            self, ref: Reference, start: int = 0, stop: int | None = None
        ) -> AsyncIterator[MemoryReading]:
            async with super().blob(ref, start, stop) as reading:
                yield Closed(reading.place, reading.chunks, reading.distrusted)

    link = Link(source=Files())
    link.source.lies[link.need.target.digest or Digest.of(b"")] = DATA[:100]
    with pytest.raises(DigestMismatch, match="at 100 of 256"):
        await link.relay().move(link.need)
    assert len(link.source.asked) == 1


async def test_a_blob_that_was_read_before_and_is_shorter_than_announced_is_never_sent() -> None:
    link = Link()
    claimed = Need(link.need.source, link.need.target, len(DATA) + 10)
    with pytest.raises(DigestMismatch, match="at 256 of 266"):
        await link.relay(held={link.need.source: DATA}).move(claimed)
    assert link.target.blobs == {}


async def test_a_source_that_ends_early_once_may_go_on() -> None:
    link = Link()
    digest = link.need.target.digest or Digest.of(b"")
    link.source.lies[digest] = DATA[:100]

    async def honest_from_now_on() -> None:
        if len(link.source.asked) == 2:
            link.source.lies.clear()

    link.source.opens = honest_from_now_on
    assert await link.relay().move(link.need)
    assert link.arrived


@pytest.mark.parametrize("stalls", [100, len(DATA)], ids=["in the middle", "after the last byte"])
async def test_a_target_that_stands_still_is_timed_out_and_tried_again(stalls: int) -> None:
    link = Link(target=MemoryTarget(stalls=stalls))
    assert await link.relay(idle_seconds=0.05).move(link.need)
    assert link.arrived
    (retried,) = link.listener.texts("Retried")
    error = retried.error  # type: ignore[union-attr]
    assert isinstance(error, TimedOut)
    assert error.where.registry == str(TARGET)
    assert "took no more of sha256:" in error.what


async def test_a_target_that_stands_still_with_an_empty_blob_is_timed_out_too() -> None:
    link = Link(b"", target=MemoryTarget(stalls=0))
    with anyio.fail_after(10):
        assert await link.relay(idle_seconds=0.05).move(link.need)
    assert link.arrived
    assert len(link.listener.texts("Retried")) == 1


async def test_a_target_may_take_the_longer_over_the_last_byte_the_larger_a_blob_is() -> None:
    @dataclass
    class Digesting(MemoryUpload):
        async def _stall(self) -> None:
            if len(self.data) == len(link.data):
                await anyio.sleep(0.6)  # the watch has no other clock than the loop's

    data = DATA * (8 * 1024 * 1024 // len(DATA))
    target = MemoryTarget(uploads=Digesting)
    link = Link(data, MemorySource(chunk_bytes=64 * 1024), target, retries=0)
    assert await link.relay(idle_seconds=0.25).move(link.need)
    assert link.arrived


async def test_a_target_may_take_the_longer_over_a_chunk_the_larger_it_is() -> None:
    @dataclass
    class Slow(MemoryUpload):
        async def _stall(self) -> None:
            await anyio.sleep(0.6)  # the watch has no other clock than the loop's

    large = 4 * LARGE_CHUNK_BYTES
    target = MemoryTarget(uploads=Slow)
    link = Link(bytes(3 * large), MemorySource(chunk_bytes=large), target, retries=0)
    assert await link.relay(idle_seconds=0.25).move(link.need)
    assert link.arrived


async def test_a_source_that_is_waited_for_is_not_the_targets_fault() -> None:
    async def slowly(_: float = 0) -> None:
        await anyio.sleep(0.2)  # the watch has no other clock than the loop's

    link = Link(source=MemorySource(breaks=deque([50]), opens=slowly), sleep=slowly)
    assert await link.relay(idle_seconds=0.05).move(link.need)
    assert link.arrived
    assert len(link.target.done) == 2, "one upload was begun, and it was sent"


async def test_a_bound_on_the_rate_is_not_the_targets_fault_either() -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        await anyio.sleep(0.3)
        clock.advance(seconds)

    link = Link(DATA * 1200, retries=0, source=MemorySource(chunk_bytes=200 * 1024))
    pace = Pace(100 * 1024, clock=clock, sleep=sleep)
    assert await link.relay(pace, idle_seconds=0.05).move(link.need)
    assert link.arrived


async def test_a_blob_takes_the_time_that_the_bound_on_the_rate_asks_for() -> None:
    clock, rate = Clock(), 100 * 1024

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    link = Link(DATA * 12_000, source=MemorySource(chunk_bytes=64 * 1024))
    began = clock()
    assert await link.relay(Pace(rate, clock=clock, sleep=sleep)).move(link.need)
    assert clock() - began == pytest.approx((len(link.data) - BURST_BYTES_MIN) / rate)


async def test_the_bytes_of_a_large_blob_are_told_while_they_come_and_each_once() -> None:
    link = Link(DATA * 12_000, source=MemorySource(chunk_bytes=64 * 1024))
    assert await link.relay().move(link.need)
    assert sum(link.moved) == len(link.data)
    assert link.moved[:2] == [1024 * 1024] * 2


async def test_bytes_that_are_wrong_only_when_they_come_again_are_the_sources_fault() -> None:
    link = Link(retries=1, target=MemoryTarget(breaks=deque([100])))

    async def lies_from_now_on() -> None:
        if len(link.source.asked) == 2:
            link.source.lies[link.need.source.digest] = bytes(50) + DATA[50:]

    link.source.opens = lies_from_now_on
    with pytest.raises(DigestMismatch) as caught:
        await link.relay().move(link.need)
    assert caught.value.where.registry == str(SOURCE)
    assert link.target.blobs == {}


class Early(MemoryUpload):
    """Answers while the body is still on its way: it wants another one."""

    async def send(self, content: Content, start: int = 0) -> None:
        with suppress(CopyError):  # nobody waits for the end of it
            async for _ in content.read(0, content.size):
                pass
        await super().send(content, start)


async def test_what_once_ended_a_reading_ends_no_other_and_is_no_longer_told() -> None:
    target = MemoryTarget(uploads=Early)
    link = Link(retries=1, source=MemorySource(breaks=deque([0, 0, 0])), target=target)
    assert await link.relay().move(link.need)
    assert link.arrived


async def test_a_lie_of_a_mirror_is_no_reason_to_ask_again_for_what_broke_later() -> None:
    target = MemoryTarget(uploads=Early)
    link = Link(retries=0, source=MemorySource(breaks=deque([0] * 50)), target=target)
    link.source.mirrors = [a_mirror(link, lies={link.need.target.digest: bytes(256)})]
    with pytest.raises(RegistryUnavailable, match=r"s\.example broke"):
        await link.relay().move(link.need)
    assert len(link.source.asked) == 1
    assert link.listener.texts("Retried") == []


async def test_what_was_doubted_is_moved_although_the_target_says_that_it_has_it() -> None:
    link = Link()
    link.target.blobs[link.need.target] = b"what it believes to have"
    relay = link.relay()
    relay.doubt(link.need)
    assert await relay.move(link.need)
    assert link.arrived


async def test_a_mount_that_the_target_takes_is_all_that_is_asked_of_anybody() -> None:
    link = Link()
    link.target.blobs[replace(link.need.target, repository="elsewhere")] = DATA
    assert await link.relay().mount(link.need, "elsewhere") is True
    assert link.arrived
    assert len(link.target.done) == 1
    assert link.source.asked == []


async def test_the_upload_that_a_refused_mount_began_is_the_one_that_is_sent() -> None:
    link = Link()
    relay = link.relay()
    assert not await relay.mount(link.need, "elsewhere")
    assert await relay.move(link.need)
    assert len([what for what in link.target.done if what.startswith("begin")]) == 1


async def test_uploads_that_were_begun_and_not_sent_are_taken_back() -> None:
    link = Link()
    relay = link.relay()
    assert not await relay.mount(link.need, "elsewhere")
    await relay.close()
    await relay.close()
    assert link.target.cancelled == [link.need.target]


async def test_a_target_that_stands_still_does_not_hold_up_the_end_of_an_image() -> None:
    link = Link(target=MemoryTarget(hangs=True))
    relay = link.relay()
    for repository in ("image", "other"):
        need = Need(link.need.source, replace(link.need.target, repository=repository), 256)
        assert not await relay.mount(need, "elsewhere")
    await relay.close()
    assert len(link.target.cancelled) == 2


async def test_a_cancelled_move_takes_its_upload_back_and_is_none_that_came_to_its_end() -> None:
    link, ended = Link(target=MemoryTarget(stalls=50)), []

    async def move() -> None:
        ended.append(await link.relay().move(link.need))

    async with create_task_group() as group:
        group.start_soon(move)
        await wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert ended == [], "whoever waits for this blob would believe that it is there"
    assert link.target.cancelled == [link.need.target]
    assert not link.arrived


async def test_an_upload_that_waits_for_its_next_attempt_is_taken_back_by_a_stop() -> None:
    async def long(_: float) -> None:
        await sleep_forever()

    link = Link(target=MemoryTarget(breaks=deque([105]), resumes=True), sleep=long)
    async with create_task_group() as group:
        group.start_soon(link.relay().move, link.need)
        await wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert link.target.cancelled == [link.need.target]


async def test_an_upload_that_was_begun_while_its_blob_comes_in_is_taken_back_by_a_stop() -> None:
    link = Link(source=MemorySource(opens=sleep_forever))
    async with create_task_group() as group:
        group.start_soon(link.relay(early=True).move, link.need)
        await wait_all_tasks_blocked()
        assert len(link.target.done) == 1, "it was begun"
        group.cancel_scope.cancel()
    assert link.target.cancelled == [link.need.target]


async def test_an_upload_that_could_go_on_is_taken_back_after_the_last_attempt() -> None:
    link = Link(retries=0, target=MemoryTarget(breaks=deque([105]), resumes=True))
    with pytest.raises(RegistryUnavailable):
        await link.relay().move(link.need)
    assert link.target.cancelled == [link.need.target]


async def test_an_error_that_no_retry_helps_is_raised_at_once() -> None:
    link = Link()

    async def refused() -> None:
        raise broken(SOURCE, transient=False)

    link.source.opens = refused
    with pytest.raises(CopyError):
        await link.relay().move(link.need)
    assert len(link.source.asked) == 1
