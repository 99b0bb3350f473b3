"""What registries warn of in their answers (OCI distribution-spec, “Warnings”), told once each.

So is what is to be known of a registry although no image failed for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from asyncsync.model.foreign import shown

Warn: TypeAlias = Callable[[str, str], None]  # the registry, and what it says

NOTICES_MAX = 10  # texts of one registry that are told in a run; whoever has more has one for each
TEXT_MAX = 300  # characters of one
_BYTES_MAX = 4096  # of all warnings of an answer, says the specification
# Code and agent are fixed by it: other codes are of caches on the way (RFC 7234 §5.5).
_WARNING = re.compile(r'(?:^|,)\s*299 - "((?:[^"\\]|\\.)*)"')


def nobody(registry: str, text: str) -> None:
    """Tell nobody."""


class Notices:
    """What the registries of a run have warned of. `tell` hears of each text once for a host."""

    def __init__(self, tell: Warn = nobody) -> None:
        self._tell = tell
        self._told: dict[str, set[str]] = {}

    def take(self, registry: str, headers: Sequence[str], secrets: Iterable[str]) -> None:
        """Take in the Warning headers of an answer of `registry`."""
        for text in warnings_in(headers):
            self.tell(registry, shown(text, secrets=secrets, limit=TEXT_MAX))

    def tell(self, registry: str, line: str) -> None:
        """Tell of `registry` what can be shown as it is."""
        told = self._told.setdefault(registry, set())
        if line and line not in told and len(told) < NOTICES_MAX:
            told.add(line)
            self._tell(registry, line)


def warnings_in(headers: Sequence[str]) -> Iterator[str]:
    """The texts of these Warning headers, as far as a registry may send any."""
    for match in _WARNING.finditer(", ".join(headers)[:_BYTES_MAX]):
        yield re.sub(r"\\(.)", r"\1", match[1])
