"""What became of our logins in this run: a refused password is not sent again and again.

Registries lock accounts, and count failed logins against a whole network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from anyio import Lock

from asyncsync.credentials.flights import again
from asyncsync.model.access import Credential
from asyncsync.model.errors import AuthenticationFailed, CopyError, PermissionDenied, TimedOut


class Logins:
    """The logins at one registry. Until one has succeeded, a credential is tried by one task."""

    def __init__(self) -> None:
        self._proven: set[Credential] = set()
        # Scope None: refused before it was ever taken, so wrong for every scope.
        self._refused: dict[tuple[Credential, str | None], CopyError] = {}
        self._unanswered: dict[Credential, TimedOut] = {}  # the last one of each
        self._locks: defaultdict[Credential, Lock] = defaultdict(Lock)

    @asynccontextmanager
    async def trying(self, who: Credential | None, scope: str = "") -> AsyncIterator[None]:
        """Log in as `who` within this block; leaving it without an error is success.

        Raises the refusal that is already known, in place of asking for it again; and where nobody
        answered a login for which this one waited, the same, or many would be silent in turn.
        """
        if who is None:
            yield
            return
        self._raise_known(who, scope)
        async with AsyncExitStack() as alone:
            if who not in self._proven:
                seen = self._unanswered.get(who)
                await alone.enter_async_context(self._locks[who])
                if who in self._proven:  # while we waited: the rest need not queue
                    await alone.aclose()
                elif (silence := self._unanswered.get(who)) is not None and silence is not seen:
                    raise again(silence)
            self._raise_known(who, scope)
            try:
                yield
            except (AuthenticationFailed, PermissionDenied) as error:
                wrong = isinstance(error, AuthenticationFailed) and who not in self._proven
                self._refused[who, None if wrong else scope] = error.with_traceback(None)
                raise
            except TimedOut as error:
                self._unanswered[who] = error.with_traceback(None)
                raise
            self._proven.add(who)

    def _raise_known(self, who: Credential, scope: str) -> None:
        known = self._refused.get((who, None)) or self._refused.get((who, scope))
        if known is not None:
            raise again(known)
