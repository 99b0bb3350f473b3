"""What a list says: an image at a place in the text."""

from __future__ import annotations

from dataclasses import dataclass

from asyncsync.model.reference import Reference


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where something stands: `images.yaml:4:1`; lines and columns count from 1.

    Entries that came as Python values have the file `<entries>` and their index, from 1, as line.
    """

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One entry of a list."""

    source: Reference
    at: Position


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a list or a plan: where, what, and what to write instead."""

    at: Position
    text: str

    def __str__(self) -> str:
        return f"{self.at}: {self.text}"


@dataclass(frozen=True, slots=True)
class ListWarning:
    """Something in a list that works, but is hardly meant."""

    at: Position
    text: str

    def __str__(self) -> str:
        return f"{self.at}: {self.text}"
