"""One blob on its way into a registry (OCI distribution-spec, “Pushing blobs”).

Three ways, tried in this order and remembered for each registry: one PUT; chunks of a known
length; one PATCH of unknown length, which is what the docker command does. The next one only
after an answer that says no to a body: proxies bound them, some registries take no chunks.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio import move_on_after
from yarl import URL

from asyncsync.model.errors import (
    AuthenticationFailed,
    CopyError,
    DigestMismatch,
    PermissionDenied,
    RefusedByTarget,
    RegistryUnavailable,
    Where,
)
from asyncsync.model.reference import Reference
from asyncsync.stores.content import Content
from asyncsync.stores.registry.answers import Answer, codes, no_room
from asyncsync.stores.registry.ask import Ask
from asyncsync.stores.registry.bodies import Body
from asyncsync.stores.registry.quirks import Way
from asyncsync.stores.registry.ranges import chunk_length, chunk_range, offset_of
from asyncsync.stores.registry.rates import Kind
from asyncsync.stores.registry.session import Session

CANCEL_SECONDS = 3.0  # a stop promises to end within 5
_NEXT_WAY = frozenset({400, 411, 413, 416})
_OCTETS = {"Content-Type": "application/octet-stream"}  # some answer 415 without a type
_PASSING = frozenset({408, 425, 429})  # the same may be answered otherwise in a moment
_TAKEN = frozenset({201, 202, 204})  # a chunk: the spec's 202, ECR's 201, Google's 204


async def begin(session: Session, ref: Reference, origin: str) -> Upload | None:
    """Begin an upload of `ref`, unless the registry takes it from `origin`: then None.

    Its own repository as `origin` asks whether it is there. Raises CopyError, with the registry
    alone.
    """
    if origin != ref.repository:
        return await _from_other(session, ref, origin)
    if session.tells:
        answer = await _mounting(session, ref, origin)
        if not _no_mount(answer):
            return _mounted(session, ref, answer)
    upload = None if await _has(session, ref) else await begin_anew(session, ref)
    session.tells = False  # learnt once it lets us push: each further try would cost a round trip
    return upload


async def _from_other(session: Session, ref: Reference, origin: str) -> Upload | None:
    if not session.mounts or session.quirks.one_scope:
        return await begin_anew(session, ref)
    try:
        answer = await _mounting(session, ref, origin)
    except (AuthenticationFailed, PermissionDenied):
        answer = None  # it may be the origin alone that we must not read
    if answer is not None and not _no_mount(answer):
        return _mounted(session, ref, answer)
    upload = await begin_anew(session, ref)
    session.mounts = False  # as above
    return upload


async def _mounting(session: Session, ref: Reference, origin: str) -> Answer:
    path = f"blobs/uploads/?mount={ref.digest}&from={origin}"
    return await session.ask(
        Ask("POST", ref.repository, path, Kind.UPLOADS, writes=True, origin=origin)
    )


def _no_mount(answer: Answer) -> bool:
    """Whether it will not even think of a mount; 400 to 405 were all seen to say so."""
    return 400 <= answer.status < 500 and answer.status not in _PASSING


def _mounted(session: Session, ref: Reference, answer: Answer) -> Upload | None:
    return None if answer.status == 201 else _upload(session, ref, answer)


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
    if answer.status in _PASSING or answer.status >= 500:
        raise session.push_failure(answer)
    return answer.status in (200, 307)


async def begin_anew(session: Session, ref: Reference) -> Upload:
    """Begin an upload of `ref`, whatever is there. Raises CopyError, with the registry alone."""
    answer = await session.ask(
        Ask("POST", ref.repository, "blobs/uploads/", Kind.UPLOADS, writes=True)
    )
    return _upload(session, ref, answer)


def _upload(session: Session, ref: Reference, answer: Answer) -> Upload:
    if answer.status != 202:
        raise session.push_failure(answer)
    step = chunk_length(answer.headers, session.quirks.chunk_bytes)
    return Upload(session, ref, session.sent_to(answer, _location(answer, session)), step)


class Upload:
    """An upload that has begun. `send` it, or `cancel` it."""

    def __init__(self, session: Session, ref: Reference, location: URL, step: int) -> None:
        self._session, self._ref, self._location, self._step = session, ref, location, step

    async def send(self, content: Content, start: int = 0) -> None:
        """Send `content` from `start`, which the registry has said that it has; then it is there.

        Raises CopyError, with the registry alone.
        """
        with self._session.hiding():
            if not start:
                answer = await self._whole(content)
            elif _refused(answer := await self._chunks(content, start)):
                await self._again()
                answer = await self._whole(content)
            if answer.status not in (201, 204):
                raise self._failure(answer)

    async def offset(self) -> int:
        """How many bytes the registry has of it: where to go on; 0 where it cannot say."""
        if not self._session.quirks.trust_offset:
            return 0
        try:
            answer = await self._ask("GET", self._location)
            if answer.status != 204:
                return 0
            self._moved_on(answer)
        except CopyError:
            return 0
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
        """Send all of it, in the ways that are left; what worked is remembered, and no more.

        A blob that is refused in every way says nothing about the others.
        """
        ways = self._session.ways
        answer = await self._by(ways[0], content)
        while _refused(answer) and len(ways) > 1:
            ways = ways[1:]
            await self._again()
            answer = await self._by(ways[0], content)
        if answer.status in (201, 204) and len(ways) < len(self._session.ways):
            self._session.ways = ways
        return answer

    async def _by(self, way: Way, content: Content) -> Answer:
        match way:
            case Way.PUT:
                return await self._put(content)
            case Way.CHUNKS:
                return await self._chunks(content, 0)
            case Way.PATCH:
                return await self._patch(content)

    async def _again(self) -> None:
        """Begin anew: what got a body that it refused is no longer good."""
        await self.cancel()
        begun = await begin_anew(self._session, self._ref)
        self._location, self._step = begun._location, begun._step

    async def _put(self, content: Content) -> Answer:
        return await self._ask(
            "PUT",
            self._closing(),
            lambda: content.read(0, content.size),
            {"Content-Length": str(content.size)},
        )

    async def _chunks(self, content: Content, start: int) -> Answer:
        while content.size - start > self._step:
            answer = await self._chunk(content, start, start + self._step)
            if answer.status not in _TAKEN:
                return answer
            start += self._step
        return await self._ask(
            "PUT",
            self._closing(),
            lambda: content.read(start, content.size),
            self._chunk_headers(start, content.size),
        )

    async def _patch(self, content: Content) -> Answer:
        answer = await self._ask("PATCH", self._location, lambda: content.read(0, content.size), {})
        if answer.status not in _TAKEN:
            return answer
        self._moved_on(answer)
        return await self._ask("PUT", self._closing(), closes=True)

    async def _chunk(self, content: Content, start: int, stop: int) -> Answer:
        answer = await self._ask(
            "PATCH",
            self._location,
            lambda: content.read(start, stop),
            self._chunk_headers(start, stop),
        )
        if answer.status in _TAKEN:
            self._moved_on(answer)
        return answer

    def _chunk_headers(self, start: int, stop: int) -> dict[str, str]:
        length = {"Content-Length": str(stop - start)}
        return {**length, "Content-Range": chunk_range(start, stop)} if start < stop else length

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
        where = Where(str(self._ref.place))
        if "DIGEST_INVALID" in codes(answer):
            what = f"{self._ref.place} got other bytes for {self._ref.digest} than were sent"
            return DigestMismatch(what, where, transient=True)
        failure = self._session.push_failure(answer)
        if isinstance(failure, RefusedByTarget):
            return failure
        if answer.status in (404, 416):  # the upload is gone: a new one may do
            return RegistryUnavailable(failure.what, where, transient=True)
        return failure

    async def _ask(
        self,
        method: str,
        at: URL,
        body: Callable[[], Body] | None = None,
        headers: dict[str, str] | None = None,
        *,
        closes: bool = False,
    ) -> Answer:
        more = {**_OCTETS, **(headers or {})} if body else {}
        return await self._session.ask(
            Ask(
                method,
                self._ref.repository,
                at,
                Kind.UPLOADS,
                more,
                body,
                writes=True,
                closes=closes,
            )
        )


def _refused(answer: Answer) -> bool:
    """Whether it says no to a body of this form.

    With other bytes the digest is wrong in any, and where there is no room there is none for it.
    """
    hopeless = "DIGEST_INVALID" in codes(answer) or no_room(answer)
    return answer.status in _NEXT_WAY and not hopeless


def _location(answer: Answer, session: Session) -> str:
    """The Location of an answer, put right where a proxy before the registry has spoilt it."""
    return session.own_scheme(answer.headers.get("Location", ""))
