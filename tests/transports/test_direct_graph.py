"""An image's graph: what is read of it, what is refused, what platforms leave of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.manifests import Served, about, blob, entry, listing, packed, raw, statement

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    CopyError,
    DigestMismatch,
    NoSuchPlatform,
    NotFound,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    RawManifest,
    parse_manifest,
)
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.transports.direct.adapting import without_attestations
from asyncsync.transports.direct.choosing import known_by_root
from asyncsync.transports.direct.graph import Graph, Node, levels
from asyncsync.transports.direct.walking import walk

SOURCE = Reference.parse("s.example/team/a:1")
AMD64, ARM64, S390X = (Platform.parse(f"linux/{name}") for name in ("amd64", "arm64", "s390x"))
A, B, C = packed("a"), packed("b"), packed("c")
ABOUT_A, ABOUT_B = statement(A), statement(B)
WHOLE = listing(
    entry(A, "linux/amd64"),
    entry(B, "linux/arm64", annotations={"kept": "yes"}),
    entry(C, "linux/s390x"),
    about(A, ABOUT_A),
    about(B, ABOUT_B),
    annotations={"org.example": "whole"},
    artifactType="application/vnd.example",
)
ALL = (WHOLE, A, B, C, ABOUT_A, ABOUT_B)
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def graph_of(root: RawManifest, served: Served, *platforms: Platform) -> Graph:
    async def walked() -> Graph:
        return await walk(root, served.read, SOURCE, platforms)

    return anyio.run(walked)


def body(manifest: RawManifest) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(manifest.data)
    return parsed


def test_an_index_is_read_whole_and_keeps_its_bytes() -> None:
    served = Served(*ALL)
    graph = graph_of(WHOLE, served)
    assert graph.root.raw is WHOLE
    assert graph.source == WHOLE.digest
    assert [child.raw for child in graph.root.children] == [A, B, C, ABOUT_A, ABOUT_B]
    assert graph.left_out == ()
    assert sorted(map(str, served.asked)) == sorted(str(each.digest) for each in ALL[1:])


def test_the_children_of_an_index_are_read_at_once() -> None:
    served = Served(*ALL)
    graph_of(WHOLE, served)
    assert served.most == 5


def test_no_more_than_32_children_are_read_at_once() -> None:
    """Each of them may be 4 MiB, whatever the index says."""
    images = [packed(str(number)) for number in range(100)]
    served = Served(*images)
    graph_of(listing(*map(entry, images)), served)
    assert served.most == 32


def test_a_child_that_is_named_twice_is_one_node_read_once() -> None:
    index = listing(entry(A, "linux/arm/v6"), entry(A, "linux/arm/v7"))
    served = Served(A)
    graph = graph_of(index, served)
    assert [child.raw for child in graph.root.children] == [A]
    assert served.asked == [A.digest]
    assert graph.manifests() == (A, index)


def test_every_blob_is_named_once_however_many_images_share_it() -> None:
    digests = [blob.digest for blob in graph_of(WHOLE, Served(*ALL)).blobs()]
    assert len(digests) == len(set(digests))
    assert digests.count(Digest.of(b"base")) == 1
    assert digests.count(Digest.of(b"{}")) == 1
    assert len(digests) == 3 * 2 + 1 + 2 + 1  # configs and own layers, base; statements, {}


@pytest.mark.parametrize(
    ("root", "served", "breadth"),
    [
        (WHOLE, ALL, 3),
        (A, (), 1),
        (packed("chart", config="application/vnd.cncf.helm.config.v1+json"), (), 0),
        (listing(entry(A, "linux/arm/v6"), entry(A, "linux/arm/v7")), (A,), 2),
        (listing(entry(WHOLE, "linux/amd64"), entry(A, "linux/amd64")), ALL, 3),
        (listing(entry(A), entry(B)), ALL, 0),
        (listing(entry(A, "windows/amd64"), entry(B, "windows/amd64")), ALL, 2),
    ],
    ids=["an index", "an image", "a chart", "one for two", "nested", "nobody knows", "versions"],
)
def test_it_is_for_as_many_platforms_as_it_has_images_for(
    root: RawManifest, served: tuple[RawManifest, ...], breadth: int
) -> None:
    assert graph_of(root, Served(*served)).breadth == breadth


def test_pruned_it_is_for_those_that_are_left() -> None:
    assert graph_of(WHOLE, Served(*ALL), AMD64, ARM64).breadth == 2
    assert graph_of(WHOLE, Served(*ALL), AMD64).breadth == 1


def test_foreign_layers_stay_where_they_are_and_the_user_is_told() -> None:
    image = packed("a", blob("windows", FOREIGN, urls=["https://publisher.example/1"]))
    graph = graph_of(image, Served())
    assert [blob.digest for blob in graph.blobs()] == [
        Digest.of(content) for content in (b"config of a", b"base", b"a")
    ]
    assert graph.left_out == ("left 1 foreign layer where the publisher keeps them",)


def test_manifests_go_from_leaf_to_root_and_subjects_before_those_that_refer_to_them() -> None:
    inner = listing(entry(B, "linux/arm64"), about(B, ABOUT_B))
    outer = listing(about(A, ABOUT_A), entry(A, "linux/amd64"), entry(inner))
    graph = graph_of(outer, Served(A, B, ABOUT_A, ABOUT_B, inner))
    sets = [{node.raw.digest for node in level} for level in levels(graph.root)]
    assert sets == [
        {A.digest, B.digest},
        {ABOUT_A.digest, ABOUT_B.digest},
        {inner.digest},
        {outer.digest},
    ]
    assert graph.manifests()[-1] is outer


def test_a_subject_that_is_not_part_of_the_image_holds_nothing_up() -> None:
    graph = graph_of(ABOUT_A, Served())
    assert graph.manifests() == (ABOUT_A,)


@given(st.data())
def test_no_manifest_is_put_before_what_it_names(data: st.DataObject) -> None:
    """Whatever the shape: indexes of images, of indexes, of the same ones again."""
    made = [[A, B, C, ABOUT_A]]
    for _ in range(data.draw(st.integers(1, 4))):
        below = [each for level in made for each in level]
        parts = data.draw(st.lists(st.lists(st.sampled_from(below), min_size=1), min_size=1))
        made.append([listing(*(entry(child) for child in part)) for part in parts[:3]])
    root = made[-1][0]
    graph = graph_of(root, Served(*(each for level in made for each in level)))
    seen: set[Digest] = set()
    for level in levels(graph.root):
        for node in level:
            assert {child.digest for child in node.named} <= seen
        seen |= {node.raw.digest for node in level}
    assert len(seen) == len(graph.manifests())
    assert graph.manifests()[-1] is root


def nested(depth: int) -> list[RawManifest]:
    """`depth` indexes, each within the next, the outermost first; an image in the innermost."""
    made = [A]
    for _ in range(depth):
        made.insert(0, listing(entry(made[0])))
    return made


def test_indexes_may_nest_four_deep_and_no_deeper() -> None:
    four = nested(4)
    assert graph_of(four[0], Served(*four)).manifests() == tuple(reversed(four))
    five = nested(5)
    with pytest.raises(UnsupportedManifest, match="nests more than 4 indexes"):
        graph_of(five[0], Served(*five))


def test_a_shorter_way_to_an_index_does_not_hide_how_deep_it_is() -> None:
    six = nested(6)
    root = listing(*(entry(each) for each in six))
    with pytest.raises(UnsupportedManifest, match="nests more than 4 indexes"):
        graph_of(root, Served(*six))


def test_an_index_of_too_many_manifests_is_refused_before_they_are_read() -> None:
    images = [packed(str(number)) for number in range(1998)]
    two = [listing(*(entry(image) for image in images[half::2])) for half in (0, 1)]
    root = listing(*(entry(each) for each in two))
    served = Served(*two, *images)
    with pytest.raises(UnsupportedManifest, match="more than 2000 manifests"):
        graph_of(root, served)
    assert len(served.asked) == 2


def test_manifests_that_are_too_large_together_are_refused_before_they_are_read() -> None:
    large = [entry(packed(str(number))) | {"size": 4 * 2**20} for number in range(5)]
    served = Served()
    with pytest.raises(UnsupportedManifest, match="larger than 16 MiB together"):
        graph_of(listing(*large), served)
    assert served.asked == []


def test_a_manifest_that_came_along_with_its_name_is_not_asked_for() -> None:
    index = listing(entry(A, data=base64.b64encode(A.data).decode()))
    served = Served()
    assert graph_of(index, served).root.children[0].raw == A
    assert served.asked == []


@pytest.mark.parametrize(
    ("named", "served", "error", "why"),
    [
        (entry(A, size=7), A, DigestMismatch, "which has 7"),
        (entry(A), RawManifest(OCI_MANIFEST, B.data, B.digest), DigestMismatch, "sent"),
        (entry(A, mediaType=OCI_INDEX), A, UnsupportedManifest, "but named"),
        (entry(A, mediaType="\x1b[2J"), A, UnsupportedManifest, r"but named '\\x1b\[2J'"),
        (entry(raw(OCI_MANIFEST, {})), raw(OCI_MANIFEST, {}), UnsupportedManifest, "descriptor"),
        (entry(raw("a/b", {})), raw("a/b", {}), UnsupportedManifest, "not supported"),
    ],
)
def test_a_child_that_is_not_what_the_index_says_is_refused(
    named: dict[str, Any], served: RawManifest, error: type[CopyError], why: str
) -> None:
    async def read(child: Descriptor) -> RawManifest:
        return served

    async def walked() -> None:
        with pytest.raises(error, match=why) as caught:
            await walk(listing(named), read, SOURCE)
        assert caught.value.where == Where("s.example")

    anyio.run(walked)


def test_the_child_of_a_platform_that_is_not_what_the_index_says_is_refused() -> None:
    index = listing(entry(A, "linux/amd64", size=7), entry(B, "linux/arm64"))
    with pytest.raises(DigestMismatch, match="which has 7"):
        graph_of(index, Served(A, B), AMD64)


def test_two_entries_that_disagree_about_one_child_are_refused() -> None:
    index = listing(entry(A, size=7), entry(A))
    with pytest.raises(DigestMismatch, match="which has 7"):
        graph_of(index, Served(A))


def test_a_blob_with_two_sizes_is_refused() -> None:
    image = packed("a", blob("base", "application/vnd.oci.image.layer.v1.tar", size=7))
    with pytest.raises(UnsupportedManifest, match=f"{Digest.of(b'base')} with two sizes"):
        graph_of(image, Served())


def test_an_attestation_that_the_source_does_not_serve_is_left_out_and_the_user_is_told() -> None:
    graph = graph_of(WHOLE, Served(A, B, C, ABOUT_B))
    assert [child.raw for child in graph.root.children] == [A, B, C, ABOUT_B]
    entries = body(WHOLE)["manifests"]
    assert body(graph.root.raw)["manifests"] == [*entries[:3], entries[4]]
    new = graph.root.raw.digest
    assert graph.left_out == (
        f"left out 1 attestation that s.example does not serve: {WHOLE.digest} became {new}",
    )
    assert graph.source == WHOLE.digest != new


def test_an_attestation_that_is_missing_deep_inside_changes_all_indexes_above() -> None:
    inner = listing(entry(A, "linux/amd64"), about(A, ABOUT_A))
    outer = listing(entry(inner), entry(B, "linux/arm64"))
    graph = graph_of(outer, Served(inner, A, B))
    pruned, image = graph.root.children
    assert [child.raw for child in pruned.children] == [A]
    assert image.raw is B
    named = body(graph.root.raw)["manifests"][0]
    assert named["digest"] == str(pruned.raw.digest) != str(inner.digest)
    assert named["size"] == len(pruned.raw.data)


def test_an_image_that_the_source_does_not_serve_is_an_error_and_comes_bare() -> None:
    with pytest.raises(NotFound, match=str(C.digest)):
        graph_of(WHOLE, Served(A, B, ABOUT_A, ABOUT_B))


def test_one_platform_leaves_its_manifest_alone_and_nothing_else_is_read() -> None:
    served = Served(*ALL)
    graph = graph_of(WHOLE, served, ARM64)
    assert graph.manifests() == (B,)
    assert served.asked == [B.digest]
    assert (graph.source, graph.platforms, graph.left_out) == (WHOLE.digest, (ARM64,), ())


def test_one_child_that_serves_two_wishes_is_one_image() -> None:
    served = Served(*ALL)
    assert graph_of(WHOLE, served, ARM64, Platform.parse("linux/arm64/v8")).manifests() == (B,)


def test_several_platforms_leave_an_index_of_them_and_of_what_is_said_about_them() -> None:
    served = Served(*ALL)
    graph = graph_of(WHOLE, served, S390X, AMD64)
    before, after = body(WHOLE), body(graph.root.raw)
    entries = before["manifests"]
    assert after.pop("manifests") == [entries[0], entries[2], entries[3]]
    assert after.pop("annotations") == {
        "org.example": "whole",
        "io.asyncsync.source.digest": str(WHOLE.digest),
        "io.asyncsync.source.platforms": "linux/amd64,linux/s390x",
    }
    assert after == {key: before[key] for key in ("schemaVersion", "mediaType", "artifactType")}
    assert B.digest not in served.asked
    assert graph.left_out == (
        "pruned to linux/s390x, linux/amd64 of 3 platforms: "
        f"{WHOLE.digest} became {graph.root.raw.digest}",
    )


def test_a_pruned_index_is_the_same_in_whatever_order_platforms_are_asked_for() -> None:
    one, other = (
        graph_of(WHOLE, Served(*ALL), *asked) for asked in ((AMD64, S390X), (S390X, AMD64, S390X))
    )
    assert one.root.raw == other.root.raw
    assert other.platforms == (S390X, AMD64)
    assert other.left_out[0].startswith("pruned to linux/s390x, linux/amd64 of 3 platforms: ")


def test_a_pruned_docker_list_gets_no_annotations() -> None:
    images = [packed(name, media_type=DOCKER_MANIFEST) for name in "abc"]
    named = zip(images, ("amd64", "arm64", "s390x"), strict=True)
    whole = listing(
        *(entry(image, f"linux/{name}") for image, name in named), media_type=DOCKER_LIST
    )
    graph = graph_of(whole, Served(*images), AMD64, ARM64)
    assert body(graph.root.raw) == body(whole) | {"manifests": body(whole)["manifests"][:2]}


def test_an_index_stays_whole_if_all_its_platforms_are_asked_for() -> None:
    graph = graph_of(WHOLE, Served(*ALL), AMD64, ARM64, S390X)
    assert graph.root.raw is WHOLE
    assert graph.left_out == ()


def test_a_platform_that_is_not_there_is_named_beside_those_that_are() -> None:
    served = Served(*ALL)
    with pytest.raises(NoSuchPlatform) as caught:
        graph_of(WHOLE, served, AMD64, Platform.parse("linux/riscv64"))
    assert caught.value.what == (
        "s.example/team/a:1 has no image for linux/riscv64; "
        "it has linux/amd64, linux/arm64, linux/s390x"
    )
    assert served.asked == []


def test_an_index_of_nothing_is_told_as_one_where_a_platform_is_asked_for() -> None:
    with pytest.raises(NoSuchPlatform, match="it has none at all"):
        graph_of(listing(), Served(), AMD64)


def test_an_index_for_a_platform_is_not_reduced() -> None:
    inner = listing(entry(A))
    root = listing(entry(inner, "linux/amd64"), entry(B, "linux/arm64"))
    for asked in ((AMD64,), (AMD64, ARM64)):
        with pytest.raises(UnsupportedManifest, match="an index for a platform"):
            graph_of(root, Served(inner, A, B), *asked)
    assert len(graph_of(root, Served(inner, A, B)).manifests()) == 4


def test_a_single_image_is_not_asked_for_its_platform_here() -> None:
    graph = graph_of(A, Served(), ARM64)
    assert graph.manifests() == (A,)


PLATFORMS = [f"linux/{name}" for name in ("386", "amd64", "arm64", "ppc64le", "riscv64", "s390x")]
extras = st.dictionaries(
    st.text(max_size=5).filter(lambda key: key not in ("mediaType", "manifests", "subject")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
    max_size=3,
)


@given(st.data(), extras)
def test_a_pruned_index_has_exactly_the_chosen_children_and_all_else(
    data: st.DataObject, more: dict[str, Any]
) -> None:
    offered = data.draw(st.lists(st.sampled_from(PLATFORMS), unique=True, min_size=3))
    wanted = data.draw(
        st.lists(st.sampled_from(offered), unique=True, min_size=2, max_size=len(offered) - 1)
    )
    images = {platform: packed(platform) for platform in offered}
    whole = listing(*(entry(image, name) | more for name, image in images.items()), other=more)
    try:
        parse_manifest(whole)
    except ValueError:
        return  # an annotation or a url that is none
    graph = graph_of(whole, Served(*images.values()), *map(Platform.parse, wanted))
    parsed = parse_manifest(graph.root.raw)
    assert isinstance(parsed, Index)
    assert Digest.of(graph.root.raw.data) == graph.root.raw.digest
    assert [str(child.platform) for child in parsed.manifests] == [
        platform for platform in offered if platform in wanted
    ]
    kept = [each for each in body(whole)["manifests"] if _platform(each) in wanted]
    assert body(graph.root.raw)["manifests"] == kept
    assert body(graph.root.raw)["other"] == more


def _platform(named: dict[str, Any]) -> str:
    return "{os}/{architecture}".format(**named["platform"])


def with_odd(odd: bytes) -> RawManifest:
    data = WHOLE.data[:-1] + b', "odd": ' + odd + b"}"
    return RawManifest(OCI_INDEX, data, Digest.of(data))


@pytest.mark.parametrize(
    ("odd", "why"),
    [(b"NaN", "JSON cannot say"), (b'"' + b"\xc3\xa9" * 800_000 + b'"', "larger than 4 MiB")],
    ids=["NaN", "long"],
)
def test_an_index_that_cannot_be_written_anew_is_refused_only_where_it_has_to_be(
    odd: bytes, why: str
) -> None:
    whole = with_odd(odd)
    assert graph_of(whole, Served(*ALL)).root.raw is whole
    with pytest.raises(UnsupportedManifest, match=why):
        graph_of(whole, Served(*ALL), AMD64, ARM64)


async def test_an_error_ends_the_other_reads() -> None:
    ended: list[Digest] = []

    async def read(child: Descriptor) -> RawManifest:
        if child.digest == C.digest:
            raise NotFound("gone", Where("s.example"))
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(child.digest)
        raise AssertionError

    with anyio.fail_after(10), pytest.raises(NotFound, match="gone"):
        await walk(WHOLE, read, SOURCE)
    assert set(ended) <= {A.digest, B.digest, ABOUT_A.digest, ABOUT_B.digest}


async def test_a_bug_in_reading_comes_bare_too() -> None:
    async def read(child: Descriptor) -> RawManifest:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await walk(WHOLE, read, SOURCE)


def test_a_node_has_the_blobs_of_its_own_manifest_alone() -> None:
    assert Node.parse(WHOLE).blobs == ()
    assert len(Node.parse(A).blobs) == 3


@given(st.lists(st.sampled_from([AMD64, ARM64, S390X]), max_size=3))
def test_the_root_alone_tells_what_a_target_may_have_of_an_image(platforms: list[Platform]) -> None:
    graph = graph_of(WHOLE, Served(*ALL), *platforms)
    bare = without_attestations(graph)
    known = known_by_root(WHOLE, SOURCE, platforms)
    assert known == (graph.root.raw.digest, *([bare.root.raw.digest] if bare else ()))


def test_an_image_that_only_claims_to_come_from_another_is_not_known_as_it() -> None:
    claiming = listing(
        entry(C, "linux/s390x"), annotations={"io.asyncsync.source.digest": str(WHOLE.digest)}
    )
    assert claiming.digest not in known_by_root(WHOLE, SOURCE)
    assert known_by_root(A, SOURCE) == (A.digest,)
