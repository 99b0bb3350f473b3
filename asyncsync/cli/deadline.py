"""`--deadline`: a run that is over before somebody else ends it, and that ends in order."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

# Long images need minutes: one begun in the last moment would be fetched in vain.
_LAST_CALL_SECONDS = 300.0
_CLEANING_SECONDS = 5.0  # to clean up and to write report and lists, as after a signal


@dataclass(frozen=True, slots=True)
class Deadline:
    """So many seconds after `began` (by `time.monotonic`) the run has to be over."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> float:
        """From when on (by the same clock) nothing of us may be left."""
        return self.began + self.seconds

    @property
    def end(self) -> float:
        """From when on what is under way is given up."""
        return self.over - min(self.seconds / 4, _CLEANING_SECONDS)

    @property
    def last_call(self) -> float:
        """From when on nothing is begun: the last tenth, and five minutes at most."""
        return self.end - min(self.seconds / 10, _LAST_CALL_SECONDS)
