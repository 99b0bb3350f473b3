"""Whole images from registry to registry, with small true registries in memory."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from parts import manifests
from parts.far import Distance, FarSource, FarTarget
from parts.places import SOURCE, TARGET, Listener, MemorySource, MemoryTarget, broken
from parts.turns import at_once

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    BlobsUnknown,
    CopyError,
    DigestMismatch,
    NoSuchPlatform,
    NotFound,
    PermissionDenied,
    RegistryUnavailable,
    TypeRefused,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.events import BytesMoved, Spared, Walked
from asyncsync.model.job import CopyJob, Step
from asyncsync.model.manifest import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    EMPTY_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    RawManifest,
)
from asyncsync.model.outcome import Copied
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.transports.direct.adapting import without_attestations
from asyncsync.transports.direct.contracts import Upload
from asyncsync.transports.direct.graph import Node
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.transport import DirectTransport
from asyncsync.transports.direct.walking import walk

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
AMD, ARM = manifests.packed("amd"), manifests.packed("arm")
SAID = manifests.statement(AMD)
INDEX = manifests.listing(
    manifests.entry(AMD, "linux/amd64"),
    manifests.entry(ARM, "linux/arm64"),
    manifests.about(AMD, SAID),
)
NESTED = manifests.listing(manifests.entry(INDEX))
DOCKER = manifests.packed(
    "amd",
    media_type=DOCKER_MANIFEST,
    config=DOCKER_CONFIG,
    layer="application/vnd.docker.image.rootfs.diff.tar.gzip",
)
LIST = manifests.listing(manifests.entry(DOCKER, "linux/amd64"), media_type=DOCKER_LIST)
CONTENTS = (  # of INDEX, each once: both images have b"base"
    *(text.encode() for name in ("amd", "arm") for text in (name, f"config of {name}")),
    b"base",
    b"{}",
    f"statement about {AMD.digest}".encode(),
)

WHOLE = sum(map(len, CONTENTS))


def job(repository: str = "image", tag: str = "1", *platforms: str) -> CopyJob:
    return CopyJob(
        Reference(SOURCE, f"team/{repository}", tag),
        Reference(TARGET, repository, tag),
        tuple(map(Platform.parse, platforms)),
        Position("images.yaml", 1, 1),
    )


@dataclass
class Registries:
    """A source with an image at `job()`, and an empty target."""

    source: MemorySource = field(default_factory=MemorySource)
    target: MemoryTarget = field(default_factory=MemoryTarget)
    listener: Listener = field(default_factory=Listener)

    def put(self, root: RawManifest, at: CopyJob, *parts: RawManifest) -> None:
        self.source.put(at.source, root, CONTENTS)
        for part in parts:
            self.source.hold(at.source.by_digest(part.digest), part)

    def transport(self, *, retries: int = 0, **options: Any) -> DirectTransport:
        retrying = Retrying(retries, chance=lambda: 0.5, sleep=at_once)
        return DirectTransport(
            self.source, self.target, retrying=retrying, pace=Pace(None), **options
        )

    async def copy(self, at: CopyJob, **options: Any) -> Copied:
        return await self.transport(**options)(at, self.listener)

    async def read(self, named: Descriptor) -> RawManifest:
        return await self.source.manifest(job().source.by_digest(named.digest))

    @property
    def notes(self) -> list[str]:
        return [event.text for event in self.listener.texts("Noted")]  # type: ignore[union-attr]

    def bytes_told(self) -> tuple[int, int, int]:
        """Moved, there, shared, as the events since the last time add up to."""
        spared = [event for event in self.listener.events if isinstance(event, Spared)]
        moved = sum(e.count for e in self.listener.events if isinstance(e, BytesMoved))
        self.listener.events.clear()
        shared = sum(event.count for event in spared if event.shared)
        return moved, sum(event.count for event in spared) - shared, shared


@pytest.fixture
def registries() -> Registries:
    """With the index INDEX at the source."""
    found = Registries()
    found.put(INDEX, job(), AMD, ARM, SAID)
    return found


async def test_what_refers_to_an_image_is_put_behind_it(registries: Registries) -> None:
    """GitLab refuses it before, and a statement about an image has less to move than that."""
    image = manifests.packed("amd", manifests.blob("much" * 100, "application/x-layer"))
    said = manifests.statement(image)
    index = manifests.listing(manifests.about(image, said), manifests.entry(image, "linux/amd64"))
    registries.put(index, job(), image, said)
    statement = f"statement about {image.digest}".encode()
    registries.source.put(job().source, index, (b"much" * 100, statement))
    registries.target.wants_subjects = True
    assert await registries.copy(job()) == Copied(index.digest)


async def test_a_manifest_that_several_name_is_put_once(registries: Registries) -> None:
    both = manifests.listing(manifests.entry(AMD), manifests.entry(ARM))
    one = manifests.listing(manifests.entry(AMD))
    whole = manifests.listing(manifests.entry(both), manifests.entry(one))
    registries.put(whole, job(), both, one, AMD, ARM)
    assert await registries.copy(job()) == Copied(whole.digest)
    assert registries.target.done.count(f"put {AMD.digest}") == 1


async def test_an_image_arrives_whole_and_its_tag_last(registries: Registries) -> None:
    copied = await registries.copy(job())
    assert copied == Copied(INDEX.digest)
    puts = [what for what in registries.target.done if what.startswith("put")]
    assert puts[-1] == "put 1"
    assert set(puts[:-1]) == {f"put {each.digest}" for each in (AMD, ARM, SAID)}
    for manifest in (AMD, ARM, SAID, INDEX):
        assert registries.target.manifests[job().target.by_digest(manifest.digest)] == manifest
    assert sorted(registries.target.blobs.values()) == sorted(CONTENTS)
    assert registries.notes == []


async def test_what_is_in_place_costs_no_more_than_two_looks(registries: Registries) -> None:
    await registries.copy(job())
    done, asked = list(registries.target.done), list(registries.source.asked)
    registries.source.manifests = {job().source: INDEX}  # there is nothing else to read
    assert await registries.copy(job()) == Copied(INDEX.digest, changed=False)
    assert registries.target.done == done
    assert registries.source.asked == asked


@pytest.mark.parametrize("after_manifest", [False, True])
async def test_each_distinct_blob_is_read_once_and_then_mounted(
    registries: Registries, after_manifest: bool
) -> None:
    registries.target.after_manifest = after_manifest
    transport = registries.transport()
    await transport(job(), registries.listener)
    registries.put(INDEX, job("other"), AMD, ARM, SAID)
    await transport(job("other"), registries.listener)
    assert len(registries.source.asked) == len(CONTENTS)
    mounted = [what for what in registries.target.done if what.startswith("mount")]
    assert len(mounted) == len(CONTENTS)


async def test_parts_that_stand_at_the_target_are_not_brought_again(
    registries: Registries,
) -> None:
    registries.put(AMD, job())
    await registries.copy(job())
    registries.source.asked.clear()
    registries.target.done.clear()
    registries.put(INDEX, job(), AMD, ARM, SAID)
    await registries.copy(job())
    assert f"put {AMD.digest}" not in registries.target.done
    read = {digest for digest, _, _ in registries.source.asked}
    assert Digest.of(b"amd") not in read
    assert Digest.of(b"arm") in read


async def test_a_small_image_takes_five_round_trips() -> None:
    # Both heads; the manifest; its uploads begun, and its blobs read meanwhile; sent; the manifest.
    far = Distance()
    registries = Registries(FarSource(distance=far), FarTarget(distance=far))
    registries.put(AMD, job())
    assert await far.over(lambda: registries.copy(job())) == Copied(AMD.digest)
    assert far.trips == 5
    far.trips = 0
    assert not (await far.over(lambda: registries.copy(job()))).changed
    assert far.trips == 1


async def test_a_tag_that_is_missing_is_named(registries: Registries) -> None:
    with pytest.raises(NotFound, match="has no tag 2") as caught:
        await registries.copy(job(tag="2"))
    where = caught.value.where
    assert (where.registry, where.step) == (str(SOURCE), Step.RESOLVE)
    assert where.image == str(job(tag="2").source)


@pytest.mark.parametrize("faulty", ["source", "target"])
async def test_a_look_that_failed_is_tried_again_by_itself(
    registries: Registries, faulty: str
) -> None:
    await registries.copy(job())
    place = getattr(registries, faulty)
    place.unreachable = deque([broken(SOURCE), broken(SOURCE)])
    registries.source.looks = registries.target.looks = 0
    assert await registries.copy(job(), retries=2) == Copied(INDEX.digest, changed=False)
    looks = {"source": registries.source.looks, "target": registries.target.looks}
    assert looks == {"source": 1, "target": 1, faulty: 3}
    assert len(registries.listener.texts("Retried")) == 2


@pytest.mark.parametrize("tag", ["1", "2"])
async def test_each_step_is_told_once_with_its_end(registries: Registries, tag: str) -> None:
    for copied in (True, False):  # the second time it is in place
        registries.listener.events.clear()
        try:
            await registries.copy(job(tag=tag))
        except NotFound:
            assert tag == "2"
        steps = [Step.RESOLVE, Step.COPY] if copied and tag == "1" else [Step.RESOLVE]
        for kind in ("StepStarted", "StepEnded"):
            told = [event.step for event in registries.listener.texts(kind)]  # type: ignore[union-attr]
            assert told == steps


async def test_a_failed_put_is_tried_again_by_itself(registries: Registries) -> None:
    registries.target.failing = deque([broken(TARGET), broken(TARGET)])
    await registries.copy(job(), retries=2)
    assert len(registries.source.asked) == len(CONTENTS)
    assert len(registries.listener.texts("Retried")) == 2


async def test_an_image_that_cannot_be_put_names_image_step_and_registry(
    registries: Registries,
) -> None:
    registries.target.failing = deque([broken(TARGET)] * 10)
    with pytest.raises(RegistryUnavailable) as caught:
        await registries.copy(job())
    where = caught.value.where
    assert (where.registry, where.image, where.step) == (str(TARGET), str(job().source), Step.COPY)
    assert job().target not in registries.target.manifests


async def test_blobs_that_the_target_lost_are_brought_once_more(registries: Registries) -> None:
    registries.target.loses = {Digest.of(b"amd"), Digest.of(b"base")}
    await registries.copy(job())
    assert registries.target.manifests[job().target] == INDEX
    assert f"anew {Digest.of(b'amd')}" in registries.target.done
    assert len(registries.source.asked) == len(CONTENTS) + 2


async def test_a_target_that_lacks_blobs_and_names_none_gets_all_of_that_manifest_once_more(
    registries: Registries,
) -> None:
    registries.put(AMD, job())
    registries.target.failing = deque([BlobsUnknown("it lacks one", broken(TARGET).where)])
    await registries.copy(job())
    anew = {what for what in registries.target.done if what.startswith("anew")}
    assert anew == {f"anew {Digest.of(each)}" for each in (b"amd", b"config of amd", b"base")}
    assert registries.target.manifests[job().target] == AMD


async def test_a_target_without_the_tag_is_asked_for_no_part_of_the_image(
    registries: Registries,
) -> None:
    await registries.copy(job())
    assert registries.target.looks == 1


async def test_a_target_that_misses_for_a_while_what_it_has_confirmed_is_asked_again(
    registries: Registries,
) -> None:
    missed = BlobsUnknown("it lacks one", broken(TARGET).where).naming((Digest.of(b"base"),))
    registries.target.failing = deque([missed] * 3)
    registries.put(AMD, job())
    await registries.copy(job(), retries=2)
    assert registries.target.manifests[job().target] == AMD
    anew = [what for what in registries.target.done if what.startswith("anew")]
    assert anew == [f"anew {Digest.of(b'base')}"]
    assert len(registries.listener.texts("Retried")) == 2


async def test_a_target_that_goes_on_to_lose_blobs_fails_the_image(registries: Registries) -> None:
    where = broken(TARGET).where
    lost = [BlobsUnknown("it lacks one", where).naming((Digest.of(b"base"),)) for _ in range(9)]
    registries.target.failing = deque(lost)
    with pytest.raises(BlobsUnknown):
        await registries.copy(job())
    assert job().target not in registries.target.manifests


@pytest.mark.parametrize(
    ("root", "refuses", "says", "becomes"),
    [
        (INDEX, {OCI_MANIFEST}, "converted to Docker's types", DOCKER_LIST),
        (INDEX, {OCI_INDEX}, "converted to Docker's types", DOCKER_LIST),
        (INDEX, {OCI_MANIFEST, OCI_INDEX}, "converted to Docker's types", DOCKER_LIST),
        (INDEX, {EMPTY_CONFIG}, "left out 1 attestation", OCI_INDEX),
        (NESTED, {EMPTY_CONFIG}, "left out 1 attestation", OCI_INDEX),
        (LIST, {DOCKER_MANIFEST}, "converted to OCI's types", OCI_INDEX),
        (LIST, {DOCKER_LIST}, "converted to OCI's types", OCI_INDEX),
        (DOCKER, {DOCKER_MANIFEST}, "converted to OCI's types", OCI_MANIFEST),
    ],
)
async def test_a_refused_image_goes_in_another_form_which_the_next_run_knows(
    root: RawManifest, refuses: set[str], says: str, becomes: str
) -> None:
    registries = Registries(target=MemoryTarget(refuses=frozenset(refuses)))
    registries.put(root, job(), AMD, ARM, SAID, INDEX, DOCKER)
    copied = await registries.copy(job())
    assert copied.digest != root.digest
    assert copied.changed
    assert registries.target.manifests[job().target].media_type == becomes
    assert registries.notes[0] == f"adapted: {TARGET} refuses it as it is"
    assert says in registries.notes[1]
    assert str(root.digest) in registries.notes[1]
    assert str(copied.digest) in registries.notes[1]
    done = len(registries.target.done)
    assert await registries.copy(job()) == Copied(copied.digest, changed=False)
    assert len(registries.target.done) == done


async def test_where_a_statement_is_refused_first_the_images_form_is_found_too() -> None:
    registries = Registries(target=MemoryTarget(refuses=frozenset({OCI_MANIFEST})))
    body = json.loads(SAID.data)
    del body["subject"]  # else the image goes before it
    said = manifests.raw(OCI_MANIFEST, body)
    first = manifests.listing(
        manifests.about(AMD, said), manifests.entry(AMD, "linux/amd64"),
    )  # fmt: skip
    registries.put(first, job(), AMD, said)
    for blob in Node.parse(said).blobs:
        registries.target.blobs[job().target.by_digest(blob.digest)] = b"is there"
    copied = await registries.copy(job())
    assert registries.target.manifests[job().target].media_type == DOCKER_LIST
    assert await registries.copy(job()) == Copied(copied.digest, changed=False)


@pytest.mark.parametrize("update", [False, True])
async def test_an_index_that_cannot_be_written_anew_is_copied_as_it_is(update: bool) -> None:
    data = INDEX.data[:-1] + b', "odd": NaN}'
    odd, registries = RawManifest(OCI_INDEX, data, Digest.of(data)), Registries()
    registries.put(odd, job(), AMD, ARM, SAID)
    if update:
        registries.target.manifests[job().target] = AMD
    assert await registries.copy(job()) == Copied(odd.digest)


@pytest.mark.parametrize("update", [False, True])
async def test_a_manifest_that_cannot_be_read_is_told_with_image_and_step(update: bool) -> None:
    registries = Registries()
    registries.put(manifests.raw(OCI_INDEX, {"manifests": 1}), job())
    if update:
        registries.target.manifests[job().target] = INDEX
    with pytest.raises(UnsupportedManifest) as caught:
        await registries.copy(job())
    where = caught.value.where
    assert (where.image, where.step) == (str(job().source), Step.RESOLVE)


def letting_nobody_push(target: MemoryTarget, ref: Reference) -> Upload:
    raise PermissionDenied(f"{ref.place} answered 403", Where(str(ref.place)))


async def test_once_a_target_refuses_an_image_nothing_more_is_read_for_it(
    registries: Registries,
) -> None:
    registries.target.uploads = letting_nobody_push
    registries.put(INDEX, job("other"), AMD, ARM, SAID)
    transport = registries.transport()
    with pytest.raises(PermissionDenied):
        await transport(job(), registries.listener)
    registries.source.read.clear()
    with pytest.raises(PermissionDenied) as refused:
        await transport(job("other"), registries.listener)
    assert refused.value.where == Where(str(TARGET), str(job("other").source), Step.COPY)
    assert registries.source.read == []


async def test_what_is_in_place_in_another_form_is_so_although_the_target_refuses_more() -> None:
    target = MemoryTarget(refuses=frozenset({OCI_INDEX}), mounts=False)
    registries = Registries(target=target)
    registries.put(INDEX, job("new"), AMD, ARM, SAID)
    registries.put(INDEX, job(), AMD, ARM, SAID)
    transport = registries.transport()
    placed = await transport(job(), registries.listener)
    assert placed.digest != INDEX.digest
    target.uploads = letting_nobody_push
    with pytest.raises(PermissionDenied):
        await transport(job("new"), registries.listener)
    assert await transport(job(), registries.listener) == Copied(placed.digest, changed=False)


async def test_exact_lets_no_other_form_in(registries: Registries) -> None:
    registries.target.refuses = frozenset({OCI_INDEX})
    with pytest.raises(TypeRefused) as caught:
        await registries.copy(job(), exact=True)
    assert "Without --exact, another form of it would be tried." in caught.value.advice()
    assert job().target not in registries.target.manifests
    assert registries.notes == []


async def test_exact_is_not_blamed_where_there_is_no_other_form(registries: Registries) -> None:
    artifact = manifests.packed("amd", artifactType="application/vnd.example")
    registries.put(artifact, job("artifact"))
    registries.target.refuses = frozenset({artifact.media_type})
    with pytest.raises(TypeRefused) as caught:
        await registries.copy(job("artifact"), exact=True)
    assert "--exact" not in caught.value.advice()


async def test_a_target_that_takes_no_form_at_all_fails_the_image(registries: Registries) -> None:
    registries.target.refuses = frozenset({OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST})
    with pytest.raises(TypeRefused) as caught:
        await registries.copy(job())
    assert "--exact" not in caught.value.advice()
    assert registries.notes == []


async def test_one_platform_is_its_manifest_alone(registries: Registries) -> None:
    one = job("image", "1", "linux/arm64")
    assert await registries.copy(one) == Copied(ARM.digest)
    assert registries.target.manifests[one.target] == ARM
    assert await registries.copy(one) == Copied(ARM.digest, changed=False)


async def test_that_one_platform_takes_the_place_of_an_index_is_said(
    registries: Registries,
) -> None:
    one = job("image", "1", "linux/arm64")
    await registries.copy(one)
    assert registries.notes == []
    await registries.copy(job())  # an index takes the place of one platform
    assert registries.notes == []
    await registries.copy(one)
    assert registries.notes == [
        "one platform takes the place of the index that the target had under this tag"
    ]


async def test_a_platform_that_is_not_there_is_told_with_those_that_are(
    registries: Registries,
) -> None:
    with pytest.raises(NoSuchPlatform, match=r"linux/s390x.*linux/amd64, linux/arm64"):
        await registries.copy(job("image", "1", "linux/s390x"))
    assert registries.target.done == []


async def test_an_image_that_cannot_be_read_is_not_begun(registries: Registries) -> None:
    registries.put(manifests.raw(OCI_MANIFEST, {"schemaVersion": 1}), job())
    with pytest.raises(UnsupportedManifest) as caught:
        await registries.copy(job())
    assert caught.value.where.image == str(job().source)
    assert registries.target.done == []


async def test_a_lying_source_leaves_neither_blob_nor_tag_nor_upload(
    registries: Registries,
) -> None:
    base = Digest.of(b"base")
    registries.source.lies[base] = b"BASE"
    with pytest.raises(DigestMismatch):
        await registries.copy(job())
    assert job().target.by_digest(base) not in registries.target.blobs
    assert job().target.by_digest(base) in registries.target.cancelled
    assert job().target not in registries.target.manifests


async def test_a_failed_image_is_complete_after_the_next_try_which_brings_what_is_missing(
    registries: Registries,
) -> None:
    base = Digest.of(b"base")
    registries.source.lies[base] = b"BASE"
    transport = registries.transport()
    with pytest.raises(CopyError):
        await transport(job(), registries.listener)
    there = len(registries.target.blobs)
    registries.source.asked.clear()
    registries.source.lies.clear()
    assert await transport(job(), registries.listener) == Copied(INDEX.digest)
    assert len(registries.source.asked) == len(CONTENTS) - there


@pytest.mark.parametrize("platforms", [(), ("linux/amd64", "linux/arm64")])
async def test_exact_leaves_only_the_very_image_as_unchanged(
    registries: Registries, platforms: tuple[str, ...]
) -> None:
    at = job("image", "1", *platforms)
    bare = without_attestations(await walk(INDEX, registries.read, at.source, at.platforms))
    assert bare is not None
    registries.target.manifests[at.target] = bare.root.raw
    assert await registries.copy(at) == Copied(bare.root.raw.digest, changed=False)
    assert await registries.copy(at, exact=True) == Copied(INDEX.digest)
    assert await registries.copy(at, exact=True) == Copied(INDEX.digest, changed=False)


@pytest.mark.parametrize("update", [False, True])
async def test_the_config_that_says_what_an_image_is_for_is_read_once(update: bool) -> None:
    registries = Registries()
    config = b'{"os":"linux","architecture":"amd64"}'
    entry = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(config)), "size": len(config)}
    image = manifests.raw(OCI_MANIFEST, {"schemaVersion": 2, "config": entry, "layers": []})
    at = job("single", "1", "linux/amd64")
    registries.source.put(at.source, image, (config,))
    if update:
        registries.target.manifests[at.target] = INDEX
    assert await registries.copy(at) == Copied(image.digest)
    assert registries.source.configs == [at.source.by_digest(Digest.of(config))]
    assert registries.source.asked == []
    assert registries.target.blobs[at.target.by_digest(Digest.of(config))] == config
    moved = [event.count for event in registries.listener.texts("BytesMoved")]  # type: ignore[union-attr]
    assert sum(moved) == len(config)


@pytest.mark.parametrize("in_place", [False, True])
async def test_a_single_image_for_another_platform_is_told_with_image_and_step(
    in_place: bool,
) -> None:
    registries = Registries()
    config = b'{"os":"linux","architecture":"s390x"}'
    entry = {"mediaType": OCI_CONFIG, "digest": str(Digest.of(config)), "size": len(config)}
    image = manifests.raw(OCI_MANIFEST, {"schemaVersion": 2, "config": entry, "layers": []})
    at = job("single", "1", "linux/amd64")
    registries.source.put(at.source, image, (config,))
    if in_place:
        registries.target.manifests[at.target] = image
    with pytest.raises(NoSuchPlatform, match="for linux/s390x, not for linux/amd64") as caught:
        await registries.copy(at)
    where = caught.value.where
    assert (where.image, where.step) == (str(at.source), Step.RESOLVE)


async def test_what_moved_was_there_or_is_shared_makes_up_the_whole_image(
    registries: Registries,
) -> None:
    registries.put(INDEX, job("other"), AMD, ARM, SAID)
    registries.put(INDEX, job(tag="2"), AMD, ARM, SAID)
    transport = registries.transport()
    await transport(job(), registries.listener)
    assert registries.bytes_told() == (WHOLE, 0, 0)
    await transport(job("other"), registries.listener)
    assert registries.bytes_told() == (0, 0, WHOLE), "mounted from the first one"
    await transport(job(tag="2"), registries.listener)
    assert registries.bytes_told() == (0, 0, WHOLE), "in the same repository"
    await registries.copy(job(tag="2"))
    assert registries.bytes_told() == (0, 0, 0), "unchanged: nobody asked for its blobs"
    del registries.target.manifests[job(tag="2").target]
    await registries.copy(job(tag="2"))
    assert registries.bytes_told() == (0, WHOLE, 0), "another run: there from before"


@pytest.mark.parametrize("again", [True, False], ids=["in the same run", "in another run"])
async def test_parts_that_stand_at_the_target_are_told_without_being_asked_for(
    registries: Registries, again: bool
) -> None:
    registries.put(AMD, job())
    transport = registries.transport()
    await transport(job(), registries.listener)
    amd, _, _ = registries.bytes_told()
    registries.put(INDEX, job(), AMD, ARM, SAID)
    await (transport if again else registries.transport())(job(), registries.listener)
    spared = (0, amd) if again else (amd, 0)
    assert registries.bytes_told() == (WHOLE - amd, *spared)


async def test_what_is_put_in_another_form_is_counted_once(registries: Registries) -> None:
    registries.target.refuses = frozenset({OCI_INDEX})
    await registries.copy(job())
    assert registries.bytes_told() == (WHOLE, 0, 0)


async def test_what_the_target_lost_is_moved_twice_and_shared_with_nobody(
    registries: Registries,
) -> None:
    registries.target.loses = {Digest.of(b"base")}
    await registries.copy(job())
    assert registries.bytes_told() == (WHOLE + len(b"base"), 0, 0)


async def test_for_how_many_platforms_an_image_is_is_told_once_if_it_is_copied(
    registries: Registries,
) -> None:
    registries.target.refuses = frozenset({OCI_INDEX})
    await registries.copy(job())
    await registries.copy(job())  # unchanged
    await registries.copy(job("image", "1", "linux/arm64"))
    told = registries.listener.texts("Walked")
    assert told == [Walked(job(), 2), Walked(job("image", "1", "linux/arm64"), 1)]


async def test_a_failed_image_tells_what_it_did_not_have_to_move(registries: Registries) -> None:
    registries.target.blobs[job().target.by_digest(Digest.of(b"base"))] = b"base"
    registries.target.failing = deque([broken(TARGET)] * 10)
    with pytest.raises(RegistryUnavailable):
        await registries.copy(job())
    assert registries.bytes_told()[1] == len(b"base")
