"""The line form: one image a line, `#` for comments and remarks. Its meaning never changes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from asyncsync.lists.entry import BLANKS, Entry
from asyncsync.model.spec import Position

_REMARK = re.compile(r"[ \t]#")
_KEY = re.compile(r":(?:[ \t]|\Z)")


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are neither blank nor comments, without trailing blanks, from number 1.

    A line ends with LF or CRLF, nothing else: `str.splitlines` would also break at a form feed
    or at U+2028, where editors show one line, and a comment there would hide an image.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.removesuffix("\r").rstrip(BLANKS)
        if content and not content.lstrip(BLANKS).startswith("#"):
            yield number, content


def in_lines(text: str, name: str) -> Iterator[Entry]:
    """The entries of a list of lines, each without its remark."""
    for number, line in numbered(text):
        entry = line.lstrip(BLANKS)
        if "#" in entry:  # asked first: most lines have none, and a pattern costs more
            entry = _REMARK.split(entry, maxsplit=1)[0].rstrip(BLANKS)
        yield Entry(entry, Position(name, number, 1 + len(line) - len(line.lstrip(BLANKS))))


def is_mapping(text: str) -> bool:
    """Whether it is YAML or JSON of another kind: it begins with a key, and one has parts below it.

    Settings of other programs would be told line by line, and their passwords with what to write.
    """
    above: Entry | None = None
    for entry in in_lines(text, ""):
        if above is None:
            if entry.text.startswith("{"):
                return True
            if not _KEY.search(entry.text):
                return False
        elif above.text.endswith(":") and (
            entry.at.column > above.at.column or entry.text.startswith("- ")
        ):
            return True
        above = entry
    return False
