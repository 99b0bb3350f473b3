"""Which targets have refused an image: they are asked before more is fetched for them.

Else a target that lets nobody push costs the pull of every image of a list, and what a source
counts of it. As long as a target refuses nothing, nobody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncsync.model.digest import Digest
from asyncsync.model.errors import (
    AuthenticationFailed,
    BlobsUnknown,
    CopyError,
    NotFound,
    PermissionDenied,
    RefusedByTarget,
    TypeRefused,
)
from asyncsync.model.place import Place, Registry
from asyncsync.model.reference import Reference
from asyncsync.transports.contracts import Uploads

_REFUSALS = (AuthenticationFailed, NotFound, PermissionDenied, RefusedByTarget)
_OF_ONE_IMAGE = (BlobsUnknown, TypeRefused)
_NOTHING = Digest.of(b"")


class Refusals:
    """What a run has learnt about its targets. Many jobs use it at once."""

    def __init__(self, target: Uploads) -> None:
        self._target = target
        self._by: set[Place] = set()

    def by(self, place: Place) -> bool:
        """Whether it is to be asked. A layout is a folder here: it costs nothing to try."""
        return place in self._by and isinstance(place, Registry)

    @contextmanager
    def noted(self, place: Place) -> Iterator[None]:
        """Note it if the target at `place` refuses what is done in the block."""
        try:
            yield
        except _REFUSALS as error:
            if error.where.registry == str(place) and not isinstance(error, _OF_ONE_IMAGE):
                self._by.add(place)
            raise

    async def ask(self, target: Reference) -> None:
        """Ask whether the repository of `target` lets us push, by an upload that is taken back.

        Raises the refusal, with the registry alone. What fails otherwise is left to the push.
        """
        try:
            upload = await self._target.begin_anew(target.by_digest(_NOTHING))
        except _REFUSALS:
            raise
        except CopyError:
            return
        await upload.cancel()
