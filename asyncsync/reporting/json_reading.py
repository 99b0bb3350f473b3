"""Reads back what `json` wrote: a report and a plan. Pure; the text may come from anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from asyncsync.model import errors
from asyncsync.model.digest import Digest
from asyncsync.model.errors import CopyError, Where
from asyncsync.model.foreign import quoted, shown
from asyncsync.model.job import CopyJob, Plan, Step
from asyncsync.model.outcome import Outcome, Report, Status
from asyncsync.model.platform import Platform
from asyncsync.model.reference import Reference
from asyncsync.model.spec import ListWarning, Position

T = TypeVar("T")
_VERSION = 1
_NUMBER_MAX = 2**63
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, CopyError)
}


class NotOurs(ValueError):
    """A text is no report, or no plan, of asyncsync: the message says where it differs."""


def read_report(text: str) -> Report:
    """Read what `report_json` wrote; steps and wanted platforms are not in it. Raises NotOurs."""
    document = _document(text)
    if document.has("jobs"):
        raise NotOurs("it is a plan; --plan comes before one")
    outcomes = tuple(_outcome(each) for each in document.objects("outcomes"))
    return Report(document.text("via"), document.number("seconds"), outcomes)


def read_plan(text: str) -> Plan:
    """Read what `plan_json` wrote. Raises NotOurs."""
    document = _document(text)
    if document.has("outcomes"):
        raise NotOurs("it is a report of sync; asyncsync plan --output json writes plans")
    return Plan(
        tuple(
            _job(each, tuple(each.parsed_all("platforms", Platform.parse)))
            for each in document.objects("jobs")
        ),
        tuple(
            ListWarning(_position(each), each.text("message"))
            for each in document.objects("warnings")
        ),
    )


class _Object:
    """An object of the document, asked for its fields by name and kind."""

    def __init__(self, value: object, at: str) -> None:
        if not isinstance(value, dict):
            raise NotOurs(f"{at} is no object")
        self._value, self._at = value, at

    def text(self, name: str) -> str:
        return str(self._field(name, str, "text"))

    def whole(self, name: str) -> int:
        number = int(self._field(name, int, "a whole number"))
        if not 0 <= number < _NUMBER_MAX:
            raise self._wrong(name, "a whole number from 0 up")
        return number

    def number(self, name: str) -> float:
        number = self._field(name, (int, float), "a number")
        if not 0 <= number < _NUMBER_MAX:  # which NaN is not, either
            raise self._wrong(name, "a number from 0 up")
        return float(number)

    def has(self, name: str) -> bool:
        return name in self._value

    def yes(self, name: str) -> bool:
        return self._value.get(name) is True

    def parsed(self, name: str, parse: Callable[[str], T]) -> T:
        """A text, read by `parse`, which raises ValueError."""
        try:
            return parse(self.text(name))
        except NotOurs:
            raise
        except ValueError as error:
            raise NotOurs(f"{self._at}.{name}: {error}") from error

    def maybe(self, name: str, get: Callable[[str], T]) -> T | None:
        """What `get` makes of the field; None where it is null or not there."""
        return None if self._value.get(name) is None else get(name)

    def parsed_all(self, name: str, parse: Callable[[str], T]) -> Iterator[T]:
        for number, value in enumerate(self._list(name)):
            yield _Object({name: value}, f"{self._at}.{name}[{number}]").parsed(name, parse)

    def objects(self, name: str) -> Iterator[_Object]:
        for number, value in enumerate(self._list(name)):
            yield _Object(value, f"{self._at}.{name}[{number}]")

    def object(self, name: str) -> _Object:
        return _Object(self._value.get(name), f"{self._at}.{name}")

    def _list(self, name: str) -> list[Any]:
        return list(self._field(name, list, "a list"))

    def _field(self, name: str, kind: type | tuple[type, ...], what: str) -> Any:
        value = self._value.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self._wrong(name, what)
        return value

    def _wrong(self, name: str, what: str) -> NotOurs:
        return NotOurs(f"{self._at}.{name} is not {what}")


def _document(text: str) -> _Object:
    try:
        document = _Object(json.loads(text, parse_constant=_no_constant), "the document")
    except NotOurs:
        raise
    except (ValueError, RecursionError) as error:
        raise NotOurs(f"it is no JSON: {error}") from error
    if (version := document.whole("version")) != _VERSION:
        raise NotOurs(f"its version is {version}; this asyncsync reads version {_VERSION}")
    return document


def _no_constant(name: str) -> object:
    raise NotOurs(f"it has {name}, which is no JSON")


def _outcome(told: _Object) -> Outcome:
    job, status = _job(told), told.parsed("status", _status)
    error = told.maybe("error", told.object)
    digest = told.maybe("digest", lambda name: told.parsed(name, Digest.parse))
    if (status is Status.FAILED) != (error is not None):
        raise NotOurs(f"{job.source}: an error belongs to a failed image, and to no other")
    if (status in (Status.COPIED, Status.UNCHANGED)) != (digest is not None):
        raise NotOurs(f"{job.source}: a digest belongs to an image in place, and to no other")
    return Outcome(
        job,
        status,
        digest,
        told.whole("bytes_moved"),
        told.number("seconds"),
        attempts=told.whole("attempts"),
        notes=tuple(told.parsed_all("notes", str)),
        error=_error(error, job) if error else None,
        # An older version did not tell these.
        bytes_there=told.maybe("bytes_there", told.whole) or 0,
        bytes_shared=told.maybe("bytes_shared", told.whole) or 0,
        platforms=told.maybe("platforms", told.whole) or 0,
    )


def _job(told: _Object, platforms: tuple[Platform, ...] = ()) -> CopyJob:
    source = told.parsed("source", Reference.parse)
    return CopyJob(source, told.parsed("target", Reference.parse), platforms, _position(told))


def _position(told: _Object) -> Position:
    return Position(shown(told.text("file")), told.whole("line"))


def _error(told: _Object, job: CopyJob) -> CopyError:
    kind = _KINDS.get(told.text("kind"), CopyError)  # a newer version may know more kinds
    step = told.maybe("step", lambda name: told.parsed(name, Step))
    where = Where(told.text("registry"), str(job.source), step)
    retry_after = told.maybe("retry_after", told.number)
    transient = told.yes("transient")
    error = kind(told.text("message"), where, transient, False, retry_after)  # noqa: FBT003
    said = shown(told.maybe("advice", told.text) or "")
    return error.advising(said.removeprefix(error.advice()).lstrip())  # its kind says the rest


def _status(text: str) -> Status:
    if text not in list(Status):
        raise ValueError(f"{quoted(text)} is no status")
    return Status(text)
