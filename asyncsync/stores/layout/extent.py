"""Where the bytes of a blob are, whichever file holds them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the bytes of a blob are: in an open file, from `start`, so many."""

    file: int
    start: int
    size: int

    def read(self, at: int, count: int) -> bytes:
        """At most `count` bytes of the blob from `at`; none at its end. Raises OSError."""
        return os.pread(self.file, max(0, min(count, self.size - at)), self.start + at)
