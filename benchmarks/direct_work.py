"""What benchmarks/direct.py copies: images, put straight into the source."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from parts import images
from parts.processes import PartFailed
from parts.registry import PutImage, Registry
from storage import blob_bytes, put_hollow_blobs

MIB = 1024 * 1024
SOURCE, TARGET, TAG = "source", "target", "1"  # namespaces, and the tag of all images


@dataclass(frozen=True, slots=True)
class Workload:
    """The images in the source, by name. `distinct`: bytes of all different layers and configs."""

    images: dict[str, PutImage]
    distinct: int

    @classmethod
    def of(cls, registry: Registry, put: dict[str, PutImage]) -> Workload:
        """Know what has been put."""
        blobs = {
            digest
            for image in put.values()
            for digest in (image.config_digest, *image.layer_digests)
        }
        return cls(put, sum(blob_bytes(registry, digest) for digest in blobs))

    def check(self, target: Registry, *, by_config: bool) -> None:
        """Raise PartFailed unless the target has every image, with the source's digest.

        A classic engine packs layers anew: of its images only the configs are the same.
        """
        for name, put in self.images.items():
            copied = f"{TARGET}/{name}"
            if by_config:
                found, wanted = target.config_digest_of(copied, TAG), put.config_digest
            else:
                found, wanted = target.digest_of(copied, TAG), put.digest
            if found != wanted:
                raise PartFailed(f"{copied} is {found} in the target, in the source {wanted}")


@dataclass(frozen=True, slots=True)
class Work:
    """A kind of work; `says` what it is at scale 1. `put` fills a registry, at a scale, by a seed.

    Small layers keep their size at every scale, and there are fewer images.

    `in_place`: the target has everything from the beginning. `left_out`: contenders for whom it
    would be other work.
    """

    name: str
    says: str
    put: Callable[[Registry, float, int], dict[str, PutImage]]
    in_place: bool = False
    left_out: tuple[str, ...] = ()


def _shared(registry: Registry, scale: float, seed: int) -> dict[str, PutImage]:
    common = [_layer(f"{seed} common {number}", 8 * MIB) for number in range(2)]
    return {
        name: _put(
            registry, name, [*common, *(_layer(f"{seed} {name} {n}", 8 * MIB) for n in range(2))]
        )
        for name in _names(max(4, round(24 * scale)))
    }


def _tiny(registry: Registry, scale: float, seed: int) -> dict[str, PutImage]:
    return _small_images(registry, max(4, round(200 * scale)), seed)


def _large(registry: Registry, scale: float, seed: int) -> dict[str, PutImage]:
    sizes = {"giant": [1024], "large-a": [256, 256], "large-b": [256, 256]}
    return {
        name: _put(
            registry,
            name,
            [_layer(f"{seed} {name} {n}", int(s * MIB * scale)) for n, s in enumerate(its)],
        )
        for name, its in sizes.items()
    }


def _unchanged(registry: Registry, scale: float, seed: int) -> dict[str, PutImage]:
    return _small_images(registry, max(10, round(1000 * scale)), seed)


def _hollow(size: int) -> Callable[[Registry, float, int], dict[str, PutImage]]:
    def put(registry: Registry, scale: float, _: int) -> dict[str, PutImage]:
        names = [f"{SOURCE}/{name}" for name in _names(16)]
        length = int(size * scale)
        layers = put_hollow_blobs(registry, names, length)
        return {
            name.rpartition("/")[2]: _put_hollow(registry, name, digest, length)
            for name, digest in layers.items()
        }

    return put


WORKS = {
    work.name: work
    for work in (
        Work("shared", "24 images of 4 layers of 8 MiB, two of them in all images", _shared),
        Work("tiny", "200 images of one layer of 1 kB", _tiny),
        Work("large", "an image of 1 GiB in one layer, two of two layers of 256 MiB", _large),
        Work(
            "unchanged",
            "1,000 images of 1 kB, all in place",
            _unchanged,
            in_place=True,
            # The engine would have to fetch everything first, and the loop would take minutes.
            left_out=("serial", "skopeo"),
        ),
    )
}
MEMORY_WORKS = (
    Work("memory", "16 images of one layer of 1 GiB", _hollow(1024 * MIB)),
    Work("memory-quarter", "16 images of one layer of 256 MiB", _hollow(256 * MIB)),
)


def _names(count: int) -> list[str]:
    return [f"image{number:04}" for number in range(count)]


def _small_images(registry: Registry, count: int, seed: int) -> dict[str, PutImage]:
    return {
        name: _put(registry, name, [images.layer(f"{seed} {name}", 1000)]) for name in _names(count)
    }


def _layer(seed: str, size: int) -> images.Layer:
    return images.layer(seed, size, compresslevel=0)


def _put(registry: Registry, name: str, layers: list[images.Layer]) -> PutImage:
    return registry.put_image(f"{SOURCE}/{name}", TAG, layers=0, shared_layers=layers)


def _put_hollow(registry: Registry, name: str, layer: str, size: int) -> PutImage:
    """Put an image of a layer that is there. Nobody unpacks it."""
    config = images.image([images.Layer(b"", layer)], "linux/amd64", oci=True).config
    registry.put_blob(name, config.data)
    described = {**images.Blob(images.OCI_LAYER, b"").descriptor, "digest": layer, "size": size}
    manifest = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "config": config.descriptor,
        "layers": [described],
    }
    data = json.dumps(manifest).encode()
    digest = registry.put_manifest(name, TAG, images.OCI_MANIFEST, data)
    return PutImage(digest, config.digest, (layer,), size + len(config.data))
