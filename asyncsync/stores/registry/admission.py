"""Our login at a proxy: a wrong one is not sent again and again, since companies lock accounts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
from anyio import Lock, move_on_after
from yarl import URL


class Admission:
    """Who lets us through. Until a proxy has, its login is tried by one request at a time.

    `patience`: the seconds after which the others no longer wait for that one.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._taken: set[URL] = set()
        self._refused: dict[URL, aiohttp.ClientHttpProxyError] = {}
        self._locks: defaultdict[URL, Lock] = defaultdict(Lock)

    @asynccontextmanager
    async def trying(self, proxy: URL | None) -> AsyncIterator[None]:
        """Ask through `proxy` in this block, whose URL holds the login.

        Raises aiohttp's error for a 407, also the one that is already known.
        """
        if proxy is None or proxy.raw_user is None or proxy in self._taken:
            yield  # one that has let us through may refuse now and then
            return
        async with AsyncExitStack() as alone:
            with move_on_after(self._patience):
                await alone.enter_async_context(self._locks[proxy])
            if proxy in self._taken:  # while we waited: the rest need not queue
                await alone.aclose()
            elif proxy in self._refused:
                raise self._refused[proxy].with_traceback(None)
            try:
                yield
            except aiohttp.ClientHttpProxyError as error:
                if error.status == 407:
                    self._refused[proxy] = error
                raise
            self._taken.add(proxy)
