"""Brings along what refers to an image that is in place: signatures, SBOMs, attestations.

Level by level, since GitLab refuses what refers to something that is not there: first what refers
to the image's own manifests, then what refers to that, as the signature of an SBOM does. Both
registries are asked what they have; only what the target lacks is read, as some count each reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from anyio import CapacityLimiter

from asyncsync.model.digest import Digest
from asyncsync.model.errors import BlobsUnknown, CopyError, RefusedByTarget
from asyncsync.model.events import Noted
from asyncsync.model.foreign import quoted
from asyncsync.model.job import Step
from asyncsync.model.manifest import ACCEPTED_TYPES, Descriptor, RawManifest, Taken
from asyncsync.model.place import Place
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.choosing import unsupported
from asyncsync.transports.direct.contracts import Source
from asyncsync.transports.direct.fallback import Fallbacks
from asyncsync.transports.direct.graph import Node, counted
from asyncsync.transports.direct.placing import Placing
from asyncsync.transports.direct.referring import cosign_tags, kind_of, told
from asyncsync.transports.direct.walking import walk
from asyncsync.transports.together import both, every

T = TypeVar("T")
U = TypeVar("U")

DEPTH_MAX = 4  # a signature of an SBOM is 2
REFERRERS_MAX = 1000  # of one image, all levels together
_AT_ONCE = 16  # of one image
_REFUSALS_MAX = 3  # that are told one by one


@dataclass(frozen=True, slots=True)
class Placed:
    """An image that is in place.

    `source` is the digest that its source has for it, `target` the target's; `manifests` are its
    manifests that both have, where anybody wants to know.
    """

    source: Digest
    target: Digest
    manifests: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class _Referrer:
    """One thing that is said to refer to `subject`: in a list, or at a tag of cosign's."""

    subject: Digest
    named: Descriptor
    kind: str
    tag: str | None = None


class Bringing:
    """What refers to one image, on its way. Several tasks of it speak with the registries."""

    def __init__(self, source: Source, fallbacks: Fallbacks, placing: Placing) -> None:
        self._source, self._fallbacks, self._placing = source, fallbacks, placing
        self._target, self._job, self._steps = placing.target, placing.job, placing.steps
        self._limiter = CapacityLimiter(_AT_ONCE)
        self._looked_at: set[Digest] = set()
        self._found = 0
        self._brought: Counter[str] = Counter()
        self._left_out: list[str] = []

    async def bring(self, image: Placed) -> None:
        """Bring it along, and tell what it was. Raises CopyError, of an image that is in place."""
        try:
            await self._bring_all(image.manifests)
            lost = [] if image.source in image.manifests else await self._find([image.source])
        except CopyError as error:
            raise self._incomplete(error) from error
        if lost:
            kinds = told(Counter(each.kind for each in lost))
            speak = "it speaks" if len(lost) == 1 else "they speak"
            became = f"{image.source}, which became {image.target}"
            self._left_out.append(f"left out {kinds}: {speak} of {became}")
        for text in self._notes():
            self._placing.observe(Noted(self._job, text))

    async def _bring_all(self, manifests: Sequence[Digest]) -> None:
        level = manifests
        for depth in range(DEPTH_MAX + 1):
            found = await self._find(level)
            if not found:
                return
            if depth == DEPTH_MAX:
                what = f"what refers to it nests more than {DEPTH_MAX} deep"
                raise unsupported(self._job.source, what)
            level = await self._place(found)

    def _notes(self) -> Iterable[str]:
        if self._brought:
            yield f"brought along: {told(self._brought)}"
        yield from self._left_out[:_REFUSALS_MAX]
        if more := len(self._left_out[_REFUSALS_MAX:]):
            yield f"left out {more} more of what refers to it"

    def _incomplete(self, error: CopyError) -> CopyError:
        what = f"the image is in place, but not all that refers to it: {error.what}"
        return error.saying(what).located(str(self._job.source), Step.COPY)

    async def _find(self, subjects: Iterable[Digest]) -> list[_Referrer]:
        """What the source has that refers to `subjects`, those already looked at apart."""
        new = [each for each in dict.fromkeys(subjects) if each not in self._looked_at]
        self._looked_at.update(new)
        found: dict[Digest, Sequence[_Referrer]] = {}

        async def one(subject: Digest) -> None:
            found[subject] = await self._about(subject)
            self._found += len(found[subject])
            if self._found > REFERRERS_MAX:
                what = f"more than {REFERRERS_MAX} manifests refer to it"
                raise unsupported(self._job.source, what)

        await self._each(one, new)
        return [each for subject in new for each in found[subject]]

    async def _about(self, subject: Digest) -> Sequence[_Referrer]:
        """What is listed at the source as referring to `subject`, and what cosign keeps for it."""
        at_tags: dict[str, _Referrer] = {}

        async def look(tag: str, kind: str) -> None:
            ref = self._job.source.by_tag(tag)
            named = await self._part(lambda: self._source.resolve(ref))
            if named is not None:
                at_tags[tag] = _Referrer(subject, named, kind, tag)

        ref = self._job.source.by_digest(subject)
        tags = list(cosign_tags(subject))
        listed, _ = await both(
            self._part(lambda: self._source.referrers(ref)), every(look(*each) for each in tags)
        )
        return [
            *(_Referrer(subject, named, kind_of(named.artifact_type)) for named in listed),
            *(at_tags[tag] for tag, _ in tags if tag in at_tags),
        ]

    async def _place(self, found: Sequence[_Referrer]) -> list[Digest]:
        """Put at the target what it lacks of it; the digests of what is there now."""
        placed: list[Digest] = []
        listed: dict[Digest, list[_Referrer]] = {}
        for each in found:
            if each.tag is None:
                listed.setdefault(each.subject, []).append(each)

        async def at_tag(each: _Referrer) -> None:
            if await self._stands_at_tag(each):
                placed.append(each.named.digest)

        async def in_list(subject: Digest) -> None:
            placed.extend(await self._place_listed(subject, listed[subject]))

        await both(
            self._each(at_tag, [each for each in found if each.tag is not None]),
            every(in_list(subject) for subject in listed),
        )
        return placed

    async def _stands_at_tag(self, each: _Referrer) -> bool:
        """See that the target has the same under the same tag; False if it does not take it."""
        ref = self._job.target.by_tag(each.tag or "")
        now = await self._part(lambda: self._target.look(ref))
        if now is not None and now.digest == each.named.digest:
            return True
        node = await self._read(each)
        if node is None or await self._put(each, node, ref) is None:
            return False
        self._brought[each.kind] += 1
        return True

    async def _place_listed(
        self, subject: Digest, referrers: Sequence[_Referrer]
    ) -> Sequence[Digest]:
        """Put what the target lacks by its digest, and see that it is listed there."""
        at, by_tag = self._job.target.by_digest(subject), self._target.lists_by_tag(self._at)
        async with self._limiter:
            there = await self._part(lambda: self._target.referrers(at))
        known = {named.digest for named in there}
        placed: list[Digest] = []
        unlisted: dict[Digest, Node] = {}

        async def one(each: _Referrer) -> None:
            digest = each.named.digest
            ref = self._job.target.by_digest(digest)
            stands = await self._placing.has(ref)
            if not stands or (digest not in known and by_tag):
                node = await self._read(each)
                if node is None or _subject(node) != subject:  # then the source's list is wrong
                    return
                # Also what stands and is not listed: the answer tells whether it is from now on.
                taken = await self._put(each, node, ref)
                if taken is None:
                    return
                if taken.subject != subject:
                    unlisted[digest] = node
            if not stands:
                self._brought[each.kind] += 1
            placed.append(digest)

        await self._each(one, referrers)
        ordered = [unlisted[d] for d in (each.named.digest for each in referrers) if d in unlisted]
        if ordered:
            await self._list(at, ordered, by_tag=by_tag)
        return placed

    async def _list(self, at: Reference, nodes: Sequence[Node], *, by_tag: bool) -> None:
        """List what the target has taken and does not list by itself."""
        if not by_tag:
            number = counted(len(nodes), "manifest")
            self._left_out.append(f"{self._at} took {number} about {at.digest}, but lists none")
            return
        try:
            await self._fallbacks.add(at, nodes, self._steps)
        except BlobsUnknown:
            raise
        except RefusedByTarget as error:
            self._left_out.append(f"not listed as referring to {at.digest}: {error.what}")

    async def _read(self, each: _Referrer) -> Node | None:
        """All of it, from the source; None, and told, if it cannot be copied as it is."""
        digest, kind = each.named.digest, each.named.media_type
        if kind not in ACCEPTED_TYPES:
            self._leave_out(each, f"it is of the type {quoted(kind)}")
            return None
        graph = await walk(
            await self._manifest(each.named), self._manifest, self._job.source.by_digest(digest)
        )
        if graph.root.raw.digest != digest:
            self._leave_out(each, "; ".join(graph.left_out))
            return None
        return graph.root

    async def _put(self, each: _Referrer, node: Node, ref: Reference) -> Taken | None:
        """Put it; None, and told, if the target refuses it."""
        try:
            return await self._placing.put(node, ref)
        except BlobsUnknown:
            raise
        except RefusedByTarget as error:
            self._leave_out(each, error.what)
            return None

    def _leave_out(self, each: _Referrer, why: str) -> None:
        self._left_out.append(f"left out the {each.kind} {each.named.digest}: {why}")

    @property
    def _at(self) -> Place:
        return self._job.target.place

    async def _manifest(self, named: Descriptor) -> RawManifest:
        ref = self._job.source.by_digest(named.digest)
        return await self._part(lambda: self._source.manifest(ref))

    async def _part(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await self._steps.part(Step.COPY, attempt)

    async def _each(self, do: Callable[[U], Awaitable[None]], things: Iterable[U]) -> None:
        async def one(thing: U) -> None:
            async with self._limiter:
                await do(thing)

        await every(one(thing) for thing in things)


def _subject(node: Node) -> Digest | None:
    return node.parsed.subject.digest if node.parsed.subject else None
