"""succeeded.log: what is in place, a line an image, written the moment that it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TextIO

from asyncsync.model.outcome import Outcome


class SucceededLog:
    """Writes to `file`, which whoever opened it closes. `empty`: takes out what it has."""

    def __init__(self, file: TextIO, empty: Callable[[], None]) -> None:
        self._file, self._empty = file, empty

    def begin(self) -> None:
        """Forget the run before: this one is under way. Raises OSError.

        Not sooner: a run that cannot begin says nothing about what is in place.
        """
        self._empty()

    def tell(self, outcome: Outcome) -> None:
        """Write the outcome down if its image is in place. Raises OSError."""
        if outcome.in_place:
            self._file.write(f"{succeeded_line(outcome)}\n")
            self._file.flush()  # a run that is killed has told what it had confirmed


def succeeded_line(outcome: Outcome) -> str:
    """`docker.io/library/nginx:1.27 -> r.example/team/nginx:1.27@sha256:…`, the target's digest."""
    target = replace(outcome.job.target, digest=outcome.digest or outcome.job.target.digest)
    return f"{outcome.job.source} -> {target}"
