"""What variables say: a mapping → values. Pure; every message names the variable.

An empty variable is an unset one: a secret that a CI system does not have arrives empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from asyncsync.model.access import Credential, is_here
from asyncsync.model.errors import ConfigurationError
from asyncsync.model.foreign import shown
from asyncsync.model.job import Destination
from asyncsync.model.place import DOCKER_HUB, Layout, Registry

T = TypeVar("T")
Variables = Mapping[str, str]

# Where everybody may have a namespace: the name alone gives nobody away, and to hide it would blank
# out the sources that lists name there.
_EVERYBODYS = frozenset(
    {DOCKER_HUB, "ghcr.io", "quay.io", "gcr.io", "public.ecr.aws", "registry.gitlab.com"}
)


def variable(variables: Variables, name: str, parse: Callable[[str], T]) -> T | None:
    """What `name` says, or None where it is unset. Raises ConfigurationError."""
    text = variables.get(name, "").strip()
    if not text:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {shown(str(error))}") from error


def registry(variables: Variables) -> Destination | None:
    """Where REGISTRY alone points."""
    return variable(variables, "REGISTRY", _registry)


def _registry(text: str) -> Destination:
    hub = Registry(DOCKER_HUB)  # whose namespace may come by the other variable
    try:
        if Registry.parse(text.rstrip("/")) == hub:
            return Destination(hub)
    except ValueError:
        pass
    found = Destination.parse(text)
    if isinstance(found.place, Layout):
        raise ValueError(f"an OCI layout is no registry. Say --to {found}")
    return found


def destination(variables: Variables) -> Destination | None:
    """Where REGISTRY and NAMESPACE (else REGISTRY_NAMESPACE) point; None without REGISTRY."""
    base = registry(variables)
    if base is None:
        return None
    for name in ("NAMESPACE", "REGISTRY_NAMESPACE"):
        inside = variable(variables, name, lambda text: _inside(base, text))
        if inside is not None:
            return inside
    return variable(variables, "REGISTRY", Destination.parse)


def _inside(base: Destination, text: str) -> Destination:
    _, scheme, bare = text.rpartition("://")
    first, _, namespace = bare.strip("/").partition("/")
    if scheme or first == str(base.place):
        instead = f"Write {namespace}" if namespace else "Leave it empty"
        raise ValueError(f"a namespace is written without its registry. {instead}")
    return Destination.parse(f"{base}/{text.strip('/')}")


def names(variables: Variables) -> tuple[str, ...]:
    """Where images go, and as whom, as it is written: a CI system may hold these as secrets."""
    told = ("REGISTRY", "NAMESPACE", "REGISTRY_NAMESPACE", "REGISTRY_USER")
    return tuple(filter(None, (variables.get(name, "").strip() for name in told)))


def host_within(variables: Variables) -> str | None:
    """The host in a REGISTRY that says more: of such a secret a CI system hides the whole alone.

    None where there is nothing to hide: it is this machine, or a registry of everybody.
    """
    host, more, _ = variables.get("REGISTRY", "").strip().partition("/")
    try:
        place = Registry.parse(host) if more else None
    except ValueError:
        return None
    if place is None or is_here(place.host) or place.host in _EVERYBODYS:
        return None
    return place.host


def credential(
    variables: Variables, to: Destination, *, user: str | None = None, password: str | None = None
) -> Credential | None:
    """Who we are at `to`; `user` and `password` were given as options, and beat the variables.

    REGISTRY_USER and REGISTRY_PASSWORD belong to REGISTRY's host, and where REGISTRY is unset to
    `to`'s: they are sent to no other.
    """
    if isinstance(to.place, Layout):
        if user or password:
            what = f"--user and --password-stdin are for a registry, and {to} is a layout"
            raise ConfigurationError(f"{what}. Leave them out.")
        return None
    if not (user and password):
        ours = _belonging_to(variables, to)
        user = user or ours.get("REGISTRY_USER")
        password = password or ours.get("REGISTRY_PASSWORD")
    if user and password:
        return Credential(user, password)
    if user or password:
        there, lacking = (
            ("a user", "password: set REGISTRY_PASSWORD or say --password-stdin")
            if user
            else ("a password", "user: set REGISTRY_USER or say --user NAME")
        )
        raise ConfigurationError(f"For {to.place} there is {there}, but no {lacking}.")
    return None


def _belonging_to(variables: Variables, to: Destination) -> Variables:
    # A secret made from a file or by pasting ends with a line break, which no login means.
    told = ("REGISTRY_USER", "REGISTRY_PASSWORD")
    ours = {name: variables.get(name, "").rstrip("\r\n") for name in told}
    if not any(ours.values()):
        return {}
    owner = registry(variables)  # unreadable: better to stop than to send them to a wrong host
    return ours if owner is None or owner.place == to.place else {}
