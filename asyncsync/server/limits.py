"""How much one server takes from its clients, so that none of them can take it all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one server.

    `connections` at once, the next one is told 503. `idle_seconds`: how long a request may take to
    arrive and a connection be of no use; also how long a body or its reader may take for each
    64 KiB. `uploads` under way at once, and `upload_seconds` until one that nobody goes on with is
    given up. `blob_bytes` of one blob. `stop_seconds` for answers under way when it ends.
    """

    connections: int = 1000
    idle_seconds: float = 60.0
    uploads: int = 1000
    upload_seconds: float = 3600.0
    blob_bytes: int = 256 * 1024**3  # larger than layers are; a stream without end ends here
    stop_seconds: float = 1.0  # is waited twice, and a stop is promised within 5
