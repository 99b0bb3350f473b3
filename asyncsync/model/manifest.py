"""Manifests as values: what registries send, parsed strictly (OCI image-spec, Docker schema 2)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from asyncsync.model.digest import Digest
from asyncsync.model.platform import Platform

MANIFEST_BYTES_MAX = 4 * 1024 * 1024  # distribution-spec: registries should accept at least this
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
# All of them, always: a type that is left out is converted, hidden or answered with 404.
ACCEPTED_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
IMAGE_CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
# Of an image that is no image: an artifact (OCI image-spec, “Guidance for an empty descriptor”).
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
# BuildKit's (docs.docker.com, “Image attestation storage”): annotations first, later the type too.
ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"
ATTESTED_DIGEST = "vnd.docker.reference.digest"
_REFERENCE_TYPE = "vnd.docker.reference.type"
_CHILDREN_MAX = 1000
_LAYERS_MAX = 1000
_SIZE_MAX = 2**63 - 1  # image-spec: an int64
INLINE_BYTES_MAX = 64 * 1024  # of a descriptor's `data`; more is fetched as any other content
_ANNOTATIONS_MAX = 1000
_KEY_MAX = 1024  # characters
_VALUE_MAX = 256 * 1024  # characters; signatures keep certificates and bundles in annotations
_URLS_MAX = 100
_TEXT_MAX = 4096  # characters of a URL or a type
_NO_ANNOTATIONS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What is named, before it is fetched (OCI image-spec, “Descriptor”). `size` in bytes.

    `data` is the content itself, where it came along and is what `digest` and `size` say.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NO_ANNOTATIONS, hash=False)
    urls: tuple[str, ...] = ()
    data: bytes | None = None
    artifact_type: str | None = None

    @property
    def is_index(self) -> bool:
        """Whether it names an index of manifests, one for each platform."""
        return self.media_type in INDEX_TYPES

    @property
    def is_attestation(self) -> bool:
        """Whether it names what BuildKit says about an image, which nobody can run.

        `unknown/unknown` alone is not enough: a registry may have lost an image's platform.
        """
        if self.artifact_type == ATTESTATION:
            return True
        return (
            self.platform == _UNKNOWN
            and self.annotations.get(_REFERENCE_TYPE) == "attestation-manifest"
        )

    @property
    def is_foreign(self) -> bool:
        """Whether it names a layer that its publisher alone gives out (image-spec, “urls”).

        Both are needed: registries want the bytes of an ordinary layer that has URLs, too, and a
        foreign one without any is nowhere else.
        """
        foreign = ".foreign." in self.media_type or ".nondistributable." in self.media_type
        return foreign and bool(self.urls)


_UNKNOWN = Platform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest's exact bytes, whose hash is `digest`."""

    media_type: str
    data: bytes
    digest: Digest


@dataclass(frozen=True, slots=True)
class Taken:
    """A target's own word for a manifest that it took: its `digest` there.

    `subject`: to which manifest's referrers it has added this one, if it keeps such lists (OCI
    distribution-spec, “Pushing Manifests with Subject”).
    """

    digest: Digest
    subject: Digest | None = None


@dataclass(frozen=True, slots=True)
class Index:
    """One image for several platforms."""

    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NO_ANNOTATIONS, hash=False)
    artifact_type: str | None = None

    @property
    def parts(self) -> tuple[Descriptor, ...]:
        """What has to be there with it."""
        return self.manifests

    @property
    def listed_type(self) -> str | None:
        """Its artifact type in a list of referrers (distribution-spec, “Listing Referrers”)."""
        return self.artifact_type

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The children that can be run: attestations have the platform `unknown/unknown`."""
        return tuple(
            child
            for child in self.manifests
            if child.platform and child.platform.os != "unknown" and not child.is_attestation
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
    """One image for one platform. `config.digest` is the same however its layers are packed.

    An artifact (a chart, a signature) has this shape too, without the config of an image.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=lambda: _NO_ANNOTATIONS, hash=False)

    @property
    def parts(self) -> tuple[Descriptor, ...]:
        """What has to be there with it. Foreign layers are where their publisher has them."""
        return (self.config, *(layer for layer in self.layers if not layer.is_foreign))

    @property
    def listed_type(self) -> str | None:
        """The same; without one of its own, that of its config."""
        return self.artifact_type or self.config.media_type


def told_type(data: bytes) -> str:
    """The type that a manifest says it is, or that its shape says; it may be none."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    match body:
        case {"mediaType": str(media_type)}:
            return media_type
        case {"manifests": _}:
            return OCI_INDEX
    return OCI_MANIFEST  # whoever reads it says what is wrong with it


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
    if raw.media_type not in ACCEPTED_TYPES:
        raise ValueError("the manifest is of a type that is not supported")
    subject = None if body.get("subject") is None else parse_descriptor(body["subject"])
    annotations = _annotations(body.get("annotations"))
    if raw.media_type in INDEX_TYPES:
        children = _descriptors(body, "manifests", _CHILDREN_MAX)
        if any(child.size > MANIFEST_BYTES_MAX for child in children):
            raise ValueError(f"the manifest names one of more than {MANIFEST_BYTES_MAX >> 20} MiB")
        return Index(children, subject, annotations, _text(body.get("artifactType")))
    return ImageManifest(
        parse_descriptor(body.get("config")),
        _descriptors(body, "layers", _LAYERS_MAX),
        subject,
        _text(body.get("artifactType")),
        annotations,
    )


def listed(raw: RawManifest, parsed: Index | ImageManifest) -> dict[str, Any]:
    """What a list of referrers says of one (distribution-spec, “Listing Referrers”), for JSON."""
    return {
        "mediaType": raw.media_type,
        "digest": str(raw.digest),
        "size": len(raw.data),
        **({"artifactType": parsed.listed_type} if parsed.listed_type else {}),
        **({"annotations": dict(parsed.annotations)} if parsed.annotations else {}),
    }


def _descriptors(body: Mapping[str, Any], key: str, most: int) -> tuple[Descriptor, ...]:
    entries = body.get(key)
    if not isinstance(entries, list) or len(entries) > most:
        raise ValueError(f"the manifest's {key} are no list of at most {most}")
    return tuple(parse_descriptor(entry) for entry in entries)


def parse_descriptor(entry: object) -> Descriptor:
    """Read a descriptor out of parsed JSON. Raises ValueError with what is wrong about it."""
    match entry:
        case {"mediaType": str(media_type), "digest": str(name), "size": int(size), **rest} if (
            0 <= size <= _SIZE_MAX and not isinstance(size, bool)
        ):
            digest = Digest.parse(name)
            return Descriptor(
                media_type,
                digest,
                size,
                _platform(rest.get("platform")),
                _annotations(rest.get("annotations")),
                _urls(rest.get("urls")),
                _inline(rest.get("data"), digest, size),
                _text(rest.get("artifactType")),
            )
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


def _annotations(entry: object) -> Mapping[str, str]:
    if entry is None:
        return _NO_ANNOTATIONS
    if not isinstance(entry, dict) or len(entry) > _ANNOTATIONS_MAX:
        raise ValueError(f"the manifest's annotations are no map of at most {_ANNOTATIONS_MAX}")
    for key, value in entry.items():
        if not isinstance(value, str) or len(key) > _KEY_MAX or len(value) > _VALUE_MAX:
            raise ValueError("the manifest has an annotation that is no text, or too long")
    return MappingProxyType(entry)


def _urls(entry: object) -> tuple[str, ...]:
    if entry is None:
        return ()
    if not isinstance(entry, list) or len(entry) > _URLS_MAX:
        raise ValueError(f"the manifest's urls are no list of at most {_URLS_MAX}")
    return tuple(filter(None, map(_text, entry)))


def _text(entry: object) -> str | None:
    if entry is not None and (not isinstance(entry, str) or len(entry) > _TEXT_MAX):
        raise ValueError("the manifest has a type or a URL that is no text, or too long")
    return entry or None


def _inline(entry: object, digest: Digest, size: int) -> bytes | None:
    """The content beside its name: trusted only if it is what the name says."""
    if not isinstance(entry, str) or size > INLINE_BYTES_MAX:
        return None
    try:
        data = base64.b64decode(entry, validate=True)
    except ValueError:
        return None
    same = len(data) == size and Digest.of(data, digest.algorithm) == digest
    return data if same else None


def platform_of(config: bytes) -> Platform | None:
    """What an image's config says it runs on (OCI image-spec, “Image Configuration”)."""
    try:
        return _platform(json.loads(config))
    except (ValueError, RecursionError):
        return None
