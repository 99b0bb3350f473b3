"""Images made to be shown: small, always the same, for two platforms, with layers in common. Pure.

Nobody can run them: their files are text and noise.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    EMPTY_CONFIG,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from asyncsync.model.platform import Platform
from asyncsync.stores.layout.index import Entry

__all__ = ["Sample", "samples"]

_PLATFORMS = (Platform("linux", "amd64"), Platform("linux", "arm64"))
_IMAGES: Mapping[str, Sequence[str]] = {  # the layers of each, the lowest first
    "demo/base:1": ("base",),
    "demo/runtime:3.13": ("base", "runtime"),
    "demo/api:2.0": ("base", "runtime", "api-2.0"),
    "demo/api:2.1": ("base", "runtime", "api-2.1"),
    "demo/web:5": ("base", "web-5"),
    "demo/worker:1": ("base", "runtime", "worker-1"),
}
_DESCRIBED = "demo/api:2.0"  # it has an SBOM, which comes along with --with-referrers
_BYTES = {"base": 700_000, "runtime": 1_100_000}
_APPLICATION_BYTES = 200_000
# Not packed: gzip gives other bytes, so other digests, with another zlib beneath Python.
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_SBOM = "application/spdx+json"


@dataclass(frozen=True, slots=True)
class Sample:
    """A manifest as a layout names it, and all that it is made of: the manifest last."""

    entry: Entry
    blobs: tuple[bytes, ...]


def samples() -> Iterator[Sample]:
    """All of them, as `demo/base:1`. What two have in common, both have."""
    for name, layers in _IMAGES.items():
        blobs: list[bytes] = []
        children = [_child(blobs, layers, platform) for platform in _PLATFORMS]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
        entry = Entry(_named(OCI_INDEX, _add(blobs, index)), name)
        yield Sample(entry, tuple(blobs))
        if name == _DESCRIBED:
            yield _sbom(entry.descriptor, layers)


def _child(blobs: list[bytes], layers: Sequence[str], platform: Platform) -> dict[str, Any]:
    """The image for one platform, added to `blobs`; how an index names it."""
    runs_on = {"architecture": platform.architecture, "os": platform.os}
    tars = [_add(blobs, _layer(f"{layer} for {platform}", _size(layer))) for layer in layers]
    config = _add(
        blobs,
        {**runs_on, "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]}},
    )
    manifest = _add(
        blobs,
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(OCI_CONFIG, config),
            "layers": [_descriptor(_LAYER, tar) for tar in tars],
        },
    )
    return {**_descriptor(OCI_MANIFEST, manifest), "platform": runs_on}


def _sbom(subject: Descriptor, layers: Sequence[str]) -> Sample:
    """What an image is made of, as a manifest that refers to it (OCI image-spec, “subject”)."""
    blobs: list[bytes] = []
    packages = [{"SPDXID": f"SPDXRef-{layer}", "name": layer} for layer in layers]
    document = _add(blobs, {"spdxVersion": "SPDX-2.3", "name": _DESCRIBED, "packages": packages})
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": _SBOM,
        "config": _descriptor(EMPTY_CONFIG, _add(blobs, {})),
        "layers": [_descriptor(_SBOM, document)],
        "subject": {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": subject.size,
        },
    }
    return Sample(Entry(_named(OCI_MANIFEST, _add(blobs, manifest), _SBOM)), tuple(blobs))


def _layer(seed: str, size: int) -> bytes:
    """A tar with `size` bytes of noise in it, the same for the same seed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in (
            ("demo/about.txt", f"{seed}\n".encode()),
            (f"demo/{seed.split()[0]}.bin", hashlib.shake_256(seed.encode()).digest(size)),
        ):
            file = tarfile.TarInfo(name)
            file.size = len(data)
            tar.addfile(file, io.BytesIO(data))
    return buffer.getvalue()


def _size(layer: str) -> int:
    return _BYTES.get(layer, _APPLICATION_BYTES)


def _add(blobs: list[bytes], content: bytes | Mapping[str, Any]) -> bytes:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    blobs.append(data)
    return data


def _digest(data: bytes) -> str:
    return str(Digest.of(data))


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _named(media_type: str, data: bytes, artifact_type: str | None = None) -> Descriptor:
    return Descriptor(media_type, Digest.of(data), len(data), artifact_type=artifact_type)
