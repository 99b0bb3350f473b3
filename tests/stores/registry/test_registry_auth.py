from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from asyncsync.stores.registry.auth import (
    Challenge,
    choose,
    parse_challenges,
    read_grant,
    token_form,
    token_query,
)

BEARER = {"realm": "https://auth.example/token", "service": "r.example"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([""], [], id="empty"),
        pytest.param(["Basic"], [("basic", {})], id="scheme alone"),
        pytest.param(
            ['Bearer realm="https://auth.example/token",service="r.example"'],
            [("bearer", BEARER)],
            id="usual",
        ),
        pytest.param(
            ['BEARER REALM="https://auth.example/token" , Service = "r.example"'],
            [("bearer", BEARER)],
            id="names in any case, blanks around =",
        ),
        pytest.param(
            ['Bearer realm="https://auth.example/token" service="r.example"'],
            [("bearer", BEARER)],
            id="comma forgotten",
        ),
        pytest.param(
            ["Bearer realm=https://auth.example/token,service=r.example"],
            [("bearer", BEARER)],
            id="no quotes",
        ),
        pytest.param(
            ['Basic realm="a"', 'Bearer realm="b"'],
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})],
            id="header repeated",
        ),
        pytest.param(
            ['Basic realm="a", Bearer realm="b",service="c"'],
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "service": "c"})],
            id="joined by a comma",
        ),
        pytest.param(
            ['Negotiate, Bearer realm="b"'],
            [("negotiate", {}), ("bearer", {"realm": "b"})],
            id="Negotiate before",
        ),
        pytest.param(
            ['Negotiate YIIabc==, Bearer realm="b"'],
            [("negotiate", {}), ("bearer", {"realm": "b"})],
            id="Negotiate with its token68",
        ),
        pytest.param(
            ['Bearer realm="https://a/t",scope="repository:a/b:pull,push"'],
            [("bearer", {"realm": "https://a/t", "scope": "repository:a/b:pull,push"})],
            id="comma in quotes",
        ),
        pytest.param(
            [r'Basic realm="say \"hi\", all"'],
            [("basic", {"realm": 'say "hi", all'})],
            id="quotes in quotes",
        ),
        pytest.param(
            ['Bearer realm="https://a/t'], [("bearer", {"realm": "https://a/t"})], id="never closed"
        ),
        pytest.param(
            ['Bearer realm="a",realm="b"'], [("bearer", {"realm": "a"})], id="given twice"
        ),
        pytest.param(
            ['Bearer realm="",service=""'],
            [("bearer", {"realm": "", "service": ""})],
            id="empty values",
        ),
        pytest.param(
            [',,Bearer realm="a",,'], [("bearer", {"realm": "a"})], id="commas without sense"
        ),
        pytest.param(
            ['="x" Basic realm="a"'], [("x", {}), ("basic", {"realm": "a"})], id="stray ="
        ),
    ],
)
def test_challenges_are_read_however_a_registry_writes_them(
    headers: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    read = [(c.scheme, dict(c.params)) for c in parse_challenges(headers)]
    assert read == expected


@given(st.lists(st.text(alphabet='Basic Bearer=",\\ \t=x', max_size=60), max_size=3))
def test_no_header_breaks_the_reader(headers: list[str]) -> None:
    assert all(challenge.scheme for challenge in parse_challenges(headers))


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ('Basic realm="a", Bearer realm="b"', "bearer"),
        ('Bearer service="without a realm", Basic realm="a"', "basic"),
        ('Negotiate, Basic realm="a"', "basic"),
        ("Negotiate, NTLM", None),
        ("", None),
    ],
)
def test_a_token_is_preferred_to_a_password_and_the_unknown_is_skipped(
    header: str, scheme: str | None
) -> None:
    chosen = choose(parse_challenges([header]))
    assert (chosen.scheme if chosen else None) == scheme


@pytest.mark.parametrize(
    ("params", "scope"),
    [
        ({"error": "insufficient_scope", "scope": "repository:a/b:pull,push"}, True),
        ({"error": "insufficient_scope", "scope": "repository:a:pull repository:b:*"}, True),
        ({"error": "insufficient_scope", "scope": "aws"}, False),
        ({"error": "insufficient_scope", "scope": "repository:a:pull aws"}, False),
        ({"error": "insufficient_scope", "scope": "repository:a:pull\r\nX: y"}, False),
        ({"error": "insufficient_scope"}, False),
        ({"error": "invalid_token", "scope": "repository:a/b:pull"}, False),
    ],
)
def test_only_a_scope_that_is_one_is_taken_from_a_challenge(
    params: dict[str, str], scope: bool
) -> None:
    found = Challenge("bearer", params).missing_scope
    assert found == (params["scope"] if scope else None)


@pytest.mark.parametrize(
    ("realm", "service", "asked"),
    [
        (
            "https://a.example/token",
            "r.example",
            "https://a.example/token?service=r.example&scope=repository%3Aa%2Fb%3Apull",
        ),
        (
            "https://a.example/token?account=a%2Fb%7E",
            "",
            "https://a.example/token?account=a%2Fb%7E&scope=repository%3Aa%2Fb%3Apull",
        ),
        (  # a header's byte that is no UTF-8, as it comes in and as it goes out
            "https://a.example/token",
            "\udcff",
            "https://a.example/token?service=%FF&scope=repository%3Aa%2Fb%3Apull",
        ),
    ],
)
def test_a_token_is_asked_with_the_realms_own_query_byte_for_byte(
    realm: str, service: str, asked: str
) -> None:
    assert str(token_query(URL(realm, encoded=True), service, "repository:a/b:pull")) == asked


def test_several_scopes_are_several_parameters_in_a_query_and_one_in_a_form() -> None:
    scopes = "repository:a:pull repository:b:pull"
    assert token_query(URL("https://a/t"), "", scopes).query.getall("scope") == scopes.split(" ")
    for service in ("r.example", ""):
        assert dict(parse_qsl(token_form("id", service, scopes).decode(), True)) == {
            "grant_type": "refresh_token",
            "refresh_token": "id",
            "scope": scopes,
            "client_id": "asyncsync",
            **({"service": service} if service else {}),
        }


@pytest.mark.parametrize(
    ("answer", "token", "seconds"),
    [
        ({"token": "t", "expires_in": 300}, "t", 270),
        ({"access_token": "t", "expires_in": 300}, "t", 270),
        ({"token": "t", "access_token": "u"}, "t", 30),
        ({"token": "", "access_token": "u"}, "u", 30),
        ({"token": "t", "expires_in": 1}, "t", 30),
        ({"token": "t", "expires_in": -5}, "t", 30),
        ({"token": "t", "expires_in": "300"}, "t", 270),
        ({"token": "t", "expires_in": "soon"}, "t", 30),
        ({"token": "t", "expires_in": None}, "t", 30),
        ({"token": "t", "expires_in": 10**400}, "t", 30),
        ({"token": "t", "expires_in": math.nan}, "t", 30),
        ({"token": "t", "expires_in": math.inf}, "t", 86370),
        ({"token": "t", "issued_at": "1970-01-01T00:00:00Z", "expires_in": 90}, "t", 60),
    ],
)
def test_a_token_is_used_until_shortly_before_it_ends(
    answer: dict[str, Any], token: str, seconds: float
) -> None:
    grant = read_grant(json.dumps(answer).encode())
    assert grant is not None
    assert (grant.token, grant.seconds) == (token, seconds)
    assert token not in repr(grant).replace("token", "").replace("Grant", "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": 1}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": "with blank"}',
        b'{"token": "' + b"x" * 65537 + b'"}',
        b"[" * 100_000,
        b"\xff",
    ],
    ids=range(10),
)
def test_an_answer_without_a_token_that_can_stand_in_a_header_is_none(body: bytes) -> None:
    assert read_grant(body) is None
