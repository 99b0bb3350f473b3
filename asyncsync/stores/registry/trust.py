"""Where a registry may send us: token realms, redirects, and the addresses behind them. Pure.

A registry names other hosts, and we go there with what we know of the network inside. So a
registry on the internet must not send us to an address inside, and no password over plain HTTP.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from functools import lru_cache

from yarl import URL

REDIRECTS_MAX = 5
_UNPRINTED = re.compile(r"[\x00-\x20\x7f]")
# What a name server can be asked for (RFC 1035 §2.3.4; some names have a `_`). A last part of
# figures is an address in a form that only resolvers and proxies read: 127.1, 0x7f000001.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!(?:[0-9]+|0x[0-9a-f]*)\.?\Z){_LABEL}\.?", re.IGNORECASE)
_NAME_MAX = 254  # characters, with the dot at the end
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address in its last 32 bits (RFC 6052)


class Reach(StrEnum):
    """From how far an address can be reached."""

    PUBLIC = "public"
    PRIVATE = "private"
    LINK_LOCAL = "link-local"
    LOOPBACK = "loopback"


class Refused(ValueError):
    """The registry sent us where we do not go. The text says where, without path and query."""


@lru_cache(maxsize=1024)  # each request asks, and a run knows few hosts
def reach(address: str) -> Reach:
    """The reach of an IP address, also of an IPv4 one inside IPv6. Raises ValueError for a name."""
    ip = ipaddress.ip_address(address.partition("%")[0].strip("[]"))
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    if ip.is_loopback or ip.is_unspecified:  # 0.0.0.0 connects to this machine
        return Reach.LOOPBACK
    if ip.is_link_local:
        return Reach.LINK_LOCAL
    if ip.is_multicast or (isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local):
        return Reach.PRIVATE
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


@lru_cache(maxsize=1024)  # as above
def reach_of_name(host: str) -> Reach | None:
    """The reach that a host's text alone shows; None for a name that has to be resolved."""
    host = host.lower().removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return Reach.LOOPBACK
    try:
        return reach(host)
    except ValueError:
        return None


def is_host(text: str) -> bool:
    """Whether `text` is an address, or a name that can be resolved at all."""
    if len(text) <= _NAME_MAX and _NAME.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone is of the machine that names it


def allowed(target: Reach, home: Reach) -> bool:
    """Whether a registry of reach `home` may send us to an address of reach `target`."""
    return target in (Reach.PUBLIC, home)


def origin(url: URL) -> str:
    """Scheme, host and port: what may be shown of a URL, as its query can hold a signature."""
    return f"{url.scheme}://{url.host_port_subcomponent or ''}"


def same_origin(one: URL, other: URL) -> bool:
    """Whether what is meant for `one` may be sent to `other`."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def realm_url(realm: str, registry: URL, home: Reach) -> URL:
    """Where to ask for a token, byte for byte as the registry wrote it. Raises Refused.

    Credentials go there: so https, or http where the registry itself is plain and the realm is
    on its host and port.
    """
    url = _resolve(realm, registry)
    if url.scheme == "http" and not same_origin(url, registry):
        raise Refused(f"{origin(url)}, which is not https")
    return _checked(url, registry, home)


def redirect_url(location: str, current: URL, registry: URL, home: Reach) -> URL:
    """Where a redirect leads, byte for byte: a signature does not survive less. Raises Refused."""
    url = _resolve(location, current)
    if url.scheme == "http" and current.scheme == "https":
        raise Refused(f"{origin(url)}, which is not https")
    return _checked(url, registry, home)


def _resolve(text: str, base: URL) -> URL:
    try:
        url = base.join(URL(text, encoded=True))
        _, host, _ = url.host, url.raw_host, url.port  # the first is read as IDNA
    except ValueError:
        raise Refused("a text that is no address") from None
    if url.scheme not in ("http", "https") or not is_host(host or ""):
        raise Refused("a text that is no address")
    if not text or not text.isascii() or _UNPRINTED.search(text):
        raise Refused("a text that is no address")
    if url.user is not None or url.password is not None:
        raise Refused(f"{origin(url)} with a user name in it")
    return url.with_fragment(None) if url.raw_fragment else url


def _checked(url: URL, registry: URL, home: Reach) -> URL:
    target = reach_of_name(url.host or "")
    if target and not allowed(target, home) and not same_origin(url, registry):
        raise Refused(f"{origin(url)}, a {target} address")
    return url
