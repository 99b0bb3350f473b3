"""What is to be done: one image to one place, and the plan of all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from asyncsync.model.foreign import quoted, shown
from asyncsync.model.naming import NotAReference
from asyncsync.model.place import (
    DOCKER_HUB,
    HUB_WEBSITE,
    OCI,
    Layout,
    Place,
    Registry,
    names_registry,
)
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import ListWarning, Position


class Step(StrEnum):
    """What is being done for a job."""

    RESOLVE = "resolve"
    PULL = "pull"
    TAG = "tag"
    PUSH = "push"
    VERIFY = "verify"
    COPY = "copy"  # of the direct way, where source and target are spoken to at once
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where images go: a registry and a namespace in it (`""`: directly under the registry).

    Or a layout, which has no namespaces.
    """

    place: Place
    namespace: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `registry[:port][/namespace…]` or `oci:FOLDER`.

        Raises ValueError that says what to write.
        """
        if text.startswith(OCI) and not _OCI_HOST.match(text):
            return cls(Layout.parse(text))
        if "@" in text:  # not shown: what stands before it may be a password
            raise ValueError("a destination has no '@': it takes neither a login nor a digest")
        if not text:
            raise ValueError(f"it is empty; write {_AS}")
        if text.startswith(("/", "./", "../")):
            raise ValueError(f"a folder is written as a layout. Write oci:{shown(text)}")
        scheme, address, bare = text.rpartition("://")
        if address:
            port = 80 if scheme.lower() == "http" else 443
            instead = _instead(bare.strip("/"), port)
            raise ValueError(f"a registry is written without {shown(scheme)}://. Write {instead}")
        text = text.rstrip("/")
        host, _, namespace = text.partition("/")
        if not names_registry(host):  # Docker would push to docker.io/<host>
            hub = f"docker.io/{text}"
            or_hub = f", or {hub} if you mean Docker Hub" if _is_destination(hub) else ""
            raise ValueError(
                f"{quoted(host)} is no registry: a registry's name has a dot or a port. "
                f"Write {_instead(text, 443)}{or_hub}"
            )
        if host != host.lower():
            raise ValueError(f"host names are lower case. Write {shown(text.lower())}")
        if host == HUB_WEBSITE:
            raise ValueError(f"{host} is a website. Write {_instead(text, 443)}")
        place = Registry.parse(host)
        if namespace:
            _check_namespace(place, namespace)
        elif place.host == DOCKER_HUB:  # Docker would push to docker.io/library, which is its own
            raise ValueError("Docker Hub needs a namespace. Write docker.io/YOUR-NAME")
        return cls(place, namespace)

    def __str__(self) -> str:
        return f"{self.place}/{self.namespace}" if self.namespace else str(self.place)

    def image(self, name: str, tag: str) -> Reference:
        """What an image is called there. Raises NotAReference."""
        joint = ":" if isinstance(self.place, Layout) else "/"
        return Reference.parse(f"{self}{joint}{name}:{tag}")


_OCI_HOST = re.compile(r"oci:[0-9]+(?:/|\Z)")  # a registry of that name, with a port
_AS = "registry.example/team"
_HUBS = (DOCKER_HUB, f"index.{DOCKER_HUB}", f"registry-1.{DOCKER_HUB}", HUB_WEBSITE)


def _is_destination(text: str) -> bool:
    try:
        Destination.parse(text)
    except ValueError:
        return False
    return True


def _instead(text: str, port: int) -> str:
    """What was meant, as far as that can be told; for a host of one word, with a port."""
    host, slash, namespace = text.partition("/")
    if not names_registry(host):
        host = f"{host}:{port}"
    elif host.lower() in _HUBS:
        path = namespace.removeprefix("u/")  # as the website has it
        return f"{DOCKER_HUB}/{path if path not in ('', 'v1', 'v2') else 'YOUR-NAME'}"
    guess = f"{host}{slash}{namespace}".lower()
    return guess if _is_destination(guess) else f"it as {_AS}"


def _check_namespace(place: Registry, namespace: str) -> None:
    if ":" in namespace:
        raise ValueError(f"{quoted(namespace)} is no namespace: images bring their own tags")
    try:  # the grammar of a repository, asked of the one place that knows it
        Reference.parse(f"{place}/{namespace}/name")
    except NotAReference as error:
        why = error.what
        if error.instead:
            why = f"names are lower case. Write {namespace.lower()}"
        raise ValueError(f"{quoted(namespace)} is no namespace: {why}") from None


@dataclass(frozen=True, slots=True)
class CopyJob:
    """One image to be brought to one place. `platforms` empty: the transport's own choice."""

    source: Reference
    target: Reference
    platforms: tuple[Platform, ...]
    at: Position


_SHARD = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")
SHARDS_MAX = 256  # GitHub's largest matrix


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of a plan, the `index`-th of `count`, counted from 1: `2/4`."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count <= SHARDS_MAX:
            raise ValueError(
                f"'{self}' is no shard: there are 1 to {SHARDS_MAX}, counted from 1; write 2/4"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2/4`, the second of four. Raises ValueError that shows a right one."""
        match = _SHARD.fullmatch(text)
        if match is None:
            raise ValueError(f"{quoted(text)} is no shard; write I/N, as 2/4 for the 2nd of 4")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All jobs of a run, checked: no two write the same target, none stands twice."""

    jobs: tuple[CopyJob, ...]
    warnings: tuple[ListWarning, ...] = ()

    @property
    def tar(self) -> Layout | None:
        """The tar that its images go to: none of them is in place before all of it is written."""
        places = (job.target.place for job in self.jobs)
        return next((place for place in places if isinstance(place, Layout) and place.is_tar), None)
