"""How many requests one registry gets at once: it starts high, and learns from the answers.

Additive increase, multiplicative decrease: a 429 halves the number for that kind of request, and
as many successes as the number is now give one back. A Retry-After holds the whole registry.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import anyio
from anyio import CancelScope, Lock

from asyncsync.credentials.flights import again
from asyncsync.model.errors import CopyError, RateLimited
from asyncsync.retrying import RETRY_AFTER_SECONDS_MAX

AT_ONCE = 64  # requests of one kind; small ones need so many on a link of 50 ms
_ENTRY = re.compile(r"\s*([0-9]{1,9})\s*(?:;\s*w\s*=\s*([0-9]{1,9})\s*)?(?:[;,].*)?")
_ENTRY_MAX = 200  # characters of such a header that are read


class Kind(StrEnum):
    """What registries count apart (Amazon ECR: PutImage 10 a second, UploadLayerPart 500)."""

    HEADS = "heads"
    READS = "manifest reads"
    WRITES = "manifest writes"
    BLOBS = "blob reads"
    UPLOADS = "uploads"


_DEFAULTS: Mapping[Kind, int] = MappingProxyType({})
_PULLS = frozenset({Kind.READS})  # all that Docker Hub's quota counts (“Docker Hub pull usage”)


@dataclass(frozen=True, slots=True)
class Quota:
    """What a registry says is left: `76 of 100 pulls left in 6 h`. No window: it named none."""

    limit: int
    remaining: int
    window_seconds: int | None

    def __str__(self) -> str:
        window = f" in {_span(self.window_seconds)}" if self.window_seconds else ""
        return f"{self.remaining} of {self.limit} pulls left{window}"


def quota(headers: Mapping[str, str]) -> Quota | None:
    """Read `ratelimit-limit: 100;w=21600` and `ratelimit-remaining` (Docker Hub's), if both are.

    Whatever else they say is None: an answer is never refused for them.
    """
    limit, window = _entry(headers.get("ratelimit-limit", ""))
    remaining, same_window = _entry(headers.get("ratelimit-remaining", ""))
    if limit is None or remaining is None:
        return None
    return Quota(limit, remaining, same_window or window or None)


class Turn:
    """One request's turn: what `Rates.learn` is told about. Compares as itself alone."""

    __slots__ = ("kind", "number")

    def __init__(self, kind: Kind) -> None:
        self.kind, self.number = kind, 0  # number: the order of beginning, within the kind


class Rates:
    """The turns at one registry. Many tasks ask at once; those of a kind are served in order.

    `at_once`: how many of a kind to begin with, where not AT_ONCE; never more than that.
    """

    def __init__(
        self,
        at_once: Mapping[Kind, int] = _DEFAULTS,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lanes = {kind: _Lane(at_once.get(kind, AT_ONCE)) for kind in Kind}
        self._held_until = clock()
        self._held_by: CopyError | None = None
        self._spent: dict[Kind, CopyError] = {}
        self._quota: Quota | None = None

    @property
    def quota(self) -> Quota | None:
        """What the registry's last word on it was. An answer without one changes nothing."""
        return self._quota

    def at_once(self, kind: Kind) -> int:
        """How many requests of this kind may be under way now."""
        return self._lanes[kind].number

    @asynccontextmanager
    async def turn(self, kind: Kind) -> AsyncIterator[Turn]:
        """Wait for a place and for the end of a hold; the place is this block's.

        Raises CopyError, also while it waits, when the registry has told of a quota that is spent,
        or holds us for longer than any retry waits.

        A task that holds a turn must not ask for another of the same kind: 64 of them, each with
        one and in want of a second, wait for ever. A relay is safe: a blob's GET has its turn
        until its headers are here, an upload's body has one of another kind, so a source that is
        asked again in the middle of an upload waits for GETs alone, and these end.
        """
        lane, turn = self._lanes[kind], Turn(kind)
        async with lane.line:  # whoever is first in it waits for all that there is to wait for
            while wait := self._refuse_or_wait(lane, kind):
                await lane.pause(wait, self._sleep)
            lane.begin(turn)  # no await since we looked: never more than there may be
        try:
            yield turn
        finally:
            lane.end()

    def learn(
        self,
        turn: Turn,
        status: int,
        headers: Mapping[str, str],
        failed: CopyError | None = None,
    ) -> None:
        """Take in the answer that the request of `turn` got; `failed`: the error it is, if it is.

        RateLimited that is not transient is a spent quota. It stops what counts against it, and
        the kind that was told so; other kinds go on.
        """
        self._quota = quota(headers) or self._quota
        lane = self._lanes[turn.kind]
        if isinstance(failed, RateLimited) and not failed.transient:
            # No hold: what Retry-After says here is the end of the quota's window, and HEADs and
            # blobs are outside of it.
            self._stop({turn.kind, *_PULLS}, failed)
            return
        wait = failed.retry_after if failed and status in (429, 503) else None
        if status == 429 or wait is not None:
            lane.halve(turn)
        elif status < 500:
            lane.grow(turn)
        if failed and wait:
            self._hold(wait, failed)

    def _stop(self, kinds: set[Kind], told: CopyError) -> None:
        left = self._quota
        what = f"{told.what}; {left}" if left and not left.remaining else told.what
        for kind in kinds:
            self._spent[kind] = told.saying(what)
            self._lanes[kind].wake()

    def _hold(self, seconds: float, told: CopyError) -> None:
        until = self._clock() + seconds
        if until <= self._held_until:
            return
        self._held_until, self._held_by = until, again(told)
        if seconds > RETRY_AFTER_SECONDS_MAX:
            for lane in self._lanes.values():
                lane.wake()

    def _refuse_or_wait(self, lane: _Lane, kind: Kind) -> float:
        """Seconds until the next of this kind may begin: 0 for now, infinite for want of a place.

        Raises an error of its own for each who is refused.
        """
        if spent := self._spent.get(kind):
            raise again(spent)
        left = max(self._held_until - self._clock(), 0.0)
        if self._held_by and left > RETRY_AFTER_SECONDS_MAX:
            raise self._held_by.waiting(left)
        return left if lane.has_room else math.inf


class _Lane:
    """The line of one kind of request, and how many of it there may be."""

    def __init__(self, most: int) -> None:
        self.number = self._most = most
        # First come, first served: who has it is the next to begin. A cancelled one leaves it.
        self.line = Lock(fast_acquire=True)
        self._first: CancelScope | None = None  # around what the first in the line waits for
        self._under_way = 0
        self._begun = 0
        self._cut_after = 0  # turns up to this number were under way at the last cut
        self._successes = 0

    @property
    def has_room(self) -> bool:
        return self._under_way < self.number

    async def pause(self, seconds: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait so long, or until there is something new."""
        with CancelScope() as self._first:
            await (anyio.sleep_forever() if seconds == math.inf else sleep(seconds))
        self._first = None

    def wake(self) -> None:
        """Let the first in the line look again; if it is refused, the next one will, at once."""
        if self._first:
            self._first.cancel()

    def begin(self, turn: Turn) -> None:
        self._under_way += 1
        self._begun += 1
        turn.number = self._begun

    def end(self) -> None:
        self._under_way -= 1
        self.wake()

    def halve(self, turn: Turn) -> None:
        """Once for all that were under way: they all say the same of the same number."""
        if turn.number > self._cut_after:
            self._cut_after, self._successes = self._begun, 0
            self.number = max(1, self.number // 2)

    def grow(self, turn: Turn) -> None:
        """One more, after as many successes at this number; what began before says nothing."""
        if self.number == self._most or turn.number <= self._cut_after:
            return
        self._successes += 1
        if self._successes >= self.number:
            self._successes = 0
            self.number += 1
            self.wake()


def _entry(text: str) -> tuple[int | None, int | None]:
    match = _ENTRY.fullmatch(text[:_ENTRY_MAX])
    if match is None:
        return None, None
    number, window = match.groups()
    return int(number), int(window) if window else None


def _span(seconds: int) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
