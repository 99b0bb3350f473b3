"""The records of a pull or push as an engine streams them, read without any I/O.

Engine API, “ImageCreate” and “ImagePush”: one JSON object a line. Failure comes inside a 200
stream; success is a closing status line. Unknown words, missing numbers and repeats are normal.
"""

from __future__ import annotations

import json
import re
from typing import Any

from asyncsync.model.digest import Digest

LINE_BYTES_MAX = 4 * 1024 * 1024
_LAYERS_MAX = 10_000  # ids remembered; no image has as many layers
_BYTES_MAX = 2**63 - 1  # Go's int64; a larger number could not even be written in a report
_PUSHED = re.compile(r"\S+: digest: (sha256:[0-9a-f]{64}) size: \d+")
_STILL = frozenset({"Waiting", "Preparing", "Unavailable", "Pulling fs layer"})
# A layer has come in whole with the first of these; engines leave out most of the steps before.
_WHOLE = frozenset({"Verifying Checksum", "Download complete", "Extracting", "Pull complete"})


class StreamError(Exception):
    """The engine says, inside its stream, that the step failed. `str()` is its text."""


class Lines:
    """Cuts a stream of chunks into lines; a line that never ends is an error, not our memory."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise StreamError("the engine sent a line without end")
        return [line for line in lines if line.strip()]

    def end(self) -> list[bytes]:
        """What is left when the stream is over."""
        rest, self._rest = self._rest, b""
        return [rest] if rest.strip() else []


class Progress:
    """What a stream has told so far: whether it is done, and what moved."""

    def __init__(self) -> None:
        self.done = False  # a pull's closing `Status:` was seen
        self.pushed: Digest | None = None  # a push's closing line named it
        self._retrying: set[str] = set()  # layers that the engine is trying again by itself
        self._states: dict[str, tuple[str, int]] = {}
        self._queued: set[str] = set()  # layers that wait for one of the engine's connections
        self._sizes: dict[str, int] = {}  # of layers, as far as they were told

    @property
    def retried(self) -> bool:
        """Whether the engine was at its own retries, 50 to 75 s of them, when the stream ended."""
        return bool(self._retrying)

    @property
    def queued(self) -> int:
        """How many layers wait until the engine has a connection left for them."""
        return len(self._queued)

    def read(self, line: bytes) -> tuple[bool, str, int]:
        """Take one line in: whether something changed, and a layer's id with its bytes so far.

        Raises StreamError if the record is the engine's word that the step failed.
        """
        record = _record(line)
        error = record.get("error") or record.get("errorDetail")
        if error:
            raise StreamError(_message(error))
        status, layer = _text(record.get("status")), _text(record.get("id"))
        if pushed := _PUSHED.fullmatch(status):
            self.pushed = Digest.parse(pushed[1])
        if status.startswith("Status:"):
            self.done = True
        if status.startswith("Retrying in"):
            self._retrying.add(layer)
        else:
            self._retrying.discard(layer)
        if status == "Waiting" and len(self._queued) < _LAYERS_MAX:
            self._queued.add(layer)
        else:
            self._queued.discard(layer)
        moved = _bytes(record, "current")
        changed = status not in _STILL and self._states.get(layer) != (status, moved)
        if layer in self._states or len(self._states) < _LAYERS_MAX:
            self._states[layer] = (status, moved)
            self._sizes[layer] = max(self._sizes.get(layer, 0), _bytes(record, "total"))
        if status == "Downloading":
            return changed, layer, moved
        return changed, layer if status in _WHOLE else "", self._sizes.get(layer, 0)


def _bytes(record: dict[str, Any], key: str) -> int:
    detail = record.get("progressDetail")
    if not isinstance(detail, dict) or "units" in detail:  # containerd extracts in seconds
        return 0
    count = detail.get(key)
    if not isinstance(count, int) or isinstance(count, bool):
        return 0
    return count if 0 < count <= _BYTES_MAX else 0


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise StreamError("the engine sent a line that is no JSON") from None
    return record if isinstance(record, dict) else {}


def _message(error: object) -> str:
    match error:
        case str(text) | {"message": str(text)} if text:
            return text
    return "the engine gave no reason"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
