"""What a store is given to keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from asyncsync.model.digest import Digest


class Content(Protocol):
    """The bytes of a blob, which can be read from any offset, and more than once."""

    @property
    def digest(self) -> Digest:
        """What they hash to; it is checked before the last of them is given out."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Those from `start` up to, without, `stop`."""
