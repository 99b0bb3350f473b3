"""The ways to two registries that contenders take, and what was seen on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measuring import LOOPBACK, Link
from parts.registry import Registry, Request
from parts.relay import Relay


@dataclass(frozen=True, slots=True)
class Seen:
    """What came along a road. `bytes` on the wire, one way: None without a relay.

    Connections are a relay's count, else of those that the registry got a request from.
    """

    requests: list[Request]
    connections: int
    bytes: int | None


class Road:
    """A registry, and how the contenders get there: through the relay if the link is shaped."""

    def __init__(self, registry: Registry, relay: Relay) -> None:
        self.registry, self._relay, self._shaped = registry, relay, False

    @property
    def host(self) -> str:
        return self._relay.host if self._shaped else self.registry.host

    def shape(self, link: Link = LOOPBACK) -> None:
        """Be this link from now on."""
        self._shaped = link.shaped
        self._relay.delay(link.round_trip)
        self._relay.throttle(link.rate_each or link.rate, each=link.rate_each is not None)

    def renew(self, fill: Callable[[Path], object] | None = None) -> None:
        """Empty the registry, or have its data made by `fill`.

        In a new namespace of the old one, a blob could be mounted instead of uploaded.
        """
        self.registry.stop()
        data = self.registry.folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        if fill:
            fill(data)
        self.registry.start()

    def counting(self, way: str) -> Callable[[], Seen]:
        """Count from now on; what is returned tells. `way` of the bytes: `up` or `down`."""
        relay, mark, shaped = self._relay, self.registry.mark(), self._shaped
        opened, moved = relay.opened, getattr(relay, way)

        def counted() -> Seen:
            requests = self.registry.requests(since=mark)
            if shaped:
                return Seen(requests, relay.opened - opened, getattr(relay, way) - moved)
            return Seen(requests, self.registry.connections(since=mark), None)

        return counted
