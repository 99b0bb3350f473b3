"""Manifests as values, and registries over a dict of them: a small true `Manifests`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from anyio.lowlevel import checkpoint

from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, NotFound, Where
from asyncsync.model.manifest import (
    ATTESTATION,
    EMPTY_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    RawManifest,
)
from asyncsync.model.reference import Reference


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


def blob(content: str, media_type: str, **more: object) -> dict[str, Any]:
    """The descriptor of a blob, with its true size."""
    data = content.encode()
    named = {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}
    return {**named, **more}


def packed(
    name: str,
    *layers: dict[str, Any],
    media_type: str = OCI_MANIFEST,
    config: str = "application/vnd.oci.image.config.v1+json",
    layer: str = "application/vnd.oci.image.layer.v1.tar+gzip",
    **more: object,
) -> RawManifest:
    """An image with a base layer that all have, one of its own, and `layers` more."""
    body = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": blob(f"config of {name}", config),
        "layers": [blob("base", layer), blob(name, layer), *layers],
        **more,
    }
    return raw(media_type, body)


def statement(about: RawManifest) -> RawManifest:
    """What BuildKit says about an image: an artifact with the empty config."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ATTESTATION,
        "config": blob("{}", EMPTY_CONFIG, data="e30="),
        "layers": [blob(f"statement about {about.digest}", "application/vnd.in-toto+json")],
        "subject": entry(about),
    }
    return raw(OCI_MANIFEST, body)


def entry(child: RawManifest, platform: str = "", **more: object) -> dict[str, Any]:
    """What an index says about `child`, with its true size."""
    named = {
        "mediaType": child.media_type,
        "digest": str(child.digest),
        "size": len(child.data),
    }
    parts = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    return {**named, **({"platform": parts} if platform else {}), **more}


def about(image: RawManifest, child: RawManifest) -> dict[str, Any]:
    """What an index says about `child`, which is an attestation of `image`."""
    annotations = {
        "vnd.docker.reference.digest": str(image.digest),
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return entry(child, "unknown/unknown", annotations=annotations)


def listing(*entries: dict[str, Any], media_type: str = OCI_INDEX, **more: object) -> RawManifest:
    """An index of `entries`."""
    return raw(
        media_type, {"schemaVersion": 2, "mediaType": media_type, "manifests": entries, **more}
    )


class Served:
    """A source that has `manifests`; `asked` is what came, `most` how many at once."""

    def __init__(self, *manifests: RawManifest) -> None:
        self.held = {manifest.digest: manifest for manifest in manifests}
        self.asked: list[Digest] = []
        self.now = self.most = 0

    async def read(self, child: Descriptor) -> RawManifest:
        self.asked.append(child.digest)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await checkpoint()
        finally:
            self.now -= 1
        if child.digest not in self.held:
            raise NotFound(f"it has no {child.digest}", Where("s.example"))
        return self.held[child.digest]


@dataclass
class Registries:
    """All registries of a test. `failing` names hosts that raise; `asked` is what came.

    `refusing` names hosts that let nobody push.
    """

    held: dict[str, RawManifest] = field(default_factory=dict)
    configs: dict[str, bytes] = field(default_factory=dict)
    failing: dict[str, Callable[[], CopyError]] = field(default_factory=dict)
    refusing: dict[str, Callable[[], CopyError]] = field(default_factory=dict)
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
        if str(ref) not in self.held:
            raise NotFound(f"it has no {ref}", Where(str(ref.place)))
        return self.held[str(ref)]

    async def config(self, ref: Reference) -> bytes:
        self._ask("GET", ref)
        return self.configs[str(ref.digest)]

    async def begin_anew(self, ref: Reference) -> Taking:
        self._ask("POST", ref)
        if error := self.refusing.get(str(ref.place)):
            raise error()
        return Taking(self, ref)

    def _ask(self, method: str, ref: Reference) -> None:
        self.asked.append(f"{method} {ref.place}")
        if error := self.failing.get(str(ref.place)):
            raise error()


@dataclass
class Taking:
    """An upload that one of the registries has begun to take."""

    registries: Registries
    ref: Reference

    async def cancel(self) -> None:
        self.registries.asked.append(f"DELETE {self.ref.place}")
