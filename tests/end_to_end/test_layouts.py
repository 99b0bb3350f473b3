"""Images carried in OCI layouts, out of a registry and into another; judges: skopeo and umoci."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import tarfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from parts import images
from parts.commands import Command, outcomes, skopeo, statuses, write_list
from parts.judging import assert_whole, blobs_of, seen_by_skopeo
from parts.processes import clean_environment, once, run
from parts.registry import Registry
from parts.relay import Relay

import asyncsync

pytestmark = [pytest.mark.registry, pytest.mark.timeout(120)]

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
JSON = ("--output", "json")
FORMS = pytest.mark.parametrize("layout", ["oci:./export", "oci:./export.tar"])


def named_in(folder: Path) -> dict[str, str]:
    """What a layout folder names, and the digest of each."""
    index = json.loads((folder / "index.json").read_bytes())
    return {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
        for entry in index["manifests"]
    }


def assert_valid(folder: Path) -> None:
    """All that a layout names is there, and every blob is what it is called."""
    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for path in (folder / "blobs").glob("*/*"):
        assert hashlib.new(path.parent.name, path.read_bytes()).hexdigest() == path.name
    waiting = json.loads((folder / "index.json").read_bytes())["manifests"]
    while waiting:
        named: Mapping[str, Any] = waiting.pop()
        path = folder / "blobs" / named["digest"].replace(":", "/")
        assert path.stat().st_size == named["size"]
        if named["mediaType"].endswith(("manifest.v1+json", "manifest.v2+json", "index.v1+json")):
            body = json.loads(path.read_bytes())
            parts = (body.get("config"), *body.get("layers", ()), *body.get("manifests", ()))
            waiting += [part for part in parts if part]


def fetched(registry: Registry, since: int) -> Counter[str]:
    """How often each blob was read from `registry`."""
    asked = registry.requests("GET", "/blobs/", since=since)
    return Counter(r.path.rpartition("/")[2] for r in asked if r.status in (200, 206))


@FORMS
def test_an_air_gapped_registry_gets_every_image_byte_for_byte(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    layout: str,
) -> None:  # fmt: skip
    base = [images.layer(f"{namespace} base", 300_000)]
    registry.put_index(f"{namespace}/multi", "v1", PLATFORMS, attestation=True)
    registry.put_index(f"{namespace}/artifacts", "v1", attestation=True, artifact=True)
    registry.put_index(f"{namespace}/old-list", "v1", oci=False)
    registry.put_image(f"{namespace}/single", "1.0", shared_layers=base)
    registry.put_image(f"{namespace}/old-type", "1.0", shared_layers=base, oci=False)
    names = ["multi:v1", "artifacts:v1", "old-list:v1", "single:1.0", "old-type:1.0"]
    whole: dict[str, int] = {}
    for name in names:
        whole |= blobs_of(registry, *f"{namespace}/{name}".split(":"))
    folder = asyncsync_command.folder
    write_list(folder, *(f"{registry.host}/{namespace}/{name}" for name in names))
    since = registry.mark()

    out = asyncsync_command("sync", "--to", layout, *JSON)

    assert out.returncode == 0, out.stdout + out.stderr
    assert set(statuses(out.stdout).values()) == {"copied"}
    assert fetched(registry, since) == Counter(whole.keys())
    assert json.loads(out.stdout)["bytes_moved"] == sum(whole.values())
    told = {o["target"]: o["digest"] for o in json.loads(out.stdout)["outcomes"]}
    assert told == {
        f"{layout}:{name}": seen_by_skopeo(registry, f"{namespace}/{name}") for name in names
    }
    assert (folder / "succeeded.log").read_text().count(f" -> {layout}:") == len(names)

    write_list(folder, *names)
    into = asyncsync_command("sync", "--from", layout, "--to", f"{own_registry.host}/team", *JSON)

    assert into.returncode == 0, into.stdout + into.stderr
    for name in names:
        there = seen_by_skopeo(own_registry, f"team/{name}")
        assert there == seen_by_skopeo(registry, f"{namespace}/{name}")
    assert json.loads(into.stdout)["bytes_moved"] == sum(whole.values())
    assert_whole(own_registry, [f"team/{name.partition(':')[0]}" for name in names])
    again = asyncsync_command("sync", "--from", layout, "--to", f"{own_registry.host}/team", *JSON)
    assert set(statuses(again.stdout).values()) == {"unchanged"}


@FORMS
def test_a_second_export_moves_only_what_is_new(
    registry: Registry, namespace: str, asyncsync_command: Command, layout: str
) -> None:
    base = [images.layer(f"{namespace} base", 200_000)]
    registry.put_image(f"{namespace}/app", "1", layers=1, shared_layers=base)
    registry.put_image(f"{namespace}/app", "2", layers=1, shared_layers=base)
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    write_list(folder, f"{at}/app:1")
    asyncsync_command("sync", "--to", layout, *JSON)
    path = folder / layout.removeprefix("oci:")
    before = path.stat().st_ino, path.stat().st_mtime_ns

    same = asyncsync_command("sync", "--to", layout, *JSON)

    assert set(statuses(same.stdout).values()) == {"unchanged"}
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    write_list(folder, f"{at}/app:2")
    since = registry.mark()
    more = asyncsync_command("sync", "--to", layout, *JSON)

    assert more.returncode == 0, more.stdout + more.stderr
    new = blobs_of(registry, f"{namespace}/app", "2").keys()
    assert fetched(registry, since) == Counter(new - {images.digest_of(base[0].data)})
    assert json.loads(more.stdout)["bytes_there"] == len(base[0].data)
    for tag in ("1", "2"):
        kind = "oci-archive" if layout.endswith(".tar") else "oci"
        done = skopeo("inspect", "--raw", f"{kind}:{path}:app:{tag}")
        assert images.digest_of(done.stdout.encode()) == seen_by_skopeo(
            registry, f"{namespace}/app:{tag}"
        )


@FORMS
def test_skopeo_reads_what_we_write(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    layout: str,
) -> None:  # fmt: skip
    registry.put_index(f"{namespace}/multi", "v1", PLATFORMS, attestation=True)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/multi:v1")
    asyncsync_command("sync", "--to", layout)
    kind = "oci-archive" if layout.endswith(".tar") else "oci"
    path = asyncsync_command.folder / layout.removeprefix("oci:")
    skopeo(
        "copy", "--all", "--dest-tls-verify=false", f"{kind}:{path}:multi:v1",
        f"docker://{own_registry.host}/multi:v1",
    )  # fmt: skip
    there = seen_by_skopeo(own_registry, "multi:v1")
    assert there == seen_by_skopeo(registry, f"{namespace}/multi:v1")
    assert_whole(own_registry, ["multi"])


@FORMS
def test_we_read_what_skopeo_writes(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    layout: str,
) -> None:  # fmt: skip
    registry.put_index(f"{namespace}/multi", "v1", PLATFORMS)
    kind = "oci-archive" if layout.endswith(".tar") else "oci"
    path = asyncsync_command.folder / layout.removeprefix("oci:")
    name = "registry.example:5000/team/multi:v1"
    skopeo(
        "copy", "--all", "--src-tls-verify=false",
        f"docker://{registry.host}/{namespace}/multi:v1", f"{kind}:{path}:{name}",
    )  # fmt: skip
    write_list(asyncsync_command.folder, name)
    done = asyncsync_command("sync", "--from", layout, "--to", own_registry.host, *JSON)
    assert done.returncode == 0, done.stdout + done.stderr
    there = seen_by_skopeo(own_registry, "multi:v1")
    assert there == seen_by_skopeo(registry, f"{namespace}/multi:v1")
    assert_whole(own_registry, ["multi"])


def test_a_tar_that_was_made_of_an_exported_folder_is_read_by_skopeo_and_by_us(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    folder = asyncsync_command.folder
    put = registry.put_image(f"{namespace}/app", "1")
    write_list(folder, f"{registry.host}/{namespace}/app:1")
    asyncsync_command("sync", "--to", "oci:./export")
    run("tar", "-cf", "export.tar", "-C", "export", ".", cwd=folder)

    seen = skopeo("inspect", "--raw", f"oci-archive:{folder}/export.tar:app:1").stdout
    assert images.digest_of(seen.encode()) == put.digest
    write_list(folder, "app:1")
    done = asyncsync_command("sync", "--from", "oci:export.tar", "--to", own_registry.host)
    assert done.returncode == 0, done.stdout + done.stderr
    assert seen_by_skopeo(own_registry, "app:1") == put.digest
    assert_whole(own_registry, ["app"])


def test_we_read_what_skopeo_writes_without_a_tag_and_say_what_it_is_called(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    put = registry.put_image(f"{namespace}/app", "1")
    folder, whole = asyncsync_command.folder, f"{registry.host}/{namespace}/app:1"
    skopeo("copy", "--src-tls-verify=false", f"docker://{whole}", f"oci:{folder}/sk:mine")
    write_list(folder, "mine", whole)
    done = asyncsync_command("sync", "--from", "oci:./sk", "--to", own_registry.host, *JSON)
    assert statuses(done.stdout) == {"mine:latest": "copied", "app:1": "failed"}
    assert seen_by_skopeo(own_registry, "mine:latest") == put.digest
    assert outcomes(done.stdout)["app:1"]["error"]["message"].endswith(
        "app has no tag 1; names in a layout carry no registry, and it names mine"
    )


@pytest.mark.umoci
def test_umoci_unpacks_what_we_write_and_we_read_what_it_writes(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    put = registry.put_image(f"{namespace}/app", "1")
    folder = asyncsync_command.folder
    write_list(folder, f"{registry.host}/{namespace}/app:1")
    asyncsync_command("sync", "--to", "oci:./export")

    def umoci(*args: str) -> str:
        return run("umoci", *args, env=clean_environment(folder), cwd=folder).stdout

    assert umoci("ls", "--layout", "export").split() == ["app:1"]
    history = json.loads(umoci("stat", "--image", "export:app:1", "--json"))["history"]
    assert [h["layer"]["digest"] for h in history if h["layer"]] == list(put.layer_digests)
    umoci("unpack", "--rootless", "--image", "export:app:1", "bundle")
    assert any((folder / "bundle/rootfs").iterdir())

    umoci("tag", "--image", "export:app:1", "app:2")
    umoci("config", "--image", "export:app:2", "--config.user", "somebody")
    umoci("gc", "--layout", "export")
    write_list(folder, "app:1", "app:2")
    done = asyncsync_command("sync", "--from", "oci:./export", "--to", own_registry.host, *JSON)

    assert done.returncode == 0, done.stdout + done.stderr
    assert seen_by_skopeo(own_registry, "app:1") == put.digest
    assert (
        seen_by_skopeo(own_registry, "app:2") == named_in(folder / "export")["app:2"] != put.digest
    )
    assert_whole(own_registry, ["app"])


def test_two_exports_into_one_folder_at_once_both_complete(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    base = [images.layer(f"{namespace} base", 200_000)]
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    names = [[f"app{part}-{number}" for number in range(12)] for part in range(2)]
    for name in (*names[0], *names[1]):
        registry.put_image(f"{namespace}/{name}", "1", layers=1, shared_layers=base)
    with ExitStack() as running:
        started = []
        for part, ours in enumerate(names):
            (folder / f"{part}").mkdir()
            write_list(folder / f"{part}", *(f"{at}/{name}:1" for name in ours))
            command = ("sync", "--to", f"oci:{folder}/export")
            started.append(
                running.enter_context(asyncsync_command.started(*command, cwd=folder / f"{part}"))
            )
        for process in started:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, out + err
    assert_valid(folder / "export")
    assert named_in(folder / "export") == {
        f"{name}:1": seen_by_skopeo(registry, f"{namespace}/{name}:1")
        for name in (*names[0], *names[1])
    }


def test_an_export_that_is_killed_at_any_moment_leaves_a_valid_layout_and_goes_on(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    chance = random.Random(namespace)  # noqa: S311  which is another one each time
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    names = [f"app{number}" for number in range(20)]
    for name in names:
        registry.put_image(f"{namespace}/{name}", "1", layers=3, size=200_000)
    write_list(folder, *(f"{at}/{name}:1" for name in names))
    export = folder / "export"
    for _ in range(6):
        files = chance.randrange(1, 25) + (len(list(export.rglob("*"))) if export.exists() else 0)
        with asyncsync_command.started("sync", "--to", "oci:./export") as process:
            while process.poll() is None:
                if export.exists() and len(list(export.rglob("*"))) >= files:
                    process.send_signal(signal.SIGKILL)
                    break
            process.communicate(timeout=60)
        if (export / "oci-layout").exists():
            assert_valid(export)
    done = asyncsync_command("sync", "--to", "oci:./export", *JSON)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_valid(export)
    assert named_in(export) == {
        f"{name}:1": seen_by_skopeo(registry, f"{namespace}/{name}:1") for name in names
    }
    whole = {d for name in names for d in blobs_of(registry, f"{namespace}/{name}", "1")}
    whole |= set(named_in(export).values())
    assert {f"{p.parent.name}:{p.name}" for p in export.glob("blobs/*/*")} == whole
    assert os.listdir(export / ".asyncsync") == ["lock"]


def test_an_export_into_a_tar_that_is_stopped_leaves_the_old_one(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    registry.put_image(f"{namespace}/old", "1")
    write_list(folder, f"{at}/old:1")
    asyncsync_command("sync", "--to", "oci:export.tar")
    before = (folder / "export.tar").read_bytes()
    registry.put_image(f"{namespace}/new", "1", size=100_000)
    registry.put_image(f"{namespace}/slow", "1", size=3_000_000)
    write_list(folder, f"{at}/new:1", f"{at}/slow:1")
    limited = ("sync", "--to", "oci:export.tar", "--limit-rate", "300KB/s", "--report", "r.json")
    for sign, code in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        with asyncsync_command.started(*limited) as process:
            while not list(folder.glob(".export.tar.*")):
                assert process.poll() is None
            process.send_signal(sign)
            process.communicate(timeout=60)
            assert process.returncode == code
        assert (folder / "export.tar").read_bytes() == before
    counts = json.loads((folder / "r.json").read_text())["counts"]
    assert counts["copied"] == 0, "nothing is in place before the tar is"
    assert (folder / "succeeded.log").read_text() == ""
    assert len(list(folder.glob(".export.tar.*"))) == 1, "of the one that was killed"
    done = asyncsync_command("sync", "--to", "oci:export.tar")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.glob(".export.tar.*")) == []
    with tarfile.open(folder / "export.tar") as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
    assert len(names) == len(set(names))
    assert {e["annotations"]["org.opencontainers.image.ref.name"] for e in index["manifests"]} == {
        "old:1", "new:1", "slow:1",
    }  # fmt: skip


def test_rows_of_a_tar_that_is_not_finished_are_taken_back_at_the_end(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/small", "1", size=1000)
    registry.put_image(f"{namespace}/slow", "1", size=30_000_000)
    write_list(
        asyncsync_command.folder, *(f"{registry.host}/{namespace}/{n}:1" for n in ("small", "slow"))
    )
    limited = ("sync", "--to", "oci:./export.tar", "--limit-rate", "1MB/s")
    with asyncsync_command.started(*limited) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[0] == "copied"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert out.splitlines()[-3:-1] == [
        "oci:./export.tar is as it was before the run: 1 image told as copied above is not in "
        "place.",
        "",
    ]
    assert out.splitlines()[-1].startswith("2 cancelled.")

    with asyncsync_command.started(*limited, "--output", "json", "-v") as process:
        assert process.stderr is not None
        while "small:1: copied" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert json.loads(out)["counts"]["cancelled"] == 2
    assert err.splitlines()[-1] == (
        "oci:./export.tar has nothing of this run: 1 image copied into it is not in place "
        "(SIGINT stopped the run)."
    )


def test_of_two_who_write_one_tar_at_once_the_later_one_fails_and_says_so(
    registry: Registry, relay: Relay, namespace: str, asyncsync_command: Command
) -> None:
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    for name, size in (("slow", 1_500_000), ("fast", 10_000)):
        registry.put_image(f"{namespace}/{name}", "1", size=size)
    write_list(folder, f"{relay.host}/{namespace}/slow:1")
    relay.pause_after(1_000_000)
    (folder / "other").mkdir()
    write_list(folder / "other", f"{at}/fast:1")
    to = ("sync", "--to", f"oci:{folder}/export.tar")
    with asyncsync_command.started(*to, "--report", "r.json") as slow:
        once(lambda: relay.paused)
        assert list(folder.glob(".export.tar.*"))
        assert asyncsync_command(*to, cwd=folder / "other").returncode == 0
        relay.resume()
        out, err = slow.communicate(timeout=60)
    assert slow.returncode == 1, out + err
    assert "another process has written it meanwhile" in out
    assert "/export.tar has nothing of this run: 1 image told as copied above is not in" in out
    assert "  Let one run at a time write a tar, or name another file; then run it again.\n" in out
    assert "Check the disk" not in out
    (outcome,) = json.loads((folder / "r.json").read_text())["outcomes"]
    assert (outcome["status"], outcome["digest"]) == ("failed", None)
    assert (folder / "succeeded.log").read_text() == ""
    assert asyncsync_command(*to).returncode == 0
    for name in ("slow", "fast"):
        skopeo("inspect", f"oci-archive:{folder}/export.tar:{name}:1")


def test_a_tar_is_written_without_the_images_that_failed(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    registry.put_image(f"{namespace}/good", "1")
    registry.put_image(f"{namespace}/bad", "1", size=100_000)
    digest = max(blobs_of(registry, f"{namespace}/bad", "1").items(), key=lambda pair: pair[1])[0]
    path = next(registry.data.rglob(f"{digest.partition(':')[2]}/data"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    write_list(folder, f"{at}/good:1", f"{at}/bad:1")
    done = asyncsync_command("sync", "--to", "oci:export.tar", "--retries", "0", *JSON)
    assert done.returncode == 1
    assert sorted(statuses(done.stdout).values()) == ["copied", "failed"]
    skopeo("inspect", f"oci-archive:{folder}/export.tar:good:1")
    with tarfile.open(folder / "export.tar") as archive:
        assert f"blobs/{digest.replace(':', '/')}" not in archive.getnames()
        assert all(name.startswith("blobs/") for name in archive.getnames()[:-2])


@pytest.mark.disk
@FORMS
def test_a_full_disk_is_told_with_what_to_do_and_the_next_run_goes_on(
    registry: Registry, namespace: str, asyncsync_command: Command, layout: str, tmp_path: Path
) -> None:
    at, folder, disk = f"{registry.host}/{namespace}", asyncsync_command.folder, tmp_path / "disk"
    registry.put_image(f"{namespace}/small", "1", size=10_000)
    registry.put_image(f"{namespace}/large", "1", layers=1, size=3_000_000)
    write_list(folder, f"{at}/small:1")
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
    try:
        to = ("sync", "--to", f"oci:{disk}/{layout[6:]}", *JSON)
        asyncsync_command(*to)
        write_list(folder, f"{at}/small:1", f"{at}/large:1")
        done = asyncsync_command(*to)
        assert done.returncode == 1, done.stdout + done.stderr
        told = {o["target"].rpartition("/")[2]: o for o in json.loads(done.stdout)["outcomes"]}
        small, large = (told[f"{layout[6:]}:{name}:1"] for name in ("small", "large"))
        assert small["status"] == "unchanged"
        assert large["error"]["kind"] == "TargetFull"
        assert "No space left on device" in large["error"]["message"]
        assert large["error"]["advice"].startswith(f"Free space on the disk of oci:{disk}")
        run("mount", "-o", "remount,size=20m", disk)
        again = asyncsync_command(*to)
        assert again.returncode == 0, again.stdout + again.stderr
        assert sorted(o["status"] for o in json.loads(again.stdout)["outcomes"]) == [
            "copied", "unchanged",
        ]  # fmt: skip
        if not layout.endswith(".tar"):
            assert_valid(disk / "export")
    finally:
        run("umount", disk)


def test_wrong_bytes_in_a_carried_folder_become_no_image(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    put = {name: registry.put_image(f"{namespace}/{name}", "1") for name in ("a", "b", "c", "d")}
    write_list(folder, *(f"{at}/{name}:1" for name in put))
    asyncsync_command("sync", "--to", "oci:./export")

    def blob(digest: str) -> Path:
        return folder / "export/blobs" / digest.replace(":", "/")

    layer = blob(put["b"].layer_digests[0])
    layer.write_bytes(layer.read_bytes()[:-1] + b"!")
    blob(put["c"].digest).write_bytes(b"{}")
    blob(put["d"].layer_digests[0]).unlink()
    write_list(folder, "a:1", "b:1", "c:1", "d:1", "e:1")
    to = ("--to", own_registry.host)
    done = asyncsync_command("sync", "--from", "oci:./export", *to, "--retries", "0", *JSON)
    assert done.returncode == 1
    told = outcomes(done.stdout)
    assert {name: (o["error"] or {}).get("kind") for name, o in told.items()} == {
        "a:1": None, "b:1": "DigestMismatch", "c:1": "DigestMismatch", "d:1": "NotFound",
        "e:1": "NotFound",
    }  # fmt: skip
    assert told["b:1"]["error"]["advice"] == (
        "oci:./export is damaged: carry it over again, or, if it is damaged where it comes from, "
        "export the image anew into a fresh folder: an export into the same one compares sizes "
        "alone."
    )
    assert told["d:1"]["error"]["advice"] == (
        "oci:./export holds not all of the image: carry it over again, or export it afresh."
    )
    what = "oci:./export:e has no tag 1; it names a:1, b:1, c:1, d:1"
    assert told["e:1"]["error"]["message"].startswith(what)
    for name in "bcde":
        assert own_registry.tags(name) == []

    write_list(folder, *(f"{at}/{name}:1" for name in put))
    mended = asyncsync_command("sync", "--to", "oci:./export", *JSON)
    assert mended.returncode == 0
    assert statuses(mended.stdout)["export:c:1"] == "copied", "its manifest was damaged"
    assert statuses(mended.stdout)["export:d:1"] == "copied", "of it, a layer was lost"


def test_a_folder_that_lost_something_is_mended_by_the_next_export(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    at, folder = f"{registry.host}/{namespace}", asyncsync_command.folder
    base = [images.layer(f"{namespace} base", 200_000)]
    put = {name: registry.put_image(f"{namespace}/{name}", "1", shared_layers=base)
           for name in ("whole", "lost", "cut")}  # fmt: skip
    multi = registry.put_index(f"{namespace}/multi", "1", PLATFORMS)
    write_list(folder, *(f"{at}/{name}:1" for name in (*put, "multi")))
    asyncsync_command("sync", "--to", "oci:./export")

    def blob(digest: str) -> Path:
        return folder / "export/blobs" / digest.replace(":", "/")

    blob(put["lost"].layer_digests[-1]).unlink()
    os.truncate(blob(put["cut"].layer_digests[-1]), 100)
    blob(multi.children["linux/arm64"].digest).unlink()
    done = asyncsync_command("sync", "--to", "oci:./export", *JSON)

    assert done.returncode == 0, done.stdout + done.stderr
    assert statuses(done.stdout) == {
        "export:whole:1": "unchanged", "export:lost:1": "copied", "export:cut:1": "copied",
        "export:multi:1": "copied",
    }  # fmt: skip
    assert_valid(folder / "export")
    write_list(folder, *(f"{name}:1" for name in (*put, "multi")))
    done = asyncsync_command("sync", "--from", "oci:./export", "--to", own_registry.host, *JSON)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (*put, "multi"):
        there = seen_by_skopeo(own_registry, f"{name}:1")
        assert there == seen_by_skopeo(registry, f"{namespace}/{name}:1")


def test_signatures_travel_in_a_layout(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    image = registry.put_image(f"{namespace}/app", "1")
    signature = registry.put_image(f"{namespace}/app", None)
    subject = {
        "mediaType": images.OCI_MANIFEST,
        "digest": image.digest,
        "size": len(json.dumps(registry.manifest(f"{namespace}/app", "1"))),
    }
    body = registry.manifest(f"{namespace}/app", signature.digest)
    assert body
    data = json.dumps(body | {"subject": subject, "artifactType": "application/x.sig"}).encode()
    digest = registry.put_manifest(
        f"{namespace}/app", images.digest_of(data), images.OCI_MANIFEST, data
    )
    listed = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [
        {"mediaType": images.OCI_MANIFEST, "digest": digest, "size": len(data),
         "artifactType": "application/x.sig"}
    ]}  # fmt: skip
    tag = image.digest.replace(":", "-")
    registry.put_manifest(f"{namespace}/app", tag, images.OCI_INDEX, json.dumps(listed).encode())
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/app:1")
    asyncsync_command("sync", "--to", "oci:./export", "--with-referrers")
    write_list(asyncsync_command.folder, "app:1")
    done = asyncsync_command(
        "sync", "--from", "oci:./export", "--to", own_registry.host, "--with-referrers", *JSON
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = own_registry.manifest("app", tag)
    assert found
    assert [entry["digest"] for entry in found["manifests"]] == [digest]
    assert own_registry.manifest("app", digest) is not None


def test_chosen_platforms_alone_are_exported(
    registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    put = registry.put_index(f"{namespace}/multi", "v1", PLATFORMS)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/multi:v1")
    asyncsync_command("sync", "--to", "oci:./export", "--platform", "linux/arm64")
    folder = asyncsync_command.folder / "export"
    assert_valid(folder)
    assert named_in(folder) == {"multi:v1": put.children["linux/arm64"].digest}


@FORMS
async def test_the_library_exports_and_imports(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path, layout: str
) -> None:
    put = await anyio.to_thread.run_sync(registry.put_image, f"{namespace}/app", "1")
    at = f"oci:{tmp_path}/{layout[6:]}"
    report = await asyncsync.sync([f"{registry.host}/{namespace}/app:1"], to=at)
    report.raise_for_failures()
    assert report.via == "direct"
    report = await asyncsync.sync(["app:1"], from_=at, to=own_registry.host)
    report.raise_for_failures()
    assert [str(outcome.digest) for outcome in report.outcomes] == [put.digest]
    plan = await asyncsync.plan(["app:1"], from_=at, to=own_registry.host)
    report = await asyncsync.sync(plan)
    assert [outcome.status for outcome in report.outcomes] == ["unchanged"]
