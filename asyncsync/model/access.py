"""How registries are reached over HTTP, and as whom: values that the caller sets."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

_AS_GIVEN = "surrogateescape"  # a variable may hold bytes that are no UTF-8


@dataclass(frozen=True, slots=True)
class Access:
    """How registries are reached.

    `plain_http`: hosts (with port) that speak no TLS. `ca_file`: PEM certificates to trust beside
    the system's. `proxies`: scheme (`http`, `https`, `no`) → URL or list of hosts, in the form
    that `urllib.request.getproxies_environment` gives.
    """

    plain_http: frozenset[str] = frozenset()
    ca_file: Path | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords in the proxies' URLs, as they stand there and in all their other forms."""
        found: list[str] = []
        for scheme, url in self.proxies.items():
            login = url.rpartition("@")[0].partition("://")
            user, _, password = (login[2] or login[0]).partition(":")
            if password and scheme != "no":  # `no` is a list of hosts
                found += (password, *Credential(unquote(user), unquote(password)).secrets)
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Credential:
    """Who we are at a registry. No repr, no message and no log ever holds its secrets.

    Exactly one of the three is set: `password` (with `username`), `identity_token` (an OAuth2
    refresh token), `registry_token` (a ready Bearer token); docker's config.json has all three.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not be shown, in the forms in which it can come back to us."""
        plain = [s for s in (self.password, self.identity_token, self.registry_token) if s]
        # A page that shows our request again has them as a form, an address, HTML or JSON has them.
        escaped = [
            form for s in plain for form in (*_in_addresses(s), html.escape(s), *_as_json(s))
        ]
        pairs = [
            each.encode(errors=_AS_GIVEN) for s in plain for each in (f"{self.username}:{s}", s)
        ]
        # Without padding, or a form that lost it would not be found.
        coded = [
            code(pair).decode().rstrip("=")
            for pair in pairs
            for code in (base64.b64encode, base64.urlsafe_b64encode)
        ]
        return tuple(dict.fromkeys((*plain, *escaped, *coded)))


def _in_addresses(text: str) -> tuple[str, str]:
    return quote_plus(text, errors=_AS_GIVEN), quote(text, safe="", errors=_AS_GIVEN)


def _as_json(text: str) -> tuple[str, str]:
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
