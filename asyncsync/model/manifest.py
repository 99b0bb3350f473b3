"""Manifests as values: what registries send, parsed strictly (OCI image-spec, Docker schema 2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncsync.model.platform import Platform
from asyncsync.model.reference import Digest

MANIFEST_BYTES_MAX = 4 * 1024 * 1024  # distribution-spec: registries should accept at least this
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# All of them, always: a type that is left out is converted, hidden or answered with 404.
ACCEPTED_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
_CHILDREN_MAX = 1000
_LAYERS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What is named, before it is fetched (OCI image-spec, “Descriptor”). `size` in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None

    @property
    def is_index(self) -> bool:
        """Whether it names an index of manifests, one for each platform."""
        return self.media_type in INDEX_TYPES


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest's exact bytes, whose hash is `digest`."""

    media_type: str
    data: bytes
    digest: Digest


@dataclass(frozen=True, slots=True)
class Index:
    """One image for several platforms."""

    manifests: tuple[Descriptor, ...]

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The children that can be run: attestations have the platform `unknown/unknown`."""
        return tuple(
            child for child in self.manifests if child.platform and child.platform.os != "unknown"
        )

    def choose(self, wanted: Platform) -> Descriptor | None:
        """The child that serves `wanted` best, the first one where several do; None without any."""
        ranked = [
            (rank, child)
            for child in self.images
            if child.platform and (rank := wanted.rank(child.platform)) is not None
        ]
        return min(ranked, key=lambda pair: pair[0])[1] if ranked else None


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """One image for one platform. `config.digest` is the same however its layers are packed."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_manifest(raw: RawManifest) -> Index | ImageManifest:
    """Read a manifest. Raises ValueError with what is wrong about it.

    The type that the registry named must agree with the type in the body and with its shape
    (CVE-2021-41190: one document read as two things).
    """
    try:
        body = json.loads(raw.data)
    except (ValueError, RecursionError) as error:
        raise ValueError("the manifest is no JSON") from error
    if not isinstance(body, dict):
        raise ValueError("the manifest is no JSON object")
    inner = body.get("mediaType")
    if inner is not None and inner != raw.media_type:
        raise ValueError("the manifest's own type contradicts the registry's")
    if "manifests" in body and ("layers" in body or "config" in body):
        raise ValueError("the manifest is an index and an image at once")
    if raw.media_type in INDEX_TYPES:
        return Index(_descriptors(body, "manifests", _CHILDREN_MAX))
    if raw.media_type in ACCEPTED_TYPES:
        return ImageManifest(
            _descriptor(body.get("config")), _descriptors(body, "layers", _LAYERS_MAX)
        )
    raise ValueError("the manifest is of a type that is not supported")


def _descriptors(body: Mapping[str, Any], key: str, most: int) -> tuple[Descriptor, ...]:
    entries = body.get(key)
    if not isinstance(entries, list) or len(entries) > most:
        raise ValueError(f"the manifest's {key} are no list of at most {most}")
    return tuple(_descriptor(entry) for entry in entries)


def _descriptor(entry: object) -> Descriptor:
    match entry:
        case {"mediaType": str(media_type), "digest": str(digest), "size": int(size)} if (
            size >= 0 and not isinstance(size, bool)
        ):
            platform = _platform(entry.get("platform")) if isinstance(entry, dict) else None
            return Descriptor(media_type, Digest.parse(digest), size, platform)
    raise ValueError("the manifest has a descriptor without mediaType, digest or size")


def _platform(entry: object) -> Platform | None:
    match entry:
        case {"os": str(os), "architecture": str(architecture), **rest}:
            variant = rest.get("variant")
            parts = (os, architecture, variant if isinstance(variant, str) and variant else None)
            try:
                return Platform.parse("/".join(part for part in parts if part is not None))
            except ValueError:
                return None  # a platform that nobody can ask for
    return None
