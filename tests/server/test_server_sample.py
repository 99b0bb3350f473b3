"""The samples: always the same, whole images, with layers in common."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import Index, RawManifest, parse_manifest
from asyncsync.server.sample import Sample, samples

NAMED = [sample for sample in samples() if sample.entry.name]


def body(sample: Sample) -> dict[str, Any]:
    parsed = json.loads(sample.blobs[-1])
    assert isinstance(parsed, dict)
    return parsed


def named_by(value: object) -> set[str]:
    """Every digest that a manifest gives for a part of it."""
    match value:
        case {"mediaType": _, "digest": str(digest), "size": _}:
            return {digest}
        case dict():
            return {found for inner in value.values() for found in named_by(inner)}
        case list():
            return {found for inner in value for found in named_by(inner)}
    return set()


def test_they_are_the_same_everywhere() -> None:
    told = "".join(f"{each.entry.name} {each.entry.descriptor.digest}\n" for each in samples())
    assert (
        hashlib.sha256(told.encode()).hexdigest()
        == "0e486882f51193e6032ca3a8b287095f80e5e30843ff16c5d7fcc166f14054f4"
    )


def test_each_is_an_index_of_two_platforms_with_all_that_it_names() -> None:
    assert len(NAMED) == 6
    for sample in NAMED:
        named = sample.entry.descriptor
        index = parse_manifest(RawManifest(named.media_type, sample.blobs[-1], named.digest))
        assert isinstance(index, Index)
        assert [str(child.platform) for child in index.manifests] == ["linux/amd64", "linux/arm64"]
        by_digest = {str(Digest.of(blob)): blob for blob in sample.blobs}
        for child in index.manifests:
            manifest = json.loads(by_digest[str(child.digest)])
            assert named_by(manifest) <= set(by_digest)
            config = json.loads(by_digest[manifest["config"]["digest"]])
            assert f"{config['os']}/{config['architecture']}" == str(child.platform)
            layers = [layer["digest"] for layer in manifest["layers"]]
            assert config["rootfs"]["diff_ids"] == layers
            for layer in layers:
                with tarfile.open(fileobj=io.BytesIO(by_digest[layer])) as tar:
                    assert tar.getnames()


def test_they_have_layers_in_common() -> None:
    all_of_them = [blob for sample in NAMED for blob in sample.blobs]
    assert sum(map(len, all_of_them)) > 3 * sum(map(len, set(all_of_them)))


def test_one_has_an_sbom_that_refers_to_it() -> None:
    (sbom,) = [sample for sample in samples() if sample.entry.name is None]
    (subject,) = named_by(body(sbom)["subject"])
    assert subject in {str(sample.entry.descriptor.digest) for sample in NAMED}
    assert named_by(body(sbom)) - {subject} <= {str(Digest.of(blob)) for blob in sbom.blobs}
    assert sbom.entry.descriptor.artifact_type == body(sbom)["artifactType"]
