"""Whether all of an image is in a layout: what its manifests name, in full length.

Only lengths are compared. A blob that was altered and kept its length is found when it is read.
"""

from __future__ import annotations

from collections.abc import Callable

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    Descriptor,
    Index,
    RawManifest,
    parse_manifest,
)
from asyncsync.stores.layout.index import BrokenLayout
from asyncsync.stores.layout.writing import WrongDigest

# As much as the direct way copies of one image; nothing of ours is beyond it.
_DEPTH_MAX = 5  # four indexes in each other, and an image
_MANIFESTS_MAX = 2000


def is_whole(
    root: Descriptor,
    size: Callable[[Digest], int | None],
    read: Callable[[Digest], bytes | None],
) -> bool:
    """Whether `root` and all below it is there. Reads manifests alone. Raises OSError."""
    if size(root.digest) != root.size:
        return False
    seen: dict[Digest, Descriptor] = {}
    level, manifests = [root], 1
    for _ in range(_DEPTH_MAX):
        below: list[Descriptor] = []
        for named in level:
            try:
                data = read(named.digest)
                if data is None:  # it is gone since
                    return False
                parsed = parse_manifest(RawManifest(named.media_type, data, named.digest))
            except (WrongDigest, BrokenLayout):
                return False
            except ValueError:  # whoever walks it says what is wrong with it
                continue
            new = {part.digest: part for part in parsed.parts if part.digest not in seen}
            if any(size(part.digest) != part.size for part in new.values()):
                return False
            seen |= new
            if isinstance(parsed, Index):
                below += (part for part in new.values() if part.media_type in ACCEPTED_TYPES)
        if not below:
            return True
        manifests += len(below)
        if manifests > _MANIFESTS_MAX:
            return False
        level = below
    return False
