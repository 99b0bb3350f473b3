"""Manifests: what is read from a registry's bytes, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    ATTESTATION,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_CONFIG,
    INLINE_BYTES_MAX,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageManifest,
    Index,
    RawManifest,
    parse_manifest,
    platform_of,
)
from asyncsync.model.platform import Platform


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


ATTESTED = {"vnd.docker.reference.type": "attestation-manifest"}


@pytest.mark.parametrize(
    ("platform", "more", "is_one"),
    [
        ("unknown/unknown", {"annotations": ATTESTED}, True),
        ("", {"artifactType": ATTESTATION}, True),
        ("linux/amd64", {"artifactType": ATTESTATION}, True),
        ("unknown/unknown", {}, False),
        ("unknown/unknown", {"annotations": {"vnd.docker.reference.type": "x"}}, False),
        ("linux/amd64", {"annotations": ATTESTED}, False),
        ("linux/amd64", {}, False),
    ],
)
def test_an_attestation_is_told_by_its_annotations_or_by_its_type(
    platform: str, more: dict[str, Any], is_one: bool
) -> None:
    body = {"manifests": [descriptor("x", platform, **more)]}
    parsed = parse_manifest(raw(OCI_INDEX, body))
    assert isinstance(parsed, Index)
    assert parsed.manifests[0].is_attestation is is_one
    if is_one:
        assert parsed.images == ()
        assert parsed.choose(Platform.parse("linux/amd64")) is None


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
URL = "https://publisher.example/layer"


def layer(**more: object) -> Descriptor:
    body = {"config": descriptor("c"), "layers": [descriptor("l") | more]}
    parsed = parse_manifest(raw(OCI_MANIFEST, body))
    assert isinstance(parsed, ImageManifest)
    return parsed.layers[0]


@pytest.mark.parametrize(
    ("more", "is_foreign"),
    [
        ({"mediaType": FOREIGN, "urls": [URL]}, True),
        ({"mediaType": NONDISTRIBUTABLE, "urls": [URL]}, True),
        ({"mediaType": FOREIGN}, False),  # it is nowhere else
        ({"mediaType": NONDISTRIBUTABLE, "urls": []}, False),
        ({"urls": [URL]}, False),  # registries want its bytes all the same
        ({"urls": []}, False),
        ({"urls": None}, False),
        ({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}, False),
    ],
)
def test_a_layer_that_only_its_publisher_gives_out_is_foreign(
    more: dict[str, Any], is_foreign: bool
) -> None:
    assert layer(**more).is_foreign is is_foreign


def inline(content: bytes, **more: object) -> dict[str, Any]:
    text = base64.b64encode(content).decode()
    return {"digest": str(Digest.of(content)), "size": len(content), "data": text} | more


def test_content_that_came_along_with_its_name_is_kept() -> None:
    assert layer(**inline(b"{}")).data == b"{}"
    sha512 = str(Digest.of(b"{}", "sha512"))
    assert layer(**inline(b"{}", digest=sha512)).data == b"{}"
    assert layer(**inline(b"")).data == b""


@pytest.mark.parametrize(
    "more",
    [
        inline(b"{}", size=3),
        inline(b"{}", digest=str(Digest.of(b"[]"))),
        inline(b"{}", data="e30"),
        inline(b"{}", data="e3 0="),
        inline(b"{}", data="\u00e9"),
        inline(b"{}", data=7),
        inline(b"x" * (INLINE_BYTES_MAX + 1)),
    ],
    ids=lambda value: str(value)[90:140],
)
def test_content_that_is_not_what_its_name_says_is_ignored(more: dict[str, Any]) -> None:
    assert layer(**more).data is None


def test_an_artifact_is_an_image_with_a_type_a_subject_and_the_empty_config() -> None:
    body = {
        "artifactType": "application/vnd.example.sbom",
        "config": {"mediaType": EMPTY_CONFIG, **inline(b"{}")},
        "layers": [descriptor("sbom")],
        "subject": descriptor("image"),
        "annotations": {"org.example.title": "sbom"},
    }
    parsed = parse_manifest(raw(OCI_MANIFEST, body))
    assert isinstance(parsed, ImageManifest)
    assert parsed.artifact_type == "application/vnd.example.sbom"
    assert parsed.config.data == b"{}"
    assert parsed.subject
    assert parsed.subject.digest == Digest.of(b"image")
    assert parsed.annotations == {"org.example.title": "sbom"}


def test_an_index_has_a_subject_and_annotations_too() -> None:
    body = {"manifests": [], "subject": descriptor("image"), "annotations": {"a": "b"}}
    parsed = parse_manifest(raw(OCI_INDEX, body))
    assert isinstance(parsed, Index)
    assert parsed.subject
    assert parsed.subject.digest == Digest.of(b"image")
    assert parsed.annotations == {"a": "b"}


def test_a_parsed_manifest_cannot_be_changed_and_can_be_hashed() -> None:
    parsed = parse_manifest(raw(OCI_INDEX, {"manifests": [], "annotations": {"a": "b"}}))
    with pytest.raises(TypeError):
        parsed.annotations["a"] = "c"  # type: ignore[index]
    assert hash(layer(annotations={"a": "b"}))


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
        (OCI_INDEX, {"manifests": [descriptor("x", size=4 * 2**20 + 1)]}, "more than 4 MiB"),
        (OCI_INDEX, {"manifests": [], "annotations": []}, "annotations are no map"),
        (OCI_INDEX, {"manifests": [], "annotations": {"a": 1}}, "no text, or too long"),
        (OCI_INDEX, {"manifests": [], "annotations": {"a": "b" * 300_000}}, "too long"),
        (OCI_INDEX, {"manifests": [], "annotations": {"a" * 2000: "b"}}, "too long"),
        (
            OCI_INDEX,
            {"manifests": [], "annotations": dict.fromkeys(map(str, range(1001)), "")},
            "no map of at most",
        ),
        (OCI_INDEX, {"manifests": [descriptor("x", annotations=7)]}, "annotations are no map"),
        (OCI_INDEX, {"manifests": [descriptor("x", urls="https://x")]}, "urls are no list"),
        (OCI_INDEX, {"manifests": [descriptor("x", urls=["u"] * 101)]}, "urls are no list of at"),
        (OCI_INDEX, {"manifests": [descriptor("x", urls=[1])]}, "no text, or too long"),
        (OCI_INDEX, {"manifests": [descriptor("x", artifactType="x" * 5000)]}, "too long"),
        (OCI_INDEX, {"manifests": [], "subject": {}}, "descriptor"),
        (OCI_MANIFEST, {"config": descriptor("c"), "layers": [], "artifactType": 1}, "no text"),
        (OCI_MANIFEST, {"config": descriptor("c", size=2**63), "layers": []}, "descriptor"),
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


@pytest.mark.parametrize("variant", ["v8", "", None, 8])
def test_a_config_says_its_platform_as_an_index_does(variant: object) -> None:
    said = {"os": "linux", "architecture": "arm64", "variant": variant}
    expected = Platform("linux", "arm64", "v8" if variant == "v8" else None)
    assert platform_of(json.dumps(said).encode()) == expected


def test_a_config_without_a_system_is_for_no_platform() -> None:
    said = {"os": "", "architecture": "linux", "variant": "arm64"}
    assert platform_of(json.dumps(said).encode()) is None
    assert platform_of(b"[") is None


fields = st.sampled_from([
    "mediaType", "digest", "size", "platform", "os", "architecture", "variant", "config",
    "layers", "manifests", "annotations", "urls", "data", "artifactType", "subject",
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
