"""One blob on its way into a registry (OCI distribution-spec, “Pushing blobs”).

Three ways, tried in this order and remembered for each registry: one PUT; chunks of a known
length; one PATCH of unknown length, which is what the docker command does. The next one only
after an answer that says no to a body: proxies bound them, some registries take no chunks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from anyio import move_on_after
from yarl import URL

from asyncsync.model.errors import CopyError, DigestMismatch, RegistryUnavailable, Where
from asyncsync.model.reference import Digest, Reference
from asyncsync.stores.registry.answers import Answer, codes
from asyncsync.stores.registry.ask import Ask
from asyncsync.stores.registry.quirks import Way
from asyncsync.stores.registry.ranges import chunk_range, offset_of
from asyncsync.stores.registry.rates import Kind
from asyncsync.stores.registry.session import Session
from asyncsync.stores.registry.wire import Body

CANCEL_SECONDS = 3.0  # a stop promises to end within 5
_NEXT_WAY = frozenset({400, 411, 413, 416})
_OCTETS = {"Content-Type": "application/octet-stream"}  # some answer 415 without a type
_MOUNT_REFUSED = frozenset({400, 401, 403, 404, 405})


class Content(Protocol):
    """The bytes of a blob, which can be read from any offset, and more than once."""

    @property
    def digest(self) -> Digest:
        """What they hash to; the reader checks it before it gives out the last of them."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Those from `start` up to, without, `stop`."""


async def begin(session: Session, ref: Reference, origin: str | None) -> Upload | None:
    """Begin an upload of `ref`, unless the registry takes it from `origin`: then None.

    Its own repository as `origin` asks whether it is there. Raises CopyError, with the registry
    alone.
    """
    if origin is None:
        return await _begun(session, ref)
    elsewhere = origin != ref.repository
    if session.mounts and not (elsewhere and session.quirks.one_scope):
        answer = await _mounted(session, ref, origin)
        if answer is not None and answer.status == 201:
            return None
        if answer is not None and answer.status == 202:
            return _upload(session, ref, answer)
        session.mounts = False  # learnt once: each further try would cost a round trip
    if not elsewhere and await _has(session, ref):
        return None
    return await _begun(session, ref)


async def _mounted(session: Session, ref: Reference, origin: str) -> Answer | None:
    """The answer to a mount: 201, or 202 with an upload; None where the registry wants none."""
    path = f"blobs/uploads/?mount={ref.digest}&from={origin}"
    ask = Ask("POST", ref.repository, path, Kind.UPLOADS, writes=True, origin=origin)
    try:
        answer = await session.ask(ask)
    except CopyError as error:
        if origin == ref.repository or error.transient:
            raise
        return None  # it may be the origin alone that we must not read
    if answer.status in _MOUNT_REFUSED:
        return None
    if answer.status not in (201, 202):
        raise session.push_failure(answer)
    return answer


async def _has(session: Session, ref: Reference) -> bool:
    """Whether the repository has the blob. A redirect says so, too: it is not followed."""
    answer = await session.ask(
        Ask(
            "HEAD",
            ref.repository,
            f"blobs/{ref.digest}",
            Kind.HEADS,
            writes=True,
            follows=False,
        )
    )
    return answer.status in (200, 307)


async def _begun(session: Session, ref: Reference) -> Upload:
    answer = await session.ask(
        Ask("POST", ref.repository, "blobs/uploads/", Kind.UPLOADS, writes=True)
    )
    if answer.status != 202:
        raise session.push_failure(answer)
    return _upload(session, ref, answer)


def _upload(session: Session, ref: Reference, answer: Answer) -> Upload:
    return Upload(session, ref, session.sent_to(answer, _location(answer, session)))


class Upload:
    """An upload that has begun. `send` it, or `cancel` it."""

    def __init__(self, session: Session, ref: Reference, location: URL) -> None:
        self._session, self._ref, self._location = session, ref, location

    async def send(self, content: Content, start: int = 0) -> None:
        """Send `content` from `start`, which the registry has said that it has; then it is there.

        Raises CopyError, with the registry alone.
        """
        if start:
            answer = await self._rest(content, start)
        else:
            answer = await self._whole(content)
        if answer.status not in (201, 204):
            raise self._failure(answer)

    async def offset(self) -> int:
        """How many bytes the registry has of it: where to go on; 0 where it cannot say."""
        if not self._session.quirks.trust_offset:
            return 0
        try:
            answer = await self._ask("GET", self._location)
        except CopyError:
            return 0
        if answer.status != 204:
            return 0
        self._moved_on(answer)
        return offset_of(answer.headers) or 0

    async def cancel(self) -> None:
        """Tell the registry that nothing will come of it, as far as it wants to know.

        Best effort, bounded and shielded: what stays is purged by the registry.
        """
        with move_on_after(CANCEL_SECONDS, shield=True):
            try:
                await self._ask("DELETE", self._location)
            except CopyError:
                return

    async def _whole(self, content: Content) -> Answer:
        while True:
            match way := self._session.ways[0]:
                case Way.PUT:
                    answer = await self._put(content)
                case Way.CHUNKS:
                    answer = await self._chunks(content)
                case Way.PATCH:
                    answer = await self._patch(content)
            refused = answer.status in _NEXT_WAY and "DIGEST_INVALID" not in codes(answer)
            if not refused or len(self._session.ways) == 1:
                return answer
            if self._session.ways[0] is way:  # another upload may have found out meanwhile
                self._session.ways = self._session.ways[1:]
            self._location = (await _begun(self._session, self._ref))._location

    async def _put(self, content: Content) -> Answer:
        return await self._ask(
            "PUT",
            self._closing(),
            lambda: content.read(0, content.size),
            {"Content-Length": str(content.size)},
        )

    async def _chunks(self, content: Content) -> Answer:
        start, step = 0, self._session.quirks.chunk_bytes
        while content.size - start > step:
            answer = await self._chunk(content, start, start + step)
            if answer.status not in (201, 202, 204):
                return answer
            start += step
        headers = self._chunk_headers(start, content.size)
        body = lambda: content.read(start, content.size)  # noqa: E731
        return await self._ask("PUT", self._closing(), body, headers)

    async def _patch(self, content: Content) -> Answer:
        answer = await self._ask("PATCH", self._location, lambda: content.read(0, content.size), {})
        if answer.status not in (201, 202, 204):
            return answer
        self._moved_on(answer)
        return await self._ask("PUT", self._closing())

    async def _rest(self, content: Content, start: int) -> Answer:
        if start < content.size:
            answer = await self._chunk(content, start, content.size)
            if answer.status not in (201, 202, 204):
                return answer
        return await self._ask("PUT", self._closing())

    async def _chunk(self, content: Content, start: int, stop: int) -> Answer:
        answer = await self._ask(
            "PATCH",
            self._location,
            lambda: content.read(start, stop),
            self._chunk_headers(start, stop),
        )
        if answer.status in (201, 202, 204):
            self._moved_on(answer)
        return answer

    def _chunk_headers(self, start: int, stop: int) -> dict[str, str]:
        return {"Content-Length": str(stop - start), "Content-Range": chunk_range(start, stop)}

    def _closing(self) -> URL:
        """Where the upload is closed; what the registry wrote stays byte for byte."""
        text = str(self._location)
        join = "&" if self._location.raw_query_string else "?"
        return URL(f"{text.rstrip('?')}{join}digest={self._ref.digest}", encoded=True)

    def _moved_on(self, answer: Answer) -> None:
        """Each answer may bring a new Location; an old one is no longer good."""
        if "Location" in answer.headers:
            self._location = self._session.sent_to(answer, _location(answer, self._session))

    def _failure(self, answer: Answer) -> CopyError:
        where = Where(self._ref.place.host)
        if "DIGEST_INVALID" in codes(answer):
            what = f"{self._ref.place} got other bytes for {self._ref.digest} than were sent"
            return DigestMismatch(what, where, transient=True)
        failure = self._session.push_failure(answer)
        if answer.status in (404, 416):  # the upload is gone: a new one may do
            return RegistryUnavailable(failure.what, where, transient=True)
        return failure

    async def _ask(
        self,
        method: str,
        at: URL,
        body: Callable[[], Body] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        more = {**_OCTETS, **(headers or {})} if body else {}
        return await self._session.ask(
            Ask(method, self._ref.repository, at, Kind.UPLOADS, more, body, writes=True)
        )


def _location(answer: Answer, session: Session) -> str:
    """The Location of an answer, put right where a proxy before the registry has spoilt it."""
    return session.own_scheme(answer.headers.get("Location", ""))
