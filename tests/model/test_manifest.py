"""Manifests: what is read from a registry's bytes, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageManifest,
    Index,
    RawManifest,
    parse_manifest,
)
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Digest


def raw(media_type: str, body: object) -> RawManifest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RawManifest(media_type, data, Digest.of(data))


def descriptor(content: str, platform: str = "", **more: object) -> dict[str, Any]:
    described = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(content.encode())), "size": 7}
    names = ("os", "architecture", "variant")
    parts = dict(zip(names, platform.split("/"), strict=False)) if platform else None
    return described | ({"platform": parts} if parts else {}) | more


def index(*platforms: str, media_type: str = OCI_INDEX) -> Index:
    children = [descriptor(f"{n}", platform) for n, platform in enumerate(platforms)]
    parsed = parse_manifest(raw(media_type, {"mediaType": media_type, "manifests": children}))
    assert isinstance(parsed, Index)
    return parsed


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_an_image_has_a_config_and_layers_in_order(media_type: str) -> None:
    body = {"config": descriptor("c"), "layers": [descriptor("1"), descriptor("2")]}
    parsed = parse_manifest(raw(media_type, body))
    assert isinstance(parsed, ImageManifest)
    assert parsed.config.digest == Digest.of(b"c")
    assert [layer.digest for layer in parsed.layers] == [Digest.of(b"1"), Digest.of(b"2")]
    assert not parsed.config.is_index


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index_has_its_children_and_tells_images_from_attestations(media_type: str) -> None:
    parsed = index("linux/amd64", "unknown/unknown", "linux/arm64/v8", "", media_type=media_type)
    assert len(parsed.manifests) == 4
    assert [str(child.platform) for child in parsed.images] == ["linux/amd64", "linux/arm64/v8"]


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/amd64", "linux/arm64"], "linux/arm64", 1),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], "linux/arm/v7", 1),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", 1),
        (["linux/amd64", "linux/amd64"], "linux/amd64", 0),
        (["unknown/unknown"], "linux/amd64", None),
        (["linux/amd64\x1b[31m", "Linux/AMD64"], "linux/amd64", None),
        (["linux/amd64"], "linux/s390x", None),
        ([], "linux/amd64", None),
    ],
)
def test_the_child_that_serves_a_wish_best_is_chosen(
    offered: list[str], wanted: str, chosen: int | None
) -> None:
    child = index(*offered).choose(Platform.parse(wanted))
    assert (child and child.digest) == (None if chosen is None else Digest.of(f"{chosen}".encode()))


@pytest.mark.parametrize(
    ("media_type", "body", "why"),
    [
        (OCI_INDEX, b"<html>", "no JSON"),
        (OCI_INDEX, b"\xff", "no JSON"),
        (OCI_INDEX, b"[" * 100_000, "no JSON"),
        (OCI_INDEX, [], "no JSON object"),
        (OCI_INDEX, {"mediaType": OCI_MANIFEST, "manifests": []}, "contradicts"),
        (OCI_INDEX, {"manifests": [], "layers": []}, "index and an image at once"),
        (OCI_MANIFEST, {"manifests": [], "config": {}}, "index and an image at once"),
        (OCI_INDEX, {"manifests": {}}, "manifests are no list"),
        (OCI_INDEX, {"manifests": [{}] * 1001}, "manifests are no list of at most"),
        (OCI_INDEX, {"manifests": [None]}, "descriptor"),
        (OCI_MANIFEST, {"layers": []}, "descriptor"),
        (OCI_MANIFEST, {"config": descriptor("c")}, "layers are no list"),
        (OCI_MANIFEST, {"config": descriptor("c", size=-1), "layers": []}, "descriptor"),
        (OCI_MANIFEST, {"config": descriptor("c", size=1.5), "layers": []}, "descriptor"),
        (OCI_MANIFEST, {"config": descriptor("c", size=True), "layers": []}, "descriptor"),
        (OCI_MANIFEST, {"config": descriptor("c", digest="sha256:x"), "layers": []}, "no digest"),
        ("text/html", {"manifests": []}, "not supported"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{ascii(value)[:24]}{len(ascii(value))}",
)
def test_a_manifest_that_can_be_read_in_two_ways_or_none_is_refused(
    media_type: str, body: object, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        parse_manifest(raw(media_type, body))


fields = st.sampled_from([
    "mediaType", "digest", "size", "platform", "os", "architecture", "variant", "config",
    "layers", "manifests",
])  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([*ACCEPTED_TYPES, str(Digest.of(b""))])
    | st.just(descriptor("x", "linux/amd64")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(ACCEPTED_TYPES), values | st.binary())
def test_whatever_a_registry_sends_is_a_manifest_or_a_value_error(
    media_type: str, body: object
) -> None:
    try:
        parsed = parse_manifest(raw(media_type, body))
    except ValueError:
        return
    assert isinstance(parsed, Index | ImageManifest)
    if isinstance(parsed, Index):
        parsed.choose(Platform("linux", "amd64"))
