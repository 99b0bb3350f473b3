"""The bytes of one blob from its source: hashed, bounded, told and gone on with as they come.

A source that breaks goes on inside the same upload, by a range. The last chunk is held back until
the digest is right, so wrong bytes never become a blob at the target.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, DigestMismatch, Where
from asyncsync.model.reference import Reference
from asyncsync.retrying import may_retry, pause
from asyncsync.transports.direct.contracts import Reading, Source
from asyncsync.transports.direct.idling import IDLE_SECONDS, IdleWatch
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.stepping import Steps

# So much has to come in between two failures of a source for it to have come on: a part of the
# blob, or more than drops bring in the minutes after which their reader ends them. Else a source
# that breaks off behind each single byte would be asked for ever.
_WORTH_PART = 32
_WORTH_BYTES = 32 * 1024
_TOLD_BYTES = 1024 * 1024  # an event for each chunk of 64 KiB would cost more than its hash


@dataclass(frozen=True, slots=True)
class _Try:
    """One of several tries in a row to read on, none of which came far."""

    since: int  # the byte at which the first began
    number: int = 1
    short: CopyError | None = None  # what one said that came to an end too early


class Stream:
    """The bytes of a blob, read from its source as they are wanted (`stores.content`).

    `given`: how many were given out at the most. `failure`: what ended the last reading; whoever
    sends the bytes hears of it only in the words of his own connection.
    """

    def __init__(
        self,
        source: Source,
        ref: Reference,
        size: int,
        steps: Steps,
        pace: Pace,
        moved: Callable[[int], None],
        *,
        whole: bytes = b"",
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        assert ref.digest is not None  # noqa: S101  a `Need` has one
        self._source, self._ref, self._steps, self._pace = source, ref, steps, pace
        self.digest: Digest = ref.digest
        self.size = size
        self._worth = min(max(size // _WORTH_PART, 1), _WORTH_BYTES)
        self._moved, self._untold = moved, 0
        self._reading: Reading | None = None  # the one that is under way
        self._whole = whole  # all of it, and right, if it was fetched
        self._missed: CopyError | None = None  # why it was not
        self.watch = IdleWatch(idle_seconds)
        self._anew()

    def _anew(self) -> None:
        """Forget what came, and how it ended: all comes again, perhaps from somebody else."""
        self._hash = hashlib.new(self.digest.algorithm, usedforsecurity=False)
        self.given = 0
        self._read_from: list[Reading] = []  # of which the bytes are that were hashed
        self.failure: CopyError | None = None
        self._renewable = False  # what failed were wrong bytes of a mirror

    async def fetch(self) -> None:
        """Read all of it now, to be given out later; for small blobs.

        What goes wrong here is the first failure of `read`, which then asks the source again.
        """
        if self._whole:
            return
        data, self._missed, self._reading = bytearray(), None, None
        try:
            async with self._source.blob(self._ref) as self._reading:
                async for chunk in self._reading:
                    data += chunk
                    if len(data) > self.size:
                        return  # `read` says so
        except CopyError as error:
            self._missed = error
            return
        if Digest.of(bytes(data), self.digest.algorithm) == self.digest:
            self._whole = bytes(data)

    async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `stop`, gone on with where a source breaks off."""
        if not start and not self._whole:
            self._anew()
        if not self.size:
            self._check()  # there is no last chunk to hold back, and none that puts the watch off
            self.watch.ready(0)
        at, this = start, _Try(start)
        while at < stop:
            try:
                async with self._opened(at, stop) as chunks:
                    async for chunk in chunks:
                        self._take(at, chunk, stop)
                        at += len(chunk)
                        await self._paced(len(chunk))
                        self.watch.ready(len(chunk), digesting=self.size if at == stop else 0)
                        yield chunk
                if at < stop:
                    goes_on = self._reading is None or self._reading.goes_on
                    what = f"ended {self.digest} at {at} of {self.size} bytes"
                    raise self._mismatch(what, transient=goes_on)
            except CopyError as error:
                if self.failure:  # with a wrong digest there is nothing to go on with
                    raise
                this = await self._next(this, at, error)

    async def _next(self, this: _Try, at: int, error: CopyError) -> _Try:
        """The try after `this`, which got as far as `at`, once it is due; the last one raises."""
        if at - this.since >= self._worth:  # it came on: another try has as good a chance
            this = _Try(at)
        short = error if isinstance(error, DigestMismatch) else this.short
        if may_retry(error, this.number, self._steps.retrying.retries):
            await self._pause(error, this.number)
            return _Try(this.since, this.number + 1, short)
        if self._reading and self._reading.distrust():  # a mirror: another one goes on
            self._steps.retried(this.number + 1, 0.0, error)
            return _Try(at)
        # There is nothing behind the end: what it says to that is no better reason.
        self.failure = short or error
        raise self.failure from None

    def renew(self, failed: CopyError) -> bool:
        """Begin anew, if what failed were wrong bytes of a mirror: somebody else sends the next.

        False: nobody else can be asked, or it was something else.
        """
        if not self._renewable:
            return False
        self._steps.retried(2, 0.0, failed)
        self._anew()
        return True

    def tell(self) -> None:
        """Tell what came in since the last time."""
        if self._untold:
            self._moved(self._untold)
            self._untold = 0

    @asynccontextmanager
    async def _opened(self, start: int, stop: int) -> AsyncIterator[AsyncIterable[bytes]]:
        if self._whole:
            yield _alone(self._whole[start:stop])
            return
        missed, self._missed = self._missed, None
        if missed:  # of the reading that was under way
            raise missed
        self._reading, end = None, stop if stop < self.size else None
        async with self._source.blob(self._ref, start, end) as reading:
            self._reading = reading
            self._read_from.append(reading)
            yield reading

    def _take(self, at: int, chunk: bytes, stop: int) -> None:
        """Count and hash a chunk; wrong ones go no further."""
        end = at + len(chunk)
        if end > stop:
            raise self._mismatch(f"sends more than the {self.size} bytes of {self.digest}")
        if end > self.given:  # what is read again was hashed before
            self._hash.update(chunk[self.given - at :] if self.given > at else chunk)
            self.given = end
        elif self._whole:  # it came in once
            return
        self._untold += len(chunk)
        if self._untold >= _TOLD_BYTES:
            self.tell()
        if end == self.size:
            self._check()

    def _check(self) -> None:
        if self._hash.hexdigest() != self.digest.hex:
            self.failure = self._mismatch(f"sent other bytes than {self.digest} names")
            distrusted = [reading.distrust() for reading in self._read_from]  # each of them
            self._renewable = any(distrusted)
            raise self.failure

    def _mismatch(self, what: str, *, transient: bool = False) -> DigestMismatch:
        sender = self._reading.place if self._reading else self._ref.place  # perhaps a mirror
        return DigestMismatch(f"{sender} {what}", Where(str(self._ref.place)), transient)

    async def _paced(self, count: int) -> None:
        if self._pace.bounded:
            self.watch.hold()
            await self._pace.passed(count)

    async def _pause(self, error: CopyError, attempt: int) -> None:
        """Wait before the source is asked again."""
        retrying = self._steps.retrying
        seconds = pause(error, attempt, retrying.chance())
        self._steps.retried(attempt + 1, seconds, error)
        self.watch.hold()
        await retrying.sleep(seconds)


async def _alone(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk
