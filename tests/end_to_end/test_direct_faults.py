"""What goes wrong on the direct way, done to real registries: nothing half is ever under a tag."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import web
from parts import images
from parts.commands import Command, outcomes, write_list
from parts.gateway import Fault, error, fault, gateway
from parts.judging import assert_whole, blobs_of, seen_by_skopeo
from parts.processes import once
from parts.registry import Registry
from parts.relay import Relay
from scripted import reset, scripted

import asyncsync
from asyncsync import Outcome, Status
from asyncsync.credentials import Credentials
from asyncsync.model.access import Access
from asyncsync.retrying import Retrying
from asyncsync.scheduling import Run, running
from asyncsync.stores.registry.client import RegistryClient
from asyncsync.transports.direct.pace import Pace
from asyncsync.transports.direct.transport import DirectTransport

pytestmark = [pytest.mark.registry, pytest.mark.timeout(120)]

MIB = 1024 * 1024
DIRECT = ("sync", "--via", "direct", "--output", "json")


async def copied(folder: Path, to: str, *entries: str, **options: Any) -> tuple[Outcome, ...]:
    """The outcomes of a direct run that knows nobody's login."""
    report = await asyncsync.sync(entries, to=to, via="direct", docker_config=folder, **options)
    return report.outcomes


def test_a_source_that_breaks_again_and_again_goes_on_where_it_broke_in_one_upload(
    registry: Registry, own_registry: Registry, relay: Relay, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    image = registry.put_image(f"{namespace}/big", "1", layers=1, size=4 * MIB)
    write_list(asyncsync_command.folder, f"{relay.host}/{namespace}/big:1")
    since, since_target = registry.mark(), own_registry.mark()
    relay.throttle(8 * MIB)
    relay.cut_after(1 * MIB, times=3)

    done = asyncsync_command(*DIRECT, "--to", own_registry.host)

    told = outcomes(done.stdout)["big:1"]
    assert told["status"] == "copied", done.stdout
    assert own_registry.digest_of("big", "1") == image.digest
    assert image.size <= told["bytes_moved"] < image.size + MIB
    layer = image.layer_digests[0]
    reads = registry.requests("GET", f"/blobs/{layer}", since=since)
    assert len(reads) >= 4
    assert [r.status for r in reads].count(200) == 1, "all others ask for a range"
    puts = own_registry.requests("PUT", f"digest={layer}", since=since_target)
    assert [r.status for r in puts] == [201]


def test_a_target_that_breaks_in_mid_upload_gets_the_blob_again(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    image = registry.put_image(f"{namespace}/big", "1", layers=2, size=3 * MIB)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/big:1")
    with Relay(own_registry.host) as link:
        link.throttle(8 * MIB)
        link.cut_after(2 * MIB, times=2)
        done = asyncsync_command(*DIRECT, "--to", link.host)
    told = outcomes(done.stdout)["big:1"]
    assert told["status"] == "copied", done.stdout
    assert told["attempts"] > 1
    assert own_registry.digest_of("big", "1") == image.digest
    assert_whole(own_registry, ["big"])


def test_a_target_that_dies_in_mid_upload_has_nothing_half_under_the_tag(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    image = registry.put_image(f"{namespace}/big", "1", layers=2, size=3 * MIB)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/big:1")
    with Relay(own_registry.host) as link:
        link.pause_after(2 * MIB)

        def die() -> None:
            once(lambda: link.paused)
            own_registry.kill()
            link.resume()

        faults = threading.Thread(target=die, daemon=True)
        faults.start()
        done = asyncsync_command(*DIRECT, "--to", link.host, "--retries", "0")
        faults.join()
        told = outcomes(done.stdout)["big:1"]
        assert told["error"]["kind"] == "RegistryUnavailable", done.stdout
        assert told["error"]["registry"] == link.host
        assert told["error"]["step"] == "copy"
    own_registry.start()
    assert own_registry.tags("big") == []
    again = asyncsync_command(*DIRECT, "--to", own_registry.host)
    assert outcomes(again.stdout)["big:1"]["digest"] == image.digest


@pytest.mark.parametrize("lie", ["other bytes", "longer", "shorter"])
async def test_a_source_that_lies_is_named_and_no_other_image_suffers(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path, lie: str
) -> None:
    lied = registry.put_image(f"{namespace}/lied", "1", layers=1)
    registry.put_image(f"{namespace}/other", "1")
    layer = images.layer(f"{namespace}/lied:1 linux/amd64 0").data
    assert images.digest_of(layer) == lied.layer_digests[0]
    instead = {"other bytes": layer[:-1] + b"?", "longer": layer + b"?", "shorter": layer[:-1]}

    def lying(request: web.BaseRequest) -> web.StreamResponse:
        if "Range" in request.headers:
            return web.Response(status=416)
        return web.Response(body=instead[lie])

    async with gateway(registry.host, fault("GET", lied.layer_digests[0], lying)) as server:
        at = f"{server.host}/{namespace}"
        bad, good = await copied(tmp_path, own_registry.host, f"{at}/lied:1", f"{at}/other:1")
    assert isinstance(bad.error, asyncsync.DigestMismatch), bad
    assert bad.error.where.registry == server.host
    assert own_registry.tags("lied") == []
    assert not own_registry.has_blob("lied", lied.layer_digests[0])
    assert good.status is Status.COPIED


async def breaking(request: web.BaseRequest) -> web.StreamResponse | None:
    """Half of a layer, and never more of it."""
    if request.method != "GET" or "/blobs/" not in request.raw_path:
        return None
    if "Range" in request.headers:
        return await reset(request)
    return await reset(request, sent=b"?" * 500)


def sending(path: str, body: bytes) -> Fault:
    return fault(
        "GET", path, lambda request: web.Response(body=body, content_type=images.OCI_MANIFEST)
    )


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(
    "lie",
    [
        sending("/blobs/", b"other bytes, and few"),
        sending("/blobs/", bytes(100_000)),
        sending("/manifests/", b'{"schemaVersion": 2}'),
        breaking,
    ],
    ids=["short", "long", "manifests", "breaking off"],
)
async def test_a_mirror_that_lies_or_breaks_off_costs_no_image(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path, lie: Fault,
    retries: int,
) -> None:  # fmt: skip
    put = [registry.put_image(f"{namespace}/{name}", "1") for name in ("a", "b")]
    async with gateway(registry.host, lie) as server:
        access = asyncsync.Access(mirrors={registry.host: (f"http://{server.host}",)})
        entries = (f"{registry.host}/{namespace}/{name}:1" for name in ("a", "b"))
        told = await copied(
            tmp_path, own_registry.host, *entries, access=access, retries=retries, concurrency=1
        )
        asked = [seen.path for seen in server.seen("GET")]
    assert [str(outcome.digest) for outcome in told] == [image.digest for image in put]
    assert_whole(own_registry, ["a", "b"])
    assert not any(f"/{namespace}/b/" in path for path in asked), "it is asked for nothing more"


async def test_what_a_mirror_has_under_a_tag_counts_although_it_may_be_older(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    with Registry(tmp_path / "mirror") as mirror:
        older = mirror.put_image(f"{namespace}/a", "1", seed=f"{namespace} older")
        registry.put_image(f"{namespace}/a", "1")
        access = asyncsync.Access(mirrors={registry.host: (f"http://{mirror.host}",)})
        entry = f"{registry.host}/{namespace}/a:1"
        (told,) = await copied(tmp_path, own_registry.host, entry, access=access)
    assert str(told.digest) == older.digest


async def test_a_lie_does_not_matter_where_another_image_brought_the_bytes(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    shared = images.layer(f"{namespace} shared")
    digest = images.digest_of(shared.data)
    for name in ("lied", "good"):
        registry.put_image(f"{namespace}/{name}", "1", layers=1, shared_layers=[shared])
    lying = fault("GET", digest, lambda request: web.Response(body=b"lie"))
    async with gateway(registry.host, lying) as server:
        lied, good = f"{server.host}/{namespace}/lied:1", f"{registry.host}/{namespace}/good:1"
        for order in ((good, lied), (lied, good)):
            to = f"{own_registry.host}/{'first' if order[0] is good else 'last'}"
            told = await copied(tmp_path, to, *order, concurrency=1, retries=0)
            first, second = (outcome.status for outcome in told)
            assert second is Status.COPIED
            assert first is (Status.COPIED if order[0] is good else Status.FAILED)
    assert_whole(own_registry, ["first/lied", "first/good", "last/good"])


async def test_a_blob_that_the_target_has_lost_again_is_brought_again(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    image = registry.put_image(f"{namespace}/a", "1", layers=2)
    lost = image.layer_digests[0]

    def lose(request: web.BaseRequest) -> web.StreamResponse:
        own_registry.delete_blob("a", lost)
        return error(404, "MANIFEST_BLOB_UNKNOWN", {"digest": lost})

    async with gateway(own_registry.host, fault("PUT", "/manifests/", lose, times=1)) as server:
        (told,) = await copied(tmp_path, server.host, f"{registry.host}/{namespace}/a:1")
        assert told.status is Status.COPIED, told
        sent = [seen for seen in server.seen("PUT") if lost in seen.path]
    assert len(sent) == 2
    assert own_registry.digest_of("a", "1") == image.digest
    assert_whole(own_registry, ["a"])


@pytest.mark.parametrize(
    "path", ["/manifests/1", "/manifests/sha256", "/blobs/"], ids=["tag", "manifest", "blob"]
)
async def test_a_registry_that_asks_us_to_wait_is_waited_for(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path, path: str
) -> None:
    image = registry.put_index(f"{namespace}/a", "1")
    method = "HEAD" if path == "/manifests/1" else "GET"
    busy = fault(
        method, path, lambda request: error(429, "TOOMANYREQUESTS", Retry_After="1"), times=1
    )
    async with gateway(registry.host, busy) as server:
        (told,) = await copied(tmp_path, own_registry.host, f"{server.host}/{namespace}/a:1")
    assert told.status is Status.COPIED, told
    assert told.attempts > 1
    assert told.digest is not None
    assert str(told.digest) == image.digest


async def test_a_registry_that_goes_on_to_ask_us_to_wait_is_told_with_advice(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    busy = fault("GET", "/blobs/", lambda request: error(429, "TOOMANYREQUESTS", Retry_After="1"))
    async with gateway(registry.host, busy) as server:
        entry = f"{server.host}/{namespace}/a:1"
        (told,) = await copied(tmp_path, own_registry.host, entry, retries=1)
        assert isinstance(told.error, asyncsync.RateLimited), told
        assert told.error.where.registry == server.host
    assert "--concurrency" in told.error.advice()
    assert own_registry.tags("a") == []


FULL = [
    (lambda: error(507, "UNKNOWN"), asyncsync.TargetFull),
    (lambda: error(500, "UNKNOWN", "no space left on device"), asyncsync.TargetFull),
    (lambda: error(403, "DENIED", "quota exceeded"), asyncsync.TargetFull),
    (lambda: error(413, "SIZE_INVALID"), asyncsync.RefusedByTarget),
]


@pytest.mark.parametrize(("answer", "kind"), FULL, ids=["507", "500", "403", "413"])
async def test_a_target_without_room_is_named_and_has_no_tag(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path,
    answer: Callable[[], web.Response], kind: type[Exception],
) -> None:  # fmt: skip
    registry.put_image(f"{namespace}/a", "1")
    full = [fault(method, "/blobs/uploads/", lambda _: answer()) for method in ("PUT", "PATCH")]
    async with gateway(own_registry.host, *full) as server:
        entry = f"{registry.host}/{namespace}/a:1"
        (told,) = await copied(tmp_path, server.host, entry)
        assert type(told.error) is kind, told
        assert told.attempts == 1
        assert told.error.where.registry == server.host
        assert told.error.where.at_target
    assert own_registry.tags("a") == []


@pytest.mark.disk
@pytest.mark.parametrize("left", [2 * MIB, 0], ids=["in mid-upload", "from the start"])
def test_a_target_whose_disk_is_full_says_so_and_goes_on_once_there_is_room(
    registry: Registry, namespace: str, tmp_path: Path, asyncsync_command: Command, left: int
) -> None:
    image = registry.put_image(f"{namespace}/a", "1", layers=2, size=3 * MIB)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    with Registry(tmp_path / "full", tmpfs="16m") as full:
        others = full.data / "others"
        with others.open("wb", buffering=0) as file, suppress(OSError):  # until nothing fits in
            while True:
                file.write(bytes(4096))
        if left:
            os.truncate(others, others.stat().st_size - left)

        done = asyncsync_command(*DIRECT, "--to", full.host)
        told = outcomes(done.stdout)["a:1"]
        assert told["error"]["kind"] == "TargetFull", done.stdout
        assert "has no room left" in told["error"]["message"]
        assert f"Free space at {full.host}" in told["error"]["advice"]
        assert (told["error"]["registry"], told["error"]["step"]) == (full.host, "copy")
        assert full.tags("a") == []

        others.unlink()
        again = asyncsync_command(*DIRECT, "--to", full.host)
        assert outcomes(again.stdout)["a:1"]["status"] == "copied", again.stdout
        assert full.digest_of("a", "1") == image.digest
        assert_whole(full, ["a"])


def refusing(media_type: str) -> Fault:
    """A registry that takes no manifests of this type, as older ones do with OCI's."""

    async def refuse(request: web.BaseRequest) -> web.StreamResponse | None:
        refused = request.method == "PUT" and request.headers.get("Content-Type") == media_type
        return error(415, "MANIFEST_INVALID", "unsupported media type") if refused else None

    return refuse


async def no_artifacts(request: web.BaseRequest) -> web.StreamResponse | None:
    """A registry that takes no manifest with the empty config, as Aliyun's personal ones."""
    if request.method != "PUT" or "/manifests/" not in request.raw_path:
        return None
    empty = b"application/vnd.oci.empty.v1+json" in await request.read()
    return error(400, "MANIFEST_INVALID", "unknown manifest class") if empty else None


@pytest.mark.parametrize(
    ("refuse", "says", "media_type"),
    [
        (refusing(images.OCI_MANIFEST), "converted to Docker's types", images.DOCKER_LIST),
        (refusing(images.OCI_INDEX), "converted to Docker's types", images.DOCKER_LIST),
        (no_artifacts, "left out 2 attestations", images.OCI_INDEX),
    ],
    ids=["no OCI", "no OCI indexes", "no artifacts"],
)
async def test_an_image_that_is_refused_as_it_is_goes_in_another_form_and_says_so(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path,
    refuse: Fault, says: str, media_type: str,
) -> None:  # fmt: skip
    index = registry.put_index(f"{namespace}/a", "1", attestation=True, artifact=True)
    entry = f"{registry.host}/{namespace}/a:1"
    async with gateway(own_registry.host, refuse) as server:
        (told,) = await copied(tmp_path, server.host, entry)
        assert told.status is Status.COPIED, told
        notes = " ".join(told.notes)
        assert says in notes
        assert index.digest in notes
        assert str(told.digest) in notes
        assert seen_by_skopeo(own_registry, "a:1") == str(told.digest) != index.digest
        manifest = own_registry.manifest("a", "1")
        assert manifest is not None
        assert manifest["mediaType"] == media_type
        assert_whole(own_registry, ["a"])

        since = own_registry.mark()
        (again,) = await copied(tmp_path, server.host, entry)
        assert again.status is Status.UNCHANGED, again
        assert {r.method for r in own_registry.requests(since=since)} == {"HEAD"}

        (exact,) = await copied(tmp_path, f"{server.host}/exact", entry, exact=True)
        assert isinstance(exact.error, asyncsync.RefusedByTarget), exact
        assert own_registry.tags("exact/a") == []


async def test_an_image_in_a_format_of_the_past_is_not_copied_and_says_why(
    own_registry: Registry, tmp_path: Path
) -> None:
    old = b'{"schemaVersion": 1, "name": "a", "tag": "1", "fsLayers": []}'
    headers = {
        "Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "Docker-Content-Digest": images.digest_of(old),
    }
    past = [
        fault(method, "/manifests/", lambda request: web.Response(body=old, headers=headers))
        for method in ("HEAD", "GET")
    ]
    async with gateway(own_registry.host, *past) as server:
        (told,) = await copied(tmp_path, own_registry.host, f"{server.host}/x/a:1")
    assert isinstance(told.error, asyncsync.UnsupportedManifest), told


async def test_what_is_missing_at_the_source_fails_its_image_alone(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    broken = registry.put_image(f"{namespace}/broken", "1", layers=2)
    registry.put_image(f"{namespace}/whole", "1")
    registry.delete_blob(f"{namespace}/broken", broken.layer_digests[1])
    at = f"{registry.host}/{namespace}"
    bad, good = await copied(tmp_path, own_registry.host, f"{at}/broken:1", f"{at}/whole:1")
    assert isinstance(bad.error, asyncsync.NotFound), bad
    assert broken.layer_digests[1] in bad.error.what
    assert own_registry.tags("broken") == []
    assert good.status is Status.COPIED
    assert blobs_of(own_registry, "whole", "1") == blobs_of(registry, f"{namespace}/whole", "1")


async def test_a_dead_registry_is_waited_for_by_its_first_images_alone(
    registry: Registry, relay: Relay, namespace: str, tmp_path: Path
) -> None:
    registry.put_image(f"{namespace}/a", "1")
    relay.refuse()
    entries = [f"{registry.host}/{namespace}/a:1", *(f"{relay.host}/x/{n}:1" for n in range(5))]
    told = await copied(tmp_path, f"{relay.host}/to", *entries, concurrency=1, retries=1)
    assert {outcome.status for outcome in told} == {Status.FAILED}
    # The target is asked by all, the source of the last five too.
    assert [outcome.attempts for outcome in told[-3:]] == [1, 1, 1]
    assert told[0].attempts > 1


async def swallow(request: web.BaseRequest) -> web.Response:
    """What becomes of a request behind a firewall that takes connections and says nothing."""
    await anyio.sleep_forever()
    return web.Response()


@asynccontextmanager
async def two_at_once(
    folder: Path, to: str, *entries: str, idle_seconds: float
) -> AsyncIterator[Run]:
    """A direct run that bears so much silence of its sources, and does not pause between tries."""
    plan = await asyncsync.plan(entries, to=to)
    hosts = {to, *(str(job.source.place) for job in plan.jobs)}
    access, nobody = Access(plain_http=frozenset(hosts)), Credentials.load({}, docker_config=folder)
    async with (
        RegistryClient(access, nobody, idle_seconds=idle_seconds) as sources,
        RegistryClient(access, nobody) as target,
    ):
        retrying = Retrying(3, sleep=lambda _: anyio.lowlevel.checkpoint())
        transport = DirectTransport(sources, target, retrying=retrying, pace=Pace(None))
        async with running(plan.jobs, transport, concurrency=2) as run:
            yield run


async def test_a_registry_that_never_answers_is_waited_for_by_its_first_images_alone(
    own_registry: Registry, tmp_path: Path
) -> None:
    async with scripted(swallow) as silent:
        entries = [f"{silent.host}/x/a{n}:1" for n in range(7)]
        async with two_at_once(tmp_path, own_registry.host, *entries, idle_seconds=0.2) as run:
            told = [outcome async for outcome in run]
    asked = sorted(Counter(seen.path for seen in silent.requests).values())
    assert len(asked) == 7
    assert asked[:3] == [1, 1, 1], "at most a fourth was under way when three had found out"
    assert asked[-3:] == [4, 4, 4]
    advice = {outcome.error.advice() for outcome in told if outcome.error}
    assert len(advice) == 1, "one cause, told once"
    assert f"check that {silent.host} is up, and that no firewall" in advice.pop()


async def test_a_registry_that_never_answers_holds_up_no_image_of_another(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    names = [f"b{n}" for n in range(4)]
    for name in names:
        registry.put_image(f"{namespace}/{name}", "1", size=1000)
    async with scripted(swallow) as silent:
        entries = [f"{silent.host}/x/a{n}:1" for n in range(4)]
        entries += [f"{registry.host}/{namespace}/{name}:1" for name in names]
        async with two_at_once(tmp_path, own_registry.host, *entries, idle_seconds=600) as run:
            told = [await anext(run.outcomes) for _ in names]
            assert {outcome.status for outcome in told} == {Status.COPIED}
            assert len({seen.path for seen in silent.requests}) == 1
            run.stop()
    assert_whole(own_registry, names)
