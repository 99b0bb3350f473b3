"""The values of GitHub's expressions: what they are as texts, numbers and truths, and functions.

After actions/runner, `Expressions2/EvaluationResult.cs` and `Expressions2/Sdk/Functions`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None"

_DECIMAL = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_HEX, _OCTAL = re.compile(r"0x[0-9a-fA-F]+"), re.compile(r"0o[0-7]+")
_FORMAT_PART = re.compile(r"\{\{|\}\}|\{([0-9]+)\}|[{}]")


class ExpressionFailed(Exception):
    """The expression is right, and its values are not: `fromJSON('')`."""


class CaseSensitive(dict[str, Value]):
    """A context whose names tell `a` from `A`: `env`, and no other."""


class Filtered(list[Value]):
    """What `.*` made of a collection: a further `.name` goes into each of its items."""


def truthy(value: Value) -> bool:
    """Null, false, 0, NaN and '' are false; every collection is true."""
    if isinstance(value, float) and math.isnan(value):
        return False
    return is_collection(value) or bool(value)


def text_of(value: Value) -> str:
    """`value` as it stands in a text: true as `true`, null as nothing, 3.0 as `3`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.15g}".upper() if math.isfinite(value) else _not_finite(value)
    if isinstance(value, str):
        return value
    return "Object" if isinstance(value, Mapping) else "Array"


def number_of(value: Value) -> float:
    """`value` as JavaScript's Number() would have it; a collection is NaN."""
    if value is None or isinstance(value, bool | int | float):
        return float(value or 0)
    return parse_number(value) if isinstance(value, str) else math.nan


def parse_number(text: str) -> float:
    """Read 1, -.5, 1e3, 0x1F, 0o17 and Infinity; '' is 0, all else NaN."""
    text = text.strip()
    if not text:
        return 0
    if _DECIMAL.fullmatch(text):
        return float(text)
    if _HEX.fullmatch(text) or _OCTAL.fullmatch(text):
        return float(int(text, 0))
    return {"Infinity": math.inf, "-Infinity": -math.inf}.get(text, math.nan)


def is_collection(value: Value) -> bool:
    return isinstance(value, Mapping | list | tuple)


def equal(left: Value, right: Value) -> bool:
    """`==`: texts without regard to case, all else as numbers; collections only if the same."""
    if is_collection(left) or is_collection(right):
        return left is right
    if isinstance(left, str) and isinstance(right, str):
        return left.upper() == right.upper()
    return (left is None and right is None) or number_of(left) == number_of(right)


def ordered(sign: str, left: Value, right: Value) -> bool:
    """`<`, `<=`, `>` or `>=`."""
    if sign.endswith("=") and equal(left, right):
        return True
    if is_collection(left) or is_collection(right) or (left is None and right is None):
        return False
    low, high = (left, right) if sign.startswith("<") else (right, left)
    if isinstance(low, str) and isinstance(high, str):
        return low.upper() < high.upper()
    return number_of(low) < number_of(high)


def _item(collection: Value, key: Value) -> Value:
    if isinstance(collection, CaseSensitive):
        return collection.get(text_of(key))
    if isinstance(collection, Mapping):
        name = text_of(key).lower()
        return next((v for k, v in collection.items() if k.lower() == name), None)
    if isinstance(collection, list | tuple):
        number = number_of(key)
        if 0 <= number < len(collection):  # NaN is neither
            return collection[math.floor(number)]
    return None


def item_of(collection: Value, key: Value) -> Value:
    """`collection[key]`, or null without it; of a filtered list, that of each of its items."""
    if isinstance(collection, Filtered):
        found = (_item(inner, key) for inner in collection)
        return Filtered(item for item in found if item is not None)
    return _item(collection, key)


def all_of(collection: Value) -> Filtered:
    """`collection.*`."""
    if isinstance(collection, Filtered):
        return Filtered(item for inner in collection for item in _items(inner))
    return Filtered(_items(collection))


def _items(collection: Value) -> Sequence[Value]:
    if isinstance(collection, Mapping):
        return list(collection.values())
    return collection if isinstance(collection, list | tuple) else ()


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _contains(where: Value, what: Value) -> Value:
    if isinstance(where, list | tuple):
        return any(equal(item, what) for item in where)
    if is_collection(where) or is_collection(what):
        return False
    return text_of(what).upper() in text_of(where).upper()


def _starts_with(text: Value, start: Value) -> Value:
    if is_collection(text) or is_collection(start):
        return False
    return text_of(text).upper().startswith(text_of(start).upper())


def _ends_with(text: Value, end: Value) -> Value:
    if is_collection(text) or is_collection(end):
        return False
    return text_of(text).upper().endswith(text_of(end).upper())


def _format(template: Value, *values: Value) -> Value:
    def part(match: re.Match[str]) -> str:
        if match[0] in {"{{", "}}"}:
            return match[0][0]
        if match[1] is None or int(match[1]) >= len(values):
            raise ExpressionFailed(f"format({text_of(template)!r}) has a wrong {match[0]!r}")
        return text_of(values[int(match[1])])

    return _FORMAT_PART.sub(part, text_of(template))


def _join(items: Value, separator: Value = ",") -> Value:
    if isinstance(items, list | tuple):
        return ("," if is_collection(separator) else text_of(separator)).join(map(text_of, items))
    return "" if is_collection(items) else text_of(items)


def _to_json(value: Value) -> Value:
    return json.dumps(_plain(value), indent=2, ensure_ascii=False)


def _plain(value: Value) -> Value:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _from_json(text: Value) -> Value:
    try:
        value: Value = json.loads(text_of(text))
    except ValueError as error:
        raise ExpressionFailed(f"fromJSON of {text_of(text)[:200]!r}: {error}") from error
    return value


FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "contains": _contains, "startswith": _starts_with, "endswith": _ends_with,
    "format": _format, "join": _join, "tojson": _to_json, "fromjson": _from_json,
}  # fmt: skip
