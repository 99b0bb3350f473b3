"""Nothing that a copy tells holds a secret of ours, whoever put it there. For every transport.

What a manifest holds is quoted where nobody knows a login: its types, its digests, its platforms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from asyncsync.model.errors import CopyError
from asyncsync.model.events import Copy, Event, Noted, Observe
from asyncsync.model.job import CopyJob
from asyncsync.model.outcome import Copied


def hiding(copy: Copy, hidden: Callable[[str], str]) -> Copy:
    """The same as `copy`, with `hidden` between what it tells of an image and who is told."""

    async def hides(job: CopyJob, observe: Observe) -> Copied:
        def telling(event: Event) -> None:
            if isinstance(event, Noted):
                event = replace(event, text=hidden(event.text))
            observe(event)

        try:
            return await copy(job, telling)
        except CopyError as error:
            what = hidden(error.what)
            if what == error.what:
                raise
            raise error.saying(what) from None

    return hides
