"""The YAML form: a sequence of texts, read event by event.

Nothing is resolved and nothing is built: `1.20`, `on` and `12:30` stay the text they are, no tag
makes an object, an alias is refused, and a document that nests without end is left at its start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from asyncsync.lists.entry import Entry, mistake
from asyncsync.model.foreign import quoted
from asyncsync.model.reference import is_reference
from asyncsync.model.spec import Mistake, Position

# libyaml where PyYAML was built with it: some ten times faster, and the same events.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEPTH_MAX = 16  # lists within lists; libyaml's time grows with the square of the depth
# What YAML breaks lines at and editors do not (a comment could hide an entry), and what it refuses.
_FORBIDDEN = re.compile(
    "[^\t -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_STRING_TAGS = (None, "!", "tag:yaml.org,2002:str")
_NULLS = ("", "~", "null", "Null", "NULL")
_LONG_FORM = (
    "the long form (a mapping) is not known to this version. "
    "Write one image a line, or a YAML list of images"
)
_TWO_DOCUMENTS = "a list is one YAML document, and here a second one begins. Remove this '---'"
_ONE_LINE = "an image stands on one line. Write it behind its '- '"
_TEXT = "this is a text, not a list. Write '- ' before it"
_NESTED = "an entry is one image, not a list. Put each image behind a '- ' of its own"


def in_yaml(text: str, name: str) -> Iterator[Entry | Mistake]:
    """The entries of a YAML sequence, and what in it is none. After an error of YAML it ends."""
    readable = True
    for forbidden in _forbidden(text, name):
        readable = False
        yield forbidden
    if not readable:  # from there on, YAML and people would count lines in two ways
        return
    try:
        yield from _Reader(text, name).entries()
    except yaml.YAMLError as error:
        yield _about_error(error, text, name)


def _forbidden(text: str, name: str) -> Iterator[Mistake]:
    for number, line in enumerate(text.split("\n"), start=1):
        if match := _FORBIDDEN.search(line.removesuffix("\r")):
            code = f"U+{ord(match[0]):04X}"
            what = f"{code} cannot stand in YAML. Remove it"
            if match[0] in "\r\x85\u2028\u2029":
                what = f"{code} breaks a line for YAML and not for an editor. Write LF or CRLF"
            yield mistake(Position(name, number, match.start() + 1), what)


class _Reader:
    """Walks the events of one document."""

    def __init__(self, text: str, name: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_Loader)
        self._name = name

    def entries(self) -> Iterator[Entry | Mistake]:
        documents = 0
        for event in self._events:
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        yield mistake(self._at(event), _TWO_DOCUMENTS)
                        return
                case yaml.SequenceStartEvent():
                    yield from self._sequence()
                case yaml.MappingStartEvent():
                    yield mistake(self._at(event), _LONG_FORM)
                    return
                case yaml.ScalarEvent() if event.value or event.style:
                    yield mistake(self._at(event), _TEXT)
                case yaml.AliasEvent():
                    yield self._alias(event)

    def _sequence(self) -> Iterator[Entry | Mistake]:
        for event in self._events:
            match event:
                case yaml.SequenceEndEvent():
                    return
                case yaml.ScalarEvent():
                    yield self._scalar(event)
                case yaml.AliasEvent():
                    yield self._alias(event)
                case yaml.CollectionStartEvent():
                    inside = self._inside(event)
                    yield mistake(self._at(event), _about_collection(event, inside))

    def _scalar(self, event: yaml.ScalarEvent) -> Entry | Mistake:
        start, end = self._at(event), _position(event.end_mark, self._name)
        if event.tag not in _STRING_TAGS:
            return mistake(start, f"the YAML tag {quoted(event.tag)} means nothing here. Remove it")
        if event.value in _NULLS and not event.style:
            return mistake(start, "no image is behind this '- '. Write one, or remove the '-'")
        if end.line != start.line:
            return mistake(start, _ONE_LINE)
        quote = bool(event.style)
        column = start.column + quote
        if event.anchor or event.tag:  # the text stands behind them
            column = max(column, end.column - quote - len(event.value))
        return Entry(event.value, replace(start, column=column))

    def _alias(self, event: yaml.AliasEvent) -> Mistake:
        what = f"the YAML alias {quoted(f'*{event.anchor}')} is not followed in a list"
        return mistake(self._at(event), f"{what}. Write the image itself")

    def _inside(self, start: yaml.CollectionStartEvent) -> list[yaml.Event]:
        """The events up to the end of a collection that has begun, which are passed over."""
        depth, inside = 1, []
        for event in self._events:
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEPTH_MAX:
                mark: Any = start.start_mark  # libyaml's own kind of mark
                problem = f"lists are nested more than {_DEPTH_MAX} deep"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
            if not depth:
                break
            inside.append(event)
        return inside

    def _at(self, event: yaml.Event) -> Position:
        return _position(event.start_mark, self._name)


def _about_collection(event: yaml.CollectionStartEvent, inside: list[yaml.Event]) -> str:
    if isinstance(event, yaml.SequenceStartEvent):
        return _NESTED
    what = "an entry is text, but a ':' with a blank behind it makes this a mapping"
    match inside:
        case [yaml.ScalarEvent(value="image"), yaml.ScalarEvent(value=value), *_]:
            instead = value
        case [yaml.ScalarEvent(value=key), yaml.ScalarEvent(value=value)]:
            instead = f"{key}:{value}"
        case _:
            instead = ""
    if is_reference(instead):
        return f"{what}. Write {instead}"
    return f"{what}. Write the image alone, as nginx:1.27"


def _about_error(error: yaml.YAMLError, text: str, name: str) -> Mistake:
    mark, context = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    is_stray = getattr(error, "context", None) == "while scanning a simple key"
    if context and (is_stray or mark is None or mark.index >= len(text)):
        mark = context  # a text without its '- ', or something that is open at the end
    problem = getattr(error, "problem", None) or "it cannot be read"
    instead = "Write '- ' and one image on each line, in quotes if need be"
    return mistake(_position(mark, name), f"this is no YAML: {problem}. {instead}")


def _position(mark: Any, name: str) -> Position:
    """Where a mark of PyYAML or libyaml is; both count from 0, and not every event has one."""
    return Position(name, mark.line + 1, mark.column + 1) if mark else Position(name, 1)
