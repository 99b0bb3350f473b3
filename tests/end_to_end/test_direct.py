"""The direct way on real registries, with no engine; the judges are skopeo and docker."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest
from parts import images
from parts.commands import Command, docker_config, outcomes, statuses, write_list
from parts.engine import Engine
from parts.gateway import error, fault, gateway
from parts.judging import assert_whole, blobs_of, seen_by_skopeo
from parts.registry import Registry, Request

import asyncsync

pytestmark = [pytest.mark.registry, pytest.mark.timeout(120)]

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
DIRECT = ("sync", "--via", "direct", "--output", "json")


def fetched(registry: Registry, since: int) -> Counter[str]:
    """How often each blob was read from `registry`."""
    asked = registry.requests("GET", "/blobs/", since=since)
    return Counter(r.path.rpartition("/")[2] for r in asked if r.status in (200, 206))


def uploaded(registry: Registry, since: int) -> Counter[str]:
    """How often each blob was uploaded to `registry`."""
    asked = registry.requests("PUT", "/blobs/uploads/", since=since)
    return Counter(r.path.rpartition("digest=")[2] for r in asked if r.status == 201)


def beside_challenges(requests: list[Request]) -> list[str]:
    return [f"{r.method} {r.path}" for r in requests if r.status != 401]


def test_a_list_of_whole_images_arrives_byte_for_byte_and_is_not_moved_twice(
    tmp_path: Path, asyncsync_command: Command
) -> None:
    with (
        Registry(tmp_path / "source", user="reader", password="r3ad-canary", tls=True) as source,
        Registry(tmp_path / "target", user="writer", password="wr1te-canary", tls=True) as target,
    ):
        base = [images.layer("base", 300_000)]
        source.put_index("a/multi", "v1", PLATFORMS, attestation=True)
        source.put_index("a/artifacts", "v1", attestation=True, artifact=True)
        source.put_index("a/old-list", "v1", oci=False)
        source.put_image("b/single", "1.0", shared_layers=base)
        source.put_image("b/old-type", "1.0", shared_layers=base, oci=False)
        names = ["a/multi:v1", "a/artifacts:v1", "a/old-list:v1", "b/single:1.0", "b/old-type:1.0"]
        write_list(asyncsync_command.folder, *(f"{source.host}/{name}" for name in names))
        trusted = tmp_path / "both.pem"
        trusted.write_text("".join(Path(str(r.ca_file)).read_text() for r in (source, target)))
        env = {
            "REGISTRY": target.host, "NAMESPACE": "team", "REGISTRY_USER": "writer",
            "REGISTRY_PASSWORD": "wr1te-canary",
            "DOCKER_CONFIG": str(docker_config(tmp_path, {source.host: ("reader", "r3ad-canary")})),
        }  # fmt: skip
        distinct = {
            digest: size for name in names
            for digest, size in blobs_of(source, *name.split(":")).items()
        }  # fmt: skip
        since, since_target = source.mark(), target.mark()

        done = asyncsync_command(*DIRECT, "--ca-file", trusted, env=env)

        assert done.returncode == 0, done.stdout + done.stderr
        assert set(statuses(done.stdout).values()) == {"copied"}
        for name in names:
            there = f"team/{name.rpartition('/')[2]}"
            assert seen_by_skopeo(target, there) == seen_by_skopeo(source, name)
            assert outcomes(done.stdout)[name[2:]]["digest"] == seen_by_skopeo(target, there)
        assert fetched(source, since) == Counter(distinct.keys())
        assert uploaded(target, since_target) == Counter(distinct.keys())
        assert json.loads(done.stdout)["bytes_moved"] == sum(distinct.values())
        assert "canary" not in done.stdout + done.stderr

        since, since_target = source.mark(), target.mark()
        again = asyncsync_command(*DIRECT, "--ca-file", trusted, env=env)

        assert set(statuses(again.stdout).values()) == {"unchanged"}
        assert json.loads(again.stdout)["bytes_moved"] == 0
        assert sorted(beside_challenges(source.requests(since=since))) == sorted(
            f"HEAD /v2/{name.replace(':', '/manifests/')}" for name in names
        )
        assert sorted(beside_challenges(target.requests(since=since_target))) == sorted(
            f"HEAD /v2/team/{name.rpartition('/')[2].replace(':', '/manifests/')}" for name in names
        )


def test_what_images_share_is_fetched_once_and_mounted_everywhere_else(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    base = [images.layer(f"{namespace} {n}", size) for n, size in enumerate((2_000_000, 400_000))]
    names = [f"app{n}" for n in range(10)]
    for name in names:
        registry.put_image(f"{namespace}/{name}", "1", layers=1, shared_layers=base)
    distinct: dict[str, int] = {}
    for name in names:
        distinct |= blobs_of(registry, f"{namespace}/{name}", "1")
    write_list(asyncsync_command.folder, *(f"{registry.host}/{namespace}/{n}:1" for n in names))
    since, since_target = registry.mark(), own_registry.mark()

    done = asyncsync_command(*DIRECT, "--to", own_registry.host)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["bytes_moved"] == sum(distinct.values())
    assert fetched(registry, since) == Counter(distinct.keys())
    assert uploaded(own_registry, since_target) == Counter(distinct.keys())
    mounted = [
        r for r in own_registry.requests("POST", "?mount=", since=since_target) if r.status == 201
    ]
    assert len(mounted) == 9 * len(base)
    assert all("&from=app" in r.path for r in mounted)
    assert_whole(own_registry, names)


def test_the_report_tells_what_moved_what_was_there_and_what_is_shared(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    old, base = ([images.layer(f"{namespace} {n}", n * 100_000)] for n in (1, 4))
    for tag in ("1", "2"):
        registry.put_image(f"{namespace}/before", tag, layers=1, shared_layers=old)
    registry.put_index(f"{namespace}/multi", "1", PLATFORMS, attestation=True)
    for name in ("app0", "app1"):
        registry.put_image(f"{namespace}/{name}", "1", layers=1, shared_layers=base)
    at, to = f"{registry.host}/{namespace}", ("--to", own_registry.host)
    write_list(asyncsync_command.folder, f"{at}/before:1")
    asyncsync_command(*DIRECT, *to)
    names = ["before:2", "multi:1", "app0:1", "app1:1"]
    write_list(asyncsync_command.folder, *(f"{at}/{name}" for name in names))

    done = asyncsync_command(*DIRECT, *to)

    assert done.returncode == 0, done.stdout + done.stderr
    report, told = json.loads(done.stdout), outcomes(done.stdout)
    kinds = ("bytes_moved", "bytes_there", "bytes_shared")
    for name in names:
        size = sum(blobs_of(registry, f"{namespace}/{name[:-2]}", name[-1]).values())
        assert sum(told[name][kind] for kind in kinds) == size, name
    for kind in kinds:
        assert report[kind] == sum(outcome[kind] for outcome in told.values())
    assert report["bytes_there"] == told["before:2"]["bytes_there"] == len(old[0].data)
    assert report["bytes_shared"] == len(base[0].data)
    assert [told[name]["platforms"] for name in names] == [1, 3, 1, 1]


async def test_one_image_for_two_namespaces_is_uploaded_to_the_first_and_mounted_in_the_second(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    registry.put_index(f"{namespace}/a", "1", attestation=True)
    entry = f"{registry.host}/{namespace}/a:1"
    plans = [await asyncsync.plan([entry], to=f"{own_registry.host}/{ns}") for ns in ("x", "y")]
    both = asyncsync.Plan(tuple(job for plan in plans for job in plan.jobs))
    since = own_registry.mark()
    report = await asyncsync.sync(both, via="direct", docker_config=tmp_path)
    report.raise_for_failures()
    blobs = blobs_of(registry, f"{namespace}/a", "1")
    assert uploaded(own_registry, since) == Counter(blobs.keys())
    assert_whole(own_registry, ["x/a", "y/a"])
    digest = registry.digest_of(f"{namespace}/a", "1")
    assert [own_registry.digest_of(f"{ns}/a", "1") for ns in ("x", "y")] == [digest, digest]


def test_docker_pulls_what_has_arrived(
    engine: Engine, registry: Registry, own_registry: Registry, namespace: str,
    asyncsync_command: Command,
) -> None:  # fmt: skip
    index = registry.put_index(f"{namespace}/multi", "v1", attestation=True, layers=3)
    old = registry.put_image(f"{namespace}/old", "v1", oci=False)
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/multi:v1", f"{at}/old:v1")
    done = asyncsync_command(*DIRECT, "--to", own_registry.host, engine=engine)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, image in (("multi", index.children["linux/amd64"]), ("old", old)):
        engine.docker("pull", "--quiet", f"{own_registry.host}/{name}:v1")
        told = engine.ask("GET", f"/images/{own_registry.host}/{name}:v1/json")
        # Its config, or with containerd's store what the tag names.
        assert told["Id"] in {image.config_digest, image.digest, index.digest}
    engine.docker("rmi", f"{own_registry.host}/multi:v1")
    arm64 = f"{own_registry.host}/multi@{index.children['linux/arm64'].digest}"
    engine.docker("pull", "--quiet", "--platform", "linux/arm64", arm64)


def test_of_several_platforms_only_those_asked_for_arrive(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    index = registry.put_index(f"{namespace}/multi", "v1", PLATFORMS, attestation=True)
    registry.put_image(f"{namespace}/single", "v1", platform="linux/amd64")
    registry.put_index(f"{namespace}/few", "v1", ("linux/s390x", "linux/amd64"))
    at = f"{registry.host}/{namespace}"
    write_list(asyncsync_command.folder, f"{at}/multi:v1", f"{at}/single:v1", f"{at}/few:v1")
    arm64 = (*DIRECT, "--to", f"{own_registry.host}/one", "--platform", "linux/arm64")

    one = asyncsync_command(*arm64)

    assert one.returncode == 1
    told = outcomes(one.stdout)
    assert told["multi:v1"]["digest"] == index.children["linux/arm64"].digest
    assert seen_by_skopeo(own_registry, "one/multi:v1") == index.children["linux/arm64"].digest
    for name, has in (("single", "linux/amd64"), ("few", "linux/s390x")):
        assert told[f"{name}:v1"]["error"]["kind"] == "NoSuchPlatform"
        assert has in told[f"{name}:v1"]["error"]["message"]
        assert own_registry.tags(f"one/{name}") == []
    since = registry.mark()
    again = asyncsync_command(*arm64)
    assert statuses(again.stdout)["multi:v1"] == "unchanged"
    assert fetched(registry, since).keys() <= blobs_of(registry, f"{namespace}/single", "v1").keys()


def test_for_several_platforms_an_index_is_pruned_and_the_next_run_knows_it(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    index = registry.put_index(f"{namespace}/multi", "v1", PLATFORMS, attestation=True)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/multi:v1")
    two = ("--to", own_registry.host, "--platform", "linux/amd64", "--platform", "linux/arm64")

    done = asyncsync_command(*DIRECT, *two)

    assert done.returncode == 0, done.stdout + done.stderr
    told = outcomes(done.stdout)["multi:v1"]
    assert told["digest"] == seen_by_skopeo(own_registry, "multi:v1") != index.digest
    (note,) = told["notes"]
    assert "pruned to linux/amd64, linux/arm64 of 3 platforms" in note
    assert index.digest in note
    assert told["digest"] in note
    manifest = own_registry.manifest("multi", "v1")
    assert manifest is not None
    assert len(manifest["manifests"]) == 4, "two images and what is said about them"
    assert_whole(own_registry, ["multi"])
    since = own_registry.mark()
    again = asyncsync_command(*DIRECT, *two)
    assert statuses(again.stdout) == {"multi:v1": "unchanged"}
    assert {r.method for r in own_registry.requests(since=since)} <= {"HEAD", "GET"}


def test_unusual_images_arrive_as_they_are(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    registry.put_image(f"{namespace}/high", "1", layers=127, size=300)
    registry.put_image(f"{namespace}/no-layers", "1", layers=0)
    registry.put_image(f"{namespace}/twice", "1", layers=1, shared_layers=[images.layer("t")] * 2)
    config = registry.put_blob(f"{namespace}/empty", b"{}")
    nothing = registry.put_blob(f"{namespace}/empty", b"")
    manifest = {
        "schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
        "artifactType": "application/x.example",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2
        },
        "layers": [{"mediaType": "text/plain", "digest": nothing, "size": 0}],
    }  # fmt: skip
    data = json.dumps(manifest, indent=3).encode() + b"\n"
    registry.put_manifest(f"{namespace}/empty", "1", images.OCI_MANIFEST, data)
    names = ["high", "no-layers", "twice", "empty"]
    write_list(asyncsync_command.folder, *(f"{registry.host}/{namespace}/{n}:1" for n in names))

    done = asyncsync_command(*DIRECT, "--to", own_registry.host)

    assert done.returncode == 0, done.stdout + done.stderr
    for name in names:
        same = seen_by_skopeo(registry, f"{namespace}/{name}:1")
        assert seen_by_skopeo(own_registry, f"{name}:1") == same
    assert_whole(own_registry, names)


def test_a_mirror_is_asked_first_and_the_registry_only_for_what_the_mirror_lacks(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    for name in ("a", "b"):
        registry.put_image(f"{namespace}/{name}", "1")
    with Registry(tmp_path / "mirror") as mirror:
        mirror.put_image(f"{namespace}/a", "1")
        at = f"{registry.host}/{namespace}"
        write_list(asyncsync_command.folder, f"{at}/a:1", f"{at}/b:1")
        since = registry.mark()

        done = asyncsync_command(
            *DIRECT, "--to", own_registry.host, "--mirror", f"{registry.host}=http://{mirror.host}"
        )

        assert statuses(done.stdout) == {"a:1": "copied", "b:1": "copied"}, done.stderr
        assert registry.requests(path_contains=f"/{namespace}/a/", since=since) == []
        assert fetched(registry, since) == Counter(blobs_of(registry, f"{namespace}/b", "1").keys())
        assert fetched(mirror, 0) == Counter(blobs_of(registry, f"{namespace}/a", "1").keys())


def test_with_a_bound_on_the_rate_everything_arrives_too(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    image = registry.put_image(f"{namespace}/a", "1", layers=2, size=500_000)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    done = asyncsync_command("sync", "--to", own_registry.host, "--limit-rate", "2MiB/s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "via=direct" in done.stderr.splitlines()[0]
    assert own_registry.digest_of("a", "1") == image.digest


@pytest.mark.parametrize("asked", [(), ("--via", "direct")], ids=["auto", "direct"])
def test_it_works_where_there_is_no_docker_at_all_and_says_so_first(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    tmp_path: Path, asked: tuple[str, ...],
) -> None:  # fmt: skip
    image = registry.put_index(f"{namespace}/a", "1")
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    env = {"PATH": str(tmp_path / "empty"), **({"DOCKER_HOST": ""} if asked else {})}
    done = asyncsync_command("sync", "--to", own_registry.host, *asked, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    first = done.stderr.splitlines()[0]
    assert "via=direct" in first
    assert ("as asked" if asked else "no Docker Engine answers") in first
    assert own_registry.digest_of("a", "1") == image.digest


async def test_a_person_sees_what_of_an_image_was_adapted_and_by_name(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    index = registry.put_index(f"{namespace}/a", "1", attestation=True)
    write_list(asyncsync_command.folder, f"{registry.host}/{namespace}/a:1")
    refuse = fault("PUT", "/manifests/1", lambda _: error(415, "MANIFEST_INVALID"), times=1)
    async with gateway(own_registry.host, refuse) as server:
        run = partial(asyncsync_command, "sync", "--via", "direct", "--to", server.host)
        done = await anyio.to_thread.run_sync(run)
    assert done.returncode == 0, done.stdout + done.stderr
    image = f"{registry.host}/{namespace}/a:1"
    first, second = done.stderr.splitlines()[1:]
    assert first == f"{image}: adapted: {server.host} refuses it as it is"
    assert second.startswith(f"{image}: ")
    assert second.endswith(f"{index.digest} became {own_registry.digest_of('a', '1')}")
    assert done.stdout.split()[:4] == ["copied", image, "2", "platforms"]
