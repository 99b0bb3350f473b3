"""What of an index is wanted, and what its target may have of it already. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from asyncsync.model.digest import Digest
from asyncsync.model.errors import NoSuchPlatform, UnsupportedManifest, Where
from asyncsync.model.manifest import ATTESTED_DIGEST, Descriptor, Index, RawManifest
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.graph import Node, stamped
from asyncsync.transports.direct.rewriting import rewritten

_TOLD_MAX = 12


def chosen_of(
    index: Index, platforms: Iterable[Platform], source: Reference
) -> tuple[Descriptor, ...]:
    """The children for `platforms`, each once, in the order that was asked for."""
    chosen = {platform: index.choose(platform) for platform in platforms}
    if absent := [str(platform) for platform, child in chosen.items() if child is None]:
        has = ", ".join(sorted({str(child.platform) for child in index.images})[:_TOLD_MAX])
        wanted = ", ".join(absent[:_TOLD_MAX])
        what = f"{source} has no image for {wanted}; it has {has or 'none at all'}"
        raise NoSuchPlatform(what, Where(str(source.place)))
    found = {child.digest: child for child in chosen.values() if child}
    if any(child.is_index for child in found.values()):
        raise unsupported(source, "it has an index for a platform: copy all of it, or none")
    return tuple(found.values())


def belongs(child: Descriptor, images: frozenset[Digest]) -> bool:
    """Whether `child` is one of `images`, or says something about one of them."""
    if child.is_attestation:
        return child.annotations.get(ATTESTED_DIGEST) in {str(digest) for digest in images}
    return child.digest in images


def known_by_root(
    root: RawManifest, source: Reference, platforms: Sequence[Platform] = ()
) -> tuple[Digest, ...]:
    """What a target can have of this image, as far as its root alone tells: nothing is read.

    First what it is to be: itself, or pruned to `platforms`. Then, where it has attestations, the
    same without them, as a target may have got it that refuses them. A digest decides, never the
    annotation that names a source: an image of a hostile one could claim any other there. Raises
    what `walk` raises of a root.
    """
    asked = tuple(dict.fromkeys(platforms))
    with supported(source.by_digest(root.digest)):
        node = Node.parse(root)
    images = frozenset(
        child.digest for child in (node.parsed.images if isinstance(node.parsed, Index) else ())
    )
    kept = images
    if asked and isinstance(node.parsed, Index):
        kept = frozenset(child.digest for child in chosen_of(node.parsed, asked, source))
        if len(kept) == 1:
            return tuple(kept)
    pruned = kept != images
    known: list[Digest] = []
    for attested in (True, False):
        gone = {
            child.digest
            for child in node.named
            if (pruned and not belongs(child, kept)) or (child.is_attestation and not attested)
        }
        with suppress(ValueError):  # what cannot be written anew, no target has
            raw = rewritten(node.raw, children=dict.fromkeys(gone))
            made = node if raw is node.raw else stamped(Node.parse(raw), root.digest, asked)
            known.append(made.raw.digest)
    return tuple(dict.fromkeys(known))


@contextmanager
def supported(source: Reference) -> Iterator[None]:
    """Turn what is wrong about a manifest of `source` (ValueError) into UnsupportedManifest."""
    try:
        yield
    except ValueError as error:
        raise unsupported(source, str(error)) from error


def unsupported(source: Reference, what: str) -> UnsupportedManifest:
    """Why `source` cannot be copied."""
    return UnsupportedManifest(f"{source}: {what}", Where(str(source.place)))
