"""An image in another form, for a target that refuses it as it is."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.manifests import Served, about, blob, entry, listing, packed, statement

from asyncsync.model.digest import Digest
from asyncsync.model.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_CONFIG,
    OCI_MANIFEST,
    ImageManifest,
    RawManifest,
    parse_manifest,
)
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.adapting import (
    NotAdaptable,
    as_docker,
    as_oci,
    without_attestations,
)
from asyncsync.transports.direct.graph import Graph
from asyncsync.transports.direct.walking import walk

SOURCE = Reference.parse("s.example/team/a:1")
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
PAIRS = [
    (OCI_LAYER, DOCKER_LAYER),
    (f"{OCI_LAYER}+gzip", f"{DOCKER_LAYER}.gzip"),
    (OCI_FOREIGN, DOCKER_FOREIGN),
    (f"{OCI_FOREIGN}+gzip", f"{DOCKER_FOREIGN}.gzip"),
]
A, B, C = packed("a"), packed("b"), packed("c")
ABOUT_A, ABOUT_B = statement(A), statement(B)
ENTRIES = [
    entry(A, "linux/amd64"),
    entry(B, "linux/arm64", annotations={"kept": "yes"}),
    entry(C, "linux/s390x"),
    about(A, ABOUT_A),
    about(B, ABOUT_B),
]
WHOLE = listing(*ENTRIES, annotations={"org.example": "whole"})
OCI = (WHOLE, A, B, C, ABOUT_A, ABOUT_B)


def docker(name: str, **more: Any) -> RawManifest:
    types = {"media_type": DOCKER_MANIFEST, "config": DOCKER_CONFIG}
    return packed(name, **types, layer=f"{DOCKER_LAYER}.gzip", **more)


DOCKER_A, DOCKER_B = docker("a"), docker("b")
LIST = listing(
    entry(DOCKER_A, "linux/amd64"), entry(DOCKER_B, "linux/arm64"), media_type=DOCKER_LIST
)
DOCKER = (LIST, DOCKER_A, DOCKER_B)


def graph_of(root: RawManifest, *held: RawManifest, platforms: tuple[Platform, ...] = ()) -> Graph:
    async def walked() -> Graph:
        return await walk(root, Served(*held).read, SOURCE, platforms)

    return anyio.run(walked)


def body(manifest: RawManifest) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(manifest.data)
    return parsed


def check(graph: Graph) -> None:
    """Every name is the hash of what it names; every size is its length; all can be parsed."""
    for node in graph.nodes():
        assert Digest.of(node.raw.data) == node.raw.digest
        assert parse_manifest(node.raw) == node.parsed
        children = {child.raw.digest: child.raw for child in node.children}
        assert children.keys() == {child.digest for child in node.named}
        for child in node.named:
            assert child.size == len(children[child.digest].data)
            assert child.media_type == children[child.digest].media_type


def digests(graph: Graph) -> set[Digest]:
    return {blob.digest for blob in graph.blobs()}


def named_source(graph: Graph) -> str | None:
    """What the root says that it was made from."""
    return graph.root.parsed.annotations.get("io.asyncsync.source.digest")


def test_without_attestations_an_index_keeps_its_images_and_names_its_source() -> None:
    graph = graph_of(WHOLE, *OCI)
    bare = without_attestations(graph)
    assert bare
    check(bare)
    assert body(bare.root.raw) == body(WHOLE) | {
        "manifests": ENTRIES[:3],
        "annotations": {
            "org.example": "whole",
            "io.asyncsync.source.digest": str(WHOLE.digest),
            "io.asyncsync.source.platforms": "all",
        },
    }
    assert bare.left_out == (
        f"left out 2 attestations: {WHOLE.digest} became {bare.root.raw.digest}",
    )
    assert bare.manifests() == (A, B, C, bare.root.raw)


def test_attestations_are_left_out_of_indexes_within_indexes_too() -> None:
    inner = listing(entry(A, "linux/amd64"), about(A, ABOUT_A))
    graph = graph_of(listing(entry(inner)), inner, A, ABOUT_A)
    bare = without_attestations(graph)
    assert bare
    check(bare)
    assert [node.raw for node in bare.root.children[0].children] == [A]


@pytest.mark.parametrize(
    ("root", "held"),
    [(A, ()), (LIST, DOCKER), (listing(about(A, ABOUT_A)), (ABOUT_A,)), (ABOUT_A, ())],
    ids=["an image", "images alone", "attestations alone", "an attestation itself"],
)
def test_nothing_is_left_out_where_there_is_nothing_or_nothing_else(
    root: RawManifest, held: tuple[RawManifest, ...]
) -> None:
    assert without_attestations(graph_of(root, *held)) is None


def test_an_oci_index_becomes_a_docker_list_without_attestations_and_says_both_digests() -> None:
    graph = graph_of(WHOLE, *OCI)
    converted = as_docker(graph)
    check(converted)
    assert converted.root.raw.media_type == body(converted.root.raw)["mediaType"] == DOCKER_LIST
    images = [child.raw for child in converted.root.children]
    assert [image.media_type for image in images] == [DOCKER_MANIFEST] * 3
    assert [named.get("annotations") for named in body(converted.root.raw)["manifests"]] == [
        None,
        {"kept": "yes"},
        None,
    ]
    assert body(images[0])["config"]["mediaType"] == DOCKER_CONFIG
    assert digests(converted) == digests(graph_of(listing(*ENTRIES[:3]), *OCI))
    assert converted.left_out == (
        "left out 2 attestations and converted to Docker's types: "
        f"{WHOLE.digest} became {converted.root.raw.digest}",
    )


def test_a_docker_image_becomes_an_oci_image_that_names_its_source() -> None:
    converted = as_oci(graph_of(DOCKER_A))
    check(converted)
    expected = body(packed("a")) | {
        "annotations": {
            "io.asyncsync.source.digest": str(DOCKER_A.digest),
            "io.asyncsync.source.platforms": "all",
        }
    }
    assert body(converted.root.raw) == expected
    assert converted.root.raw.media_type == OCI_MANIFEST
    assert converted.left_out == (
        f"converted to OCI's types: {DOCKER_A.digest} became {converted.root.raw.digest}",
    )


def test_the_root_alone_names_the_source() -> None:
    converted = as_oci(graph_of(LIST, *DOCKER))
    check(converted)
    assert named_source(converted) == str(LIST.digest)
    assert [body(node.raw) for node in converted.root.children] == [body(A), body(B)]


def test_a_docker_list_that_loses_attestations_gets_no_annotations() -> None:
    whole = listing(entry(DOCKER_A), about(DOCKER_A, ABOUT_A), media_type=DOCKER_LIST)
    bare = without_attestations(graph_of(whole, DOCKER_A, ABOUT_A))
    assert bare
    assert body(bare.root.raw) == body(whole) | {"manifests": [entry(DOCKER_A)]}


def test_an_index_of_both_types_becomes_one_of_one_type() -> None:
    mixed = listing(entry(A, "linux/amd64"), entry(DOCKER_B, "linux/arm64"))
    graph = graph_of(mixed, A, DOCKER_B)
    assert [body(node.raw) for node in as_oci(graph).root.children] == [body(A), body(B)]
    assert [node.raw.media_type for node in as_docker(graph).nodes()] == [
        DOCKER_MANIFEST,
        DOCKER_MANIFEST,
        DOCKER_LIST,
    ]


def test_an_inline_copy_of_a_manifest_goes_where_the_manifest_changes() -> None:
    index = listing(entry(A, "linux/amd64", data="e30="))
    converted = as_docker(graph_of(index, A))
    check(converted)
    assert "data" not in body(converted.root.raw)["manifests"][0]


@pytest.mark.parametrize(("oci", "of_docker"), PAIRS)
def test_a_layer_has_a_name_in_both_types(oci: str, of_docker: str) -> None:
    there = as_docker(graph_of(packed("a", blob("layer", oci))))
    assert body(there.root.raw)["layers"][2]["mediaType"] == of_docker
    back = as_oci(graph_of(there.root.raw))
    assert body(back.root.raw)["layers"][2]["mediaType"] == oci


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (packed("a", blob("z", f"{OCI_LAYER}+zstd")), "packed with zstd"),
        (packed("a", config=EMPTY_CONFIG), "artifact"),
        (packed("a", config="application/vnd.cncf.helm.config.v1+json"), "artifact"),
        (packed("a", artifactType="application/vnd.example"), "artifact"),
        (packed("a", subject=entry(B)), "refers to another"),
        (listing(entry(A), subject=entry(B)), "refers to another"),
        (packed("a", blob("w", "application/wasm")), "no archives of files"),
        (ABOUT_A, "refers to another"),
    ],
)
def test_what_docker_has_no_type_for_is_refused_with_the_reason(
    image: RawManifest, why: str
) -> None:
    with pytest.raises(
        NotAdaptable, match=f"{image.digest} has no form in Docker's types: .*{why}"
    ):
        as_docker(graph_of(image, A))
    index = listing(entry(B, "linux/arm64"), entry(image, "linux/amd64"))
    with pytest.raises(NotAdaptable, match=why):
        as_docker(graph_of(index, image, A, B))


def test_an_image_that_has_the_types_already_is_not_converted() -> None:
    with pytest.raises(NotAdaptable, match="OCI's types already"):
        as_oci(graph_of(WHOLE, *OCI))
    with pytest.raises(NotAdaptable, match="Docker's types already"):
        as_docker(graph_of(LIST, *DOCKER))


def test_what_other_docker_clients_pack_with_zstd_has_an_oci_type() -> None:
    converted = as_oci(graph_of(docker("a", layers=[blob("z", f"{DOCKER_LAYER}.zstd")])))
    assert body(converted.root.raw)["layers"][0]["mediaType"] == f"{OCI_LAYER}+zstd"


def test_a_manifest_that_cannot_be_written_anew_is_not_adapted() -> None:
    data = DOCKER_A.data[:-1] + b', "odd": NaN}'
    odd = RawManifest(DOCKER_MANIFEST, data, Digest.of(data))
    with pytest.raises(NotAdaptable, match="JSON cannot say"):
        as_oci(graph_of(odd))


def test_a_manifest_of_any_depth_is_adapted_or_refused_wherever_that_happens() -> None:
    """How deep JSON can be read and written depends on how deep the caller is."""
    data = DOCKER_A.data[:-1] + b', "odd": ' + b"[" * 500 + b"]" * 500 + b"}"
    graph = graph_of(RawManifest(DOCKER_MANIFEST, data, Digest.of(data)))

    def adapted_below(frames: int) -> Graph:
        return adapted_below(frames - 1) if frames else as_oci(graph)

    for frames in range(300, 480):
        with suppress(NotAdaptable):
            assert b"[" * 500 in adapted_below(frames).root.raw.data


def test_what_was_pruned_before_is_still_told_after() -> None:
    platforms = (AMD64, ARM64)
    graph = graph_of(WHOLE, *OCI, platforms=platforms)
    bare = without_attestations(graph)
    assert bare
    assert bare.left_out[0] == graph.left_out[0]
    assert bare.source == WHOLE.digest
    assert named_source(bare) == str(WHOLE.digest)
    assert len(as_docker(graph).left_out) == 2


def test_an_image_of_one_platform_names_the_digest_that_the_tag_has() -> None:
    converted = as_oci(graph_of(LIST, *DOCKER, platforms=(ARM64,)))
    assert isinstance(converted.root.parsed, ImageManifest)
    assert named_source(converted) == str(LIST.digest)


def test_a_source_that_was_adapted_itself_is_named_by_its_own_digest() -> None:
    first = as_oci(graph_of(LIST, *DOCKER, platforms=(ARM64,))).root.raw
    index = listing(
        entry(DOCKER_A, "linux/amd64"),
        entry(first, "linux/arm64"),
        annotations=body(first)["annotations"],
    )
    converted = as_oci(graph_of(index, DOCKER_A, first))
    assert named_source(converted) == str(index.digest)


texts = st.text(max_size=5)
urls = st.lists(st.just("https://publisher.example/"), max_size=1)


@st.composite
def images(draw: st.DrawFn) -> RawManifest:
    name = draw(st.text("abcdef", min_size=1, max_size=4))
    layers = [
        blob(draw(texts), draw(st.sampled_from([oci for oci, _ in PAIRS])), urls=draw(urls))
        for _ in range(draw(st.integers(0, 3)))
    ]
    more = draw(st.dictionaries(st.sampled_from(["x", "é", "\ud800"]), texts | st.integers()))
    return packed(name, *layers, annotations=draw(st.dictionaries(texts, texts)), **more)


@given(st.lists(images(), min_size=1, max_size=4), st.booleans())
def test_there_and_back_keeps_all_but_the_name_of_the_source(
    made: list[RawManifest], single: bool
) -> None:
    root = made[0] if single else listing(*(entry(image, "linux/amd64") for image in made))
    before = graph_of(root, *made)
    there = as_docker(before)
    assert as_docker(before).root.raw == there.root.raw  # the same each time
    check(there)
    back = as_oci(there)
    check(back)
    assert digests(there) == digests(back) == digests(before)
    annotations = body(back.root.raw).pop("annotations")
    kept = {key: value for key, value in annotations.items() if "io.asyncsync" not in key}
    assert kept == (body(root).get("annotations") or {})
    assert [body(node.raw) for node in back.root.children] == [
        body(node.raw) for node in before.root.children
    ]
    assert named_source(back) == str(before.source)


def test_the_form_of_what_is_adapted_stays_what_it_was() -> None:
    """Another form is another digest, and every adapted image would be copied anew."""
    assert without_blanks(as_docker(graph_of(WHOLE, *OCI)))
    assert without_blanks(as_oci(graph_of(LIST, *DOCKER)))
    docker_list = as_docker(graph_of(listing(entry(A, "linux/amd64"), é="é"), A)).root.raw
    assert docker_list.data == (
        b'{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s",'
        b'"size":%d,"platform":{"os":"linux","architecture":"amd64"}}],"\\u00e9":"\\u00e9"}'
    ) % (
        DOCKER_LIST.encode(),
        DOCKER_MANIFEST.encode(),
        str(as_docker(graph_of(A)).root.raw.digest).encode(),
        len(as_docker(graph_of(A)).root.raw.data),
    )


def without_blanks(graph: Graph) -> bool:
    return all(b" " not in raw.data and raw.data.isascii() for raw in graph.manifests())
