"""What stands in for a registry, as long as it does: its mirrors are asked before it is.

A mirror's failure is none: it only costs the time, and is told, since no image fails for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from asyncsync.model.errors import CopyError, DigestMismatch, NotFound
from asyncsync.model.place import Registry
from asyncsync.stores.registry.notices import Notices
from asyncsync.stores.registry.session import Session

T = TypeVar("T")

MISSES_MAX = 3  # failures in a row, before a mirror is left out for the rest of the run


class Mirrors:
    """The mirrors of the registry `place`, in the order to ask them."""

    def __init__(self, place: Registry, mirrors: tuple[Session, ...], notices: Notices) -> None:
        self._place, self._mirrors, self._notices = place, mirrors, notices
        self._misses: Counter[Session] = Counter()  # in a row
        self._told: set[Session] = set()

    async def first(self, attempt: Callable[[Session], Awaitable[T]], origin: Session) -> T:
        """What the mirrors have, in their order, else what the registry itself says.

        After some failures in a row a mirror is left out, at once where it sends wrong bytes.
        """
        for mirror in self._mirrors:
            if self._misses[mirror] >= MISSES_MAX:
                continue
            try:
                found = await attempt(mirror)
            except CopyError as error:
                self._misses[mirror] += MISSES_MAX if isinstance(error, DigestMismatch) else 1
                if not isinstance(error, NotFound):  # no mirror has everything
                    self._tell(mirror, error.what)
                continue
            if self._misses[mirror] < MISSES_MAX:  # or it has been left out meanwhile
                self._misses[mirror] = 0
            if found is not None:
                return found
        return await attempt(origin)

    def leave_out(self, session: Session) -> bool:
        """Ask it for nothing more: its bytes are wrong or do not come. False if it is no mirror."""
        if session not in self._mirrors:
            return False
        self._misses[session] = MISSES_MAX
        self._tell(session, "it sends wrong bytes, or breaks off")
        return True

    def _tell(self, mirror: Session, why: str) -> None:
        if mirror not in self._told:  # once: its words name the repository, others for each image
            self._told.add(mirror)
            what = f"the mirror fails, so {self._place} itself is asked: {why}"
            self._notices.tell(mirror.place.host, what)
