"""The hash that names content, wherever it lies."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from asyncsync.model.foreign import quoted
from asyncsync.model.naming import NotAReference

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, slots=True)
class Digest:
    """The hash that names content: `sha256:<64 hex>` or `sha512:<128 hex>` (OCI image-spec)."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:…`. Raises ValueError that says what was expected."""
        if _DIGEST.fullmatch(text) is None:
            raise NotAReference(
                f"{quoted(text)} is no digest: sha256: and 64 lower-case hex digits, "
                "or sha512: and 128"
            )
        algorithm, _, digits = text.partition(":")
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `data`."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def referrers_tag(digest: Digest) -> str:
    """Under which tag clients list what refers to `digest`, where a registry keeps no such list.

    (OCI distribution-spec, “Referrers Tag Schema”)
    """
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"
