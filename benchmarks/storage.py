"""What docker-registry keeps below its folder, for what would take long over HTTP."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from parts.registry import Registry

_ROOT = Path("docker/registry/v2")
_ZEROS = bytes(1024 * 1024)
_GZIP = bytes.fromhex("1f8b0800000000000003")  # what begins so, no client compresses again


def blob_bytes(registry: Registry, digest: str) -> int:
    """How large a blob is that it has."""
    return _blob(registry.folder / "data", digest).stat().st_size


def copy_namespace(data: Path, to: Path, old: str, new: str) -> None:
    """Make the data of another registry, in which a namespace has the name `new`."""
    shutil.copytree(data, to)
    repositories = to / _ROOT / "repositories"
    (repositories / old).rename(repositories / new)


def put_hollow_blobs(registry: Registry, names: list[str], size: int) -> dict[str, str]:
    """Put a blob into each of these repositories, different ones of `size` bytes; their digests.

    They are nearly all zeros, and take neither the disk nor the time that so many bytes would.
    """
    whole, rest = divmod(size - len(_GZIP) - hashlib.sha256().digest_size, len(_ZEROS))
    alike = hashlib.sha256(_GZIP)
    for _ in range(whole):
        alike.update(_ZEROS)
    alike.update(_ZEROS[:rest])
    digests = {}
    for name in names:
        own, hashed = hashlib.sha256(name.encode()).digest(), alike.copy()
        hashed.update(own)
        digests[name] = digest = f"sha256:{hashed.hexdigest()}"
        path = _blob(registry.folder / "data", digest)
        path.parent.mkdir(parents=True)
        with path.open("wb") as blob:
            blob.write(_GZIP)
            blob.seek(size - len(own))
            blob.write(own)
        _link(registry.folder / "data", name, digest)
    return digests


def _blob(data: Path, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return data / _ROOT / "blobs/sha256" / name[:2] / name / "data"


def _link(data: Path, repository: str, digest: str) -> None:
    layers = data / _ROOT / "repositories" / repository / "_layers/sha256"
    path = layers / digest.removeprefix("sha256:") / "link"
    path.parent.mkdir(parents=True)
    path.write_text(digest)
