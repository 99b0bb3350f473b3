from __future__ import annotations

import hashlib
import json

import pytest

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    CopyError,
    DigestMismatch,
    RegistryUnavailable,
    UnsupportedManifest,
)
from asyncsync.model.manifest import (
    ACCEPTED_TYPES,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
)
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.kinds import descriptor_of, manifest_of

REF = Reference.parse("r.example/team/app:1")
ONE, TWO = Digest.of(b"1"), Digest.of(b"2")
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"


@pytest.mark.parametrize("kind", ACCEPTED_TYPES)
def test_a_head_tells_type_digest_and_size(kind: str) -> None:
    headers = {
        "Content-Type": f"{kind.upper()}; charset=utf-8",
        "Docker-Content-Digest": str(ONE),
        "Content-Length": "7",
    }
    found = descriptor_of(headers, REF)
    assert found is not None
    assert (found.media_type, found.digest, found.size) == (kind, ONE, 7)


@pytest.mark.parametrize(
    "change",
    [
        {"Docker-Content-Digest": ""},
        {"Docker-Content-Digest": "sha256:short"},
        {"Docker-Content-Digest": "md5:0123"},
        {"Content-Length": ""},
        {"Content-Length": "-1"},
        {"Content-Type": ""},
        {"Content-Type": "text/html"},
        {"Content-Type": "application/json"},
    ],
    ids=str,
)
def test_a_head_that_leaves_something_out_is_not_enough(change: dict[str, str]) -> None:
    headers = {
        "Content-Type": OCI_INDEX,
        "Docker-Content-Digest": str(ONE),
        "Content-Length": "7",
    }
    assert descriptor_of(headers | change, REF) is None


def test_a_head_of_a_digest_must_tell_that_digest() -> None:
    headers = {
        "Content-Type": OCI_INDEX,
        "Docker-Content-Digest": str(ONE),
        "Content-Length": "7",
    }
    with pytest.raises(DigestMismatch, match=str(TWO)):
        descriptor_of(headers, REF.by_digest(TWO))
    assert descriptor_of(headers, REF.by_digest(Digest.of(b"1", "sha512"))) is None


@pytest.mark.parametrize(
    ("header", "body", "kind"),
    [
        (OCI_INDEX, {"manifests": []}, OCI_INDEX),
        (f"{DOCKER_LIST};charset=utf-8", {"manifests": []}, DOCKER_LIST),
        (DOCKER_MANIFEST, {"mediaType": DOCKER_MANIFEST, "layers": []}, DOCKER_MANIFEST),
        ("application/json", {"mediaType": DOCKER_LIST, "manifests": []}, DOCKER_LIST),
        ("", {"manifests": []}, OCI_INDEX),
        ("text/plain", {"layers": []}, OCI_MANIFEST),
        ("text/html", {"mediaType": OCI_MANIFEST, "layers": []}, OCI_MANIFEST),
        (ARTIFACT, {"blobs": []}, ARTIFACT),
    ],
    ids=range(8),
)
def test_the_type_is_what_header_field_or_shape_say_in_this_order(
    header: str, body: dict[str, object], kind: str
) -> None:
    data = json.dumps(body).encode()
    raw = manifest_of({"Content-Type": header}, data, REF)
    assert (raw.media_type, raw.data, raw.digest) == (kind, data, Digest.of(data))


@pytest.mark.parametrize(
    ("header", "data", "error"),
    [
        (OCI_MANIFEST, b'{"mediaType": "%s"}' % OCI_INDEX.encode(), UnsupportedManifest),
        (SCHEMA_1, b'{"schemaVersion": 1}', UnsupportedManifest),
        ("application/json", b'{"schemaVersion": 1, "fsLayers": []}', UnsupportedManifest),
        ("", b'{"mediaType": "evil\\u001b[31m", "layers": []}', UnsupportedManifest),
        ("", b"{}", RegistryUnavailable),
        ("text/html", b"<html>log in first</html>", RegistryUnavailable),
        (OCI_MANIFEST, b"<html>log in first</html>", RegistryUnavailable),
        (OCI_MANIFEST, b"[" * 100_000, RegistryUnavailable),
        (OCI_MANIFEST, b"", RegistryUnavailable),
    ],
    ids=range(9),
)
def test_what_is_no_manifest_or_two_at_once_is_refused(
    header: str, data: bytes, error: type[CopyError]
) -> None:
    with pytest.raises(error) as caught:
        manifest_of({"Content-Type": header}, data, REF)
    assert str(caught.value).isprintable()
    assert caught.value.where.registry == "r.example"


@pytest.mark.parametrize(
    ("header", "data", "says"),
    [
        ("text/html", b"<html>log in first</html>", "answered with text/html that is no manifest"),
        ("", b"{}", "answered with something that is no manifest"),
        ("", b'{"mediaType": "text/html"}', "is of the type text/html"),
        ("", b'{"mediaType": " "}', "is of the type nothing"),
    ],
)
def test_what_came_in_place_of_a_manifest_is_named(header: str, data: bytes, says: str) -> None:
    with pytest.raises(CopyError, match=says):
        manifest_of({"Content-Type": header}, data, REF)


def test_schema_1_is_refused_from_its_head() -> None:
    with pytest.raises(UnsupportedManifest, match="schema 1"):
        descriptor_of({"Content-Type": SCHEMA_1}, REF)


DATA = json.dumps({"layers": []}).encode()


@pytest.mark.parametrize(
    ("told", "asked", "right"),
    [
        ("", None, True),
        (f"sha256:{hashlib.sha256(DATA).hexdigest()}", None, True),
        (f"sha512:{hashlib.sha512(DATA).hexdigest()}", None, True),
        ("sha256:malformed", None, True),
        (str(ONE), None, False),
        ("", ONE, False),
        (f"sha256:{hashlib.sha256(DATA).hexdigest()}", ONE, False),
        (str(ONE), Digest.of(DATA), False),
        ("", Digest.of(DATA, "sha512"), True),
        (str(ONE), Digest.of(DATA, "sha512"), False),
    ],
    ids=range(10),
)
def test_bytes_must_have_the_digest_that_was_asked_and_the_one_that_was_told(
    told: str, asked: Digest | None, right: bool
) -> None:
    ref = REF.by_digest(asked) if asked else REF
    headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": told}
    if right:
        raw = manifest_of(headers, DATA, ref)
        assert Digest.of(DATA, raw.digest.algorithm) == raw.digest
        assert asked in (None, raw.digest)
    else:
        with pytest.raises(DigestMismatch):
            manifest_of(headers, DATA, ref)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_what_a_tag_names_has_the_digest_that_its_registry_tells(algorithm: str) -> None:
    told = Digest.of(DATA, algorithm)
    assert manifest_of({"Docker-Content-Digest": str(told)}, DATA, REF).digest == told


def test_an_answer_without_any_type_is_read_by_its_shape() -> None:
    assert descriptor_of({"Content-Length": "7", "Docker-Content-Digest": str(ONE)}, REF) is None
    assert manifest_of({}, DATA, REF).media_type == OCI_MANIFEST
