"""What an image runs on, and which platforms satisfy a wish for one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_PLATFORM = re.compile(
    r"(?P<os>[a-z0-9_]{1,32})/(?P<architecture>[a-z0-9_]{1,32})(?:/(?P<variant>[a-z0-9_.]{1,32}))?"
)
# An ARM core runs the code of every older variant (containerd `platforms`, “Vector”).
_ARM_NEWEST_FIRST = ("v8", "v7", "v6", "v5")
# The variant that is meant where none is written (containerd `platforms`, “Normalize”).
_DEFAULT_VARIANT = {"amd64": "v1", "arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on: `os/arch[/variant]` (OCI image-spec, “Image Index”)."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `linux/arm64/v8`. Raises ValueError that shows a right one."""
        match = _PLATFORM.fullmatch(text)  # fullmatch: `$` would let a trailing newline in
        if match is None:
            raise ValueError(f"{text!r} is no platform; write os/arch[/variant], as linux/arm64")
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def rank(self, offered: Platform) -> int | None:
        """How well an image for `offered` serves this wish: 0 is best, None is not at all.

        `linux/arm64` and `linux/arm64/v8` are one; `linux/arm/v7` is also served by v6 and v5.
        """
        if (self.os, self.architecture) != (offered.os, offered.architecture):
            return None
        default = _DEFAULT_VARIANT.get(self.architecture)
        wanted, given = self.variant or default, offered.variant or default
        if wanted == given:
            return 0
        if self.architecture == "arm" and wanted in _ARM_NEWEST_FIRST:
            older = _ARM_NEWEST_FIRST[_ARM_NEWEST_FIRST.index(wanted) + 1 :]
            return older.index(given) + 1 if given in older else None
        # The plain one runs everywhere; amd64/v2 and v3 are for those who ask for them by name.
        return 1 if given == default else None

    def admits(self, offered: Platform) -> bool:
        """Whether an image that says it is for `offered` can be the one that was wished for.

        Many images, and some engines, leave the variant out whatever it is.
        """
        if offered.variant is None:
            return (self.os, self.architecture) == (offered.os, offered.architecture)
        return self.rank(offered) is not None
