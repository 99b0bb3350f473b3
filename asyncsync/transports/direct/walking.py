"""Reads an image's graph from its source: every manifest once, many at a time, within bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import TypeAlias

from anyio import CapacityLimiter

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    DigestMismatch,
    NotFound,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.foreign import quoted
from asyncsync.model.manifest import (
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
)
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.choosing import belongs, chosen_of, supported, unsupported
from asyncsync.transports.direct.graph import Graph, Node, became, counted, rebuilt, stamped
from asyncsync.transports.together import every

Read: TypeAlias = Callable[[Descriptor], Awaitable[RawManifest]]

INDEX_DEPTH_MAX = 4  # an index in an index is rare already
MANIFESTS_MAX = 2000  # of one image, its root included
# Of all manifests of one image together, as their descriptors say: 1,600 large ones.
MANIFEST_BYTES_TOTAL_MAX = 16 * 1024 * 1024
_READS_AT_ONCE = 32  # times 4 MiB is what a lying source can make us hold before we see it
_TOLD_MAX = 12


async def walk(
    root: RawManifest, read: Read, source: Reference, platforms: Sequence[Platform] = ()
) -> Graph:
    """Read what hangs on `root`, the manifest of `source`, through `read`: by digest, each once.

    With `platforms`, one that an index has becomes the root alone, and several a pruned index: its
    entries for them and their attestations, all else kept. Whether a single image is for them is
    not asked here: its config knows. Raises NoSuchPlatform; DigestMismatch or UnsupportedManifest
    for what cannot be trusted or copied; and what `read` raises, but NotFound for an attestation:
    it is left out, which changes the index.
    """
    walking = _Walk(read, source)
    node = walking.parsed(root)
    asked = tuple(dict.fromkeys(platforms))
    left_out: list[str] = []
    if not asked or not isinstance(node.parsed, Index):
        node = await walking.under(node)
    else:
        images, chosen = node.parsed.images, chosen_of(node.parsed, asked, source)
        if len(chosen) == 1:
            node = walking.parsed(await walking.raw(chosen[0]))
        elif len(chosen) == len({child.digest for child in images}):
            node = await walking.under(node)
        else:
            node = await walking.under(node, frozenset(child.digest for child in chosen))
            words = ", ".join(str(platform) for platform in asked[:_TOLD_MAX])
            left_out.append(f"pruned to {words} of {len(images)} platforms")
    if walking.missing:
        number = counted(len(walking.missing), "attestation")
        left_out.append(f"left out {number} that {source.place} does not serve")
    if left_out:
        with supported(source):
            node = stamped(rebuilt(node), root.digest, asked)
        left_out[-1] += f": {became(root.digest, node)}"
    graph = Graph(node, root.digest, asked, tuple(left_out))
    _check_blobs(graph, source)
    foreign = _foreign(graph)
    return replace(graph, left_out=(*left_out, foreign)) if foreign else graph


async def manifests_under(root: Descriptor, read: Read, source: Reference) -> tuple[Digest, ...]:
    """The digests of `root` and of all manifests that it names; only indexes are read."""
    found = {root.digest: root}
    level = [root]
    for _ in range(INDEX_DEPTH_MAX):
        named: list[Descriptor] = []
        for each in level:
            if each.is_index:
                with supported(source):
                    named += Node.parse(await read(each)).named
        level = [each for each in named if each.digest not in found]
        found.update((each.digest, each) for each in level)
        if len(found) > MANIFESTS_MAX:
            raise unsupported(source, f"it has more than {MANIFESTS_MAX} manifests")
    return tuple(found)


class _Walk:
    """What was read so far. `missing`: attestations that are named and not served."""

    def __init__(self, read: Read, source: Reference) -> None:
        self._read, self._source = read, source
        self._found: dict[Digest, Node] = {}  # each without its children
        self._bytes = 0
        self.missing: set[Digest] = set()

    def parsed(self, raw: RawManifest) -> Node:
        with supported(self._source.by_digest(raw.digest)):
            return Node.parse(raw)

    async def under(self, root: Node, only: frozenset[Digest] = frozenset()) -> Node:
        """Read all that hangs on `root`; of its own children `only` these and what is about them.

        One level after the other: there are few, and each is read at once.
        """
        self._found[root.raw.digest] = root
        wanted = [child for child in root.named if not only or belongs(child, only)]
        for _ in range(INDEX_DEPTH_MAX):
            new = {child.digest: child for child in wanted if child.digest not in self._found}
            await self._read_all(tuple(new.values()))
            for child in wanted:  # two may name one, and disagree about it
                if child.digest in self._found:
                    self._check(child, self._found[child.digest].raw)
            nodes = [self._found[digest] for digest in new if digest in self._found]
            wanted = [child for node in nodes for child in node.named]
        return self._linked(root)  # which refuses an index that was the last to be read

    async def raw(self, child: Descriptor) -> RawManifest:
        """One manifest, as its descriptor says. What came along with that is not asked for."""
        if child.data is not None:
            return RawManifest(child.media_type, child.data, child.digest)
        raw = await self._read(child)
        self._check(child, raw)
        return raw

    async def _read_all(self, children: Sequence[Descriptor]) -> None:
        """Read `children` at once; the first error ends it."""
        self._bytes += sum(child.size for child in children)
        if len(self._found) + len(children) > MANIFESTS_MAX:
            raise self._unsupported(f"it has more than {MANIFESTS_MAX} manifests")
        if self._bytes > MANIFEST_BYTES_TOTAL_MAX:
            most = MANIFEST_BYTES_TOTAL_MAX >> 20
            raise self._unsupported(f"its manifests are larger than {most} MiB together")
        limiter = CapacityLimiter(_READS_AT_ONCE)

        async def one(child: Descriptor) -> None:
            try:
                async with limiter:
                    self._found[child.digest] = self.parsed(await self.raw(child))
            except NotFound:
                if not child.is_attestation:
                    raise
                self.missing.add(child.digest)

        await every(one(child) for child in children)

    def _linked(self, root: Node) -> Node:
        """Give every node its children, the leaves first; and see how deep they really nest."""
        named = {
            digest: [child.digest for child in node.named if child.digest in self._found]
            for digest, node in self._found.items()
        }
        linked: dict[Digest, Node] = {}
        depths: dict[Digest, int] = {}
        for digest in TopologicalSorter(named).static_order():
            linked[digest] = self._found[digest].over(linked)
            below = max((depths[child] for child in named[digest]), default=0)
            depths[digest] = below + isinstance(linked[digest].parsed, Index)
            if depths[digest] > INDEX_DEPTH_MAX:
                raise self._unsupported(f"it nests more than {INDEX_DEPTH_MAX} indexes")
        return linked[root.raw.digest]

    def _check(self, child: Descriptor, raw: RawManifest) -> None:
        place, name = self._source.place, self._source.name
        if raw.digest != child.digest or len(raw.data) != child.size:
            what = f"{place} sent {len(raw.data)} bytes as {raw.digest}"
            what += f" for {child.digest} of {name}, which has {child.size}"
            raise DigestMismatch(what, Where(str(place)))
        if raw.media_type != child.media_type:
            what = (
                f"{child.digest} is {quoted(raw.media_type)}, but named {quoted(child.media_type)}"
            )
            raise self._unsupported(what)

    def _unsupported(self, what: str) -> UnsupportedManifest:
        return unsupported(self._source, what)


def _check_blobs(graph: Graph, source: Reference) -> None:
    """Registries do not check the sizes that manifests tell: a wrong one would hang an upload."""
    sizes: dict[Digest, int] = {}
    for image in _images(graph):
        for blob in (image.config, *image.layers):
            if sizes.setdefault(blob.digest, blob.size) != blob.size:
                raise unsupported(source, f"it names {blob.digest} with two sizes")


def _foreign(graph: Graph) -> str:
    layers = {
        layer.digest for image in _images(graph) for layer in image.layers if layer.is_foreign
    }
    number = counted(len(layers), "foreign layer")
    return f"left {number} where the publisher keeps them" if layers else ""


def _images(graph: Graph) -> Iterator[ImageManifest]:
    return (node.parsed for node in graph.nodes() if isinstance(node.parsed, ImageManifest))
