"""How registries are reached over HTTP, and as whom: values that the caller sets."""

from __future__ import annotations

import base64
import html
import ipaddress
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from urllib.parse import quote, quote_plus, unquote

from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import quoted
from asyncsync.model.naming import NotAReference
from asyncsync.model.place import Registry
from asyncsync.model.reference import Reference

# How texts become bytes again that came as bytes: variables and headers hold others than UTF-8.
AS_GIVEN = "surrogateescape"
_IN_HEADERS = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class Access:
    """How registries are reached. Raises ConfigurationError for what can be no host or mirror.

    `plain_http`: hosts (with port) that speak no TLS. `ca_file`: PEM certificates to trust beside
    the system's. `proxies`: scheme (`http`, `https`, `no`) → URL or list of hosts, in the form
    that `urllib.request.getproxies_environment` gives. `insecure`: hosts whose certificate is not
    checked. `mirrors`: host → URLs, `https://mirror.example[/prefix]`, that are asked before it,
    in this order; a prefix stands before the repository (`/v2/prefix/library/nginx/…`).
    """

    plain_http: Collection[str] = frozenset()
    ca_file: Path | None = None
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # with their passwords
    insecure: Collection[str] = frozenset()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Frozen: a value is normalised once, here.
        object.__setattr__(self, "plain_http", _hosts("plain_http", self.plain_http))
        object.__setattr__(self, "insecure", _hosts("insecure", self.insecure))
        self._check_kinds()
        mirrors: dict[str, tuple[str, ...]] = {}
        for host, urls in self.mirrors.items():
            try:
                named = Registry.parse(host).host
                read = tuple(map(mirror_url, urls))
            except ValueError as error:
                raise ConfigurationError(f"The mirrors of {quoted(host)}: {error}.") from None
            for url in read:
                self._check_plain(named, url)
            mirrors[named] = tuple(dict.fromkeys((*mirrors.get(named, ()), *read)))
        object.__setattr__(self, "mirrors", mirrors)

    def _check_kinds(self) -> None:
        """Raise ConfigurationError, which shows no value: a proxy's holds a password."""
        if not isinstance(self.ca_file, str | os.PathLike | None):
            raise ConfigurationError("ca_file is the path of a PEM file")
        if not _are_all(str, self.proxies):
            raise ConfigurationError("proxies is as {'https': 'http://proxy.example:3128'}")
        if not _are_all(list | tuple, self.mirrors) or not all(
            isinstance(url, str) for urls in self.mirrors.values() for url in urls
        ):
            raise ConfigurationError("mirrors is as {'docker.io': ('https://mirror.example',)}")

    def _check_plain(self, named: str, url: str) -> None:
        host = mirror_host(url)
        plain = url.startswith("http://")
        if plain and host not in self.plain_http and not is_here(host):
            raise ConfigurationError(
                f"The mirrors of {named}: {url} is not https. "
                f"If it really speaks no TLS, add --plain-http {host}."
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords in the proxies' URLs, as they stand there and in all their other forms."""
        found: list[str] = []
        for scheme, url in self.proxies.items():
            login = url.rpartition("@")[0].partition("://")
            user, _, password = (login[2] or login[0]).partition(":")
            if password and scheme != "no":  # `no` is a list of hosts
                texts = (unquote(text, errors=AS_GIVEN) for text in (user, password))
                found += (password, *Credential(*texts).secrets)
        return tuple(dict.fromkeys(found))


def _are_all(kind: type | UnionType, given: object) -> bool:
    """Whether it is a mapping of texts to values of this kind."""
    return isinstance(given, Mapping) and all(
        isinstance(key, str) and isinstance(value, kind) for key, value in given.items()
    )


def _hosts(option: str, given: object) -> frozenset[str]:
    """The hosts of an option. In a text each part of a name would be found: it is refused."""
    texts = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (None,)
    if not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"{option} is a list of hosts, as ['registry.example:5000']")
    try:
        return frozenset(Registry.parse(text).host for text in texts)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}.") from None


def mirror_url(text: str) -> str:
    """Read `https://host[:port][/prefix]`. Raises ValueError, which never shows a login."""
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        raise ValueError(f"a mirror is written {_MIRROR}")
    if "@" in rest:  # not shown: what stands before it may be a password
        raise ValueError("a mirror's URL has no '@': its login is the one of docker login")
    if "?" in rest or "#" in rest:  # not shown either: it may be a token
        raise ValueError(f"a mirror's URL has neither '?' nor '#'; write {_MIRROR}")
    host, _, prefix = rest.partition("/")
    prefix = prefix.rstrip("/")
    try:
        Registry.parse(host)
        if ":" in prefix or prefix != prefix.lower():
            raise NotAReference("a prefix is lower case and has no ':'")
        if prefix:  # the grammar of a repository, asked of the one place that knows it
            Reference.parse(f"localhost/{prefix}:tag")
    except NotAReference as error:
        raise ValueError(f"{quoted(text)} is no mirror: {error.what}; write {_MIRROR}") from None
    if prefix.split("/")[0] in ("v1", "v2"):
        raise ValueError(f"a mirror is written without /{prefix[:2]}, as {_MIRROR}")
    return f"{scheme.lower()}://{host}/{prefix}".rstrip("/")


def mirror_host(url: str) -> str:
    """The host of a mirror's URL, with its port."""
    return url.partition("://")[2].partition("/")[0]


_MIRROR = "https://mirror.example or https://mirror.example/prefix"


def is_here(host: str) -> bool:
    """Whether a host, with or without port, is this machine by its name alone."""
    name = host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Credential:
    """Who we are at a registry. No repr, no message and no log ever holds its secrets.

    Exactly one of the three is set: `password` (with `username`), `identity_token` (an OAuth2
    refresh token), `registry_token` (a ready Bearer token); docker's config.json has all three.
    Raises ConfigurationError, without the secret, for what cannot be sent.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for text in (self.username, self.password, self.identity_token, self.registry_token):
            if not isinstance(text, str):  # an unset variable is None
                raise ConfigurationError("A login is made of texts: Credential('user', 'password')")
            try:
                text.encode(errors=AS_GIVEN)
            except UnicodeEncodeError:
                raise ConfigurationError("A login holds what is no text.") from None
        if _IN_HEADERS.fullmatch(self.registry_token) is None:
            raise ConfigurationError("A registry token holds what cannot stand in a header.")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not be shown, in the forms in which it can come back to us."""
        plain = [s for s in (self.password, self.identity_token, self.registry_token) if s]
        # A page that shows our request again has them as a form, an address, HTML or JSON has them.
        escaped = [
            form for s in plain for form in (*_in_addresses(s), html.escape(s), *_as_json(s))
        ]
        pairs = [
            each.encode(errors=AS_GIVEN) for s in plain for each in (f"{self.username}:{s}", s)
        ]
        # Without padding, or a form that lost it would not be found.
        coded = [
            code(pair).decode().rstrip("=")
            for pair in pairs
            for code in (base64.b64encode, base64.urlsafe_b64encode)
        ]
        return tuple(dict.fromkeys((*plain, *escaped, *coded)))


def _in_addresses(text: str) -> tuple[str, str]:
    return quote_plus(text, errors=AS_GIVEN), quote(text, safe="", errors=AS_GIVEN)


def _as_json(text: str) -> tuple[str, str]:
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]
