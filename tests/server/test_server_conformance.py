"""OCI distribution-spec 1.1 from outside: each end-point with each of its statuses.

Written from the specification, and judged at our server and at a real one alike, so that it says
what a registry does and not what ours happens to do. What docker-registry 2.8 does otherwise stands
beside the row, with the reason; such a row must fail there, or it has to be looked at again.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from parts import images
from parts.asking import Answer, ask
from parts.registry import Registry
from parts.serve import ServedFolder

BLOB, EMPTY = b"0123456789", b""
FIRST, SECOND = b"01234", b"56789"
DIGEST, EMPTY_DIGEST = images.digest_of(BLOB), images.digest_of(EMPTY)
SHA512 = f"sha512:{hashlib.sha512(BLOB).hexdigest()}"
UNKNOWN = images.digest_of(b"nobody has this")
LONELY = images.digest_of(b"nobody refers to this")
UPLOAD = "8b9d1c3f-7f39-4a43-9a3e-0d2f5a3b8c11"  # of a form that neither server refuses unread
IMAGE = images.image([images.layer("conformance", 2000)], "linux/amd64", oci=True)
DOCKER = images.image([images.layer("conformance", 2000)], "linux/amd64", oci=False)
INDEX = images.index({"linux/amd64": IMAGE}, {}, oci=True)
LACKING = images.image([images.layer("nobody has this one", 100)], "linux/amd64", oci=True)
LACKING_INDEX = images.index({"linux/amd64": LACKING}, {}, oci=True)
OCTETS = {"Content-Type": "application/octet-stream"}
OCI, LIST = {"Content-Type": images.OCI_MANIFEST}, {"Content-Type": images.OCI_INDEX}
SCHEMA_2 = {"Content-Type": images.DOCKER_MANIFEST}
ALL = {"Accept": ", ".join((images.OCI_INDEX, images.OCI_MANIFEST, images.DOCKER_MANIFEST))}
SIGNATURE, SBOM = "application/x-signature", "application/x-sbom"


def referring(artifact: str, subject: str = IMAGE.manifest.digest) -> bytes:
    """An artifact that refers to `subject`."""
    body = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "artifactType": artifact,
        "config": IMAGE.config.descriptor,
        "layers": [],
        "subject": {"mediaType": images.OCI_MANIFEST, "digest": subject, "size": 500},
        "annotations": {"org.example.says": artifact},
    }
    return json.dumps(body).encode()


@dataclass(frozen=True)
class Ask:
    """A request. `{name}` in it is what the world of the row, or an earlier answer, has."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What is asked, one after the other, and what the last answer is.

    `codes`: one of them is in its document; `headers`: patterns; `body`: the whole, or what has to
    be true of it. `old`: why docker-registry 2.8 does otherwise.
    """

    name: str
    asked: Sequence[Ask]
    status: int | tuple[int, ...]
    codes: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Callable[[Answer], bool] | None = None
    old: str = ""
    chance: bool = False


class World:
    """A server with a repository of the row's own, which has blobs, an image and tags."""

    def __init__(self, server: Registry) -> None:
        self.server = server
        self.names = {"app": f"ns-{uuid.uuid4().hex[:12]}/app", "other": f"ns-{uuid.uuid4().hex}"}
        app = self.names["app"]
        for data in (BLOB, EMPTY, *(blob.data for blob in (IMAGE.config, *IMAGE.layers))):
            server.put_blob(app, data)
        server.put_blob(app, DOCKER.config.data)
        for tag in ("b", "a", "C"):
            server.put_manifest(app, tag, images.OCI_MANIFEST, IMAGE.manifest.data)

    def ask(self, asked: Ask) -> Answer:
        path = asked.path
        for name, value in self.names.items():
            path = path.replace(f"{{{name}}}", value)
        answer = ask(self.server.host, asked.method, path, asked.body, asked.headers)
        if "/uploads/" in answer.headers.get("Location", ""):
            self.names["location"] = answer.location
            self.names["and"] = f"{answer.location}{'&' if '?' in answer.location else '?'}"
        return answer


APP, OTHER = "/v2/{app}", "/v2/{other}"
POST = Ask("POST", f"{APP}/blobs/uploads/", b"")
PATCH_FIRST = Ask("PATCH", "{location}", FIRST, {**OCTETS, "Content-Range": "0-4"})
PATCH_SECOND = Ask("PATCH", "{location}", SECOND, {**OCTETS, "Content-Range": "5-9"})
STREAM = Ask("PATCH", "{location}", BLOB, OCTETS)
STATUS = Ask("GET", "{location}")
CLOSE = Ask("PUT", f"{{and}}digest={DIGEST}", b"")
WHOLE = Ask("PUT", f"{{and}}digest={DIGEST}", BLOB, OCTETS)
CANCEL = Ask("DELETE", "{location}")
GET_BLOB, HEAD_BLOB, DELETE_BLOB = (
    Ask(method, f"{APP}/blobs/{DIGEST}") for method in ("GET", "HEAD", "DELETE")
)
TAG, MANIFEST = f"{APP}/manifests/a", f"{APP}/manifests/{IMAGE.manifest.digest}"
SAYS_DIGEST = {"Docker-Content-Digest": DIGEST}
SAYS_MANIFEST = {
    "Docker-Content-Digest": IMAGE.manifest.digest,
    "Content-Type": re.escape(images.OCI_MANIFEST),
    "Content-Length": str(len(IMAGE.manifest.data)),
}
GONE, BAD_NAME = ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"), (400, 404)
NO_REFERRERS = "it has no referrers API (distribution-spec 1.1 is younger)"
NO_RANGE_CHECK = "it does not look at Content-Range, and appends"
NO_PAGES = "it ignores n"
ODD_416 = "its 416 has the blob's length, and not that many bytes"
CLEANS = "it redirects to a path that Go has cleaned"
FAILS = "it answers 500"


def part(asked: str) -> Ask:
    return Ask("GET", f"{APP}/blobs/{DIGEST}", headers={"Range": f"bytes={asked}"})


def put(reference: str, data: bytes, headers: Mapping[str, str] = OCI) -> Ask:
    return Ask("PUT", f"{APP}/manifests/{reference}", data, headers)


def names(*digests: str) -> Callable[[Answer], bool]:
    """All these digests are named by the error document."""
    return lambda answer: all(digest in answer.body.decode() for digest in digests)


def lists(*tags: str) -> Callable[[Answer], bool]:
    return lambda answer: bool(answer.json["tags"] == list(tags))


def refers(*artifacts: str) -> Callable[[Answer], bool]:
    """An index of what refers, with type and annotations of each."""

    def holds(answer: Answer) -> bool:
        body: dict[str, Any] = answer.json
        assert (body["schemaVersion"], body["mediaType"]) == (2, images.OCI_INDEX)
        assert all(
            each["annotations"] == {"org.example.says": each["artifactType"]}
            and each["mediaType"] == images.OCI_MANIFEST
            and each["size"] == len(referring(each["artifactType"]))
            for each in body["manifests"]
        )
        return sorted(each["artifactType"] for each in body["manifests"]) == sorted(artifacts)

    return holds


BASE = [
    Row("the base", [Ask("GET", "/v2/")], 200),
    Row("the base of another API", [Ask("GET", "/v1/_ping")], 404),
    Row("a path that is none", [Ask("GET", "/v2/{app}/nothing")], 404),
    Row("a method that is none", [Ask("PUT", f"{APP}/tags/list", b"")], 405),
]
BLOBS = [
    Row("HEAD", [HEAD_BLOB], 200, headers={**SAYS_DIGEST, "Content-Length": "10"}, body=b""),
    Row("HEAD of none", [Ask("HEAD", f"{APP}/blobs/{UNKNOWN}")], 404),
    Row("GET", [GET_BLOB], 200, headers={**SAYS_DIGEST, "Content-Length": "10"}, body=BLOB),
    Row("GET of none", [Ask("GET", f"{APP}/blobs/{UNKNOWN}")], 404, ("BLOB_UNKNOWN",)),
    Row("HEAD of no bytes", [Ask("HEAD", f"{APP}/blobs/{EMPTY_DIGEST}")], 200,
        headers={"Content-Length": "0", "Docker-Content-Digest": EMPTY_DIGEST}),
    Row("GET of no bytes", [Ask("GET", f"{APP}/blobs/{EMPTY_DIGEST}")], 200, body=b""),
    Row("GET of what is known", [Ask("GET", f"{APP}/blobs/{DIGEST}",
        headers={"If-None-Match": f'"{DIGEST}"'})], 304, body=b""),
    Row("a part", [part("2-4")], 206, body=b"234",
        headers={**SAYS_DIGEST, "Content-Range": "bytes 2-4/10", "Content-Length": "3"}),
    Row("a part to the end", [part("4-")], 206, body=b"456789",
        headers={"Content-Range": "bytes 4-9/10"}),
    Row("the end", [part("-3")], 206, body=b"789", headers={"Content-Range": "bytes 7-9/10"}),
    Row("more than the end", [part("-30")], 206, body=BLOB),
    Row("the last byte", [part("9-9")], 206, body=b"9"),
    Row("a part beyond the end", [part("8-100")], 206, body=b"89",
        headers={"Content-Range": "bytes 8-9/10"}),
    Row("a part behind the end", [part("10-")], 416, headers={"Content-Range": r"bytes \*/10"},
        old=ODD_416),
    Row("a part of another unit", [Ask("GET", f"{APP}/blobs/{DIGEST}",
        headers={"Range": "lines=1-2"})], (200, 416), old=ODD_416),
    Row("a part that ends before it begins", [part("4-2")], (200, 416), old=ODD_416),
    Row("several parts", [part("0-1,4-5")], (200, 206)),
    Row("a part, if it is still the same", [Ask("GET", f"{APP}/blobs/{DIGEST}",
        headers={"Range": "bytes=4-", "If-Range": '"another"'})], 200, body=BLOB),
    *(Row(f"GET of {digest}", [Ask("GET", f"{APP}/blobs/{digest}")], BAD_NAME)
        for digest in ("sha256:abc", DIGEST.upper(), DIGEST.replace("sha256", "md5"), DIGEST[:-1],
                       f"{DIGEST}0", "sha256:", "sha256", "%00", "sha256%3A" + "g" * 64)),
    *(Row(f"GET of {digest}", [Ask("GET", f"{APP}/blobs/{digest}")], BAD_NAME, old=CLEANS)
        for digest in ("..", "..%2F..%2Findex.json", "sha256:..%2F..%2F..%2Fetc%2Fpasswd")),
    Row("DELETE", [DELETE_BLOB], 202),
    Row("GET after DELETE", [DELETE_BLOB, GET_BLOB], 404, ("BLOB_UNKNOWN",)),
    Row("DELETE of none", [Ask("DELETE", f"{APP}/blobs/{UNKNOWN}")], 404, ("BLOB_UNKNOWN",)),
    Row("DELETE of no digest", [Ask("DELETE", f"{APP}/blobs/sha256:1")], BAD_NAME),
]  # fmt: skip
UPLOADS = [
    Row("POST", [POST], 202,
        headers={"Location": ".+", "Range": "0-0", "Docker-Upload-UUID": ".+"}),
    Row("POST without the slash", [Ask("POST", f"{APP}/blobs/uploads", b"")], (202, 404),
        old=CLEANS),
    Row("POST with the blob",
        [Ask("POST", f"{OTHER}/blobs/uploads/?digest={DIGEST}", BLOB, OCTETS)],
        201, headers={"Location": f".*/blobs/{DIGEST}", **SAYS_DIGEST},
        old="it ignores the body, and says 202"),
    Row("POST with another blob",
        [Ask("POST", f"{OTHER}/blobs/uploads/?digest={UNKNOWN}", BLOB, OCTETS)],
        400, ("DIGEST_INVALID",), old="it ignores the body, and says 202"),
    Row("POST with the blob and no digest",
        [Ask("POST", f"{OTHER}/blobs/uploads/?digest=sha256:1", BLOB, OCTETS)],
        400, ("DIGEST_INVALID",), old="it ignores the digest, and says 202"),
    Row("a mount", [Ask("POST", f"{OTHER}/blobs/uploads/?mount={DIGEST}&from={{app}}", b"")], 201,
        headers={"Location": f".*/v2/.*/blobs/{DIGEST}"}),
    Row("a mounted blob",
        [Ask("POST", f"{OTHER}/blobs/uploads/?mount={DIGEST}&from={{app}}", b""),
         Ask("GET", f"{OTHER}/blobs/{DIGEST}")], 200, body=BLOB),
    Row("a mount of none", [Ask("POST", f"{APP}/blobs/uploads/?mount={UNKNOWN}&from={{app}}", b"")],
        202, headers={"Location": ".+"}),
    Row("a mount from nowhere",
        [Ask("POST", f"{APP}/blobs/uploads/?mount={UNKNOWN}&from=nobody/here", b"")], 202),
    Row("a mount of no digest", [Ask("POST", f"{APP}/blobs/uploads/?mount=..&from={{app}}", b"")],
        (202, 400)),
    Row("PUT of the whole", [POST, WHOLE], 201,
        headers={"Location": f".*/blobs/{DIGEST}", **SAYS_DIGEST}),
    Row("PUT of the whole, read back", [POST, WHOLE, GET_BLOB], 200, body=BLOB),
    Row("PUT of no bytes", [POST, Ask("PUT", f"{{and}}digest={EMPTY_DIGEST}", b"", OCTETS)], 201),
    Row("PUT of other bytes", [POST, Ask("PUT", f"{{and}}digest={UNKNOWN}", BLOB, OCTETS)], 400,
        ("DIGEST_INVALID",)),
    Row("PUT without a digest", [POST, Ask("PUT", "{location}", BLOB, OCTETS)], 400,
        ("DIGEST_INVALID",)),
    Row("PUT with no digest", [POST, Ask("PUT", "{and}digest=sha256:..", BLOB, OCTETS)], 400,
        ("DIGEST_INVALID",)),
    Row("PUT to one that has ended",
        [POST, WHOLE, Ask("PUT", f"{{and}}digest={DIGEST}", b"")], 404),
    Row("PUT with the path of another repository",
        [POST, Ask("PUT", f"{OTHER}/blobs/uploads/{UPLOAD}?digest={DIGEST}", BLOB, OCTETS)],
        404, GONE),
    Row("PUT by SHA-512", [POST, Ask("PUT", f"{{and}}digest={SHA512}", BLOB, OCTETS)], 201,
        headers={"Docker-Content-Digest": SHA512}, old="it knows the blob by SHA-256 alone"),
    Row("PUT by SHA-512, read back",
        [POST, Ask("PUT", f"{{and}}digest={SHA512}", BLOB, OCTETS),
         Ask("GET", f"{APP}/blobs/{SHA512}")], 200, body=BLOB,
        headers={"Docker-Content-Digest": SHA512}, old="it knows the blob by SHA-256 alone"),
    Row("PUT by SHA-512 of other bytes",
        [POST, Ask("PUT", f"{{and}}digest={SHA512}", FIRST, OCTETS)], 400, ("DIGEST_INVALID",)),
    Row("PATCH", [POST, STREAM], 202, headers={"Location": ".+", "Range": "0-9"}),
    Row("PATCH and PUT", [POST, STREAM, CLOSE], 201, headers=SAYS_DIGEST),
    Row("PATCH and PUT, read back", [POST, STREAM, CLOSE, GET_BLOB], 200, body=BLOB),
    Row("a chunk", [POST, PATCH_FIRST], 202, headers={"Location": ".+", "Range": "0-4"}),
    Row("chunks", [POST, PATCH_FIRST, PATCH_SECOND], 202, headers={"Range": "0-9"}),
    Row("chunks, closed", [POST, PATCH_FIRST, PATCH_SECOND, CLOSE], 201),
    Row("a chunk, and the last in the PUT", [POST, PATCH_FIRST,
        Ask("PUT", f"{{and}}digest={DIGEST}", SECOND, {**OCTETS, "Content-Range": "5-9"})], 201),
    Row("a chunk too early", [POST, PATCH_SECOND], 416,
        headers={"Location": ".+", "Range": "0-0"}, old=NO_RANGE_CHECK),
    Row("a chunk twice", [POST, PATCH_FIRST, PATCH_FIRST], 416,
        headers={"Location": ".+", "Range": "0-4"}, old=NO_RANGE_CHECK),
    Row("chunks after one too early", [POST, PATCH_SECOND, PATCH_FIRST, PATCH_SECOND, CLOSE],
        201, old=NO_RANGE_CHECK),
    Row("a chunk in the PUT too early", [POST, Ask("PUT", f"{{and}}digest={DIGEST}", SECOND,
        {**OCTETS, "Content-Range": "5-9"})], (400, 416)),
    Row("a chunk of no range", [POST, Ask("PATCH", "{location}", FIRST,
        {**OCTETS, "Content-Range": "bytes 0-4/10"})], (400, 416), old=NO_RANGE_CHECK),
    Row("a chunk of another length", [POST, Ask("PATCH", "{location}", FIRST,
        {**OCTETS, "Content-Range": "0-9"})], (400, 416), old=NO_RANGE_CHECK),
    Row("PATCH to none", [Ask("PATCH", f"{APP}/blobs/uploads/{UPLOAD}", BLOB, OCTETS)], 404, GONE),
    Row("PATCH to no id", [Ask("PATCH", f"{APP}/blobs/uploads/..%2F..", BLOB, OCTETS)], BAD_NAME,
        old=CLEANS),
    Row("the status at first", [POST, STATUS], 204,
        headers={"Location": ".+", "Range": "0-0", "Docker-Upload-UUID": ".+"}),
    Row("the status after a chunk", [POST, PATCH_FIRST, STATUS], 204,
        headers={"Location": ".+", "Range": "0-4"}),
    Row("the status of none", [Ask("GET", f"{APP}/blobs/uploads/{UPLOAD}")], 404, GONE),
    Row("a cancel", [POST, CANCEL], 204),
    Row("the status after a cancel", [POST, CANCEL, STATUS], 404, GONE),
    Row("a cancel of none", [Ask("DELETE", f"{APP}/blobs/uploads/{UPLOAD}")], 404, GONE),
]  # fmt: skip
MANIFESTS = [
    Row("HEAD of a tag", [Ask("HEAD", TAG, headers=ALL)], 200, headers=SAYS_MANIFEST, body=b""),
    Row("GET of a tag", [Ask("GET", TAG, headers=ALL)], 200, headers=SAYS_MANIFEST,
        body=IMAGE.manifest.data),
    Row("HEAD of a digest", [Ask("HEAD", MANIFEST, headers=ALL)], 200, headers=SAYS_MANIFEST),
    Row("GET of a digest", [Ask("GET", MANIFEST, headers=ALL)], 200, headers=SAYS_MANIFEST,
        body=IMAGE.manifest.data),
    Row("GET without Accept", [Ask("GET", TAG)], 200, body=IMAGE.manifest.data,
        old="it gives Docker's types alone to who says nothing"),
    Row("GET of what is known",
        [Ask("GET", TAG, headers={**ALL, "If-None-Match": f'"{IMAGE.manifest.digest}"'})], 304),
    Row("HEAD of no tag", [Ask("HEAD", f"{APP}/manifests/none", headers=ALL)], 404),
    Row("GET of no tag", [Ask("GET", f"{APP}/manifests/none", headers=ALL)], 404,
        ("MANIFEST_UNKNOWN",)),
    Row("GET of no digest", [Ask("GET", f"{APP}/manifests/{UNKNOWN}", headers=ALL)], 404,
        ("MANIFEST_UNKNOWN",)),
    Row("GET of a blob", [Ask("GET", f"{APP}/manifests/{DIGEST}", headers=ALL)], 404,
        ("MANIFEST_UNKNOWN",), old=FAILS),
    Row("GET in no repository", [Ask("GET", f"{OTHER}/manifests/a", headers=ALL)], 404,
        ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")),
    *(Row(f"GET of the tag {tag}", [Ask("GET", f"{APP}/manifests/{tag}", headers=ALL)], BAD_NAME)
        for tag in (".a", "-a", "a" * 129, "a%20b", "a@b", "%F0%9F%92%A9", "%00", "a%0Ab")),
    *(Row(f"GET of the tag {tag}", [Ask("GET", f"{APP}/manifests/{tag}", headers=ALL)], BAD_NAME,
        old=old) for tag, old in (("..", CLEANS), ("%2E%2E%2Findex.json", CLEANS),
                                  ("sha256:1", FAILS))),
    Row("PUT by tag", [put("new", IMAGE.manifest.data)], 201, headers={
        "Location": f".*/v2/.*/manifests/{IMAGE.manifest.digest}",
        "Docker-Content-Digest": IMAGE.manifest.digest}),
    Row("PUT by tag, read back", [put("new", IMAGE.manifest.data),
        Ask("GET", f"{APP}/manifests/new", headers=ALL)], 200, body=IMAGE.manifest.data),
    Row("PUT by digest", [put(IMAGE.manifest.digest, IMAGE.manifest.data)], 201,
        headers={"Docker-Content-Digest": IMAGE.manifest.digest}),
    Row("PUT by another digest", [put(UNKNOWN, IMAGE.manifest.data)], 400, ("DIGEST_INVALID",)),
    Row("PUT by SHA-512",
        [put(f"sha512:{hashlib.sha512(IMAGE.manifest.data).hexdigest()}", IMAGE.manifest.data)],
        201, headers={"Docker-Content-Digest": "sha512:.*"},
        old="it knows the manifest by SHA-256 alone"),
    Row("PUT in Docker's type", [put("docker", DOCKER.manifest.data, SCHEMA_2),
        Ask("GET", f"{APP}/manifests/docker", headers=ALL)], 200, body=DOCKER.manifest.data,
        headers={"Content-Type": re.escape(images.DOCKER_MANIFEST)}),
    Row("PUT of an index", [put("index", INDEX.data, LIST),
        Ask("GET", f"{APP}/manifests/index", headers=ALL)], 200, body=INDEX.data,
        headers={"Content-Type": re.escape(images.OCI_INDEX)}),
    Row("PUT of a tag that moves", [put("a", INDEX.data, LIST), Ask("HEAD", TAG, headers=ALL)], 200,
        headers={"Docker-Content-Digest": INDEX.digest}),
    Row("PUT of what lacks blobs", [put("lacks", LACKING.manifest.data)], (400, 404),
        ("MANIFEST_BLOB_UNKNOWN",), body=names(LACKING.layers[0].digest, LACKING.config.digest)),
    Row("PUT of an index that lacks a child", [put("lacks", LACKING_INDEX.data, LIST)], (400, 404),
        ("MANIFEST_BLOB_UNKNOWN",), body=names(LACKING.manifest.digest)),
    Row("a tag that was refused", [put("lacks", LACKING.manifest.data),
        Ask("HEAD", f"{APP}/manifests/lacks", headers=ALL)], 404),
    Row("PUT of no JSON", [put("bad", b"nothing")], 400, ("MANIFEST_INVALID",)),
    Row("PUT of no bytes", [put("bad", b"")], 400, ("MANIFEST_INVALID",)),
    Row("PUT of a list", [put("bad", b"[]")], 400, ("MANIFEST_INVALID",)),
    Row("PUT of deep nests", [put("bad", b"[" * 100_000)], 400, ("MANIFEST_INVALID",)),
    Row("PUT with a digest that is none",
        [put("bad", IMAGE.manifest.data.replace(b"sha256:", b"sha256:../"))], 400,
        ("MANIFEST_INVALID",), old=FAILS),
    Row("PUT of another type than it says", [put("bad", IMAGE.manifest.data, LIST)], 400,
        ("MANIFEST_INVALID",)),
    Row("PUT of an unknown type", [put("bad", b"{}", {"Content-Type": "text/plain"})], (400, 415),
        ("MANIFEST_INVALID",)),
    Row("PUT of more than 4 MiB", [put("big", b'{"a":"' + b"x" * 4 * 1024**2 + b'"}')], (400, 413)),
    Row("PUT with a subject", [put("signed", referring(SIGNATURE))], 201,
        headers={"OCI-Subject": IMAGE.manifest.digest}, old=NO_REFERRERS),
    Row("PUT with a subject that is not there", [put("early", referring(SBOM, UNKNOWN))], 201,
        headers={"OCI-Subject": UNKNOWN}, old=NO_REFERRERS),
    Row("DELETE of a tag", [Ask("DELETE", TAG)], 202, old="it deletes by digest alone"),
    Row("GET after DELETE of a tag", [Ask("DELETE", TAG), Ask("GET", TAG, headers=ALL)], 404,
        ("MANIFEST_UNKNOWN",), old="it deletes by digest alone"),
    Row("another tag after DELETE of one",
        [Ask("DELETE", TAG), Ask("GET", f"{APP}/manifests/b", headers=ALL)], 200),
    Row("the digest after DELETE of a tag", [Ask("DELETE", TAG), Ask("GET", MANIFEST, headers=ALL)],
        200),
    Row("DELETE of a digest", [put("own", referring(SBOM)),
        Ask("DELETE", f"{APP}/manifests/{images.digest_of(referring(SBOM))}")], 202),
    Row("GET of a digest after DELETE", [put("own", referring(SBOM)),
        Ask("DELETE", f"{APP}/manifests/{images.digest_of(referring(SBOM))}"),
        Ask("GET", f"{APP}/manifests/{images.digest_of(referring(SBOM))}", headers=ALL)], 404,
        ("MANIFEST_UNKNOWN",)),
    Row("GET of a tag after DELETE of its digest", [put("own", referring(SBOM)),
        Ask("DELETE", f"{APP}/manifests/{images.digest_of(referring(SBOM))}"),
        Ask("GET", f"{APP}/manifests/own", headers=ALL)], 404, ("MANIFEST_UNKNOWN",)),
    Row("the tags of another repository after DELETE of a digest", [
        Ask("POST", f"{OTHER}/blobs/uploads/?mount={IMAGE.config.digest}&from={{app}}", b""),
        Ask("POST", f"{OTHER}/blobs/uploads/?mount={IMAGE.layers[0].digest}&from={{app}}", b""),
        Ask("PUT", f"{OTHER}/manifests/theirs", IMAGE.manifest.data, OCI), Ask("DELETE", MANIFEST),
        Ask("GET", f"{OTHER}/manifests/theirs", headers=ALL)], 200, body=IMAGE.manifest.data),
    Row("DELETE of no tag", [Ask("DELETE", f"{APP}/manifests/none")], 404, ("MANIFEST_UNKNOWN",),
        old="it deletes by digest alone"),
    Row("DELETE of no digest", [Ask("DELETE", f"{APP}/manifests/{UNKNOWN}")], 404,
        ("MANIFEST_UNKNOWN",)),
]  # fmt: skip
TAGS = [
    Row("all", [Ask("GET", f"{APP}/tags/list")], 200,
        body=lambda answer: sorted(answer.json["tags"]) == ["C", "a", "b"]),
    Row("in order", [Ask("GET", f"{APP}/tags/list")], 200, body=lists("C", "a", "b"),
        old="it tells them as its disk does", chance=True),
    Row("the name", [Ask("GET", f"{APP}/tags/list")], 200,
        body=lambda answer: re.fullmatch("ns-.*/app", answer.json["name"]) is not None),
    Row("the first", [Ask("GET", f"{APP}/tags/list?n=1")], 200, body=lists("C"),
        headers={"Link": r'<.*/v2/.*/tags/list\?.*last=C.*>; rel="next"'}, old=NO_PAGES),
    Row("the next", [Ask("GET", f"{APP}/tags/list?n=1&last=C")], 200, body=lists("a"),
        headers={"Link": ".*"}, old=NO_PAGES),
    Row("the last page", [Ask("GET", f"{APP}/tags/list?n=5&last=a")], 200, body=lists("b"),
        headers={"Link": "None"}, old=NO_PAGES),
    Row("as many as there are", [Ask("GET", f"{APP}/tags/list?n=3")], 200,
        body=lambda answer: len(answer.json["tags"]) == 3, headers={"Link": "None"}),
    Row("behind a tag that is not there", [Ask("GET", f"{APP}/tags/list?last=aa")], 200,
        body=lists("b"), old=NO_PAGES),
    Row("none", [Ask("GET", f"{APP}/tags/list?n=0")], 200, body=lists(), headers={"Link": "None"},
        old=NO_PAGES),
    Row("no number", [Ask("GET", f"{APP}/tags/list?n=many")], 400, old=NO_PAGES),
    Row("less than none", [Ask("GET", f"{APP}/tags/list?n=-1")], 400, old=NO_PAGES),
    Row("no repository", [Ask("GET", f"{OTHER}/tags/list")], 404, ("NAME_UNKNOWN",)),
    *(Row(f"the repository {name[:20]}", [Ask("GET", f"/v2/{name}/tags/list")], (400, 404))
        for name in ("UPPER", "-a", "a-", "a..b", "a%00b", "a%0Ab", "a:b", "%F0%9F%92%A9")),
    *(Row(f"the repository {name[:20]}", [Ask("GET", f"/v2/{name}/tags/list")], (400, 404), old=old)
        for name, old in (("a//b", CLEANS), ("%2E%2E", CLEANS), ("a%2F%2E%2E%2Fb", CLEANS),
                          ("a" * 256, FAILS))),
]  # fmt: skip
REFERRERS_AT = f"{APP}/referrers/{IMAGE.manifest.digest}"
PUSHED = [put("sig", referring(SIGNATURE)), put("sbom", referring(SBOM))]
BY_DIGEST = put(images.digest_of(referring(SBOM)), referring(SBOM))
REFERRERS = [
    Row("none", [Ask("GET", f"{APP}/referrers/{LONELY}")], 200, body=refers(),
        headers={"Content-Type": re.escape(images.OCI_INDEX)}, old=NO_REFERRERS),
    Row("in no repository", [Ask("GET", f"{OTHER}/referrers/{LONELY}")], 200, body=refers(),
        old=NO_REFERRERS),
    Row("all", [*PUSHED, Ask("GET", REFERRERS_AT)], 200, body=refers(SIGNATURE, SBOM),
        old=NO_REFERRERS),
    Row("one by its digest alone", [BY_DIGEST, Ask("GET", REFERRERS_AT)], 200,
        body=lambda answer: SBOM in {each["artifactType"] for each in answer.json["manifests"]},
        old=NO_REFERRERS),
    Row("those of a type", [*PUSHED, Ask("GET", f"{REFERRERS_AT}?artifactType={SBOM}")], 200,
        body=refers(SBOM), headers={"OCI-Filters-Applied": "artifactType"}, old=NO_REFERRERS),
    Row("those of no type", [*PUSHED, Ask("GET", f"{REFERRERS_AT}?artifactType=x/y")], 200,
        body=refers(), headers={"OCI-Filters-Applied": "artifactType"}, old=NO_REFERRERS),
    Row("after one is deleted", [*PUSHED,
        Ask("DELETE", f"{APP}/manifests/{images.digest_of(referring(SBOM))}"),
        Ask("GET", REFERRERS_AT)], 200, body=refers(SIGNATURE), old=NO_REFERRERS),
    Row("of no digest", [Ask("GET", f"{APP}/referrers/sha256:1")], 400, ("DIGEST_INVALID",),
        old=NO_REFERRERS),
]  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedFolder]:
    with ServedFolder(tmp_path_factory.mktemp("served")) as served:
        yield served


def judge(row: Row, server: Registry) -> None:
    world = World(server)
    for asked in row.asked:
        answer = world.ask(asked)
    statuses = row.status if isinstance(row.status, tuple) else (row.status,)
    assert answer.status in statuses, (answer.status, answer.body[:300])
    assert not row.codes or set(answer.codes) & set(row.codes), answer.body[:300]
    for name, pattern in row.headers.items():
        assert re.fullmatch(pattern, str(answer.headers[name])), (name, answer.headers[name])
    if callable(row.body):
        assert row.body(answer), answer.body[:500]
    elif row.body is not None:
        assert answer.body == row.body


def every(table: Sequence[Row], *, real: bool) -> pytest.MarkDecorator:
    """The rows, each by its name; at the real server, where it does otherwise as it is known to."""
    return pytest.mark.parametrize(
        "row",
        [
            pytest.param(
                row,
                id=row.name,
                marks=[pytest.mark.xfail(reason=row.old, strict=not row.chance)]
                if real and row.old
                else [],
            )
            for row in table
        ],
    )


TABLES = {
    "base": BASE,
    "blobs": BLOBS,
    "uploads": UPLOADS,
    "manifests": MANIFESTS,
    "tags": TAGS,
    "referrers": REFERRERS,
}
ROWS = [replace(row, name=f"{table}: {row.name}") for table, rows in TABLES.items() for row in rows]


@every(ROWS, real=False)
def test_our_server_does_what_the_specification_says(row: Row, ours: ServedFolder) -> None:
    judge(row, ours)


@every(ROWS, real=True)
def test_so_does_a_real_one_where_it_is_not_known_for_something_else(
    row: Row, registry: Registry
) -> None:
    judge(row, registry)


@every(ROWS, real=False)
def test_nothing_that_is_asked_makes_our_server_fail(
    row: Row, ours: ServedFolder, tmp_path: Path
) -> None:
    """Each row's requests in another order, and without what came before: 4xx, never 5xx."""
    world = World(ours)
    for asked in reversed(row.asked):
        assert world.ask(asked).status < 500
