"""What a registry really has: told by skopeo, or by asking for every part of an image."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from parts.commands import skopeo
from parts.images import digest_of
from parts.processes import once
from parts.registry import Registry


def seen_by_skopeo(registry: Registry, name: str) -> str:
    """The digest of the very bytes that skopeo gets for `repository:tag`."""
    login = (f"--creds={registry.user}:{registry.password}",) if registry.user else ()
    with TemporaryDirectory() as folder:
        if registry.ca_file:
            shutil.copy(registry.ca_file, Path(folder) / "ca.crt")
            trust = (f"--cert-dir={folder}",)
        else:
            trust = ("--tls-verify=false",)
        done = skopeo("inspect", "--raw", *login, *trust, f"docker://{registry.host}/{name}")
    return digest_of(done.stdout.encode())


def manifests_of(registry: Registry, repository: str, reference: str) -> Iterator[dict[str, Any]]:
    """The manifest of a tag or digest, and all below it. Fails where one of them is not there."""
    manifest = registry.manifest(repository, reference)
    assert manifest is not None, f"{repository} has no {reference}"
    yield manifest
    for child in manifest.get("manifests", ()):
        yield from manifests_of(registry, repository, child["digest"])


def blobs_of(registry: Registry, repository: str, reference: str) -> dict[str, int]:
    """Digest and size of every blob that an image is made of."""
    return {
        blob["digest"]: blob["size"]
        for manifest in manifests_of(registry, repository, reference)
        for blob in (manifest.get("config"), *manifest.get("layers", ()))
        if blob
    }


def assert_whole(registry: Registry, repositories: Iterable[str]) -> None:
    """Every tag of these has all its manifests and all its blobs."""
    for repository in repositories:
        for tag in registry.tags(repository):
            # Whose client has gone is put in place all the same, and listed a moment before.
            once(lambda: registry.digest_of(repository, tag) is not None)  # noqa: B023  at once
            for digest in blobs_of(registry, repository, tag):
                assert registry.has_blob(repository, digest), f"{repository}:{tag} lacks {digest}"
