"""The log on stderr: structlog with processors of its own, for people or for machines.

An event is a verb in the past tense, everything else a key that means the same everywhere. The
console writes known events as sentences; JSON has one object a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

from asyncsync.model.foreign import shown
from asyncsync.model.reference import Reference
from asyncsync.reporting.units import count, duration, size

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger

LogFormat = Literal["console", "json"]
_Values = Mapping[str, Any]

_LINE_MAX = 1000  # characters: every value is bounded already, a line has a few of them
# Told unless somebody wants errors alone: which way this run goes, and that it is alive.
_TOLD_BY_DEFAULT = frozenset({"chosen", "continued"})
_TOLD_ALWAYS = frozenset({"stopped", "closed", "expired"})  # why it ends before its end


class Level(IntEnum):
    """From where on the log is written."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Writable(Protocol):
    """What a log is written to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


def open_log(file: Writable, *, log_format: LogFormat, level: Level) -> FilteringBoundLogger:
    """A log of its own: nothing is configured for the process, nothing is cached."""
    written: list[Processor] = [_JSON_STAMP, structlog.processors.JSONRenderer(sort_keys=True)]
    return structlog.wrap_logger(  # type: ignore[no-any-return]
        structlog.PrintLogger(file),  # type: ignore[arg-type]  # it writes and flushes, no more
        processors=[
            _from(level),
            structlog.processors.add_log_level,
            _safe,
            *(written if log_format == "json" else [_sentence]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(Level.DEBUG),
        context_class=dict,
        cache_logger_on_first_use=False,
    )


_JSON_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp")


def _from(level: Level) -> Processor:
    def drop(
        _: WrappedLogger, method: str, values: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event = values["event"]
        told = event in _TOLD_ALWAYS or (event in _TOLD_BY_DEFAULT and level < Level.ERROR)
        if not told and Level[method.upper()] < level:
            raise structlog.DropEvent
        return values

    return drop


def _safe(_: WrappedLogger, __: str, values: MutableMapping[str, Any]) -> _Values:
    """Whatever somebody else wrote becomes one bounded line."""
    return {key: shown(v) if isinstance(v, str) else v for key, v in values.items()}


def _sentence(_: WrappedLogger, __: str, values: MutableMapping[str, Any]) -> str:
    tell = _SENTENCES.get(values["event"], _plain)
    return shown(tell(values), limit=_LINE_MAX)


def _plain(values: _Values) -> str:
    keys = " ".join(f"{k}={v}" for k, v in values.items() if k not in ("event", "level"))
    return f"{values['event']} {keys}".strip()


def _name(values: _Values) -> str:
    return Reference.parse(values["image"]).familiar


def _chosen(values: _Values) -> str:
    part = f" (part {values['shard']} of the list)" if "shard" in values else ""
    return (
        f"{count(values['images'], 'image')}{part} to {values['destination']}, "
        f"{values['concurrency']} at once, via={values['via']}: {values['why']}"
    )


def _found_empty(values: _Values) -> str:
    part = f"part {values['shard']} of " if "shard" in values else ""
    return f"{part}{values['file']} names no image"


def _copied(values: _Values) -> str:
    keys = {"bytes": "", "bytes_there": " were there", "bytes_shared": " shared"}
    told = "".join(f", {size(values[key])}{word}" for key, word in keys.items() if values[key])
    return f"{_name(values)}: copied{told} in {duration(values['seconds'])}"


def _failed(values: _Values) -> str:
    return f"{_name(values)}: {values['reason']} ({_where(values)}). {values['advice']}"


def _taken_back(values: _Values) -> str:
    lost = count(values["images"], "image")
    told = f"{values['target']} has nothing of this run: {lost} copied into it"
    told += f" {'is' if values['images'] == 1 else 'are'} not in place ({values['reason']})."
    return f"{told} {values['advice']}" if "advice" in values else told


def _retried(values: _Values) -> str:
    return (
        f"{_name(values)}: {_where(values)} failed ({values['reason']}); "
        f"attempt {values['attempt']} in {duration(values['wait_seconds'])}"
    )


def _stopped(values: _Values) -> str:
    under_way = values["under_way"]
    given_up = f"{count(under_way, 'image')} under way {'is' if under_way == 1 else 'are'} given up"
    again = "Press Ctrl-C again" if values["signal"] == "SIGINT" else "Send another signal"
    return f"Stopping: {given_up if under_way else 'nothing is under way'}. {again} to end at once."


def _interrupted(values: _Values) -> str:
    uploads = values["uploads"]
    given_up = f"{count(uploads, 'upload')} under way {'is' if uploads == 1 else 'are'} given up"
    return f"Stopping: {given_up if uploads else 'no upload is under way'}."


def _closed(values: _Values) -> str:
    left, under_way = count(values["waiting"], "image"), values["under_way"]
    told = f"The deadline is near: {left} will not be started"
    if not under_way:
        return f"{told}."
    have = f"{under_way} under way {'has' if under_way == 1 else 'have'}"
    return f"{told}; {have} {duration(values['seconds'])} to end."


def _expired(values: _Values) -> str:
    under_way = values["under_way"]
    return f"The deadline is here: {count(under_way, 'image')} under way given up."


def _where(values: _Values) -> str:
    return f"{values['step']} at {values['registry']}" if values["step"] else values["registry"]


_SENTENCES: Mapping[str, Callable[[_Values], str]] = {
    "chosen": _chosen,
    "warned": lambda v: f"{v['file']}:{v['line']}:{v['column']}: {v['text']}",
    "found_empty": _found_empty,
    "started": lambda v: f"{_name(v)}: {v['step']} started",
    "ended": lambda v: f"{_name(v)}: {v['step']} ended after {duration(v['seconds'])}",
    "retried": _retried,
    "waited": lambda v: f"{_name(v)}: waited {duration(v['seconds'])}: {v['reason']}",
    "noted": lambda v: f"{_name(v)}: {v['text']}",
    "copied": _copied,
    "unchanged": lambda v: f"{_name(v)}: unchanged",
    "failed": _failed,
    "taken_back": _taken_back,
    "cancelled": lambda v: f"{_name(v)}: cancelled",
    "not_started": lambda v: f"{_name(v)}: not started",
    "continued": lambda v: f"still under way: {', '.join(v['under_way'])}",
    "stopped": _stopped,
    "interrupted": _interrupted,  # a server
    "closed": _closed,
    "expired": _expired,
    "cautioned": lambda v: f"{v['registry']}: {v['text']}",
    "advised": lambda v: str(v["text"]),
    "refused": lambda v: str(v["reason"]),
}
