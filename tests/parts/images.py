"""Real images made from a seed: layers that unpack, a config that agrees with them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"
_IN_TOTO = "application/vnd.in-toto+json"
_PIECE_BYTES = 64 * 1024 * 1024  # randbytes cannot give 256 MiB at once
_CREATED = "2024-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with the name that registries give them."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True, slots=True)
class Layer:
    """A gzipped tar. `diff_id` is the digest of the tar itself, as configs name it."""

    data: bytes
    diff_id: str


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest and all that it names."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(seed: str, size: int = 16 * 1024, *, compresslevel: int = 1) -> Layer:
    """A layer of about `size` bytes, the same for the same seed. Its content does not compress.

    With level 0, gzip does not even try, which is 20 times as fast.
    """
    rng = random.Random(seed)  # noqa: S311  content, no secret
    pieces = [_PIECE_BYTES] * (size // _PIECE_BYTES) + [size % _PIECE_BYTES]
    content = b"".join(map(rng.randbytes, pieces))
    name = hashlib.sha256(seed.encode()).hexdigest()[:12]
    tar = tar_of({f"data/{name}.bin": content, f"data/{name}.txt": f"{seed}\n".encode()})
    return Layer(gzip.compress(tar, compresslevel=compresslevel, mtime=0), digest_of(tar))


def tar_of(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    """A tar of `files`, always the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def image(layers: Sequence[Layer], platform: str, *, oci: bool) -> Image:
    """An image of `layers`, in OCI's types or in Docker's (schema 2)."""
    config = Blob(
        _OCI_CONFIG if oci else _DOCKER_CONFIG,
        _json(
            {
                **_platform(platform),
                "created": _CREATED,
                "config": {"Cmd": ["/bin/true"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
                "history": [{"created": _CREATED, "created_by": "COPY data /"} for _ in layers],
            }
        ),
    )
    blobs = tuple(Blob(OCI_LAYER if oci else _DOCKER_LAYER, layer.data) for layer in layers)
    return _image(OCI_MANIFEST if oci else DOCKER_MANIFEST, config, blobs)


def attestation(about: Image, platform: str, *, artifact: bool = False) -> Image:
    """What buildx puts beside an image: an in-toto statement in the shape of an image.

    `artifact`: with the empty config, as no image has it.
    """
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": platform, "digest": {"sha256": about.manifest.digest[7:]}}],
        "predicate": {},
    }
    blob = Blob(_IN_TOTO, _json(statement))
    if artifact:
        return _image(OCI_MANIFEST, Blob(_EMPTY_CONFIG, b"{}"), (blob,))
    config = {
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [blob.digest]},
    }
    return _image(OCI_MANIFEST, Blob(_OCI_CONFIG, _json(config)), (blob,))


def index(children: Mapping[str, Image], attestations: Mapping[str, Image], *, oci: bool) -> Blob:
    """An index of `children` by platform, then of the attestations of some of them."""
    entries = [
        {**child.manifest.descriptor, "platform": _platform(platform)}
        for platform, child in children.items()
    ]
    entries += [
        {
            **note.manifest.descriptor,
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": {
                "vnd.docker.reference.digest": children[platform].manifest.digest,
                "vnd.docker.reference.type": "attestation-manifest",
            },
        }
        for platform, note in attestations.items()
    ]
    media_type = OCI_INDEX if oci else DOCKER_LIST
    return Blob(
        media_type, _json({"schemaVersion": 2, "mediaType": media_type, "manifests": entries})
    )


def _image(media_type: str, config: Blob, layers: tuple[Blob, ...]) -> Image:
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor,
        "layers": [blob.descriptor for blob in layers],
    }
    return Image(Blob(media_type, _json(manifest)), config, layers)


def _platform(text: str) -> dict[str, str]:
    os, architecture, *variant = text.split("/")
    named = {"architecture": architecture, "os": os}
    return {**named, "variant": variant[0]} if variant else named


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
