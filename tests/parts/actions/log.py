"""A step's output as the runner reads it: lines, workflow commands, masks, and command files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from parts.actions.files import WorkflowRefused

ANNOTATIONS_MAX = 10  # of one level in one step; further ones are in the log alone
MESSAGE_MAX = 4096  # signs of an annotation's message
Level: TypeAlias = Literal["error", "warning", "notice"]

_LEVELS: tuple[Level, ...] = ("error", "warning", "notice")
_NOT_MODELLED = {
    "set-output", "set-env", "add-path", "save-state", "add-matcher", "remove-matcher",
}  # fmt: skip
_KNOWN = {*_LEVELS, "add-mask", "group", "endgroup", "debug", "echo", "stop-commands"}
_DATA = {"%0D": "\r", "%0A": "\n", "%25": "%"}  # the percent sign last, as the runner has it
_PROPERTY = {"%0D": "\r", "%0A": "\n", "%3A": ":", "%2C": ",", "%25": "%"}
_OLD = {"%3B": ";", "%0D": "\r", "%0A": "\n", "%5D": "]", "%25": "%"}


@dataclass(frozen=True, slots=True)
class Command:
    """A workflow command in a step's output: `::name key=value,…::data`, or `##[name …]data`."""

    name: str
    data: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A message that GitHub shows beside the run or the code; secrets in it are hidden."""

    level: Level
    message: str
    title: str | None = None
    file: str | None = None
    line: int | None = None
    end_line: int | None = None
    col: int | None = None
    end_col: int | None = None


class Told(Protocol):
    """A step that has ended, as far as the step around it takes it over."""

    @property
    def lines(self) -> Sequence[str]: ...
    @property
    def raw_lines(self) -> Sequence[str]: ...
    @property
    def commands(self) -> Sequence[Command]: ...
    @property
    def annotations(self) -> Sequence[Annotation]: ...


def read_command(line: str, known: set[str]) -> Command | None:
    """Read a command of `known`: `::` may follow spaces, `##[` may stand anywhere in the line."""
    return _read_new(line, known) or _read_old(line, known)


def read_pairs(text: str) -> list[tuple[str, str]]:
    """Read `k=v` and `k<<END` lines of a command file. Raises ValueError as the runner would."""
    lines = iter(text.split("\n"))
    return [_pair(line, lines, text) for line in lines if line]


class Masks:
    """What no log may show: each value as given, and each of its lines."""

    def __init__(self, *values: str) -> None:
        self.values: list[str] = []
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        lines = [line.strip() for line in value.replace("\r", "\n").split("\n")]
        self.values += [v for v in (value, *lines) if v.strip() and v not in self.values]

    def hide(self, text: str) -> str:
        """`text` with `***` for each stretch that values cover; overlapping ones are one."""
        hidden = [False] * len(text)
        for value in self.values:
            at = text.find(value)
            while at >= 0:
                hidden[at : at + len(value)] = [True] * len(value)
                at = text.find(value, at + 1)
        if not any(hidden):
            return text
        signs = (
            ("" if at and hidden[at - 1] else "***") if hide else sign
            for at, (sign, hide) in enumerate(zip(text, hidden, strict=True))
        )
        return "".join(signs)


class StepLog:
    """Takes a step's lines as they come and keeps what the runner would keep of them."""

    def __init__(self, masks: Masks, workspace: Path) -> None:
        self.lines: list[str] = []  # as shown, secrets hidden
        self.raw_lines: list[str] = []  # as the step wrote them
        self.commands: list[Command] = []
        self.annotations: list[Annotation] = []
        self._masks, self._workspace = masks, workspace
        self._stopped_until: str | None = None

    def take(self, line: str) -> None:
        """Take a line from the step itself, which may be a command."""
        self.raw_lines.append(line)
        known = _KNOWN | _NOT_MODELLED | {self._stopped_until or ""} - {""}
        command = read_command(line, known)
        if command is None:
            self._show(line)
        elif self._stopped_until is not None:
            if command.name == self._stopped_until:
                self._stopped_until = None
            self._show(line)
        else:
            self.commands.append(command)
            self._obey(command, line)

    def tell(self, level: Level, message: str) -> None:
        """Add an annotation of the runner's own."""
        self._annotate(Command(level, message))

    def include(self, inner: Told) -> None:
        """Take over what a step of a composite action left; the limit is the outer step's."""
        self.lines += inner.lines
        self.raw_lines += inner.raw_lines
        self.commands += inner.commands
        for annotation in inner.annotations:
            self._keep(annotation)

    def _show(self, text: str) -> None:
        self.lines.append(self._masks.hide(text))

    def _obey(self, command: Command, line: str) -> None:
        if command.name in _NOT_MODELLED:
            raise WorkflowRefused(f"a step wrote ::{command.name}::, which is no longer used")
        if command.name in _LEVELS:
            self._annotate(command)
        elif command.name == "add-mask":
            self._masks.add(command.data)
        elif command.name == "stop-commands":
            if not command.data or command.data in _KNOWN:
                raise WorkflowRefused(f"{line!r}: the runner refuses this token")
            self._stopped_until = command.data.lower()
            self._show(line)
        elif command.name in {"group", "endgroup"}:
            self._show(f"##[{command.name}]{command.data if command.name == 'group' else ''}")

    def _annotate(self, command: Command) -> None:
        level = next(level for level in _LEVELS if level == command.name)
        told = {key.lower(): self._masks.hide(v) for key, v in command.properties.items()}
        file = told.get("file")
        annotation = Annotation(
            level=level, message=self._masks.hide(command.data)[:MESSAGE_MAX],
            title=told.get("title"), line=_int(told.get("line")), col=_int(told.get("col")),
            end_line=_int(told.get("endline")), end_col=_int(told.get("endcolumn")),
            file=file.removeprefix(f"{self._workspace}/") if file else None,
        )  # fmt: skip
        self._show(f"##[{level}]{annotation.message}")
        self._keep(annotation)

    def _keep(self, annotation: Annotation) -> None:
        if sum(a.level == annotation.level for a in self.annotations) < ANNOTATIONS_MAX:
            self.annotations.append(annotation)


def _read_new(line: str, known: set[str]) -> Command | None:
    parts = line.lstrip().split("::", 2)
    if len(parts) < 3 or parts[0]:
        return None
    name, _, properties = parts[1].partition(" ")
    if name.lower() not in known:
        return None
    read = _properties(properties.strip(), ",", _PROPERTY)
    return Command(name.lower(), _unescape(parts[2], _DATA), read)


def _read_old(line: str, known: set[str]) -> Command | None:
    _, found, rest = line.partition("##[")
    info, closed, data = rest.partition("]")
    name, _, properties = info.partition(" ")
    if not (found and closed) or name.lower() not in known:
        return None
    return Command(name.lower(), _unescape(data, _OLD), _properties(properties, ";", _OLD))


def _properties(text: str, separator: str, escapes: Mapping[str, str]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(separator))
    return {name: _unescape(value, escapes) for name, _, value in pairs if name and value}


def _unescape(text: str, escapes: Mapping[str, str]) -> str:
    for escape, sign in escapes.items():
        text = text.replace(escape, sign)
    return text


def _int(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _pair(line: str, lines: Iterator[str], text: str) -> tuple[str, str]:
    equals, heredoc = line.find("="), line.find("<<")
    if equals >= 0 and (heredoc < 0 or equals < heredoc):
        return line[:equals], line[equals + 1 :]
    name, _, delimiter = line.partition("<<")
    if not name or not delimiter:
        raise ValueError(f"Invalid format '{line}'")
    value: list[str] = []
    for inner in lines:
        if inner == delimiter:
            return name, "\n".join(value)
        value.append(inner)
    raise ValueError(f"Invalid value. Matching delimiter not found '{delimiter}'")
