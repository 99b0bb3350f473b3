from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncsync.model.digest import Digest
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor
from asyncsync.model.platform import Platform
from asyncsync.stores.layout.folder import LayoutFolder
from asyncsync.stores.layout.index import BrokenLayout, Entry
from asyncsync.stores.layout.writing import WrongDigest

DATA = b"some bytes"
HELLO = Digest.of(DATA)


def entry(data: bytes, name: str | None = None) -> Entry:
    return Entry(Descriptor(OCI_MANIFEST, Digest.of(data), len(data)), name)


def put(layout: LayoutFolder, data: bytes) -> Digest:
    with layout.writing() as blob:
        blob.write(data)
        blob.commit(Digest.of(data))
    return Digest.of(data)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def layout(tmp_path: Path) -> LayoutFolder:
    return LayoutFolder.open(tmp_path / "export", create=True)


def test_a_new_folder_becomes_a_layout_as_the_specification_says(layout: LayoutFolder) -> None:
    mark = json.loads((layout.path / "oci-layout").read_bytes())
    assert mark == {"imageLayoutVersion": "1.0.0"}
    told = json.loads((layout.path / "index.json").read_bytes())
    assert told == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    assert (layout.path / "blobs" / "sha256").is_dir()
    assert layout.entries() == ()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_blob_is_there_once_it_is_committed(layout: LayoutFolder, algorithm: str) -> None:
    digest = Digest.of(DATA, algorithm)
    assert (layout.blob(digest), layout.size(digest), layout.read(digest)) == (None, None, None)
    with layout.writing() as blob:
        blob.write(DATA[:3])
        blob.write(DATA[3:])
        assert blob.offset == len(DATA)
        assert layout.blob(digest) is None
        blob.commit(digest)
    assert layout.blob(digest) == layout.path / "blobs" / algorithm / digest.hex
    assert (layout.size(digest), layout.read(digest)) == (len(DATA), DATA)


def test_a_blob_has_the_mode_that_every_new_file_has(layout: LayoutFolder) -> None:
    put(layout, DATA)
    path = layout.blob(HELLO)
    ordinary = layout.path / "ordinary"
    ordinary.touch()
    assert path
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_nothing_is_kept_of_a_blob_that_is_not_committed_or_is_another_one(
    layout: LayoutFolder,
) -> None:
    before = everything(layout.path)
    with layout.writing() as blob:
        blob.write(DATA)
    with layout.writing() as blob:
        blob.write(DATA + b"!")
        with pytest.raises(WrongDigest, match=str(Digest.of(DATA + b"!"))):
            blob.commit(HELLO)
    assert layout.blob(HELLO) is None
    assert everything(layout.path) - before <= {".asyncsync/lock"}


def test_bytes_that_are_not_what_their_name_says_are_not_read(layout: LayoutFolder) -> None:
    put(layout, DATA)
    (layout.path / "blobs/sha256" / HELLO.hex).write_bytes(b"others")
    with pytest.raises(WrongDigest):
        layout.read(HELLO)
    put(layout, DATA)
    assert layout.read(HELLO) == DATA, "it is written anew"


def test_no_more_is_read_than_was_asked_for(layout: LayoutFolder) -> None:
    put(layout, DATA)
    with pytest.raises(BrokenLayout, match="larger than 4 bytes"):
        layout.read(HELLO, 4)


def test_an_entry_takes_the_place_of_the_one_of_its_name(layout: LayoutFolder) -> None:
    layout.put_entry(entry(b"1", "app:1"))
    layout.put_entry(entry(b"2", "app:2"))
    layout.put_entry(entry(b"3", "app:1"))
    layout.put_entry(entry(b"2"))
    layout.put_entry(entry(b"2"))
    assert layout.entries() == (entry(b"3", "app:1"), entry(b"2", "app:2"), entry(b"2"))


def test_an_entry_is_read_back_as_it_was_put(layout: LayoutFolder) -> None:
    arm = Platform("linux", "arm64", "v8")
    whole = Entry(
        Descriptor(OCI_MANIFEST, HELLO, 7, arm, artifact_type="a/b"), "app:1", {"org.example": "ä"}
    )
    layout.put_entry(whole)
    (found,) = layout.entries()
    assert found == whole
    assert found.annotations == whole.annotations


def test_entries_are_dropped_by_what_they_are(layout: LayoutFolder) -> None:
    for number in (b"1", b"2", b"3"):
        layout.put_entry(entry(number, f"app:{number.decode()}"))
    assert layout.drop_entries(lambda each: each.name != "app:2") == 2
    assert layout.drop_entries(lambda each: each.name != "app:2") == 0
    assert layout.entries() == (entry(b"2", "app:2"),)


def test_what_others_wrote_into_the_index_stays(layout: LayoutFolder) -> None:
    theirs = {
        "mediaType": OCI_MANIFEST, "digest": str(HELLO), "size": 10, "urls": ["https://a.example"],
        "platform": {"os": "linux", "architecture": "amd64", "os.features": ["x"]},
        "annotations": {"org.opencontainers.image.ref.name": "theirs"}, "new.key": [1],
    }  # fmt: skip
    body = {"schemaVersion": 2, "manifests": [theirs], "annotations": {"a": "b"}, "other": 1}
    (layout.path / "index.json").write_text(json.dumps(body))
    layout.put_entry(entry(b"1", "ours:1"))
    told = json.loads((layout.path / "index.json").read_bytes())
    assert told["manifests"][0] == theirs
    assert len(told["manifests"]) == 2
    assert (told["annotations"], told["other"]) == ({"a": "b"}, 1)


def test_an_index_from_which_umoci_took_the_last_image_has_none(layout: LayoutFolder) -> None:
    (layout.path / "index.json").write_text('{"schemaVersion":2,"manifests":null}')
    assert LayoutFolder.open(layout.path, create=True).entries() == ()
    assert layout.drop_entries(lambda _: True) == 0
    layout.put_entry(entry(b"1", "ours:1"))
    assert [each.name for each in layout.entries()] == ["ours:1"]


def test_many_threads_put_entries_and_none_is_lost(layout: LayoutFolder) -> None:
    others = LayoutFolder.open(layout.path, create=True)
    numbers = range(40)

    def put_one(number: int) -> None:
        which = layout if number % 2 else others
        which.put_entry(entry(b"%d" % number, f"app:{number}"))

    threads = [threading.Thread(target=put_one, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.name for each in layout.entries()} == {f"app:{number}" for number in numbers}


PUTS = """
import sys
from pathlib import Path
from asyncsync.model.manifest import OCI_MANIFEST, Descriptor
from asyncsync.model.digest import Digest
from asyncsync.stores.layout.folder import LayoutFolder
from asyncsync.stores.layout.index import Entry
layout = LayoutFolder.open(Path(sys.argv[1]), create=True)
print("open", flush=True)
for number in range(int(sys.argv[3])):
    data = f"{sys.argv[2]} {number}".encode()
    with layout.writing() as blob:
        blob.write(data)
        blob.commit(Digest.of(data))
    named = Descriptor(OCI_MANIFEST, Digest.of(data), len(data))
    layout.put_entry(Entry(named, f"{sys.argv[2]}:{number}"))
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PUTS, str(folder), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_many_processes_make_and_fill_one_layout_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    processes = [writer(folder, f"app{number}", 10) for number in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    names = {each.name for each in LayoutFolder.open(folder, create=False).entries()}
    assert names == {f"app{number}:{tag}" for number in range(4) for tag in range(10)}


def test_a_writer_that_is_killed_leaves_a_valid_layout_and_its_drafts_are_swept(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "export"
    for number in range(8):
        process = writer(folder, f"app{number}", 100_000)
        assert process.stdout
        assert process.stdout.readline() == "open\n"
        late = Digest.of(f"app{number} {number + 1}".encode())
        while not (folder / "blobs/sha256" / late.hex).exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        layout = LayoutFolder.open(folder, create=False)
        found = layout.entries()
        assert found
        assert all(layout.read(each.descriptor.digest) is not None for each in found)
    (folder / ".asyncsync" / "new-left").write_bytes(b"of a dead one")
    LayoutFolder.open(folder, create=False)
    assert "new-left" in os.listdir(folder / ".asyncsync"), "who reads changes nothing"
    LayoutFolder.open(folder, create=True)
    assert os.listdir(folder / ".asyncsync") == ["lock"]


def test_to_open_what_others_have_written_changes_nothing(layout: LayoutFolder) -> None:
    shutil.rmtree(layout.path / ".asyncsync")
    before = everything(layout.path)
    LayoutFolder.open(layout.path, create=True)
    assert everything(layout.path) == before


def test_drafts_of_the_living_are_not_swept(layout: LayoutFolder) -> None:
    with layout.writing() as blob:
        blob.write(DATA)
        put(LayoutFolder.open(layout.path, create=True), b"another")
        blob.commit(HELLO)
    assert layout.read(HELLO) == DATA


def test_reading_needs_no_lock_and_changes_nothing(layout: LayoutFolder) -> None:
    put(layout, DATA)
    layout.put_entry(entry(DATA, "app:1"))
    before = everything(layout.path)
    with open(layout.path / ".asyncsync/lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reader = LayoutFolder.open(layout.path, create=False)
        assert reader.entries() == (entry(DATA, "app:1"),)
        assert reader.read(HELLO) == DATA
    assert everything(layout.path) == before


def a_link_out(layout: LayoutFolder) -> None:
    outside = layout.path.parent / "outside"
    outside.write_bytes(DATA)
    (layout.path / "blobs/sha256" / HELLO.hex).symlink_to(outside)


def a_link_around(layout: LayoutFolder) -> None:
    (layout.path / "blobs/sha256" / HELLO.hex).symlink_to(HELLO.hex)


def a_pipe(layout: LayoutFolder) -> None:
    os.mkfifo(layout.path / "blobs/sha256" / HELLO.hex)


def a_folder(layout: LayoutFolder) -> None:
    (layout.path / "blobs/sha256" / HELLO.hex).mkdir()


def blobs_as_file(layout: LayoutFolder) -> None:
    (layout.path / "blobs/sha256").rmdir()
    (layout.path / "blobs/sha256").write_bytes(DATA)


@pytest.mark.parametrize("trap", [a_link_out, a_link_around, a_pipe, a_folder, blobs_as_file])
def test_what_is_no_file_of_the_layout_is_no_blob(
    layout: LayoutFolder, trap: Callable[[LayoutFolder], None]
) -> None:
    trap(layout)
    assert layout.blob(HELLO) is None
    assert layout.size(HELLO) is None
    assert layout.read(HELLO) is None


def test_a_link_inside_the_layout_is_a_blob(layout: LayoutFolder) -> None:
    put(layout, DATA)
    path = layout.path / "blobs/sha256" / HELLO.hex
    path.rename(layout.path / "kept")
    path.symlink_to("../../kept")
    assert layout.read(HELLO) == DATA


@pytest.mark.parametrize("at", ["blobs", "blobs/sha256", ".asyncsync"])
def test_nothing_is_written_through_a_link_that_leads_out(
    layout: LayoutFolder, tmp_path: Path, at: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (layout.path / at).rename(tmp_path / "away")
    (layout.path / at).symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        put(layout, DATA)
    assert os.listdir(outside) == []


@pytest.mark.parametrize("create", [False, True])
def test_whose_blobs_are_elsewhere_is_told_that_links_are_not_followed(
    layout: LayoutFolder, tmp_path: Path, create: bool
) -> None:
    blobs = layout.path / "blobs"
    blobs.rename(tmp_path / "away")
    blobs.symlink_to("../away")
    with pytest.raises(ConfigurationError, match="blobs is a link that leads out of the folder"):
        LayoutFolder.open(layout.path, create=create)
    blobs.unlink()
    blobs.symlink_to("blobs")
    LayoutFolder.open(layout.path, create=create)  # a circle of links ends nothing


def test_a_link_in_a_blobs_place_is_replaced_and_not_followed(
    layout: LayoutFolder, tmp_path: Path
) -> None:
    a_link_out(layout)
    (tmp_path / "outside").write_bytes(b"mine")
    put(layout, DATA)
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert layout.read(HELLO) == DATA


def named(digest: str = str(HELLO), size: str = "1", more: str = "") -> bytes:
    entry = f'{{"mediaType":"a","size":{size},"digest":"{digest}"{more}}}'
    return f'{{"schemaVersion":2,"manifests":[{entry}]}}'.encode()


DEEP = b"[" * 100_000
HOSTILE = {
    "no JSON": b"\xff\x00{",
    "deep": b'{"schemaVersion":2,"manifests":' + DEEP,
    "a list": b"[]",
    "another version": b'{"schemaVersion":1,"manifests":[]}',
    "another type": b'{"schemaVersion":2,"mediaType":"a/b","manifests":[]}',
    "no list": b'{"schemaVersion":2,"manifests":{}}',
    "numbers": b'{"schemaVersion":2,"manifests":[1,2]}',
    "NaN": b'{"schemaVersion":2,"manifests":[],"other":NaN}',
    "a path": named("sha256:../../../../etc/passwd"),
    "a negative size": named(size="-1"),
    "a size that is no number": named(size="true"),
    "a huge number": named(size="9" * 10_000),
    "a name that is no text": named(more=',"annotations":{"org.opencontainers.image.ref.name":[]}'),
}


@pytest.mark.parametrize("index", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_index_is_refused_before_anything_is_read_or_written(
    layout: LayoutFolder, index: bytes
) -> None:
    (layout.path / "index.json").write_bytes(index)
    with pytest.raises(BrokenLayout, match=r"index\.json"):
        layout.entries()
    for create in (False, True):
        with pytest.raises(ConfigurationError, match="is a damaged OCI layout"):
            LayoutFolder.open(layout.path, create=create)
    assert (layout.path / "index.json").read_bytes() == index


def test_an_index_that_is_too_large_is_not_read(layout: LayoutFolder) -> None:
    with open(layout.path / "index.json", "r+b") as file:
        file.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(BrokenLayout, match="larger than"):
        layout.entries()


def test_an_index_that_is_being_replaced_and_is_denied_for_a_moment_is_read_again(
    layout: LayoutFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, denials = os.open, 3

    def denying(path: Path, *how: Any, **more: Any) -> int:  # as NTFS and exFAT by FUSE do
        nonlocal denials
        if str(path).endswith("index.json") and denials:
            denials -= 1
            raise FileNotFoundError(path)
        return opened(path, *how, **more)

    monkeypatch.setattr(os, "open", denying)
    assert layout.entries() == ()
    (layout.path / "index.json").unlink()
    with pytest.raises(BrokenLayout, match=r"it has no index\.json"):
        layout.entries()


def test_a_pipe_in_the_indexs_place_does_not_hold_us_up(layout: LayoutFolder) -> None:
    (layout.path / "index.json").unlink()
    os.mkfifo(layout.path / "index.json")
    with pytest.raises(BrokenLayout, match="no file"):
        layout.entries()


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        (b'{"imageLayoutVersion":"2.0.0"}', "its version is 2.0.0, and this program knows 1.0.0"),
        (b"{}", "damaged"),
        (DEEP, "damaged"),
        (b" " * 100_000, "larger than"),
    ],
)
def test_a_folder_that_is_marked_otherwise_is_no_layout_of_ours(
    layout: LayoutFolder, mark: bytes, says: str
) -> None:
    (layout.path / "oci-layout").write_bytes(mark)
    for create in (False, True):
        with pytest.raises(ConfigurationError, match=says):
            LayoutFolder.open(layout.path, create=create)


def test_a_folder_that_is_missing_is_made_for_writing_and_told_for_reading(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    with pytest.raises(ConfigurationError, match=r"There is no folder .*a/b\. Name one"):
        LayoutFolder.open(folder, create=False)
    assert not folder.exists()
    assert LayoutFolder.open(folder, create=True).entries() == ()


def test_a_folder_with_other_things_in_it_is_not_made_a_layout(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    with pytest.raises(ConfigurationError, match=r"holds other things \(letters\)\. Name an empty"):
        LayoutFolder.open(tmp_path, create=True)
    assert os.listdir(tmp_path) == ["letters"]
    with pytest.raises(ConfigurationError, match="no OCI layout: it has no oci-layout"):
        LayoutFolder.open(tmp_path, create=False)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for create in (False, True):
        with pytest.raises(ConfigurationError, match="is no folder"):
            LayoutFolder.open(tmp_path / "file", create=create)


def test_a_name_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    for create in (False, True):
        with pytest.raises(ConfigurationError, match=r"There is no folder|cannot be written"):
            LayoutFolder.open(Path("a\0b"), create=create)
