"""A layout as a source and as a target, as the direct way speaks to one."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from parts import manifests
from parts.places import Listener, MemorySource, MemoryTarget

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    BlobsUnknown,
    CopyError,
    DigestMismatch,
    NotFound,
    TargetFull,
    UnsupportedManifest,
    Where,
)
from asyncsync.model.job import CopyJob
from asyncsync.model.manifest import (
    ATTESTATION,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    RawManifest,
    Taken,
)
from asyncsync.model.outcome import Copied
from asyncsync.model.place import Layout, Registry
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.retrying import Retrying
from asyncsync.stores.layout.folder import LayoutFolder
from asyncsync.stores.layout.index import Entry
from asyncsync.stores.layout.store import LayoutStore, opened
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.transport import DirectTransport

AMD, ARM = manifests.packed("amd"), manifests.packed("arm")
INDEX = manifests.listing(manifests.entry(AMD, "linux/amd64"), manifests.entry(ARM, "linux/arm64"))
CONTENTS = (
    *(text.encode() for name in ("amd", "arm") for text in (name, f"config of {name}")),
    b"base",
)
SOURCE, TARGET = Registry("s.example"), Registry("t.example")


@pytest.fixture(params=["export", "export.tar"])
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> Layout:
    return Layout(f"{tmp_path}/{request.param}")


@pytest.fixture
def folder(tmp_path: Path) -> Layout:
    return Layout(f"{tmp_path}/export")


def within(layout: Layout, text: str = "app:1") -> Reference:
    return Reference.within(layout, text)


async def exported(layout: Layout, *roots: tuple[str, RawManifest], lies: bytes = b"") -> None:
    """Bring images from a registry in memory into `layout`, finished."""
    source = MemorySource(lies={Digest.of(b"base"): lies} if lies else {})
    for part in (AMD, ARM):
        source.hold(Reference(SOURCE, "app", None, part.digest), part)
    async with opened(layout, create=True) as store:
        for name, root in roots:
            at = Reference.parse(f"{SOURCE}/{name}")
            source.put(at, root, CONTENTS)
            await copied(source, store, CopyJob(at, within(layout, name), (), AT))
        await store.finish()


AT = Position("images.yaml", 1)
ONCE = Retrying(0)


async def copied(
    source: MemorySource | LayoutStore,
    target: MemoryTarget | LayoutStore,
    job: CopyJob,
    retrying: Retrying = ONCE,
) -> Copied:
    transport = DirectTransport(source, target, retrying=retrying, pace=Pace(None))
    return await transport(job, Listener())


async def test_an_image_goes_in_and_out_unchanged(layout: Layout) -> None:
    await exported(layout, ("app:1", INDEX))
    target = MemoryTarget()
    out = CopyJob(within(layout), Reference.parse(f"{TARGET}/app:1"), (), AT)
    async with opened(layout) as store:
        assert await copied(store, target, out) == Copied(INDEX.digest)
        assert await copied(store, target, out) == Copied(INDEX.digest, changed=False)
    assert target.manifests[out.target] == INDEX
    assert set(target.blobs.values()) == set(CONTENTS)


async def test_what_is_there_is_not_asked_of_the_source_again(layout: Layout) -> None:
    await exported(layout, ("app:1", AMD))
    source = MemorySource()
    at = Reference.parse(f"{SOURCE}/other:1")
    source.put(at, AMD, ())
    async with opened(layout, create=True) as store:
        other = CopyJob(at, within(layout, "other:1"), (), AT)
        assert await copied(source, store, other) == Copied(AMD.digest)
        await store.finish()
    assert source.asked == []
    async with opened(layout) as store:
        assert await store.resolve(within(layout, "other:1")) == await store.resolve(within(layout))


async def test_wrong_bytes_of_a_source_never_become_a_blob(layout: Layout) -> None:
    with pytest.raises(DigestMismatch):
        await exported(layout, ("app:1", AMD), lies=b"lies")
    path = Path(layout.path)
    if layout.is_tar:
        assert not path.exists()
    else:
        async with opened(layout) as store:
            assert await store.look(within(layout)) is None
        digest = Digest.of(b"base")
        assert not (path / "blobs/sha256" / digest.hex).exists()
        assert os.listdir(path / ".asyncsync") == ["lock"]


async def test_a_blob_is_read_from_anywhere_to_anywhere(layout: Layout) -> None:
    await exported(layout, ("app:1", AMD))
    data = b"config of amd"
    ref = within(layout).by_digest(Digest.of(data))
    async with opened(layout) as store:
        for start, stop in ((0, None), (3, None), (0, 5), (3, 7), (len(data), None), (0, 1000)):
            async with store.blob(ref, start, stop) as reading:
                assert b"".join([chunk async for chunk in reading]) == data[start:stop]
                assert reading.place == layout
                assert not reading.distrust(), "nobody else has it"
        assert await store.config(ref) == data


async def test_what_is_not_there_is_told_by_its_name(layout: Layout) -> None:
    await exported(layout, ("app:1", AMD))
    missing = within(layout).by_digest(Digest.of(b"missing"))
    async with opened(layout) as store:
        assert await store.resolve(within(layout, "app:2")) is None
        assert await store.resolve(missing) is None
        with pytest.raises(NotFound, match=r"export(\.tar)? has no app:2"):
            await store.manifest(within(layout, "app:2"))
        with pytest.raises(NotFound, match=r"does not have .*, which app is made of"):
            async with store.blob(missing):
                pass
        with pytest.raises(NotFound, match=str(missing.digest)) as caught:
            await store.config(missing)
        with pytest.raises(NotFound, match=r"does not have .*, which app is made of") as lost:
            await store.manifest(missing)
    assert caught.value.where.registry == str(layout)
    assert "holds not all of the image: carry it over again" in lost.value.advice()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            "127.0.0.1:5101/shop/app:1",
            "127.0.0.1:5101/shop/app has no tag 1; "
            "names in a layout carry no registry, and it names app:1",
        ),
        (
            "docker.io/library/app:3",
            "docker.io/library/app has no tag 3; "
            "names in a layout carry no registry, and it names app:1, app:2",
        ),
        ("shop/app:1", "shop/app has no tag 1; it names app:1"),
        ("app:3", "app has no tag 3; it names app:1, app:2"),
        ("team/web:2", "team/web has no tag 2; it names r.example/team/web:1"),
        ("r.example/web:1", "r.example/web has no tag 1; it names r.example/team/web:1"),
        (
            "some:1",
            "some has no tag 1; it names app:1, app:2, one-of-many:0, one-of-many:1, "
            "one-of-many:2 and 6 more",
        ),
    ],
)
async def test_a_name_that_is_not_there_is_told_with_those_that_may_be_meant(
    folder: Layout, asked: str, told: str
) -> None:
    about = f"app:sha256-{AMD.digest.hex}"
    names = ["app:1", about, f"{about}.sig", "app:2", "r.example/team/web:1"]
    names += [f"one-of-many:{number}" for number in range(8)]
    await exported(folder, ("app:1", AMD))
    async with opened(folder, create=True) as store:
        for name in names:
            await store.put(within(folder, name), AMD)
    out = CopyJob(within(folder, asked), Reference.parse(f"{TARGET}/app:1"), (), AT)
    async with opened(folder) as store:
        with pytest.raises(NotFound) as caught:
            await copied(store, MemoryTarget(), out)
    assert caught.value.what == f"{folder}:{told}"


async def test_an_entry_without_a_tag_is_read_as_the_list_names_it(folder: Layout) -> None:
    await exported(folder, ("app:1", AMD), ("both:latest", ARM))
    plain = LayoutFolder.open(Path(folder.path), create=True)
    for name in ("mine", "both"):
        plain.put_entry(Entry(Descriptor(OCI_MANIFEST, AMD.digest, len(AMD.data)), name))
    target = MemoryTarget()
    async with opened(folder) as store:
        for text in ("mine", "mine:latest"):
            out = CopyJob(within(folder, text), Reference.parse(f"{TARGET}/mine"), (), AT)
            assert (await copied(store, target, out)).digest == AMD.digest
        assert await store.resolve(within(folder, "mine:1")) is None
        both = await store.resolve(within(folder, "both"))
        assert both is not None
        assert both.digest == ARM.digest, "what is named so wholly comes first"
    async with opened(folder, create=True) as store:
        assert await store.look(within(folder, "mine")) is None, "we write another name"


async def test_an_image_that_docker_saved_is_read_by_all_of_its_name(folder: Layout) -> None:
    await exported(folder, ("app:1", AMD), ("other:1", ARM))
    saved = LayoutFolder.open(Path(folder.path), create=True)
    saved.drop_entries(lambda _: True)
    path = Path(folder.path) / "index.json"
    # As docker 25 and later, buildx and ctr write it: two of one tag.
    manifests = [
        {
            "mediaType": OCI_MANIFEST, "digest": str(image.digest), "size": len(image.data),
            "annotations": {
                "io.containerd.image.name": f"docker.io/library/{name}:latest",
                "org.opencontainers.image.ref.name": "latest",
            },
        }
        for name, image in (("one", AMD), ("two", ARM))
    ]  # fmt: skip
    path.write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    async with opened(folder) as store:
        for name, image in (("one", AMD), ("two", ARM)):
            found = await store.resolve(within(folder, f"docker.io/library/{name}"))
            assert found is not None
            assert found.digest == image.digest
        assert store.instead(within(folder, "two")) == "it names docker.io/library/two:latest"
    saved.put_entry(Entry(Descriptor(OCI_MANIFEST, AMD.digest, len(AMD.data)), "three:1"))
    assert json.loads(path.read_bytes())["manifests"][:2] == manifests


async def test_names_of_others_are_told_in_one_line_and_few_words(folder: Layout) -> None:
    await exported(folder, ("app:1", AMD))
    path = Path(folder.path) / "index.json"
    body = json.loads(path.read_bytes())
    (entry,) = body["manifests"]
    key = "org.opencontainers.image.ref.name"
    for name in ("::stop\n\x1b[2J", "long" * 10_000):
        body["manifests"].append(entry | {"annotations": {key: name}})
    path.write_text(json.dumps(body))
    async with opened(folder) as store:
        told = store.instead(within(folder, "other:1"))
    assert told == f"it names stop [2J, app:1, {'long' * 14}lon…"
    path.write_text(json.dumps(body | {"manifests": []}))
    async with opened(folder) as store:
        assert store.instead(within(folder, "other:1")) == "it names no image"


async def test_a_manifest_is_taken_only_with_all_that_it_names(layout: Layout) -> None:
    async with opened(layout, create=True) as store:
        with pytest.raises(BlobsUnknown) as caught:
            await store.put(within(layout), AMD)
        assert set(caught.value.missing) == {
            Digest.of(each) for each in (b"amd", b"config of amd", b"base")
        }
        with pytest.raises(BlobsUnknown) as caught:
            await store.put(within(layout), INDEX)
        assert set(caught.value.missing) == {AMD.digest, ARM.digest}
        assert await store.look(within(layout)) is None


async def test_a_blob_of_another_length_is_written_anew(folder: Layout) -> None:
    await exported(folder, ("app:1", AMD))
    path = Path(folder.path) / "blobs/sha256" / Digest.of(b"base").hex
    path.write_bytes(b"cut")
    await exported(folder, ("other:1", AMD))
    assert path.read_bytes() == b"base"


@pytest.mark.parametrize("lost", [ARM.data, b"config of arm", b"arm", b"base"])
@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("ahead", [True, False])
async def test_an_image_of_which_something_was_lost_is_copied_again(
    folder: Layout, lost: bytes, cut: bool, ahead: bool
) -> None:
    # With another image under the tag, its parts are asked for one by one.
    await exported(folder, ("app:1", INDEX), ("app:2", AMD))
    path = Path(folder.path) / "blobs/sha256" / Digest.of(lost).hex
    name = "app:2" if ahead else "app:1"
    if cut:
        os.truncate(path, len(lost) - 1)
    else:
        path.unlink()
    async with opened(folder, create=True) as store:
        assert await store.look(within(folder, "app:1")) is None
        assert await store.look(within(folder).by_digest(ARM.digest)) is None
    await exported(folder, (name, INDEX))
    assert path.read_bytes() == lost
    async with opened(folder, create=True) as store:
        found = await store.look(within(folder, name))
    assert found
    assert found.digest == INDEX.digest


@pytest.mark.parametrize("left", [0, 2])
@pytest.mark.parametrize("data", [b"base", b"config of amd", AMD.data])
async def test_a_file_that_is_too_short_is_not_read_again(
    folder: Layout, data: bytes, left: int
) -> None:
    async def never(seconds: float) -> None:
        pytest.fail(f"waited {seconds} s for a file to become longer")

    await exported(folder, ("app:1", AMD))
    os.truncate(Path(folder.path) / "blobs/sha256" / Digest.of(data).hex, left)
    out = CopyJob(within(folder), Reference.parse(f"{TARGET}/app:1"), (), AT)
    async with opened(folder) as store:
        with pytest.raises(DigestMismatch) as caught:
            await copied(store, MemoryTarget(), out, Retrying(3, sleep=never))
    assert "is damaged" in caught.value.advice()


async def test_only_what_its_publisher_gives_out_may_be_missing_of_an_image(
    folder: Layout,
) -> None:
    await exported(folder, ("app:1", AMD))
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    body = json.loads(AMD.data)
    body["layers"].append(
        {"mediaType": foreign, "digest": str(Digest.of(b"f")), "size": 1, "urls": ["https://p/f"]}
    )
    image = manifests.raw(OCI_MANIFEST, body)
    async with opened(folder, create=True) as store:
        await store.put(within(folder), image)
        found = await store.look(within(folder))
    assert found
    assert found.digest == image.digest


async def test_a_list_of_what_refers_to_an_image_stands_whatever_it_names(folder: Layout) -> None:
    await exported(folder, ("app:1", AMD), ("arm:1", ARM))
    at = within(folder, f"app:sha256-{AMD.digest.hex}")
    listed = manifests.listing(manifests.entry(ARM))
    async with opened(folder, create=True) as store:
        await store.put(at, listed)
        (Path(folder.path) / "blobs/sha256" / ARM.digest.hex).unlink()
        found = await store.look(at)
    assert found is not None, "or whoever adds to it forgets the others"
    assert found.digest == listed.digest


async def test_indexes_that_never_end_are_no_image(folder: Layout) -> None:
    root = AMD
    await exported(folder, ("app:1", AMD))
    async with opened(folder, create=True) as store:
        for depth in range(8):
            root = manifests.listing(manifests.entry(root))
            await store.put(within(folder), root)
            found = await store.look(within(folder))
            assert (found is not None) == (depth < 4)


async def test_a_damaged_manifest_is_written_anew_and_not_read(folder: Layout) -> None:
    await exported(folder, ("app:1", INDEX))
    path = Path(folder.path) / "blobs/sha256" / INDEX.digest.hex
    path.write_bytes(b"x" * len(INDEX.data))
    async with opened(folder) as store:
        with pytest.raises(DigestMismatch, match="has other bytes than they are called"):
            await store.manifest(within(folder))
        with pytest.raises(DigestMismatch):
            await store.resolve(within(folder).by_digest(INDEX.digest))
        assert await store.look(within(folder).by_digest(INDEX.digest)) is None
        os.truncate(path, 5 * 1024 * 1024)
        assert await store.look(within(folder).by_digest(INDEX.digest)) is None
        assert await store.look(within(folder)) is None
    async with opened(folder, create=True) as store:
        assert await store.put(within(folder), INDEX) == Taken(INDEX.digest)
        assert await store.manifest(within(folder)) == INDEX


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": {}}, DOCKER_MANIFEST),
        ({"schemaVersion": 2, "manifests": []}, OCI_INDEX),
        ({"schemaVersion": 2, "config": {}, "layers": []}, OCI_MANIFEST),
        ([], OCI_MANIFEST),
    ],
)
async def test_the_kind_of_a_manifest_without_an_entry_is_what_it_says(
    folder: Layout, body: object, media_type: str
) -> None:
    await exported(folder, ("app:1", AMD))
    data = json.dumps(body).encode()
    digest = Digest.of(data)
    (Path(folder.path) / "blobs/sha256" / digest.hex).write_bytes(data)
    async with opened(folder) as store:
        raw = await store.manifest(within(folder).by_digest(digest))
    assert raw == RawManifest(media_type, data, digest)


async def test_a_manifest_or_config_that_is_too_large_is_not_read(folder: Layout) -> None:
    await exported(folder, ("app:1", AMD))
    path = Path(folder.path) / "blobs/sha256" / AMD.digest.hex
    os.truncate(path, 5 * 1024 * 1024)
    async with opened(folder) as store:
        with pytest.raises(UnsupportedManifest, match=r"manifest of .* is larger than 4 MiB"):
            await store.manifest(within(folder))
        with pytest.raises(UnsupportedManifest, match=r"config of .* is larger than 4 MiB"):
            await store.config(within(folder).by_digest(AMD.digest))


async def test_an_index_that_breaks_meanwhile_fails_the_image_and_is_left_as_it_is(
    folder: Layout,
) -> None:
    await exported(folder, ("app:1", AMD))
    async with opened(folder, create=True) as store:
        (Path(folder.path) / "index.json").write_bytes(b"[" * 100_000)
        with pytest.raises(DigestMismatch, match=r"is damaged: index\.json: it is no JSON"):
            await store.look(within(folder))
        with pytest.raises(DigestMismatch):
            await store.put(within(folder, "app:2"), AMD)
    assert (Path(folder.path) / "index.json").read_bytes() == b"[" * 100_000


async def test_what_refers_to_an_image_is_listed_at_its_tag(layout: Layout) -> None:
    await exported(layout, ("app:1", AMD))
    async with opened(layout, create=True) as store:
        assert store.lists_by_tag(layout)
        subject = within(layout).by_digest(AMD.digest)
        assert await store.referrers(subject) == ()
        listed = manifests.listing(manifests.entry(AMD))
        await store.put(within(layout, f"app:sha256-{AMD.digest.hex}"), listed)
        (found,) = await store.referrers(subject)
    assert found.digest == AMD.digest


async def test_what_refers_to_an_image_is_found_without_a_list_where_the_index_names_it(
    folder: Layout,
) -> None:
    said = manifests.statement(AMD)
    await exported(folder, ("app:1", AMD), ("other:1", AMD))
    contents = {Digest.of(said.data): said.data}
    for text in ("{}", f"statement about {AMD.digest}"):
        contents[Digest.of(text.encode())] = text.encode()
    plain = LayoutFolder.open(Path(folder.path), create=True)
    for digest, data in contents.items():
        with plain.writing() as blob:
            blob.write(data)
            blob.commit(digest)
    plain.put_entry(Entry(Descriptor(OCI_MANIFEST, said.digest, len(said.data))))
    async with opened(folder) as store:
        (found,) = await store.referrers(within(folder).by_digest(AMD.digest))
        assert await store.referrers(within(folder).by_digest(ARM.digest)) == ()
    assert (found.digest, found.artifact_type) == (said.digest, ATTESTATION)
    plain.drop_entries(lambda entry: entry.name is None)
    plain.put_entry(Entry(Descriptor(OCI_MANIFEST, said.digest, len(said.data)), "app:about"))
    async with opened(folder) as store:
        assert len(await store.referrers(within(folder).by_digest(AMD.digest))) == 1
        assert await store.referrers(within(folder, "other:1").by_digest(AMD.digest)) == ()


async def test_a_source_that_breaks_leaves_no_draft(folder: Layout) -> None:
    class Endless:
        digest, size = Digest.of(b"never"), 10_000_000

        async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
            yield b"x" * 2_000_000
            assert len(os.listdir(Path(folder.path) / ".asyncsync")) == 2
            raise CopyError("the source broke", Where("s.example"))

    async with opened(folder, create=True) as store:
        upload = await store.begin(within(folder).by_digest(Endless.digest))
        assert upload
        with pytest.raises(CopyError, match="the source broke"):
            await upload.send(Endless())
        assert await upload.offset() == 0
        await upload.cancel()
    assert os.listdir(Path(folder.path) / ".asyncsync") == ["lock"]


async def test_a_file_too_large_for_its_file_system_is_not_said_to_want_space(
    layout: Layout,
) -> None:
    class Large:
        digest, size = Digest.of(b"large"), 3_000_000

        async def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
            yield b"x" * (stop - start)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with opened(layout, create=True) as store:
        upload = await store.begin(within(layout).by_digest(Large.digest))
        assert upload
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # as FAT's 4 GiB
        try:
            with pytest.raises(TargetFull, match="File too large") as caught:
                await upload.send(Large())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await upload.cancel()
    assert caught.value.advice().startswith("Write to another file system")
