"""Challenges and tokens as values (RFC 9110 §11.6.1; distribution, “Token”). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from yarl import URL

from asyncsync.model.access import AS_GIVEN

TOKEN_SECONDS_MIN = 60.0  # what a token lives if its server says less, or nothing (distribution)
TOKEN_SECONDS_MAX = 24 * 3600.0
CLIENT_ID = "asyncsync"
_EARLY_SECONDS = 30.0  # a token is renewed before it ends, or it ends on its way
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")  # what can stand in a header
_SCOPE = re.compile(r"repository:[a-z0-9._/:-]{1,320}:(?:\*|[a-z]+(?:,[a-z]+)*)")

_BLANK = re.compile(r"[ \t,]*")
_WORD = re.compile(r"[^\s,=\"]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)("|$)', re.DOTALL)
_BARE = re.compile(r"[^\s,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a registry wants before it answers. Names of parameters are lower case."""

    scheme: str
    params: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def realm(self) -> str:
        """Where tokens are given."""
        return self.params.get("realm", "")

    @property
    def service(self) -> str:
        """For whom a token is to be; registries on Google's hosts leave it out."""
        return self.params.get("service", "")

    @property
    def missing_scope(self) -> str | None:
        """The scope that our token lacks, if that is what the registry says and it is one."""
        scope = self.params.get("scope", "")
        lacks = self.params.get("error", "").lower() == "insufficient_scope"
        # public.ecr.aws writes the bare word `aws`: such a scope is none
        return scope if lacks and all(map(_SCOPE.fullmatch, scope.split(" "))) else None


def pull_scope(repository: str) -> str:
    """The scope that reads `repository`."""
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    """The scope that writes to `repository`, and reads it."""
    return f"repository:{repository}:pull,push"


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Read all WWW-Authenticate headers: repeated, or joined by commas, or both.

    Lenient: what it cannot read is skipped, as the other challenge may be a good one.
    """
    return [challenge for header in headers for challenge in _challenges(header)]


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The challenge to answer: Bearer before Basic; others are not known here."""
    known: dict[str, Challenge] = {}
    for challenge in challenges:
        if challenge.scheme == "basic" or (challenge.scheme == "bearer" and challenge.realm):
            known.setdefault(challenge.scheme, challenge)
    return known.get("bearer") or known.get("basic")


def _challenges(header: str) -> Iterator[Challenge]:
    """One word after the other: with `=` it is a parameter, without a new scheme or a token68."""
    scheme, params, at = "", dict[str, str](), 0
    while (at := _end(_BLANK, header, at)) < len(header):
        word = _WORD.match(header, at)
        if word is None:  # a stray `=` or quote
            at += 1
            continue
        at = word.end()
        equals = _EQUALS.match(header, at)
        if equals and not _is_token68(header, equals.end()):
            value, at = _value(header, equals.end())
            params.setdefault(word[0].lower(), value)
        elif equals:
            at = _end(re.compile(r"[ \t=]*"), header, at)  # padding of Negotiate's token68
        else:
            if scheme:
                yield Challenge(scheme, params)
            scheme, params = word[0].lower(), {}
    if scheme:
        yield Challenge(scheme, params)


def _is_token68(header: str, at: int) -> bool:
    return at >= len(header) or header[at] in "=,"


def _value(header: str, at: int) -> tuple[str, int]:
    if quoted := _QUOTED.match(header, at):
        return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    end = _end(_BARE, header, at)
    return header[at:end], end


def _end(pattern: re.Pattern[str], header: str, at: int) -> int:
    match = pattern.match(header, at)
    return match.end() if match else at


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, and the seconds for which it is worth using."""

    token: str = field(repr=False)
    seconds: float


def token_query(realm: URL, service: str, scope: str) -> URL:
    """The GET that asks for a token; the realm's own query stays byte for byte."""
    asked = [("service", service)] * bool(service) + [("scope", one) for one in scope.split(" ")]
    join = "&" if realm.raw_query_string else "?"
    query = urlencode(asked, errors=AS_GIVEN)
    return URL(f"{str(realm).rstrip('?')}{join}{query}", encoded=True)


def token_form(identity_token: str, service: str, scope: str) -> bytes:
    """The body that turns an identity token into a token (OAuth2, RFC 6749 §6)."""
    form = {"grant_type": "refresh_token", "refresh_token": identity_token, "scope": scope}
    form |= {"client_id": CLIENT_ID, **({"service": service} if service else {})}
    return urlencode(form, errors=AS_GIVEN).encode()


def read_grant(body: bytes) -> Grant | None:
    """The token in a token server's answer, or None if it has none that can be used.

    `issued_at` is ignored: its clock is not ours.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    for name in ("token", "access_token"):
        token = answer.get(name)
        if isinstance(token, str) and _TOKEN.fullmatch(token):
            return Grant(token, _seconds(answer.get("expires_in")) - _EARLY_SECONDS)
    return None


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return TOKEN_SECONDS_MIN
    if not seconds >= TOKEN_SECONDS_MIN:  # `not >=`: NaN is less than nothing
        return TOKEN_SECONDS_MIN
    return min(seconds, TOKEN_SECONDS_MAX)
