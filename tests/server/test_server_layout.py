"""The folder behind the server: what others write there, what is damaged, what is deleted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from parts import images
from parts.asking import ask
from parts.commands import skopeo
from parts.referrers import SPDX, artifact, entry
from parts.registry import Registry
from parts.serve import ServedFolder

from asyncsync.server import Address, serving

REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedFolder]:
    with ServedFolder(tmp_path / "served") as served:
        yield served


def entries(served: ServedFolder) -> list[dict[str, Any]]:
    index = json.loads((served.data / "index.json").read_bytes())
    return list(index["manifests"])


def file_of(served: ServedFolder, digest: str) -> Path:
    return served.data / "blobs" / digest.replace(":", "/")


def test_an_image_is_one_entry_of_the_index_however_many_manifests_it_has(
    served: ServedFolder,
) -> None:
    index = served.put_index("team/multi", "1", attestation=True)
    (only,) = entries(served)
    assert only["digest"] == index.digest
    assert only["annotations"] == {REF_NAME: "team/multi:1"}
    for child in index.children.values():
        assert served.digest_of("team/multi", child.digest) == child.digest


def test_an_image_that_has_a_digest_alone_is_an_entry_without_a_name(served: ServedFolder) -> None:
    image = served.put_image("team/app", None)
    (only,) = entries(served)
    assert (only["digest"], only.get("annotations")) == (image.digest, None)
    served.put_image("team/app", None)
    assert len(entries(served)) == 1
    served.put_image("team/app", "1", seed="team/app:None linux/amd64")
    (only,) = entries(served)
    assert only["annotations"] == {REF_NAME: "team/app:1"}


def test_what_another_program_adds_is_served_at_once(
    served: ServedFolder, registry: Registry, namespace: str
) -> None:
    index = registry.put_index(f"{namespace}/multi", "v1")
    assert served.digest_of("tools/multi", "v1") is None
    source = f"docker://{registry.host}/{namespace}/multi:v1"
    to = f"oci:{served.data}:tools/multi:v1"
    skopeo("copy", "--all", "--src-tls-verify=false", source, to)
    assert served.digest_of("tools/multi", "v1") == index.digest
    for child in index.children.values():
        assert served.digest_of("tools/multi", child.digest) == child.digest
    assert served.tags("tools/multi") == ["v1"]


async def test_an_index_that_is_being_replaced_and_is_denied_for_a_moment_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, denials = os.stat, 3

    def denying(path: Any, *how: Any, **more: Any) -> os.stat_result:  # as NTFS by FUSE does
        nonlocal denials
        if str(path).endswith("index.json") and denials:
            denials -= 1
            raise FileNotFoundError(path)
        return looked(path, *how, **more)

    async with serving(tmp_path / "layout", Address("127.0.0.1", 0)) as served:
        monkeypatch.setattr(os, "stat", denying)
        answer = await to_thread.run_sync(ask, str(served.address), "GET", "/v2/_catalog")
    assert (answer.status, answer.json, denials) == (200, {"repositories": []}, 0)


def test_names_that_no_registry_could_have_are_passed_over(served: ServedFolder) -> None:
    image = served.put_image("team/app", "1")
    index = json.loads((served.data / "index.json").read_bytes())
    (entry,) = index["manifests"]
    for name in (
        "latest",
        "UPPER:1",
        "../../etc:1",
        "a/../b:1",
        "team/app:../1",
        "",
        ":",
        "x:" * 99,
    ):
        index["manifests"].append({**entry, "annotations": {REF_NAME: name}})
    index["manifests"].append({**entry, "mediaType": "text/plain"})
    (served.data / "index.json").write_text(json.dumps(index))
    assert served.tags("team/app") == ["1"]
    assert served.digest_of("team/app", "1") == image.digest


def test_a_manifest_that_does_not_say_its_type_has_the_one_that_its_index_says(
    served: ServedFolder,
) -> None:
    image = images.image([images.layer("untyped", 500)], "linux/amd64", oci=True)
    body = json.loads(image.manifest.data)
    del body["mediaType"]
    data = json.dumps(body).encode()
    child = images.Image(images.Blob(images.OCI_MANIFEST, data), image.config, image.layers)
    index = images.index({"linux/amd64": child}, {}, oci=True)
    for blob in (*image.layers, image.config):
        served.put_blob("team/app", blob.data)
    served.put_manifest("team/app", child.manifest.digest, images.OCI_MANIFEST, data)
    served.put_manifest("team/app", "1", images.OCI_INDEX, index.data)
    assert len(entries(served)) == 1
    got = ask(served.host, "GET", f"/v2/team/app/manifests/{child.manifest.digest}")
    assert (got.headers["Content-Type"], got.body) == (images.OCI_MANIFEST, data)


def test_a_damaged_manifest_counts_as_missing_until_it_is_put_again(served: ServedFolder) -> None:
    image = served.put_image("team/app", "1")
    file_of(served, image.digest).write_bytes(b"{}")
    missing = ask(served.host, "GET", "/v2/team/app/manifests/1")
    assert (missing.status, missing.codes) == (404, ["MANIFEST_UNKNOWN"])
    assert served.digest_of("team/app", "1") is None
    assert served.put_image("team/app", "1").digest == image.digest
    assert served.digest_of("team/app", "1") == image.digest


def test_a_blob_that_was_cut_is_asked_for_again_when_its_image_is_pushed(
    served: ServedFolder,
) -> None:
    image = served.put_image("team/app", "1")
    layer = file_of(served, image.layer_digests[0])
    whole = layer.read_bytes()
    layer.write_bytes(whole[:-1])
    manifest = file_of(served, image.digest).read_bytes()
    at, typed = "/v2/team/app/manifests/2", {"Content-Type": images.OCI_MANIFEST}
    refused = ask(served.host, "PUT", at, manifest, typed)
    assert (refused.status, refused.codes) == (404, ["MANIFEST_BLOB_UNKNOWN"])
    assert image.layer_digests[0] in refused.body.decode()
    assert not served.has_blob("team/app", image.layer_digests[0])
    assert served.put_blob("team/app", whole) == image.layer_digests[0]
    assert ask(served.host, "PUT", at, manifest, typed).status == 201
    assert layer.read_bytes() == whole


def test_a_manifest_that_errs_about_a_length_costs_nobody_a_blob(served: ServedFolder) -> None:
    image = served.put_image("team/app", "1")
    body = json.loads(file_of(served, image.digest).read_bytes())
    body["layers"][0]["size"] += 1
    told = {"Content-Type": images.OCI_MANIFEST}
    put = ask(served.host, "PUT", "/v2/team/app/manifests/2", json.dumps(body).encode(), told)
    assert put.status == 201
    assert served.has_blob("team/app", image.layer_digests[0])


def test_of_two_images_of_one_name_the_first_is_served_as_it_is_copied(
    served: ServedFolder,
) -> None:
    first = served.put_image("team/app", "1", seed="one")
    served.put_image("team/app", "2", seed="two")
    index = json.loads((served.data / "index.json").read_bytes())
    for each in index["manifests"]:
        each["annotations"][REF_NAME] = "team/app:1"
    (served.data / "index.json").write_text(json.dumps(index))
    assert index["manifests"][0]["digest"] == first.digest
    assert served.digest_of("team/app", "1") == first.digest


def test_a_damaged_index_is_told_and_ends_nothing(served: ServedFolder) -> None:
    image = served.put_image("team/app", "1")
    kept = (served.data / "index.json").read_bytes()
    (served.data / "index.json").write_bytes(b"[")
    told = ask(served.host, "GET", "/v2/team/app/manifests/1")
    assert (told.status, told.codes) == (500, ["UNKNOWN"])
    assert b"the registry's folder is damaged" in told.body
    (served.data / "index.json").write_bytes(kept)
    assert served.digest_of("team/app", "1") == image.digest


def test_links_that_lead_out_of_the_folder_are_not_followed(
    served: ServedFolder, tmp_path: Path
) -> None:
    served.put_image("team/app", "1")
    secret = b"nobody's business"
    digest = images.digest_of(secret)
    (tmp_path / "secret").write_bytes(secret)
    file_of(served, digest).symlink_to(tmp_path / "secret")
    assert not served.has_blob("team/app", digest)
    assert ask(served.host, "GET", f"/v2/team/app/blobs/{digest}").status == 404
    served.put_blob("team/app", secret)
    assert not file_of(served, digest).is_symlink()
    assert (tmp_path / "secret").read_bytes() == secret


def test_what_an_image_needs_cannot_be_deleted_and_is_named(served: ServedFolder) -> None:
    index = served.put_index("team/multi", "1")
    (child, *_) = index.children.values()
    for path, by in (
        (f"blobs/{child.layer_digests[0]}", child.digest),
        (f"blobs/{child.config_digest}", child.digest),
        (f"blobs/{child.digest}", index.digest),
        (f"manifests/{child.digest}", index.digest),
        (f"blobs/{index.digest}", index.digest),
    ):
        refused = ask(served.host, "DELETE", f"/v2/team/multi/{path}")
        assert (refused.status, refused.codes) == (409, ["DENIED"])
        assert by in refused.body.decode()
    served.delete("team/multi", index.digest)
    for each in index.children.values():
        assert ask(served.host, "DELETE", f"/v2/team/multi/manifests/{each.digest}").status == 202
        assert (
            ask(served.host, "DELETE", f"/v2/team/multi/blobs/{each.config_digest}").status == 202
        )
    assert entries(served) == []


def test_a_folder_can_be_moved_while_nobody_serves_it(served: ServedFolder, tmp_path: Path) -> None:
    image = served.put_image("team/app", "1")
    served.stop()
    shutil.move(served.data, tmp_path / "carried")
    shutil.copytree(tmp_path / "carried", served.data)
    served.start()
    assert served.digest_of("team/app", "1") == image.digest


def test_many_referrers_come_in_pages(served: ServedFolder) -> None:
    image = served.put_image("team/app", "1")
    subject = {"mediaType": images.OCI_MANIFEST, "digest": image.digest, "size": 1}
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2}
    config["digest"] = served.put_blob("team/app", b"{}")
    pushed = set[str]()
    for number in range(20):
        body = {
            "schemaVersion": 2, "mediaType": images.OCI_MANIFEST, "artifactType": "x/y",
            "config": config, "layers": [], "subject": subject,
            "annotations": {"long": f"{number}" + "x" * 250_000},
        }  # fmt: skip
        data = json.dumps(body).encode()
        digest = images.digest_of(data)
        pushed.add(served.put_manifest("team/app", digest, images.OCI_MANIFEST, data))
    path: str | None = f"/v2/team/app/referrers/{image.digest}?artifactType=x/y"
    found: list[str] = []
    pages = 0
    while path:
        answer = ask(served.host, "GET", path)
        assert len(answer.body) < 4 * 1024 * 1024
        found += [each["digest"] for each in answer.json["manifests"]]
        path = (answer.headers["Link"] or "").partition(">")[0].removeprefix("<") or None
        pages += 1
    assert pages == 2
    assert found == sorted(pushed)


def test_a_repository_lists_its_own_referrers_and_those_without_a_name(
    served: ServedFolder,
) -> None:
    image = served.put_image("team/app", "1")
    data = [artifact(image.digest, SPDX, f"bill {number}") for number in range(2)]
    for blob in (b"{}", b"bill 0", b"bill 1"):
        served.put_blob("team/app", blob)
    served.put_manifest("team/app", "bill", images.OCI_MANIFEST, data[0])
    served.put_manifest("team/app", images.digest_of(data[1]), images.OCI_MANIFEST, data[1])
    named, nameless = map(images.digest_of, data)
    for repository, expected in (("team/app", {named, nameless}), ("team/other", {nameless})):
        answer = ask(served.host, "GET", f"/v2/{repository}/referrers/{image.digest}")
        assert {each["digest"] for each in answer.json["manifests"]} == expected
    fallback = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [entry(data[1])]}
    tag = image.digest.replace(":", "-")
    served.put_manifest("team/app", tag, images.OCI_INDEX, json.dumps(fallback).encode())
    answer = ask(served.host, "GET", f"/v2/team/other/referrers/{image.digest}")
    assert {each["digest"] for each in answer.json["manifests"]} == {nameless}


def test_the_catalog_names_the_repositories_in_pages(served: ServedFolder) -> None:
    for repository in ("team/b", "c", "team/a"):
        served.put_image(repository, "1")
    served.put_image("nameless", None)
    whole = ask(served.host, "GET", "/v2/_catalog")
    assert whole.json == {"repositories": ["c", "team/a", "team/b"]}
    first = ask(served.host, "GET", "/v2/_catalog?n=2")
    assert first.json == {"repositories": ["c", "team/a"]}
    link = first.headers["Link"]
    assert link.endswith('>; rel="next"')
    rest = ask(served.host, "GET", link[1 : link.index(">")])
    assert (rest.json, "Link" in rest.headers) == ({"repositories": ["team/b"]}, False)
    assert ask(served.host, "GET", "/v2/_catalog?n=x").status == 400
    assert ask(served.host, "PUT", "/v2/_catalog", b"").status == 405


def test_the_catalog_has_the_form_of_a_real_registrys(registry: Registry, namespace: str) -> None:
    """Ours is tested above; this is what clients are used to."""
    registry.put_image(f"{namespace}/app", "1")
    told = ask(registry.host, "GET", f"/v2/_catalog?n=1&last={namespace}")
    assert told.json == {"repositories": [f"{namespace}/app"]}
