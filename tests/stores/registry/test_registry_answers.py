from __future__ import annotations

import json

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from asyncsync.model.errors import (
    CopyError,
    NotFound,
    PermissionDenied,
    RateLimited,
    RefusedByTarget,
    RegistryUnavailable,
    TargetFull,
    Where,
)
from asyncsync.model.reference import Reference
from asyncsync.stores.registry.answers import (
    Answer,
    failure,
    not_found,
    push_failure,
    retry_after,
    told,
)
from asyncsync.stores.registry.wire import ERROR_BYTES_MAX

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
SECRET = "c4nary-s3cret"


def answered(status: int, body: str | bytes = b"", path: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body.encode() if isinstance(body, str) else body
    proxy = CIMultiDictProxy(CIMultiDict(named))
    return Answer(status, URL(f"https://r.example/v2/{path}"), proxy, data)


def document(code: str, message: str) -> str:
    return json.dumps({"errors": [{"code": code, "message": message}]})


def error_of(answer: Answer, registry: str = "r.example") -> CopyError:
    return failure(answer, registry, speaker=registry, secrets=[SECRET], now=NOW)


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (400, CopyError, False),
        (401, PermissionDenied, False),
        (403, PermissionDenied, False),
        (404, NotFound, False),
        (407, RegistryUnavailable, False),
        (408, RegistryUnavailable, True),
        (425, RegistryUnavailable, True),
        (429, RateLimited, True),
        (500, RegistryUnavailable, True),
        (501, RegistryUnavailable, False),
        (502, RegistryUnavailable, True),
        (503, RegistryUnavailable, True),
        (504, RegistryUnavailable, True),
        (507, RegistryUnavailable, False),
        (522, RegistryUnavailable, True),
        (302, CopyError, False),
        (299, CopyError, False),
    ],
)
def test_each_status_is_an_error_that_is_worth_repeating_or_not(
    status: int, kind: type[CopyError], transient: bool
) -> None:
    error = error_of(answered(status))
    assert (type(error), error.transient) == (kind, transient)
    assert error.where == Where("r.example")
    assert str(status) in error.what


@pytest.mark.parametrize(
    ("repository", "message", "kind"),
    [
        ("team/app", "the quota of the project is used up", TargetFull),
        ("team/quota", "no access to team/quota", PermissionDenied),
        ("team/app", "team/app:1 is immutable", RefusedByTarget),
        ("team/immutable-app", "no access to team/immutable-app", PermissionDenied),
        ("team/app", f"{SECRET} is over its quota", TargetFull),
    ],
)
def test_a_target_is_full_by_its_words_and_not_by_a_name_in_them(
    repository: str, message: str, kind: type[CopyError]
) -> None:
    answer = answered(403, document("DENIED", message), f"{repository}/blobs/uploads/")
    error = push_failure(answer, "r.example", speaker="r.example", secrets=[SECRET], now=NOW)
    assert (type(error), error.transient) == (kind, False)
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    ("registry", "body", "transient"),
    [
        ("docker.io", document("TOOMANYREQUESTS", "You have reached your pull rate limit"), False),
        ("docker.io", "Too Many Requests (HAP429)", True),
        ("ghcr.io", document("TOOMANYREQUESTS", "slow down"), True),
    ],
)
def test_a_quota_that_is_spent_is_not_asked_again_but_a_rate_is(
    registry: str, body: str, transient: bool
) -> None:
    error = error_of(answered(429, body), registry)
    assert isinstance(error, RateLimited)
    assert error.transient is transient


@pytest.mark.parametrize(
    ("remaining", "headers", "transient"),
    [
        ("0;w=21600", {}, False),
        ("0;w=60", {}, True),
        ("0", {}, True),
        ("24;w=21600", {}, True),
        ("0;w=21600", {"Retry_After": "7"}, True),
    ],
)
def test_a_quota_is_spent_as_well_where_nothing_is_left_for_longer_than_anyone_waits(
    remaining: str, headers: dict[str, str], transient: bool
) -> None:
    left = {"RateLimit_Limit": "100", "RateLimit_Remaining": remaining}
    body = document("TOOMANYREQUESTS", "You have reached your pull rate limit")
    error = error_of(answered(429, body, **left, **headers), "mirror.example")
    assert isinstance(error, RateLimited)
    assert error.transient is transient


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("999999999", 86400.0),
        ("99999999999999999999", None),
        ("-5", None),
        ("soon", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("Tue, 14 Nov 2099 22:00:00 GMT", 86400.0),
        ("Tue, 99 Nov 2023 22:00:00 GMT", None),
    ],
)
def test_a_wish_to_wait_is_seconds_or_a_date_and_at_most_a_day(
    header: str | None, seconds: float | None
) -> None:
    assert retry_after(header, NOW) == seconds


def test_an_error_carries_the_registrys_wish_to_wait() -> None:
    assert error_of(answered(429, Retry_After="7")).retry_after == 7
    assert error_of(answered(503, Retry_After="8")).retry_after == 8


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", ""),
        (document("DENIED", "not yours"), "DENIED: not yours"),
        ('{"errors": [{"code": "UNKNOWN"}]}', "UNKNOWN"),
        ('{"errors": [{"message": "just words"}]}', "just words"),
        ('{"errors": [1, null, {"code": 5}]}', ""),
        ('{"error": "invalid_grant", "error_description": "old"}', "invalid_grant: old"),
        ('{"details": "incorrect username or password"}', "incorrect username or password"),
        ('{"message": "no route"}', "no route"),
        ("plain words\r\nof two lines", "plain words of two lines"),
        (
            "<html><head><title>x</title><style>b{}</style></head><h1>Bad &amp;</h1></html>",
            "Bad &amp;",
        ),
        ("::error::gotcha", "error::gotcha"),
        ("\033[31mred\033[0m\x07", "[31mred [0m"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (f"you sent {SECRET}", "you sent ***"),
        (document("DENIED", f"you sent {SECRET}"), "DENIED: you sent ***"),
        ("x" * 5000, "x" * 299 + "…"),
    ],
    ids=range(16),
)
def test_a_registrys_own_words_are_one_short_printable_line(body: str | bytes, text: str) -> None:
    assert told(answered(500, body), [SECRET]) == text


def test_no_part_of_a_secret_is_shown_that_looks_like_a_tag() -> None:
    assert told(answered(500, "<p>you sent pa<ss>word"), ["pa<ss>word"]) == "you sent ***"


@pytest.mark.parametrize("page", ["<", "<style ", "<style>", "<head>", "</style", "&", "%", "\\"])
def test_a_page_of_the_largest_size_takes_no_time_to_speak_of(page: str) -> None:
    answer = answered(500, page * (ERROR_BYTES_MAX // len(page)))
    for _ in range(20):  # at first a minute, and more
        assert len(told(answer, ["s3cret"])) <= 300


def test_a_packed_body_is_not_shown() -> None:
    assert told(answered(500, b"\x1f\x8b...", Content_Encoding="gzip"), []) == ""


@pytest.mark.parametrize(
    ("image", "body", "what"),
    [
        (
            "redis:7.99",
            document("MANIFEST_UNKNOWN", "x"),
            "docker.io/library/redis has no tag 7.99",
        ),
        ("redis:7.99", "not found", "docker.io/library/redis has no tag 7.99"),
        ("ghcr.io/a/b:1", document("NAME_UNKNOWN", "x"), "ghcr.io has no repository a/b"),
        (
            f"ghcr.io/a/b@sha256:{'0' * 64}",
            "",
            f"ghcr.io/a/b has no digest sha256:{'0' * 64}",
        ),
    ],
    ids=range(4),
)
def test_what_is_missing_is_named(image: str, body: str, what: str) -> None:
    error = not_found(answered(404, body), Reference.parse(image))
    assert error.what == what
