"""Manifests as values, and registries over a dict of them: a small true `Manifests`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from asyncsync.model.errors import CopyError
from asyncsync.model.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor, RawManifest
from asyncsync.model.reference import Digest, Reference


def raw(media_type: str, body: dict[str, Any]) -> RawManifest:
    data = json.dumps(body).encode()
    return RawManifest(media_type, data, Digest.of(data))


def descriptor(content: str) -> dict[str, Any]:
    return {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(content.encode())), "size": 1}


def image(config: str, packed: str = "") -> RawManifest:
    """An image; `packed` makes the same one with other layers' digests."""
    layers = [descriptor(config + packed)]
    return raw(OCI_MANIFEST, {"config": descriptor(config), "layers": layers})


def index(**children: RawManifest) -> RawManifest:
    """An index for linux, of `architecture=image`."""
    entries = [
        {
            "mediaType": child.media_type,
            "digest": str(child.digest),
            "size": 1,
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, child in children.items()
    ]
    return raw(OCI_INDEX, {"manifests": entries})


@dataclass
class Registries:
    """All registries of a test. `failing` names hosts that raise; `asked` is what came."""

    held: dict[str, RawManifest] = field(default_factory=dict)
    configs: dict[str, bytes] = field(default_factory=dict)
    failing: dict[str, Callable[[], CopyError]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, ref: Reference, manifest: RawManifest) -> None:
        self.held[str(ref)] = manifest
        self.held[str(ref.by_digest(manifest.digest))] = manifest

    async def resolve(self, ref: Reference) -> Descriptor | None:
        self._ask("HEAD", ref)
        found = self.held.get(str(ref))
        return found and Descriptor(found.media_type, found.digest, len(found.data))

    async def manifest(self, ref: Reference) -> RawManifest:
        self._ask("GET", ref)
        return self.held[str(ref)]

    async def config(self, ref: Reference) -> bytes:
        self._ask("GET", ref)
        return self.configs[str(ref.digest)]

    def _ask(self, method: str, ref: Reference) -> None:
        self.asked.append(f"{method} {ref.place}")
        if error := self.failing.get(str(ref.place)):
            raise error()
