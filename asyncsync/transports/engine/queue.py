"""Whether an engine's own limits hold up the run: layers that wait for one of its connections.

A classic engine fetches 3 layers and sends 5 at a time, over all its clients (dockerd,
`max-concurrent-downloads`, `max-concurrent-uploads`); its API does not tell these numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONG_SECONDS = 30.0  # so long in all, and somebody who could change it wants to know
ADVICE = (
    "layers have to wait for the engine, which fetches 3 and sends 5 at a time unless told "
    'otherwise. Where each connection is slow by itself, set "max-concurrent-downloads" and '
    '"max-concurrent-uploads" to 16 in /etc/docker/daemon.json, then: systemctl reload docker. '
    "Where the whole line is slow, that gains nothing"
)


class Queue:
    """Adds up the time in which some layer of some stream waited; `long` of it is worth a word.

    In seconds, and so is what `clock` gives.
    """

    def __init__(
        self, long: float = LONG_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._long, self._clock = long, clock
        self._waiting: dict[object, int] = {}
        self._since: float | None = None  # when the first of them began to wait
        self._seconds = 0.0

    @property
    def binds(self) -> bool:
        """Whether layers have waited for long."""
        now = 0.0 if self._since is None else self._clock() - self._since
        return self._seconds + now >= self._long

    @contextmanager
    def stream(self) -> Iterator[Callable[[int], None]]:
        """Inside the block, tell how many layers of this stream wait now."""
        key = object()
        try:
            yield lambda count: self._set(key, count)
        finally:
            self._set(key, 0)

    def _set(self, key: object, count: int) -> None:
        if count:
            self._waiting[key] = count
            self._since = self._clock() if self._since is None else self._since
            return
        self._waiting.pop(key, None)
        if not self._waiting and self._since is not None:
            self._seconds += self._clock() - self._since
            self._since = None
