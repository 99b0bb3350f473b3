"""GitHub's `${{ }}` expressions: read whole, then evaluated, and refused where GitHub refuses.

After actions/runner, `src/Sdk/DTExpressions2`. An expression is checked before any of it is
evaluated: what `false && …` would never reach must be right too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from parts.expression_values import (
    FUNCTIONS,
    CaseSensitive,
    ExpressionFailed,
    Value,
    all_of,
    equal,
    is_collection,
    item_of,
    number_of,
    ordered,
    parse_number,
    text_of,
    truthy,
)

__all__ = [
    "CaseSensitive", "ExpressionFailed", "ExpressionRefused", "Scope", "Value", "check",
    "check_condition", "evaluate", "fill", "fill_text", "holds", "number_of", "parse_number",
    "text_of", "truthy",
]  # fmt: skip

_BOUNDARY = r"()\[\],.!><=&|\s"
_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<operator>&&|\|\||[=!<>]=|[!<>])
    | (?P<number>(?:[-+]|\.?[0-9])(?:[^{_BOUNDARY}]|\.)*)
    | (?P<word>[A-Za-z_][A-Za-z0-9_-]*)(?=[{_BOUNDARY}]|$)
    | (?P<sign>[()\[\],.*])
    )""",
    re.VERBOSE,
)
_CONSTANTS: dict[str, Value] = {
    "null": None, "true": True, "false": False, "NaN": math.nan, "Infinity": math.inf,
}  # fmt: skip
_ARGUMENTS = {  # least, most
    "contains": (2, 2), "startswith": (2, 2), "endswith": (2, 2), "format": (1, 255),
    "join": (1, 2), "tojson": (1, 1), "fromjson": (1, 1),
}  # fmt: skip
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="))  # the loosest first
_TEMPLATE_PART = re.compile(r"\$\{\{((?:'(?:[^']|'')*'|(?!\}\})[^'])*)\}\}")


class ExpressionRefused(Exception):
    """GitHub would not run this: wrong syntax, or a name that is not known at this place."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may name at its place: these contexts and `functions`, nothing else."""

    contexts: Mapping[str, Value]
    functions: Mapping[str, Callable[[], bool]] = field(default_factory=dict)

    def having(self, **contexts: Value) -> Scope:
        """The same with these contexts added or replaced."""
        return Scope({**self.contexts, **contexts}, self.functions)


def evaluate(expression: str, scope: Scope) -> Value:
    """The value of what stands between `${{` and `}}`."""
    return _Parser(expression, scope).whole()()


def holds(condition: str, scope: Scope) -> bool:
    """Whether an `if` holds. One that asks for no status holds only after success."""
    parser = _condition(condition, scope)
    value = parser.whole()
    asks_for_status = any(name in parser.called for name in scope.functions)
    return (asks_for_status or scope.functions["success"]()) and truthy(value())


def fill(template: Value, scope: Scope) -> Value:
    """Evaluate every `${{ }}` in texts of `template`. One that is a whole text keeps its type."""
    if isinstance(template, Mapping):
        return {name: fill(value, scope) for name, value in template.items()}
    if isinstance(template, list | tuple):
        return [fill(value, scope) for value in template]
    if not isinstance(template, str):
        return template
    values = [parser.whole() for parser in _parsers(template, scope)]
    between = _TEMPLATE_PART.split(template)[::2]
    if between == ["", ""]:
        return values[0]()
    texts = [text_of(value()) for value in values]
    return "".join(a + b for a, b in zip(between, [*texts, ""], strict=True))


def fill_text(template: Value, scope: Scope) -> str:
    """The same as a text. Raises ExpressionFailed for a list or a mapping."""
    if is_collection(value := fill(template, scope)):
        raise ExpressionFailed(f"{template!r} is to be a text and is {text_of(value)}")
    return text_of(value)


def check(template: Value, scope: Scope) -> None:
    """Read every expression in `template` and evaluate none. Raises ExpressionRefused."""
    if isinstance(template, Mapping):
        for value in template.values():
            check(value, scope)
    elif isinstance(template, list | tuple):
        for value in template:
            check(value, scope)
    elif isinstance(template, str):
        for parser in _parsers(template, scope):
            parser.whole()


def check_condition(condition: str, scope: Scope) -> None:
    """Read an `if` and evaluate none of it. Raises ExpressionRefused."""
    _condition(condition, scope).whole()


def _parsers(template: str, scope: Scope) -> Iterator[_Parser]:
    if "${{" in _TEMPLATE_PART.sub("", template):
        raise ExpressionRefused(f"{template!r} has a ${{{{ without its }}}}")
    return (_Parser(part[1], scope) for part in _TEMPLATE_PART.finditer(template))


def _condition(condition: str, scope: Scope) -> _Parser:
    inner = condition.strip() or "success()"
    if "${{" in inner:
        whole = _TEMPLATE_PART.fullmatch(inner)
        if whole is None:
            raise ExpressionRefused(f"{condition!r} is a text, and so always true: one ${{{{ }}}}")
        inner = whole[1]
    return _Parser(inner, scope)


_Evaluation: TypeAlias = Callable[[], Value]


class _Parser:
    """Reads an expression into something to call; tells what is wrong before it is called."""

    def __init__(self, expression: str, scope: Scope) -> None:
        self.called: set[str] = set()
        self._expression, self._scope = expression, scope
        self._tokens = list(self._read_tokens())
        self._at = 0

    def whole(self) -> _Evaluation:
        value = self._level(0)
        if self._at < len(self._tokens):
            raise self._refusal(f"{self._tokens[self._at][1]!r} is not expected")
        return value

    def _read_tokens(self) -> Iterator[tuple[str, str]]:
        at, expression = 0, self._expression.rstrip()
        while at < len(expression):
            if (match := _TOKEN.match(expression, at)) is None or match.lastgroup is None:
                raise self._refusal(f"{expression[at:]!r} is not understood")
            yield match.lastgroup, match[match.lastgroup]
            at = match.end()

    def _level(self, level: int) -> _Evaluation:
        if level == len(_LEVELS):
            return self._unary()
        left = self._level(level + 1)
        while sign := self._take(*_LEVELS[level]):
            left = _operation(sign, left, self._level(level + 1))
        return left

    def _unary(self) -> _Evaluation:
        if self._take("!"):
            value = self._unary()
            return lambda: not truthy(value())
        return self._indexed(self._primary())

    def _primary(self) -> _Evaluation:
        kind, text = self._next()
        if kind == "string":
            return _constant(text[1:-1].replace("''", "'"))
        if kind == "number":
            if math.isnan(number := parse_number(text)):
                raise self._refusal(f"{text} is no number")
            return _constant(number)
        if kind == "word":
            return self._word(text)
        if text == "(":
            inner = self._level(0)
            self._expect(")")
            return inner
        raise self._refusal(f"{text!r} is not expected")

    def _word(self, word: str) -> _Evaluation:
        if self._take("("):
            return self._call(word.lower())
        if word in _CONSTANTS:
            return _constant(_CONSTANTS[word])
        contexts = {name.lower(): value for name, value in self._scope.contexts.items()}
        if word.lower() not in contexts:
            raise self._refusal(f"{word} is not known here; known are {', '.join(contexts)}")
        return _constant(contexts[word.lower()])

    def _call(self, name: str) -> _Evaluation:
        arguments: list[_Evaluation] = []
        while not self._take(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._level(0))
        self.called.add(name)
        status = self._scope.functions.get(name)
        least, most = (0, 0) if status else _ARGUMENTS.get(name, (1, 0))
        if name not in _ARGUMENTS and status is None:
            raise self._refusal(f"{name}() is not known here")
        if not least <= len(arguments) <= most:
            raise self._refusal(f"{name}() takes {least} to {most} values")
        return status or (lambda: FUNCTIONS[name](*(value() for value in arguments)))

    def _indexed(self, value: _Evaluation) -> _Evaluation:
        while sign := self._take(".", "["):
            if self._take("*"):
                value = _all_of(value)
            elif sign == ".":
                kind, name = self._next()
                if kind != "word":
                    raise self._refusal(f"{name!r} is no name")
                value = _index(value, _constant(name))
            else:
                value = _index(value, self._level(0))
            if sign == "[":
                self._expect("]")
        return value

    def _next(self) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise self._refusal("it ends too soon")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, *signs: str) -> str | None:
        if self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind in {"operator", "sign"} and text in signs:
                self._at += 1
                return text
        return None

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._refusal(f"a {sign!r} is missing")

    def _refusal(self, why: str) -> ExpressionRefused:
        return ExpressionRefused(f"${{{{ {self._expression.strip()} }}}}: {why}")


def _constant(value: Value) -> _Evaluation:
    return lambda: value


def _operation(sign: str, left: _Evaluation, right: _Evaluation) -> _Evaluation:
    match sign:
        case "&&":
            return lambda: right() if truthy(value := left()) else value
        case "||":
            return lambda: value if truthy(value := left()) else right()
        case "==":
            return lambda: equal(left(), right())
        case "!=":
            return lambda: not equal(left(), right())
        case _:
            return lambda: ordered(sign, left(), right())


def _index(of: _Evaluation, key: _Evaluation) -> _Evaluation:
    return lambda: item_of(of(), key())


def _all_of(of: _Evaluation) -> _Evaluation:
    return lambda: all_of(of())
