"""The list of what refers to a manifest, as clients keep it at a tag."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field

import pytest
from anyio import create_task_group
from parts import manifests
from parts.places import TARGET, Listener, MemoryTarget, described

from asyncsync.model.digest import Digest
from asyncsync.model.errors import BlobsUnknown, DigestMismatch, RefusedByTarget, Where
from asyncsync.model.job import CopyJob
from asyncsync.model.manifest import OCI_INDEX, RawManifest, Taken
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.transports.direct.fallback import WRITES_MAX, Fallbacks, extended
from asyncsync.transports.direct.graph import Node
from asyncsync.transports.stepping import Steps

IMAGE = manifests.packed("image")
SUBJECT = Reference(TARGET, "team/app", None, IMAGE.digest)
AT = SUBJECT.by_tag(f"sha256-{IMAGE.digest.hex}")


def signature(name: str) -> Node:
    return Node.parse(
        manifests.packed(
            name,
            artifactType="application/vnd.cncf.notary.signature",
            subject=manifests.entry(IMAGE),
            annotations={"who": name},
        )
    )


ONE, TWO = signature("one"), signature("two")


def test_an_entry_says_type_size_and_annotations_of_what_refers() -> None:
    assert described(ONE) == {
        **manifests.entry(ONE.raw),
        "artifactType": "application/vnd.cncf.notary.signature",
        "annotations": {"who": "one"},
    }


def test_the_type_of_an_artifact_without_one_is_its_config_s() -> None:
    plain = Node.parse(manifests.packed("plain", config="application/vnd.example+json"))
    assert described(plain)["artifactType"] == "application/vnd.example+json"
    assert "annotations" not in described(plain)


def test_the_type_of_an_index_is_its_own_or_none() -> None:
    assert "artifactType" not in described(Node.parse(manifests.listing()))
    typed = Node.parse(manifests.listing(artifactType="a/b"))
    assert described(typed)["artifactType"] == "a/b"


def test_a_first_list_is_an_index_that_says_so() -> None:
    page = extended(None, [ONE])
    assert page is not None
    assert page.media_type == OCI_INDEX
    assert json.loads(page.data) == {
        "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [described(ONE)],
    }  # fmt: skip
    assert page.digest == Digest.of(page.data)


def test_what_others_wrote_stays_as_it_is_and_nothing_is_in_it_twice() -> None:
    theirs = {**manifests.entry(ONE.raw), "artifactType": "theirs", "x-more": [1]}
    page = extended(manifests.listing(theirs, annotations={"a": "b"}), [ONE, TWO])
    assert page is not None
    assert json.loads(page.data)["manifests"] == [theirs, described(TWO)]
    assert json.loads(page.data)["annotations"] == {"a": "b"}


def test_a_list_that_has_all_of_it_is_not_written() -> None:
    page = extended(None, [ONE, TWO])
    assert extended(page, [TWO]) is None
    assert extended(page, [ONE, TWO]) is None


def test_what_is_gone_is_taken_out() -> None:
    page = extended(extended(None, [ONE]), [TWO], gone={ONE.raw.digest})
    assert page is not None
    assert json.loads(page.data)["manifests"] == [described(TWO)]


@pytest.mark.parametrize(
    "page",
    [
        IMAGE,
        manifests.listing(media_type="application/vnd.docker.distribution.manifest.list.v2+json"),
        RawManifest(OCI_INDEX, b"{", Digest.of(b"{")),
        manifests.raw(OCI_INDEX, {"manifests": {}}),
    ],
)
def test_something_else_is_not_made_a_list_of(page: RawManifest) -> None:
    with pytest.raises(ValueError, match=r"it is|manifest"):
        extended(page, [ONE])


@dataclass
class Shared(MemoryTarget):
    """A target to which somebody else writes as well: right after our next writes."""

    theirs: deque[RawManifest] = field(default_factory=deque)

    async def put(self, ref: Reference, manifest: RawManifest) -> Taken:
        taken = await super().put(ref, manifest)
        if self.theirs:
            self.hold(ref, self.theirs.popleft())
        return taken


def steps(target: MemoryTarget, *nodes: Node) -> Steps:
    for node in nodes:
        target.hold(SUBJECT.by_digest(node.raw.digest), node.raw)
    job = CopyJob(Reference(TARGET, "a", "1"), AT, (), Position("l", 1, 1))
    return Steps(job, Listener(), Retrying(0))


def listed(target: MemoryTarget) -> list[Digest]:
    return [entry.digest for entry in Node.parse(target.manifests[AT]).named]


async def test_it_is_written_once_and_then_left_alone() -> None:
    target = MemoryTarget()
    lists = Fallbacks(target)
    for _ in range(2):
        await lists.add(SUBJECT, [ONE, TWO], steps(target, ONE, TWO))
        assert listed(target) == [ONE.raw.digest, TWO.raw.digest]
        assert target.done == [f"put {AT.tag}"]


async def test_what_another_overwrote_is_written_again() -> None:
    theirs = extended(None, [TWO])
    assert theirs is not None
    target = Shared(theirs=deque([theirs]))
    await Fallbacks(target).add(SUBJECT, [ONE], steps(target, ONE, TWO))
    assert listed(target) == [TWO.raw.digest, ONE.raw.digest]


async def test_it_does_not_fight_with_another_for_ever() -> None:
    theirs = extended(None, [TWO])
    assert theirs is not None
    target = Shared(theirs=deque([theirs] * 100))
    with pytest.raises(DigestMismatch, match="written by others each time"):
        await Fallbacks(target).add(SUBJECT, [ONE], steps(target, ONE, TWO))
    assert target.done == [f"put {AT.tag}"] * WRITES_MAX


async def test_within_a_run_no_one_overwrites_the_other() -> None:
    target = MemoryTarget()
    lists = Fallbacks(target)
    many = [signature(str(number)) for number in range(4 * WRITES_MAX)]
    told = steps(target, *many)
    async with create_task_group() as group:
        for node in many:
            group.start_soon(lists.add, SUBJECT, [node], told)
    assert listed(target) == [node.raw.digest for node in many]
    assert len(target.done) == len(many)


async def test_what_was_deleted_at_the_target_leaves_the_list_that_it_would_refuse() -> None:
    target = MemoryTarget()
    lists = Fallbacks(target)
    await lists.add(SUBJECT, [ONE], steps(target, ONE))
    gone = BlobsUnknown("it lacks one", Where(str(TARGET))).naming((ONE.raw.digest,))
    target.failing = deque([gone])
    await lists.add(SUBJECT, [TWO], steps(target, TWO))
    assert listed(target) == [TWO.raw.digest]


@pytest.mark.parametrize("missing", [(), (TWO.raw.digest,)], ids=["unnamed", "ours"])
async def test_a_list_that_is_refused_for_what_we_put_is_an_error(
    missing: tuple[Digest, ...],
) -> None:
    target = MemoryTarget()
    refusal = BlobsUnknown("it lacks one", Where(str(TARGET))).naming(missing)
    target.failing = deque([refusal] * 100)
    with pytest.raises(BlobsUnknown):
        await Fallbacks(target).add(SUBJECT, [TWO], steps(target, TWO))


async def test_another_image_at_the_tag_is_not_overwritten() -> None:
    target = MemoryTarget()
    target.hold(AT, IMAGE)
    with pytest.raises(RefusedByTarget, match="is no list of what refers"):
        await Fallbacks(target).add(SUBJECT, [ONE], steps(target, ONE))
    assert target.manifests[AT] == IMAGE
