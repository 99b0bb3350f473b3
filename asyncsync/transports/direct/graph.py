"""An image as a graph: what hangs on its manifest, and in which order a target can take it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Self

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    IMAGE_CONFIGS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
    parse_manifest,
)
from asyncsync.model.platform import Platform
from asyncsync.transports.direct.rewriting import rewritten

SOURCE_DIGEST = "io.asyncsync.source.digest"
SOURCE_PLATFORMS = "io.asyncsync.source.platforms"
_ANNOTATED = frozenset({OCI_INDEX, OCI_MANIFEST})  # Docker's types have no annotations


@dataclass(frozen=True, slots=True)
class Node:
    """One manifest and the manifests that hang on it, each once, in its own order."""

    raw: RawManifest
    parsed: Index | ImageManifest
    children: tuple[Node, ...] = ()

    @classmethod
    def parse(cls, raw: RawManifest) -> Self:
        """Read `raw` alone. Raises ValueError with what is wrong about it."""
        return cls(raw, parse_manifest(raw))

    def over(self, children: Mapping[Digest, Node]) -> Self:
        """The same node with those of `children` that it names."""
        named = dict.fromkeys(child.digest for child in self.named)
        return replace(self, children=tuple(children[each] for each in named if each in children))

    @property
    def named(self) -> tuple[Descriptor, ...]:
        """The manifests that it names, whether they are among its `children` or not."""
        return self.parsed.manifests if isinstance(self.parsed, Index) else ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers of an image, each once. Foreign layers stay where they are."""
        return () if isinstance(self.parsed, Index) else _distinct(self.parsed.parts)


@dataclass(frozen=True, slots=True)
class Graph:
    """All that makes up one image.

    `source` is the digest that the source has for it; where something was `left_out` or converted,
    which is told in words for the user, the root's own is another one. `platforms`: those that
    were asked for.
    """

    root: Node
    source: Digest
    platforms: tuple[Platform, ...] = ()
    left_out: tuple[str, ...] = ()

    def blobs(self) -> tuple[Descriptor, ...]:
        """The blobs of all its images, each once."""
        return _distinct(blob for node in self.nodes() for blob in node.blobs)

    @property
    def breadth(self) -> int:
        """How many platforms it has an image for; an artifact is for none."""
        if isinstance(self.root.parsed, ImageManifest):
            return int(self.root.parsed.config.media_type in IMAGE_CONFIGS)
        indexes = (node.parsed for node in self.nodes() if isinstance(node.parsed, Index))
        images = (child for index in indexes for child in index.images if not child.is_index)
        return len({(child.platform, child.digest) for child in images})

    def manifests(self) -> tuple[RawManifest, ...]:
        """Its manifests, each once, from the leaves to the root, which is the last one."""
        return tuple(node.raw for node in self.nodes())

    def nodes(self) -> tuple[Node, ...]:
        """Its manifests and what they name, in the same order."""
        return tuple(node for level in levels(self.root) for node in level)


def levels(root: Node) -> tuple[tuple[Node, ...], ...]:
    """`root` and all under it, each once: children before parents, subjects before referrers.

    Those of one level can be put at once; the last level is `root` alone. GitLab refuses a subject
    that is not there yet; most registries refuse an index without its children.
    """
    nodes: dict[Digest, Node] = {}
    waiting = [root]
    while waiting:  # not by recursion: a registry chooses how deep this is
        node = waiting.pop()
        if node.raw.digest not in nodes:
            nodes[node.raw.digest] = node
            waiting += reversed(node.children)
    sorter: TopologicalSorter[Digest] = TopologicalSorter()
    for digest, node in nodes.items():
        sorter.add(digest, *(child.raw.digest for child in node.children))
        subject = node.parsed.subject
        if subject and subject.digest in nodes:
            sorter.add(digest, subject.digest)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(*ready)
        found.append(tuple(nodes[digest] for digest in ready))
    return tuple(found)


def rebuilt(
    root: Node,
    keep: Callable[[Descriptor], bool] = lambda _: True,
    types: Mapping[str, str] | None = None,
) -> Node:
    """The same graph without the children that are not there or not to `keep`, in other `types`.

    Digests and sizes are told anew from leaf to root. What needs no change keeps its bytes.
    Raises ValueError where a manifest cannot be written anew.
    """
    made: dict[Digest, Node] = {}
    for node in (node for level in levels(root) for node in level):
        kept = {child.raw.digest: made[child.raw.digest] for child in node.children}
        for child in node.named:
            if not keep(child):
                kept.pop(child.digest, None)
        entries = {child.digest: _raw(kept.get(child.digest)) for child in node.named}
        raw = rewritten(node.raw, children=entries, types=types)
        new = node if raw is node.raw else Node.parse(raw)
        made[node.raw.digest] = new.over({child.raw.digest: child for child in kept.values()})
    return made[root.raw.digest]


def stamped(root: Node, source: Digest, platforms: Iterable[Platform]) -> Node:
    """Name in `root` what it was made from, for whoever finds it (OCI types alone)."""
    if root.raw.media_type not in _ANNOTATED:
        return root
    names = {SOURCE_DIGEST: str(source), SOURCE_PLATFORMS: platforms_text(platforms)}
    raw = rewritten(root.raw, annotations=names)
    return Node.parse(raw).over({child.raw.digest: child for child in root.children})


def platforms_text(platforms: Iterable[Platform]) -> str:
    """The same text for the same `platforms`, in whatever order they were asked for."""
    return ",".join(sorted({str(platform) for platform in platforms})) or "all"


def became(before: Digest, after: Node) -> str:
    """How the user finds both: a target that holds another digest has to be explained."""
    return f"{before} became {after.raw.digest}"


def counted(number: int, noun: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _raw(node: Node | None) -> RawManifest | None:
    return node.raw if node else None


def _distinct(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    found: dict[Digest, Descriptor] = {}
    for each in descriptors:
        found.setdefault(each.digest, each)
    return tuple(found.values())
