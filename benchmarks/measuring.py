"""What benchmarks measure, as values, and how they print it. No I/O."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Link:
    """A way to both registries.

    `round_trip` in seconds; rates in bytes a second for each direction, of all connections
    together and of each alone. A link without any of them goes past the relays. `to_target`: the
    way to the target is so, the one to the source is loopback.
    """

    name: str
    says: str
    round_trip: float = 0.0
    rate: float | None = None
    rate_each: float | None = None
    tls: bool = False
    to_target: bool = False

    @property
    def shaped(self) -> bool:
        return bool(self.round_trip or self.rate or self.rate_each)


LOOPBACK = Link("loopback", "loopback, nothing between")


class HasSeconds(Protocol):
    """A run that was timed."""

    @property
    def seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} [{self.low:{spec}}-{self.high:{spec}}]"


def faster(theirs: Sequence[HasSeconds], ours: Sequence[HasSeconds]) -> Spread:
    """How many times faster `ours` are, round by round: what a round suffers, both suffer."""
    return Spread.of(a.seconds / b.seconds for a, b in zip(theirs, ours, strict=True))


def over(value: int | None, whole: int) -> float | None:
    return None if value is None else value / whole


def median(values: Iterable[float | None], spec: str) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):{spec}}" if known else "-"


def text(rows: Iterable[Sequence[Any]]) -> str:
    """Columns as wide as they need to be, the first to the left, figures to the right."""
    held = [list(map(str, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*held, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else f"  {cell.ljust(width)}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in held
    )


def known(choices: Mapping[str, T]) -> Callable[[str], list[T]]:
    """Reads `latency,line` for argparse."""

    def read(text: str) -> list[T]:
        try:
            return [choices[name] for name in text.split(",")]
        except KeyError as error:
            raise argparse.ArgumentTypeError(f"choose from {', '.join(choices)}") from error

    return read
