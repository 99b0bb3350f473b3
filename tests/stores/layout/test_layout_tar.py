from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncsync.model.digest import Digest
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.manifest import OCI_MANIFEST, Descriptor
from asyncsync.stores.layout import index
from asyncsync.stores.layout.archive import LayoutTar
from asyncsync.stores.layout.archiving import LayoutTarWriter
from asyncsync.stores.layout.index import BrokenLayout, Entry
from asyncsync.stores.layout.writing import WrongDigest

DATA = b"some bytes"
HELLO = Digest.of(DATA)
LAYOUT = {"oci-layout": index.MARK, "index.json": index.EMPTY}


def entry(data: bytes, name: str) -> Entry:
    return Entry(Descriptor(OCI_MANIFEST, Digest.of(data), len(data)), name)


def put(tar: LayoutTarWriter, data: bytes, algorithm: str = "sha256") -> Digest:
    digest = Digest.of(data, algorithm)
    blob = tar.begin(digest, len(data))
    try:
        blob.write(data[: len(data) // 2])
        blob.write(data[len(data) // 2 :])
        blob.commit(digest)
    finally:
        blob.close()
    return digest


def written(path: Path, *blobs: bytes, names: tuple[str, ...] = ()) -> None:
    tar = LayoutTarWriter.open(path)
    for data in blobs:
        put(tar, data)
    for name in names:
        tar.put_entry(entry(blobs[0], name))
    tar.finish()
    tar.close()


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert len({member.name for member in members}) == len(members)
        return {m.name: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]


def packed(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> None:  # noqa: A002
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "export.tar"
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_what_was_written_is_read_in_place(path: Path, algorithm: str) -> None:
    tar = LayoutTarWriter.open(path)
    digest = put(tar, DATA, algorithm)
    tar.put_entry(entry(DATA, "app:1"))
    assert not path.exists()
    assert tar.read(digest) == DATA
    tar.finish()
    tar.close()
    read = LayoutTar.open(path)
    assert read.entry("app:1") == entry(DATA, "app:1")
    assert (read.size(digest), read.read(digest)) == (len(DATA), DATA)
    with read.opened(digest) as extent:
        assert extent
        assert extent.read(2, 4) == DATA[2:6]
        assert extent.read(8, 100) == DATA[8:]
        assert extent.read(10, 100) == extent.read(11, 100) == b""
    assert read.size(Digest.of(b"else")) is None
    read.close()
    assert set(contents(path)) == {*LAYOUT, f"blobs/{algorithm}/{digest.hex}"}


def test_what_the_old_tar_has_stays(path: Path) -> None:
    written(path, b"one", b"two", names=("app:1", "app:2"))
    written(path, b"three", names=("app:2",))
    read = LayoutTar.open(path)
    assert [read.read(Digest.of(data)) for data in (b"one", b"two", b"three")] == [
        b"one", b"two", b"three",
    ]  # fmt: skip
    assert (read.entry("app:1"), read.entry("app:2")) == (
        entry(b"one", "app:1"), entry(b"three", "app:2"),
    )  # fmt: skip
    read.close()
    assert len(contents(path)) == 5


def test_where_nothing_is_new_nothing_is_written(path: Path) -> None:
    written(path, DATA, names=("app:1",))
    before = path.stat()
    tar = LayoutTarWriter.open(path)
    assert tar.size(HELLO) == len(DATA)
    tar.put_entry(entry(DATA, "app:1"))
    tar.finish()
    tar.close()
    assert path.stat().st_ino == before.st_ino


def test_a_tar_may_have_a_name_as_long_as_its_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / f"{'镜' * 83}.tar"  # 253 bytes
    written(path, DATA, names=("app:1",))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_same_images_make_the_same_bytes(path: Path, tmp_path: Path) -> None:
    written(path, b"one", b"two", names=("app:1",))
    first = path.read_bytes()
    path.unlink()
    written(path, b"one", b"two", names=("app:1",))
    assert path.read_bytes() == first
    assert len(first) % 10240 == 0


def test_what_came_to_nothing_takes_no_room(path: Path) -> None:
    tar = LayoutTarWriter.open(path)
    large = tar.begin(Digest.of(b"large"), 1_000_000)
    large.write(b"x" * 900_000)
    put(tar, b"behind it")
    with pytest.raises(WrongDigest):
        large.commit(Digest.of(b"large"))
    large.close()
    last = tar.begin(Digest.of(b"last"), 500_000)
    last.write(b"y" * 10)
    last.close()
    put(tar, b"at the end")
    tar.put_entry(entry(b"behind it", "app:1"))
    tar.finish()
    tar.close()
    assert path.stat().st_size < 30_000
    read = LayoutTar.open(path)
    for data in (b"behind it", b"at the end"):
        assert read.read(Digest.of(data)) == data
    read.close()


def test_more_bytes_than_were_announced_are_refused(path: Path) -> None:
    tar = LayoutTarWriter.open(path)
    put(tar, b"before")
    blob = tar.begin(HELLO, len(DATA) - 1)
    with pytest.raises(WrongDigest, match="more than 9 bytes"):
        blob.write(DATA)
    blob.close()
    tar.close()


def test_two_who_write_one_tar_do_not_lose_each_others_images(path: Path) -> None:
    written(path, b"old", names=("old:1",))
    first, second = LayoutTarWriter.open(path), LayoutTarWriter.open(path)
    for tar, data in ((first, b"first"), (second, b"second")):
        put(tar, data)
    first.finish()
    with pytest.raises(OSError, match="another process has written it meanwhile"):
        second.finish()
    first.close()
    second.close()
    read = LayoutTar.open(path)
    assert read.read(Digest.of(b"first")) == b"first"
    read.close()


def test_what_a_process_that_died_left_is_swept_and_what_the_living_write_is_not(
    path: Path,
) -> None:
    (path.parent / ".export.tar.0123456789abcdef").write_bytes(b"of a dead one")
    (path.parent / "other").write_bytes(b"mine")
    living = LayoutTarWriter.open(path)
    put(living, DATA)
    LayoutTarWriter.open(path).close()
    assert len(list(path.parent.glob(".export.tar.*"))) == 1
    living.finish()
    living.close()
    assert {each.name for each in path.parent.iterdir()} == {"export.tar", "other"}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_tars_of_others_are_read(path: Path, format: int, prefix: str) -> None:  # noqa: A002
    members = {**LAYOUT, f"blobs/sha256/{HELLO.hex}": DATA}
    packed(path, {f"{prefix}{name}": data for name, data in members.items()}, format)
    read = LayoutTar.open(path)
    assert read.read(HELLO) == DATA
    read.close()


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_tars_of_others_are_read(path: Path, format: int) -> None:  # noqa: A002
    long = Digest.of(DATA, "sha512")
    packed(path, {**LAYOUT, f"./blobs/sha512/{long.hex}": DATA, "notes.txt": b"x"}, format)
    read = LayoutTar.open(path)
    assert read.read(long) == DATA
    read.close()


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_blob_in_a_tar_may_be_larger_than_its_oldest_form_can_say(
    path: Path,
    format: int,  # noqa: A002
) -> None:
    packed(path, LAYOUT, format)
    info = tarfile.TarInfo(f"blobs/sha256/{HELLO.hex}")
    info.size = 9 * 2**30
    header = info.tobuf(format)
    end = path.stat().st_size - tarfile.RECORDSIZE + 4 * tarfile.BLOCKSIZE  # behind two small files
    with path.open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(header)
        file.truncate(end + len(header) + info.size)  # a hole, which takes no room
    read = LayoutTar.open(path)
    assert read.size(HELLO) == info.size
    read.close()


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_files_with_holes_in_a_tar_are_passed_over(path: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree" / "holes").open("wb") as file:
        for at in range(40):  # more than its first header has room to tell of
            file.seek(at * 2**20)
            file.write(b"x")
    for name, data in LAYOUT.items():
        (tmp_path / "tree" / name).write_bytes(data)
    command = ["tar", "-C", tmp_path / "tree", "--sparse", f"--format={form}", "-cf", path, "."]
    subprocess.run(command, check=True)
    read = LayoutTar.open(path)
    assert set(read.members) == set(LAYOUT)
    read.close()


def test_wrong_bytes_in_a_tar_are_not_read(path: Path) -> None:
    packed(path, {**LAYOUT, f"blobs/sha256/{HELLO.hex}": b"other bytes"})
    read = LayoutTar.open(path)
    with pytest.raises(WrongDigest):
        read.read(HELLO)
    with pytest.raises(BrokenLayout, match="larger than 4 bytes"):
        read.read(HELLO, 4)
    read.close()


def a_header_of_a_gigabyte(path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**30
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT))
    with path.open("r+b") as file:
        file.truncate(2**30 + 10240)


def a_pax_header_of_a_gigabyte(path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    path.write_bytes(info.tobuf(tarfile.USTAR_FORMAT))
    with path.open("r+b") as file:
        file.truncate(2**30 + 10240)


def before_nothing(path: Path, kind: bytes, data: bytes, count: int = 1) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(data)
    one = info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
    path.write_bytes(one * count + bytes(tarfile.RECORDSIZE))


def a_chain_of_long_names(path: Path) -> None:
    before_nothing(path, tarfile.GNUTYPE_LONGNAME, b"name", 5000)


def a_chain_of_pax_headers(path: Path) -> None:
    before_nothing(path, tarfile.XHDTYPE, b"11 path=xx\n", 5000)


def a_pax_header_of_digits_alone(path: Path) -> None:
    before_nothing(path, tarfile.XHDTYPE, b"1" * 2**20)


def a_pax_header_without_a_number(path: Path) -> None:
    before_nothing(path, tarfile.XHDTYPE, b"12 size=abc\n")
    end = path.stat().st_size - tarfile.RECORDSIZE
    with path.open("r+b") as file:
        file.seek(end)
        file.write(tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT))


def a_size_below_nothing(path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size = -1024
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(tarfile.RECORDSIZE))


def a_size_beyond_all(path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size = 2**80
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(tarfile.RECORDSIZE))


def cut_off(path: Path) -> None:
    packed(path, {**LAYOUT, f"blobs/sha256/{HELLO.hex}": b"x" * 100_000})
    os.truncate(path, 50_000)


def compressed(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b\x08" + bytes(2000))


def empty(path: Path) -> None:
    path.touch()


def links(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in LAYOUT:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)


def a_hostile_index(path: Path) -> None:
    packed(path, {**LAYOUT, "index.json": b"[" * 100_000})


def an_index_of_names_that_are_paths(path: Path) -> None:
    named = {"mediaType": "a", "digest": "sha256:../../../../etc/passwd", "size": 1}
    body = {"schemaVersion": 2, "manifests": [named]}
    packed(path, {**LAYOUT, "index.json": json.dumps(body).encode()})


def a_large_mark(path: Path) -> None:
    packed(path, {**LAYOUT, "oci-layout": bytes(100_000)})


def no_index(path: Path) -> None:
    packed(path, {"oci-layout": index.MARK})


def another_version(path: Path) -> None:
    packed(path, {**LAYOUT, "oci-layout": b'{"imageLayoutVersion":"2.0.0"}'})


def what_docker_saved_before_25(path: Path) -> None:
    packed(path, {"manifest.json": b"[]", "repositories": b"{}", "1f/layer.tar": b"layer"})


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("trap", "says"),
    [
        (a_header_of_a_gigabyte, "is no tar, or is damaged"),
        (a_pax_header_of_a_gigabyte, "is no tar, or is damaged"),
        (a_chain_of_long_names, "it has no oci-layout"),
        (a_chain_of_pax_headers, "it has no oci-layout"),
        (a_pax_header_of_digits_alone, "is no tar, or is damaged"),
        (a_pax_header_without_a_number, "is no tar, or is damaged"),
        (a_size_below_nothing, "is no tar, or is damaged"),
        (a_size_beyond_all, "is no tar, or is damaged"),
        (cut_off, "is no tar, or is damaged"),
        (compressed, "If it is compressed, unpack it first"),
        (empty, "is no tar, or is damaged"),
        (links, "it has no oci-layout"),
        (a_hostile_index, "is a damaged OCI layout: index.json: it is no JSON"),
        (an_index_of_names_that_are_paths, "is a damaged OCI layout: index.json"),
        (a_large_mark, "oci-layout is larger than"),
        (no_index, "it has no index.json"),
        (another_version, "its version is 2.0.0"),
        (what_docker_saved_before_25, "docker save wrote before Docker 25, and no OCI layout"),
        (a_folder, "is no file"),
        (a_pipe, "is no file"),
    ],
)
def test_what_is_no_layout_in_a_tar_is_refused_and_left_alone(
    path: Path, trap: Callable[[Path], None], says: str
) -> None:
    trap(path)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigurationError, match=says):
            LayoutTar.open(path)
        with pytest.raises(ConfigurationError, match=says):
            LayoutTarWriter.open(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 64 * 1024 * 1024, "of what it claims to hold, not much is read"
