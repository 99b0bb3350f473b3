"""What engines say when something fails, and what we make of it: one row for each text observed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsync.model import errors
from asyncsync.model.errors import CopyError
from asyncsync.model.job import Step
from asyncsync.model.reference import Reference
from asyncsync.transports.engine.failures import classify, is_local_missing

REF = Reference.parse("r.example:5000/team/app:1.27")
DIGEST = "sha256:" + "5" * 64

# (text, class, transient): Docker 20.10, 26, 28 with both image stores, and podman 4.3.
PULL = [
    ("manifest for r.example:5000/team/app:1.27 not found: manifest unknown: manifest unknown", errors.NotFound, False),
    ('failed to resolve reference "r.example:5000/team/app:1.27": r.example:5000/team/app:1.27: not found', errors.NotFound, False),
    ("name unknown: repository name not known to registry", errors.NotFound, False),
    ('Get "http://r.example:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', errors.RegistryUnavailable, True),
    ('failed to do request: Head "https://r.example:5000/v2/team/app/manifests/1.27": dial tcp 127.0.0.1:5000: connect: connection refused', errors.RegistryUnavailable, True),
    ('Get "https://r.example:5000/v2/": dial tcp: lookup r.example on 10.0.0.1:53: no such host', errors.RegistryUnavailable, True),
    ('Head "http://r.example:5000/v2/team/app/manifests/1.27": no basic auth credentials', errors.AuthenticationFailed, False),
    ("pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials", errors.AuthenticationFailed, False),
    ("unauthorized: authentication required", errors.AuthenticationFailed, False),
    ("unexpected status from HEAD request to http://r.example:5000/v2/team/app/manifests/1.27: 401 Unauthorized", errors.AuthenticationFailed, False),
    ("pull access denied for r.example:5000/team/app, repository does not exist or may require 'docker login': denied: nope", errors.PermissionDenied, False),
    ("unexpected status from HEAD request to http://r.example:5000/v2/team/app/manifests/1.27: 403 Forbidden", errors.PermissionDenied, False),
    ("error from registry: denied", errors.PermissionDenied, False),
    ("error from registry: denied: quota exceeded", errors.PermissionDenied, False),
    ("toomanyrequests: You have reached your pull rate limit.", errors.RateLimited, True),
    ("unexpected status from HEAD request to http://r.example:5000/v2/: 429 Too Many Requests", errors.RateLimited, True),
    ("received unexpected HTTP status: 503 Service Unavailable", errors.RegistryUnavailable, True),
    ("unexpected status from HEAD request to http://r.example:5000/v2/x: 502 Bad Gateway", errors.RegistryUnavailable, True),
    ("no matching manifest for linux/s390x in the manifest list entries", errors.NoSuchPlatform, False),
    ("no match for platform in manifest: not found", errors.NoSuchPlatform, False),
    ("image with reference r.example:5000/team/app:1.27 was found but does not match the specified platform: wanted linux/arm64, actual: linux/amd64", errors.NoSuchPlatform, False),
    ("choosing an image from manifest list docker://x: no image found in image index for architecture s390x, variant \"\", OS linux", errors.NoSuchPlatform, False),
    ("failed to register layer: Error processing tar file(exit status 1): unexpected EOF", errors.RegistryUnavailable, True),
    ("failed to extract layer sha256:1: unexpected EOF", errors.RegistryUnavailable, True),
    ("layers from manifest don't match image configuration", errors.DigestMismatch, True),
    ("wrong diff id calculated on extraction \"sha256:1\"", errors.DigestMismatch, True),
    ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", errors.DiskFull, False),
    ("failed to copy: failed to send write: write /x: no space left on device: unknown", errors.DiskFull, False),
    ('Get "https://r.example:5000/v2/": x509: certificate signed by unknown authority', errors.TlsError, False),
    ('Get "https://r.example:5000/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority', errors.TlsError, False),
    ("http: server gave HTTP response to HTTPS client", errors.TlsError, False),
    ("pinging container registry r.example:5000: http: server gave HTTP response to HTTPS client", errors.TlsError, False),
    ("Get \"http://r.example:5000/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)", errors.RegistryUnavailable, True),
    ("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", errors.RegistryUnavailable, True),
    ("invalid reference format", errors.RefusedByTarget, False),
    ("[DEPRECATION NOTICE] Docker Image Format v1 and Docker Image manifest version 2, schema 1 support is disabled by default", errors.UnsupportedManifest, False),
    ("reading manifest v1 in r.example:5000/team/app: manifest unknown", errors.NotFound, False),
    ("something that nobody has seen before", CopyError, True),
    ("unexpected status from GET request to http://r.example:5000/v2/x: 405 Method Not Allowed", CopyError, True),
    ("error from registry: unavailable", errors.RegistryUnavailable, True),
]  # fmt: skip
PUSH = [
    ("no basic auth credentials", errors.AuthenticationFailed, False),
    ("push access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed", errors.PermissionDenied, False),
    ("denied", errors.PermissionDenied, False),
    ("error from registry: denied: requested access to the resource is denied", errors.PermissionDenied, False),
    ("unknown: unexpected status from HEAD request to http://r.example:5000/v2/: 401 Unauthorized", errors.AuthenticationFailed, False),
    ("unexpected status from POST request to http://r.example:5000/v2/: 503 Service Unavailable", errors.RegistryUnavailable, True),
    ("unexpected status from PUT request to http://r.example:5000/v2/: 413 Request Entity Too Large", errors.RefusedByTarget, False),
    ("error parsing HTTP 405 response body: invalid character 'M' looking for beginning of value: \"Method not allowed\\n\"", errors.TargetClosed, False),
    ("unexpected status from POST request to http://r.example:5000/v2/: 405 Method Not Allowed", errors.TargetClosed, False),
    ("unsupported: The operation is unsupported.", errors.TargetClosed, False),
    ("toomanyrequests: slow down", errors.RateLimited, True),
    ("manifest invalid: manifest invalid", errors.RefusedByTarget, False),
    ("tag invalid: The image tag '1.27' is immutable", errors.RefusedByTarget, False),
    ("name unknown: The repository with name 'team/app' does not exist in the registry", errors.NotFound, False),
    ("failed to do request: Head \"https://r.example:5000/v2/\": dial tcp: connect: connection refused", errors.RegistryUnavailable, True),
    ("missing content: content digest sha256:1: not found", errors.UnsupportedManifest, False),
    ("received unexpected HTTP status: 500: no space left on device", errors.TargetFull, False),
    ("denied: adding 1 GiB of storage resource, which when updated to 11 GiB will exceed 10 GiB", errors.TargetFull, False),
    ("denied: quota exceeded", errors.TargetFull, False),
]  # fmt: skip


# Docker 20.10 before squid; of other engines, containerd's and podman's words around Go's.
PROXIES = [
    ('Get "https://r.example:5000/v2/": Proxy Authentication Required', False),
    ('Get "https://r.example:5000/v2/": Forbidden', False),
    ('Get "https://r.example:5000/v2/": Internal Server Error', True),
    ('Get "https://r.example:5000/v2/": Service Unavailable', True),
    ('failed to do request: Head "https://r.example:5000/v2/team/app/manifests/1.27": Bad Gateway', True),
    ('pinging container registry r.example:5000: Get "https://r.example:5000/v2/": Gateway Timeout', True),
    ('Get "https://r.example:5000/v2/": proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused', True),
    ('Get "https://r.example:5000/v2/": proxyconnect tcp: dial tcp: lookup p.example: no such host', True),
    ('Get "https://r.example:5000/v2/": proxyconnect tcp: x509: certificate signed by unknown authority', True),
]  # fmt: skip


@pytest.mark.parametrize(("text", "transient"), PROXIES)
def test_what_the_engines_own_proxy_refuses_is_told_of_the_proxy_and_not_of_the_registry(
    text: str, transient: bool
) -> None:
    error = classify(text, Step.PULL, REF)
    assert type(error) is errors.RegistryUnavailable
    assert error.what.startswith("the engine's proxy before r.example:5000 ")
    assert (error.transient, error.away) == (transient, False)
    assert error.advice().startswith("Correct the engine's own proxy")


@pytest.mark.parametrize(
    ("step", "text", "kind", "transient"),
    [(Step.PULL, *row) for row in PULL] + [(Step.PUSH, *row) for row in PUSH],
)
def test_an_engines_text_is_understood(
    step: Step, text: str, kind: type[CopyError], transient: bool
) -> None:
    error = classify(text, step, REF)
    assert type(error) is kind
    assert error.transient is transient
    assert error.where.registry == "r.example:5000"
    assert error.ends_run is (kind is errors.DiskFull)


@pytest.mark.parametrize(
    "text",
    [
        "No such image: r.example:5000/team/app:1.27",
        "tag does not exist: r.example:5000/team/app:1.27",
        "An image does not exist locally with the tag: r.example:5000/team/app",
        'NotFound: image "r.example:5000/team/app:1.27": not found',
        "reference does not exist",
        "r.example:5000/team/app: image not known",
    ],
)
def test_an_image_that_left_the_engine_is_told_from_one_that_a_registry_lacks(text: str) -> None:
    assert is_local_missing(text)
    assert not is_local_missing("manifest unknown: manifest unknown")


@pytest.mark.parametrize(
    "name",
    [
        "denied/unauthorized:1", "x509/app:no-space", "r.example/not-found/toomanyrequests:1",
        "r.example/a:1", "r.example/manifest:unknown", "r.example/denied:1", "m:1",
    ],
)  # fmt: skip
def test_the_images_own_name_is_not_taken_for_the_engines_words(name: str) -> None:
    ref = Reference.parse(name)
    text = f'manifest for {ref} not found: manifest unknown: Get "http://{ref.place}/v2/{ref.repository}/"'
    error = classify(text, Step.PULL, ref)
    assert type(error) is errors.NotFound


@pytest.mark.parametrize(
    ("text", "kind", "transient"),
    [
        ("dial tcp 127.0.0.1:41300: connect: connection refused", errors.RegistryUnavailable, True),
        ("failed to copy: sha256:aa413bb0c1d2e3f4: unexpected EOF", errors.RegistryUnavailable, True),
        ("read tcp 10.0.0.1:41352->10.0.0.2:443: read: connection reset by peer", errors.RegistryUnavailable, True),
        ("write /var/lib/docker/tmp/x: disk quota exceeded", errors.DiskFull, False),
        ("mkdir /var/lib/docker/x: permission denied", CopyError, True),
        ("permission denied while reading the layer", CopyError, True),
        ("denied: Permission artifactregistry.repositories.uploadArtifacts denied", errors.PermissionDenied, False),
        ("unexpected status from PUT request to http://r.example:5000/v2/: 400 Bad Request", CopyError, True),
    ],
)  # fmt: skip
def test_figures_of_addresses_and_ids_are_not_taken_for_an_answer(
    text: str, kind: type[CopyError], transient: bool
) -> None:
    error = classify(text, Step.PULL, REF)
    assert (type(error), error.transient) == (kind, transient)


@pytest.mark.parametrize(
    "text",
    [
        "open /var/lib/docker/tmp/GetImageBlob1: no space left on device",
        "failed to register layer: Error processing tar file(exit status 1): write /usr/bin/x: no space left on device",
        "failed to register layer: ApplyLayer exit status 1 stdout:  stderr: link /a /b: no space left on device",
        "failed to register layer: mkdir /var/lib/docker/overlay2/5/diff: no space left on device",
        "failed to extract layer sha256:1: mount callback failed on /var/lib/containerd/tmpmounts/m: write /x: no space left on device: unknown",
        'failed to prepare extraction snapshot "extract-1 sha256:2": mkdir /var/lib/containerd/new-1: no space left on device: unknown',
        'writing blob: storing blob to file "/var/tmp/storage1/1": write /var/tmp/storage1/1: no space left on device',
        'writing blob: adding layer with blob "sha256:1": processing tar file(open /usr/x: no space left on device): exit status 1',
    ],
)  # fmt: skip
def test_an_engine_that_could_not_write_a_file_ends_the_run(text: str) -> None:
    error = classify(text, Step.PULL, REF)
    assert type(error) is errors.DiskFull
    assert error.ends_run


@pytest.mark.parametrize(
    "text",
    [
        "unknown: write /var/lib/docker/tmp/x: no space left on device",
        "error pulling image configuration: download failed after attempts=1: unknown: write /x: no space left on device",
        "error from registry: write /x: no space left on device",
        "received unexpected HTTP status: 500 write /x: no space left on device",
        "unexpected status from GET request to http://r.example:5000/v2/x: 500 write /x: no space left on device",
        'error parsing HTTP 403 response body: invalid character: "write /x: no space left on device"',
        "reading manifest 1.27 in r.example:5000/team/app: denied: write /x: no space left on device",
        'initializing source: StatusCode: 400, "write /x: no space left on device"',
        "errors:\ntoomanyrequests: write /x: disk quota exceeded\n",
    ],
)  # fmt: skip
def test_a_registry_that_speaks_of_a_full_disk_ends_no_run(text: str) -> None:
    error = classify(text, Step.PULL, REF)
    assert not isinstance(error, errors.DiskFull)
    assert not error.ends_run
    assert "the engine says: “" in error.what


@pytest.mark.parametrize(
    "text",
    [
        'image operating system "no space left on device" cannot be used on this platform',
        "no space left on device",
    ],
)
def test_a_full_disk_without_a_file_fails_the_image_and_not_the_run(text: str) -> None:
    error = classify(text, Step.PULL, REF)
    assert type(error) is errors.DiskFull
    assert not error.ends_run


def test_a_target_that_cannot_tell_what_it_has_for_its_full_disk_is_full() -> None:
    text = "unknown: write /var/lib/registry/x: no space left on device"
    assert type(classify(text, Step.VERIFY, REF)) is errors.TargetFull


@pytest.mark.parametrize(
    ("text", "away"),
    [
        ("dial tcp 192.0.2.1:443: connect: connection refused", True),
        ("dial tcp: lookup r.example: no such host", True),
        ("read: connection reset by peer", False),
        ("received unexpected HTTP status: 503 Service Unavailable", False),
    ],
)
def test_whether_a_registry_is_there_at_all_is_heard_from_an_engine(text: str, away: bool) -> None:
    error = classify(text, Step.PUSH, Reference.parse("r.example/team/app:1"))
    assert (type(error), error.away) == (errors.RegistryUnavailable, away)
    assert error.located("r.example/team/app:1", Step.PUSH).away is away


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("r.example/team/denied:1", "name unknown: The repository with name 'team/denied' does not exist", errors.NotFound),
        ("r.example/team/app:denied", "manifest unknown: unknown tag=denied", errors.NotFound),
        ("r.example/team/app:denied", "pulling other:denied failed: manifest unknown", errors.NotFound),
        ("r.example/denied:1", "error from registry: denied", errors.PermissionDenied),
    ],
)  # fmt: skip
def test_a_part_of_the_name_is_not_taken_for_the_engines_words_unless_it_is_one_word(
    name: str, text: str, kind: type[CopyError]
) -> None:
    assert type(classify(text, Step.PULL, Reference.parse(name))) is kind


def test_the_engines_words_are_shown_where_they_say_more_than_ours() -> None:
    slow = classify("toomanyrequests: 100 pulls in 6 h", Step.PULL, REF).what
    assert slow.endswith("; the engine says: “toomanyrequests: 100 pulls in 6 h”")
    by_digest = Reference.parse(f"r.example:5000/team/app@{DIGEST}")
    for ref, what in ((REF, "tag 1.27"), (by_digest, f"manifest {DIGEST}")):
        lacking = classify("manifest unknown: manifest unknown", Step.PULL, ref).what
        assert lacking == f"r.example:5000/team/app has no {what}"


def test_the_status_that_is_told_is_the_registrys() -> None:
    text = (
        "unexpected status from HEAD request to http://r.example:5000/v2/x: 503 Service Unavailable"
    )
    assert "r.example:5000 answered 503;" in classify(text, Step.PULL, REF).what


def test_a_text_of_a_megabyte_is_neither_searched_nor_shown_whole() -> None:
    error = classify("\x1b[31m::error::" + "x" * 1_000_000, Step.PULL, REF)
    assert len(str(error)) < 1000
    assert "\x1b" not in str(error)


@given(st.text(), st.sampled_from(Step))
def test_whatever_an_engine_says_is_one_printable_error(text: str, step: Step) -> None:
    error = classify(text, step, REF)
    assert str(error).isprintable()
    assert error.where.registry == "r.example:5000"


def test_a_secret_that_an_engine_repeats_is_not_shown() -> None:
    error = classify(
        "login with c4nary-secret failed: unauthorized", Step.PUSH, REF, ["c4nary-secret"]
    )
    assert "c4nary" not in str(error)
    assert "c4nary" not in repr(error)
