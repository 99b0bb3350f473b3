"""What a layout calls its images, as far as that helps somebody who called one otherwise. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from asyncsync.model.foreign import shown
from asyncsync.model.place import names_registry
from asyncsync.model.reference import Reference

_TOLD_MAX = 5
_TOLD_CHARACTERS = 60  # of each; the whole is to stay one line
# The tags at which clients keep what refers to an image: nobody means these by a slip.
_ABOUT = re.compile(r".*:sha(256|512)-[0-9a-f]{64,128}(\.(sig|att|sbom))?")


class Names:
    """The names of the entries of a layout, which nobody changes meanwhile."""

    def __init__(self, names: Iterable[str]) -> None:
        self._all = sorted(name for name in names if not _ABOUT.fullmatch(name))
        self._by_last: dict[str, list[str]] = {}
        for name in self._all:
            self._by_last.setdefault(_last(name).partition(":")[0], []).append(name)

    def instead(self, ref: Reference) -> str:
        """What may be meant by the name `ref`, which no entry has. One line, safe to print."""
        first, slash, _ = ref.repository.partition("/")
        last = _last(ref.repository)
        alike = self._by_last.get(last, [])
        wanted = f"{last}:{ref.tag}"
        found = [wanted] if wanted in alike else alike or self._all
        told = _told(found)
        if slash and names_registry(first) and not any("/" in name for name in found):
            return f"names in a layout carry no registry, and it names {told}"
        return f"it names {told}"


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _told(names: Sequence[str]) -> str:
    if not names:
        return "no image"
    told = ", ".join(shown(name, limit=_TOLD_CHARACTERS) for name in names[:_TOLD_MAX])
    more = len(names) - _TOLD_MAX
    return f"{told} and {more} more" if more > 0 else told
