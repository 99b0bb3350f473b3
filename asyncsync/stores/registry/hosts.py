"""Where a registry is: its host on the network, its schemes, its proxy. Pure."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from yarl import URL

from asyncsync.model.access import Access
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.place import Registry
from asyncsync.stores.registry.quirks import quirks
from asyncsync.stores.registry.trust import Reach, is_host, reach_of_name

_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BETWEEN_HOSTS = re.compile(r"[,\s]+")
_WITH_PORT = re.compile(r"(\[[^]]*\]|[^:]*):([0-9]+)")


def api_host(place: Registry) -> str:
    """The host, with port, that answers for `place`."""
    return quirks(place.host).api_host or place.host


def schemes(place: Registry, access: Access) -> tuple[str, ...]:
    """How to speak with `place`, in the order to try. Two are tried only on loopback hosts.

    Whoever names a CA means TLS: then plain HTTP is no way out.
    """
    if place.host in access.plain_http:
        return ("http",)
    if reach_of_name(URL(f"//{place.host}").host or "") is Reach.LOOPBACK and not access.ca_file:
        return ("https", "http")
    return ("https",)


def proxy_for(url: URL, proxies: Mapping[str, str]) -> URL | None:
    """The proxy through which `url` is asked; None for this machine and for whom `no` names."""
    host = url.host or ""
    if reach_of_name(host) is Reach.LOOPBACK:
        return None
    if _named(host, url.port, proxies.get("no", "")):
        return None
    return proxy_of(url.scheme, proxies)


@lru_cache(maxsize=1024)  # each request asks, and a run knows few hosts
def _named(host: str, port: int | None, hosts: str) -> bool:
    """Whether a host is among those of NO_PROXY, in the forms of Go (so of docker), curl, urllib.

    A name stands for all below it as well, with `.` or `*.` before it or without; an address, a
    network (`10.0.0.0/8`), `*` for all. A name or an address may have a port. No name is resolved.
    """
    host = host.lower().rstrip(".")
    return any(_is_for(entry, host, port) for entry in _BETWEEN_HOSTS.split(hosts.lower()))


def _is_for(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    if match := _WITH_PORT.fullmatch(entry):  # of an address like `fd00::1`, no part is a port
        entry, wanted = match.groups()
        if wanted != str(port):
            return False
    entry = entry.strip("[]")
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name = entry.removeprefix("*").strip(".")
        return bool(name) and f".{host}".endswith(f".{name}")
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def proxy_login(proxy: URL) -> dict[str, str]:
    """The header that holds the login of a proxy's URL; none without one.

    Byte for byte, as curl and docker send it: aiohttp has no form for letters beyond Latin-1.
    """
    user, password = proxy.raw_user, proxy.raw_password
    if user is None and password is None:
        return {}
    pair = unquote_to_bytes(user or "") + b":" + unquote_to_bytes(password or "")
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}


def proxy_of(scheme: str, proxies: Mapping[str, str]) -> URL | None:
    """The proxy for `scheme`. Raises ConfigurationError if it is no HTTP proxy."""
    text = proxies.get(scheme) or proxies.get("all")
    if not text:
        return None
    named = scheme if proxies.get(scheme) else f"{scheme} (ALL_PROXY)"
    try:
        proxy = URL(text if _HAS_SCHEME.match(text) else f"http://{text}")
        _ = proxy.port
    except ValueError:  # its text may hold a password, here and below
        raise ConfigurationError(
            f"the proxy for {named} is at no address: write http://host:port, and in its login "
            "what is no letter or digit as in URLs (/ is %2F)"
        ) from None
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise ConfigurationError(
            f"the proxy for {named} is a {proxy.scheme} proxy; only http and https are spoken: "
            "if it speaks one of them, too, write that"
        )
    if not is_host(proxy.raw_host or ""):
        raise ConfigurationError(f"the proxy for {named} is at a host that cannot be one")
    return proxy
