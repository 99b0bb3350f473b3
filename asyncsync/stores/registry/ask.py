"""One question to a registry, before anything is known of the terms that it sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from yarl import URL

from asyncsync.model.manifest import MANIFEST_BYTES_MAX
from asyncsync.stores.registry.auth import pull_scope, push_scope
from asyncsync.stores.registry.bodies import Body
from asyncsync.stores.registry.rates import Kind


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about a repository. `at`: a path below it, or where the registry sent us.

    `kind` is what it counts as where a registry wants fewer at once.
    `most`: bytes of a good answer that we take; None streams them. `body` is called for each time
    that it is sent. `writes`: it needs the right to push; `origin`: and to pull from there.
    `follows`: go where a redirect leads; what writes never does. `closes`: it ends an upload whose
    bytes are there, and is answered once they are read again.
    """

    method: str
    repository: str
    at: str | URL
    kind: Kind
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Body] | None = None
    most: int | None = MANIFEST_BYTES_MAX
    writes: bool = False
    origin: str | None = None
    follows: bool = True
    closes: bool = False

    @property
    def scope(self) -> str:
        """What a token must allow for it (distribution, “Token”); what is needed most first."""
        if not self.writes:
            return pull_scope(self.repository)
        if self.origin is None or self.origin == self.repository:
            return push_scope(self.repository)
        return f"{push_scope(self.repository)} {pull_scope(self.origin)}"
