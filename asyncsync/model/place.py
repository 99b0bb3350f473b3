"""Where images live: in a registry, or in an OCI layout on this machine."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self, TypeAlias

from asyncsync.model.foreign import quoted
from asyncsync.model.naming import NotAReference

DOCKER_HUB = "docker.io"
HUB_WEBSITE = "hub.docker.com"  # an address bar has it, and no image is there
OCI = "oci:"
LAYOUT_MAX = 2048  # characters of a folder's name

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Longer names cannot be resolved (RFC 1035 §2.3.4).
_SHORT = r"(?=[^:]{1,253}(?::|\Z))"
_HOST = re.compile(
    rf"{_SHORT}(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]{{2,45}}\])(?::(?P<port>[0-9]+))?"
)
_PORT_MAX = 65535
# Docker's own other names for its registry; they are one host and one credential.
_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})
# A folder is always written so that no registry or tag can look like one.
_FOLDER = re.compile(r"(?:/|\.{1,2}(?:/|\Z))[^:]*")
_PACKED = re.compile(r"\.(?:tgz|tzst|tbz2?|txz|tar\.[a-z0-9]+)\Z")


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry by host and port, as `ghcr.io` or `localhost:5000`. Docker Hub: `docker.io`."""

    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host[:port]`. Raises ValueError that says what to write instead."""
        match = _HOST.fullmatch(text)
        if match is None or not _is_address_if_bracketed(text):
            lower = text.lower()
            if lower != text and _HOST.fullmatch(lower):
                raise NotAReference("host names are written in lower case here", instead=lower)
            raise NotAReference(f"{quoted(text)} is no registry: host or host:port, as ghcr.io")
        port = match["port"]
        if port is not None and not 0 < int(port[:10]) <= _PORT_MAX:  # cut: long ones are costly
            raise NotAReference(
                f"{quoted(port)} is no port: ports go from 1 to {_PORT_MAX}", match.start("port")
            )
        return cls(DOCKER_HUB if text in _HUB_ALIASES else text)

    def __str__(self) -> str:
        return self.host


def _is_address_if_bracketed(host: str) -> bool:
    if not host.startswith("["):
        return True
    try:
        ipaddress.IPv6Address(host[1 : host.index("]")])
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Layout:
    """An OCI layout by its folder, or by its tar (a name in `.tar`). As text `oci:./export`.

    The path begins with `/`, `./` or `../`; it holds no ':', which ends it in a reference.
    """

    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `oci:FOLDER`. Raises ValueError that says what to write instead."""
        scheme, _, path = text.partition(":")
        if scheme != "oci" or not path:
            raise NotAReference(f"{quoted(text)} is no layout: oci:FOLDER, as oci:./export")
        if len(path) > LAYOUT_MAX:
            raise NotAReference(
                f"a folder's name has at most {LAYOUT_MAX} characters, not {len(path)}"
            )
        if path.startswith("~"):  # shells leave it as it is behind oci:
            raise NotAReference("no shell expands the '~' there", instead=f"oci:$HOME{path[1:]}")
        if ":" in path:
            what = "a layout's folder has no ':' in its name, and its images are named in the list"
            raise NotAReference(what, text.rindex(":"))
        if not path.isprintable():
            raise NotAReference(f"{quoted(path)} has a sign in it that cannot be printed")
        path = path.rstrip("/") or "/"
        if packed := _PACKED.search(path):
            what = f"a layout is a folder or a plain tar, not packed ({packed[0]})"
            raise NotAReference(what, instead=f"oci:{path[: packed.start()]}.tar")
        return cls(path if _FOLDER.fullmatch(path) else f"./{path}")

    def __str__(self) -> str:
        return f"{OCI}{self.path}"

    @property
    def is_tar(self) -> bool:
        """Whether it is one file that holds all of it."""
        return self.path.endswith(".tar")


Place: TypeAlias = Registry | Layout


def is_layout(place: str) -> bool:
    """Whether the text of a place, or what begins with it, is that of a layout."""
    return place.startswith((f"{OCI}/", f"{OCI}."))


def as_registry(place: Place) -> Registry:
    """The registry that `place` is: only there are logins, and HTTP."""
    if isinstance(place, Layout):
        raise TypeError(f"{place} is a layout and no registry")
    return place


def names_registry(component: str) -> bool:
    """Whether Docker takes this first component for a registry and not for a repository."""
    return component == "localhost" or any(c in component for c in ".:[")
