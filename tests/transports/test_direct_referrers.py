"""What refers to an image comes along with it, between small true registries in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from anyio import create_task_group
from parts import manifests
from parts.places import SOURCE, TARGET, Listener, MemorySource, MemoryTarget
from parts.turns import at_once

from asyncsync.model.digest import Digest, referrers_tag
from asyncsync.model.errors import (
    NotFound,
    PermissionDenied,
    TypeRefused,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor, RawManifest, Taken
from asyncsync.model.outcome import Copied
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.transports.direct.fallback import extended
from asyncsync.transports.direct.graph import Node
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.referrers import DEPTH_MAX, REFERRERS_MAX
from asyncsync.transports.direct.transport import DirectTransport
from asyncsync.transports.direct.walking import MANIFESTS_MAX, manifests_under

NOTARY, SPDX = "application/vnd.cncf.notary.signature", "application/spdx+json"
AMD, ARM = manifests.packed("amd"), manifests.packed("arm")
INDEX = manifests.listing(manifests.entry(AMD, "linux/amd64"), manifests.entry(ARM, "linux/arm64"))


def job(tag: str = "1", *platforms: str, source: str = "team/image") -> CopyJob:
    return CopyJob(
        Reference(SOURCE, source, tag),
        Reference(TARGET, "image", tag),
        tuple(map(Platform.parse, platforms)),
        Position("images.yaml", 1, 1),
    )


def about(subject: RawManifest, name: str, kind: str = NOTARY, **more: Any) -> RawManifest:
    return manifests.packed(name, artifactType=kind, subject=manifests.entry(subject), **more)


def list_at(at: Reference, subject: RawManifest | Digest) -> Reference:
    digest = subject if isinstance(subject, Digest) else subject.digest
    return at.by_tag(referrers_tag(digest))


@dataclass
class Stage:
    """A source with the index INDEX under `job()`, and an empty target."""

    source: MemorySource = field(default_factory=MemorySource)
    target: MemoryTarget = field(default_factory=MemoryTarget)
    listener: Listener = field(default_factory=Listener)

    def hold(self, root: RawManifest, at: Reference, *names: str) -> None:
        texts = ["base", *(text for name in names for text in (name, f"config of {name}"))]
        self.source.put(at, root, [text.encode() for text in texts])

    def publish(self, at: CopyJob) -> None:
        for image, name in ((AMD, "amd"), (ARM, "arm")):
            self.hold(image, at.source.by_digest(image.digest), name)
        self.hold(INDEX, at.source)

    def refer(
        self,
        referrer: RawManifest,
        name: str,
        subject: RawManifest | Digest,
        at: CopyJob | None = None,
    ) -> None:
        """Hold it at the source, in the list of what refers to `subject`."""
        source = (at or job()).source
        self.hold(referrer, source.by_digest(referrer.digest), name)
        at_tag = list_at(source, subject)
        page = extended(self.source.manifests.get(at_tag), [Node.parse(referrer)])
        assert page is not None
        self.hold(page, at_tag)

    def transport(self, **options: Any) -> DirectTransport:
        retrying = Retrying(0, chance=lambda: 0.5, sleep=at_once)
        return DirectTransport(
            self.source,
            self.target,
            retrying=retrying,
            pace=Pace(None),
            **{"with_referrers": True, **options},
        )

    async def copy(self, at: CopyJob | None = None, **options: Any) -> Copied:
        return await self.transport(**options)(at or job(), self.listener)

    def forget_what_was_done(self) -> None:
        for seen in (self.source.read, self.source.asked, self.target.done, self.listener.events):
            seen.clear()

    def there(self, manifest: RawManifest) -> bool:
        return job().target.by_digest(manifest.digest) in self.target.manifests

    def listed(self, subject: RawManifest) -> list[Digest]:
        page = self.target.manifests.get(list_at(job().target, subject))
        return [entry.digest for entry in Node.parse(page).named] if page else []

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.listener.texts("Noted")]  # type: ignore[union-attr]


@pytest.fixture
def stage() -> Stage:
    found = Stage()
    found.publish(job())
    return found


SIGNED = about(INDEX, "signed")
SBOM = about(AMD, "sbom", SPDX)
SIGNED_SBOM = about(SBOM, "signed sbom")
COSIGNED = manifests.packed("cosigned")
AT_COSIGN = f"sha256-{INDEX.digest.hex}.sig"


@pytest.fixture
def signed(stage: Stage) -> Stage:
    """With a signature of the index, an SBOM of a child, its signature, and one of cosign's."""
    stage.refer(SIGNED, "signed", INDEX)
    stage.refer(SBOM, "sbom", AMD)
    stage.refer(SIGNED_SBOM, "signed sbom", SBOM)
    stage.hold(COSIGNED, job().source.by_tag(AT_COSIGN), "cosigned")
    return stage


async def test_all_that_refers_to_an_image_or_a_part_of_it_arrives_after_it(signed: Stage) -> None:
    assert await signed.copy() == Copied(INDEX.digest)
    order = [what for what in signed.target.done if what.startswith("put")]
    before = order.index("put 1")
    assert {f"put {each.digest}" for each in (SIGNED, SBOM)} < set(order[before:])
    assert f"put {AT_COSIGN}" in order[before:]
    assert order.index(f"put {SBOM.digest}") < order.index(f"put {SIGNED_SBOM.digest}")
    for referrer in (SIGNED, SBOM, SIGNED_SBOM):
        assert signed.target.manifests[job().target.by_digest(referrer.digest)] == referrer
    assert signed.target.manifests[job().target.by_tag(AT_COSIGN)] == COSIGNED
    assert signed.notes == ["brought along: 3 signatures, 1 SBOM"]


async def test_it_is_listed_at_a_target_that_lists_nothing_by_itself(signed: Stage) -> None:
    await signed.copy()
    assert signed.listed(INDEX) == [SIGNED.digest]
    assert signed.listed(AMD) == [SBOM.digest]
    assert signed.listed(SBOM) == [SIGNED_SBOM.digest]


async def test_a_target_that_lists_by_itself_gets_no_list_at_a_tag(signed: Stage) -> None:
    signed.target.lists = True
    await signed.copy()
    tags = {ref.tag for ref in signed.target.manifests if ref.tag}
    assert tags == {"1", AT_COSIGN}
    told = await signed.target.referrers(job().target.by_digest(AMD.digest))
    assert [(each.digest, each.artifact_type) for each in told] == [(SBOM.digest, SPDX)]


@pytest.mark.parametrize("lists", [False, True])
async def test_a_second_run_reads_nothing_at_the_source_and_writes_nothing(
    signed: Stage, lists: bool
) -> None:
    signed.target.lists = lists
    await signed.copy()
    signed.forget_what_was_done()
    assert await signed.copy() == Copied(INDEX.digest, changed=False)
    assert (signed.source.asked, signed.target.done) == ([], [])
    assert signed.source.read == []
    assert signed.notes == []


async def test_what_is_new_comes_to_an_image_that_is_in_place(stage: Stage) -> None:
    await stage.copy()
    assert stage.notes == []
    stage.refer(SIGNED, "signed", INDEX)
    stage.refer(SBOM, "sbom", AMD)
    stage.forget_what_was_done()
    assert await stage.copy() == Copied(INDEX.digest, changed=False)
    assert stage.notes == ["brought along: 1 signature, 1 SBOM"]
    assert {ref.digest for ref in stage.source.read} == {SIGNED.digest, SBOM.digest}


async def test_a_changed_tag_of_cosign_s_is_brought_again(signed: Stage) -> None:
    await signed.copy()
    twice = manifests.packed("cosigned twice")
    signed.hold(twice, job().source.by_tag(AT_COSIGN), "cosigned twice")
    signed.forget_what_was_done()
    await signed.copy()
    assert signed.target.manifests[job().target.by_tag(AT_COSIGN)] == twice
    assert signed.notes == ["brought along: 1 signature"]


@pytest.mark.parametrize("times", [1, 2])
async def test_each_step_is_told_once(signed: Stage, times: int) -> None:
    for _ in range(times):
        signed.forget_what_was_done()
        await signed.copy()
    begun = [event.step for event in signed.listener.texts("StepStarted")]  # type: ignore[union-attr]
    assert begun == [Step.RESOLVE, Step.COPY]


async def test_nothing_comes_along_unasked(signed: Stage) -> None:
    await signed.copy(with_referrers=False)
    assert not signed.there(SIGNED)
    assert {ref.tag for ref in signed.target.manifests if ref.tag} == {"1"}
    assert signed.notes == []


async def test_what_stands_and_is_not_listed_is_listed_without_a_byte_moved(signed: Stage) -> None:
    await signed.copy()
    del signed.target.manifests[list_at(job().target, INDEX)]
    signed.forget_what_was_done()
    await signed.copy()
    assert signed.listed(INDEX) == [SIGNED.digest]
    assert signed.source.asked == []
    assert signed.notes == []


async def test_what_is_listed_and_refers_to_something_else_does_not_come(stage: Stage) -> None:
    stage.refer(SBOM, "sbom", INDEX)  # it refers to AMD
    stage.refer(COSIGNED, "cosigned", INDEX)  # and this to nothing
    await stage.copy()
    assert not stage.there(SBOM)
    assert not stage.there(COSIGNED)
    assert stage.listed(INDEX) == []
    assert stage.notes == []


async def test_lists_that_name_each_other_come_to_an_end(stage: Stage) -> None:
    stage.refer(SIGNED, "signed", INDEX)
    stage.refer(INDEX, "amd", SIGNED)
    stage.refer(SIGNED, "signed", SIGNED)
    assert await stage.copy() == Copied(INDEX.digest)
    assert stage.listed(INDEX) == [SIGNED.digest]


async def test_an_index_that_refers_to_an_image_comes_whole(stage: Stage) -> None:
    part = manifests.packed("part")
    whole = manifests.listing(manifests.entry(part), subject=manifests.entry(INDEX))
    stage.hold(part, job().source.by_digest(part.digest), "part")
    stage.refer(whole, "part", INDEX)
    await stage.copy()
    assert stage.there(whole)
    assert stage.there(part)
    assert stage.listed(INDEX) == [whole.digest]


async def test_a_signature_of_what_became_another_image_stays_away_and_is_told(
    signed: Stage,
) -> None:
    signed.target.refuses = frozenset({OCI_INDEX})
    became = (await signed.copy(job())).digest
    assert not signed.there(SIGNED)
    assert signed.notes[-1] == (
        f"left out 2 signatures: they speak of {INDEX.digest}, which became {became}"
    )
    assert (await signed.copy(job())).changed is False
    assert signed.notes[-1].startswith("left out 2 signatures: they speak of")


async def test_of_a_pruned_index_what_refers_to_the_kept_images_comes_along(stage: Stage) -> None:
    third = manifests.packed("third")
    index = manifests.listing(
        manifests.entry(AMD, "linux/amd64"),
        manifests.entry(ARM, "linux/arm64"),
        manifests.entry(third, "linux/s390x"),
    )
    stage.hold(third, job().source.by_digest(third.digest), "third")
    stage.hold(index, job().source)
    of_index, of_third = about(index, "of index"), about(third, "of third")
    for referrer, name, subject in (
        (of_index, "of index", index), (SBOM, "sbom", AMD), (of_third, "of third", third),
    ):  # fmt: skip
        stage.refer(referrer, name, subject)
    at = job("1", "linux/amd64", "linux/arm64")
    for changed in (True, False):
        copied = await stage.copy(at)
        assert copied.changed is changed
        assert stage.there(SBOM)
        assert not stage.there(of_index)
        assert not stage.there(of_third)
        left_out = f"left out 1 signature: it speaks of {index.digest}, which became"
        assert stage.notes[-1] == f"{left_out} {copied.digest}"


class Choosy(MemoryTarget):
    """Takes no artifacts, as Aliyun's personal registries do."""

    async def put(self, ref: Reference, manifest: RawManifest) -> Taken:
        parsed = Node.parse(manifest).parsed
        if parsed.artifact_type:
            raise TypeRefused("it says: unknown manifest class", Where(str(TARGET)))
        return await super().put(ref, manifest)


async def test_what_the_target_refuses_is_told_and_the_image_is_copied(signed: Stage) -> None:
    signed.target = Choosy()
    assert await signed.copy() == Copied(INDEX.digest)
    first, *others = signed.notes
    assert first == "brought along: 1 signature"  # cosign's, which is an image like others
    assert set(others) == {
        f"left out the signature {SIGNED.digest}: it says: unknown manifest class",
        f"left out the SBOM {SBOM.digest}: it says: unknown manifest class",
    }
    assert not signed.there(SIGNED_SBOM)


async def test_not_each_of_many_refusals_is_told(stage: Stage) -> None:
    stage.target = Choosy()
    for number in range(9):
        stage.refer(about(INDEX, f"n{number}"), f"n{number}", INDEX)
    await stage.copy()
    assert len(stage.notes) == 4
    assert stage.notes[-1] == "left out 6 more of what refers to it"


async def test_a_tag_of_a_list_that_is_taken_by_something_else_is_told(stage: Stage) -> None:
    stage.refer(SIGNED, "signed", INDEX)

    stage.target.hold(list_at(job().target, INDEX), COSIGNED)
    await stage.copy()
    assert stage.there(SIGNED)
    assert stage.notes[-1].startswith(f"not listed as referring to {INDEX.digest}: ")
    assert stage.target.manifests[list_at(job().target, INDEX)] == COSIGNED


async def test_a_target_where_no_list_can_be_is_told_once(stage: Stage) -> None:
    stage.refer(SIGNED, "signed", INDEX)
    stage.target.digest_tags = False
    await stage.copy()
    assert stage.there(SIGNED)
    assert stage.listed(INDEX) == []
    assert stage.notes == [
        "brought along: 1 signature",
        f"{TARGET} took 1 manifest about {INDEX.digest}, but lists none",
    ]
    stage.forget_what_was_done()
    await stage.copy()
    assert stage.target.done == []


async def test_what_is_of_an_unknown_type_is_told(stage: Stage) -> None:
    odd = manifests.raw("application/vnd.oci.artifact.manifest.v1+json", {"blobs": []})
    page = manifests.listing(manifests.entry(odd))
    stage.hold(page, list_at(job().source, INDEX))
    await stage.copy()
    assert stage.notes == [
        f"left out the referrer {odd.digest}: it is of the type "
        "'application/vnd.oci.artifact.manifest.v1+json'"
    ]


async def test_what_cannot_be_read_fails_an_image_that_is_in_place_and_says_so(
    signed: Stage,
) -> None:
    missing = job().source.by_digest(Digest.of(b"signed"))
    blob = signed.source.blobs.pop(missing)
    words = "the image is in place, but not all that refers to it: there is no"
    with pytest.raises(NotFound, match=words) as caught:
        await signed.copy()
    where = caught.value.where
    assert (where.registry, where.image, where.step) == (str(SOURCE), str(job().source), Step.COPY)
    assert signed.target.manifests[job().target] == INDEX
    signed.source.blobs[missing] = blob
    assert await signed.copy() == Copied(INDEX.digest, changed=False)
    assert signed.there(SIGNED)


async def test_a_registry_that_does_not_tell_its_list_fails_an_image_that_is_in_place(
    stage: Stage,
) -> None:
    class Closed(MemorySource):
        async def referrers(self, ref: Reference) -> tuple[Descriptor, ...]:
            raise PermissionDenied("it refuses us", Where(str(SOURCE)))

    stage.source = Closed(manifests=stage.source.manifests, blobs=stage.source.blobs)
    with pytest.raises(PermissionDenied, match="the image is in place, but not all") as caught:
        await stage.copy()
    assert (caught.value.where.image, caught.value.where.step) == (str(job().source), Step.COPY)
    assert stage.target.manifests[job().target] == INDEX


async def test_a_chain_without_end_is_given_up(stage: Stage) -> None:
    last = INDEX
    for depth in range(DEPTH_MAX + 1):
        following = about(last, f"d{depth}")
        stage.refer(following, f"d{depth}", last)
        last = following
    with pytest.raises(UnsupportedManifest, match=f"nests more than {DEPTH_MAX} deep"):
        await stage.copy()
    assert not stage.there(last)


async def test_a_list_without_end_is_given_up_before_anything_of_it_is_read(stage: Stage) -> None:
    half = REFERRERS_MAX // 2 + 1
    for subject in (AMD, ARM):
        entries = [
            manifests.blob(f"{subject.digest} {number}", OCI_MANIFEST) for number in range(half)
        ]
        stage.hold(manifests.listing(*entries), list_at(job().source, subject))
    with pytest.raises(UnsupportedManifest, match=f"more than {REFERRERS_MAX} manifests refer"):
        await stage.copy()
    assert stage.target.manifests[job().target] == INDEX


async def test_of_an_image_in_place_only_indexes_are_read_to_know_its_parts() -> None:
    inner = manifests.listing(manifests.entry(AMD), manifests.entry(ARM))
    outer = manifests.listing(manifests.entry(inner), manifests.entry(ARM))
    served = manifests.Served(inner, outer)
    root = Node.parse(manifests.listing(manifests.entry(outer))).named[0]
    under = await manifests_under(root, served.read, job().target)
    assert under == (outer.digest, inner.digest, ARM.digest, AMD.digest)
    assert served.asked == [outer.digest, inner.digest]


async def test_an_image_in_place_that_names_too_many_parts_is_given_up() -> None:
    def index(number: int) -> RawManifest:
        named = (manifests.blob(f"{number} {n}", OCI_MANIFEST) for n in range(999))
        return manifests.listing(*named)

    parts = [index(number) for number in range(3)]
    root = manifests.listing(*map(manifests.entry, parts))
    named = Node.parse(manifests.listing(manifests.entry(root))).named[0]
    with pytest.raises(UnsupportedManifest, match=f"more than {MANIFESTS_MAX} manifests"):
        await manifests_under(named, manifests.Served(root, *parts).read, job().target)


async def test_images_that_share_a_part_leave_one_complete_list() -> None:
    stage = Stage()
    jobs = [job(str(number), source=f"team/n{number}") for number in range(12)]
    all_of_it = []
    for number, at in enumerate(jobs):
        stage.publish(at)
        for name in (f"a{number}", f"b{number}"):
            referrer = about(AMD, name)
            stage.refer(referrer, name, AMD, at)
            all_of_it.append(referrer.digest)
    transport = stage.transport()
    async with create_task_group() as group:
        for at in jobs:
            group.start_soon(transport, at, stage.listener)
    assert sorted(map(str, stage.listed(AMD))) == sorted(map(str, all_of_it))
