"""Signatures and SBOMs come along between real registries; the judge of a tag is skopeo."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from aiohttp import web
from parts import images
from parts.commands import Command, outcomes, statuses, write_list
from parts.gateway import error, gateway
from parts.judging import assert_whole, seen_by_skopeo
from parts.referrers import NOTARY, SPDX, artifact, fallback_tag, listing_registry, put_referrer
from parts.registry import Registry

import asyncsync

pytestmark = [pytest.mark.registry, pytest.mark.timeout(120)]

DIRECT = ("sync", "--via", "direct", "--with-referrers", "--output", "json")


def listed(registry: Registry, repository: str, subject: str) -> list[tuple[str, str]]:
    """Digest and type of what the list at the fallback tag names."""
    page = registry.manifest(repository, fallback_tag(subject)) or {"manifests": []}
    return [(each["digest"], each["artifactType"]) for each in page["manifests"]]


def test_all_that_refers_to_an_image_comes_along_and_is_not_moved_twice(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    source = f"{namespace}/app"
    index = registry.put_index(source, "1", attestation=True, artifact=True)
    child = index.children["linux/arm64"].digest
    signature = put_referrer(registry, source, index.digest)
    sbom = put_referrer(registry, source, child, SPDX, "what is in it")
    signed_sbom = put_referrer(registry, source, sbom, content="the sbom, signed")
    at_cosign = f"{fallback_tag(index.digest)}.sig"
    registry.put_image(source, at_cosign, layers=1, size=200)
    write_list(asyncsync_command.folder, f"{registry.host}/{source}:1")

    done = asyncsync_command(*DIRECT, "--to", own_registry.host)

    assert done.returncode == 0, done.stdout + done.stderr
    outcome = outcomes(done.stdout)["app:1"]
    assert (outcome["status"], outcome["digest"]) == ("copied", index.digest)
    assert outcome["notes"] == ["brought along: 3 signatures, 1 SBOM"]
    assert seen_by_skopeo(own_registry, f"app:{at_cosign}") == registry.digest_of(source, at_cosign)
    assert listed(own_registry, "app", index.digest) == [(signature, NOTARY)]
    assert listed(own_registry, "app", child) == [(sbom, SPDX)]
    assert listed(own_registry, "app", sbom) == [(signed_sbom, NOTARY)]
    for subject in (index.digest, child, sbom):
        at = fallback_tag(subject)
        assert own_registry.manifest("app", at) == registry.manifest(source, at)
    assert_whole(own_registry, ["app"])

    since, since_target = registry.mark(), own_registry.mark()
    again = asyncsync_command(*DIRECT, "--to", own_registry.host)

    assert statuses(again.stdout) == {"app:1": "unchanged"}
    assert outcomes(again.stdout)["app:1"]["notes"] == []
    assert json.loads(again.stdout)["bytes_moved"] == 0
    assert {r.method for r in own_registry.requests(since=since_target)} == {"HEAD", "GET"}
    lists = {registry.digest_of(source, fallback_tag(d)) for d in (index.digest, child, sbom)}
    read = registry.requests("GET", "/manifests/", since=since)
    assert {r.path.rpartition("/")[2] for r in read} == lists


async def test_a_registry_that_lists_by_itself_keeps_the_list(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    source = f"{namespace}/app"
    image = registry.put_image(source, "1")
    registry.put_blob(source, b"{}")
    registry.put_blob(source, b"signed")
    data = artifact(image.digest, NOTARY, "signed")
    digest = registry.put_manifest(source, images.digest_of(data), images.OCI_MANIFEST, data)
    async with listing_registry(registry) as (origin, origins), listing_registry(own_registry) as (
        target, targets,
    ):  # fmt: skip
        origins.add(source, data)
        options = {"to": target.host, "via": "direct", "with_referrers": True}
        entry = f"{origin.host}/{source}:1"
        first = await asyncsync.sync([entry], docker_config=tmp_path, **options)
        first.raise_for_failures()
        assert first.outcomes[0].notes == ("brought along: 1 signature",)
        assert own_registry.digest_of("app", digest) == digest
        assert own_registry.tags("app") == ["1"]
        assert [each["digest"] for each in targets.held["app", image.digest]] == [digest]

        asked = len(target.requests)
        again = await asyncsync.sync([entry], docker_config=tmp_path, **options)
        assert again.outcomes[0].status == "unchanged"
        assert again.outcomes[0].bytes_moved == 0
        assert {seen.method for seen in target.requests[asked:]} == {"HEAD", "GET"}
        at_tag = f"/manifests/{fallback_tag(image.digest)}"
        assert not [r for r in (*origin.requests, *target.requests) if r.path.endswith(at_tag)]


@pytest.mark.parametrize("seed", [1, 2])
def test_images_that_share_a_part_in_one_repository_leave_one_complete_list(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command,
    seed: int,
) -> None:  # fmt: skip
    names, signatures = [], []
    for number in range(6):
        source = f"{namespace}/n{number}/app"
        image = registry.put_image(source, str(number), seed=namespace)
        put = [put_referrer(registry, source, image.digest, content=f"{number} {n}") for n in "ab"]
        names.append(f"{registry.host}/{source}:{number}")
        signatures += put
    random.Random(seed).shuffle(names)  # noqa: S311  an order, no secret
    write_list(asyncsync_command.folder, *names)

    done = asyncsync_command(*DIRECT, "--to", own_registry.host)

    assert done.returncode == 0, done.stdout + done.stderr
    there = [digest for digest, _ in listed(own_registry, "app", image.digest)]
    assert sorted(there) == sorted(signatures)
    assert_whole(own_registry, ["app"])


async def test_what_the_target_takes_not_is_told_in_its_words_and_the_image_is_copied(
    registry: Registry, own_registry: Registry, namespace: str, tmp_path: Path
) -> None:
    source = f"{namespace}/app"
    image = registry.put_image(source, "1")
    digest = put_referrer(registry, source, image.digest)

    async def aliyun(request: web.BaseRequest) -> web.StreamResponse | None:
        if request.method != "PUT" or b"artifactType" not in await request.read():
            return None
        return error(403, "DENIED", message="unknown manifest class for x")

    async with gateway(own_registry.host, aliyun) as target:
        report = await asyncsync.sync(
            [f"{registry.host}/{source}:1"], to=target.host, via="direct", with_referrers=True,
            docker_config=tmp_path,
        )  # fmt: skip
    (outcome,) = report.outcomes
    assert outcome.status == "copied"
    (note,) = outcome.notes
    assert note.startswith(f"left out the signature {digest}: ")
    assert "unknown manifest class for x" in note
    assert own_registry.digest_of("app", "1") == image.digest
    assert own_registry.tags("app") == ["1"]


def test_a_signature_that_cannot_be_read_fails_an_image_that_is_in_place(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    source = f"{namespace}/app"
    image = registry.put_image(source, "1")
    put_referrer(registry, source, image.digest, content=namespace)
    registry.delete_blob(source, images.digest_of(namespace.encode()))
    write_list(asyncsync_command.folder, f"{registry.host}/{source}:1")
    for _ in range(2):  # nor does the next run take it for complete
        done = asyncsync_command(*DIRECT, "--to", own_registry.host)
        assert done.returncode == 1
        told = outcomes(done.stdout)["app:1"]["error"]
        assert told["kind"] == "NotFound"
        assert "the image is in place, but not all that refers to it: " in told["message"]
        assert own_registry.digest_of("app", "1") == image.digest
    registry.put_blob(source, namespace.encode())
    mended = asyncsync_command(*DIRECT, "--to", own_registry.host)
    assert statuses(mended.stdout) == {"app:1": "unchanged"}
    assert outcomes(mended.stdout)["app:1"]["notes"] == ["brought along: 1 signature"]


def test_a_signature_of_an_index_stays_away_from_one_of_its_images(
    registry: Registry, own_registry: Registry, namespace: str, asyncsync_command: Command
) -> None:
    source = f"{namespace}/app"
    index = registry.put_index(source, "1")
    child = index.children["linux/arm64"].digest
    put_referrer(registry, source, index.digest, content="of the index")
    of_child = put_referrer(registry, source, child, content="of the child")
    write_list(asyncsync_command.folder, f"{registry.host}/{source}:1")
    done = asyncsync_command(*DIRECT, "--to", own_registry.host, "--platform", "linux/arm64")
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(done.stdout)["app:1"]["notes"] == [
        "brought along: 1 signature",
        f"left out 1 signature: it speaks of {index.digest}, which became {child}",
    ]
    assert listed(own_registry, "app", child) == [(of_child, NOTARY)]
