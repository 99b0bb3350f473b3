"""One piece of work that many tasks want at the same time: one does it, all have what it brings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from anyio import Lock

from asyncsync.model.errors import CopyError

T = TypeVar("T")


class Flight(Generic[T]):
    """Work that is done once for all who ask while it is under way.

    If the task that does it is cancelled, one of the waiting takes it over. A CopyError reaches
    all who waited; later ones try again, unless `keeps_failures`. Results are kept by the caller.
    """

    def __init__(self, *, keeps_failures: bool = False) -> None:
        self._keeps_failures = keeps_failures
        self._lock = Lock()
        self._landed = 0
        self._result: T | CopyError | None = None

    async def join(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, or wait for the task that does it already. Raises what the work raised."""
        seen = self._landed
        async with self._lock:
            kept = self._keeps_failures and isinstance(self._result, CopyError)
            if self._landed == seen and not kept:
                try:
                    self._result = await work()
                except CopyError as error:
                    self._result = error.with_traceback(None)
                self._landed += 1
            result = self._result
        if isinstance(result, CopyError):
            raise again(result)
        return result  # type: ignore[return-value]  # set above, by us or by whom we waited for


def again(error: CopyError) -> CopyError:
    """The same error for another task: raising one object in many would mix their tracebacks."""
    copy = error.anew()
    copy.__cause__ = error.__cause__
    return copy
