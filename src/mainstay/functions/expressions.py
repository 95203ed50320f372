"""Keys and conditions over events as text: a small part of CEL, read once and never run as code.

Known: paths (`event.data.id`, `async.data.id`, `a["b"]`, `a[0]`), text, numbers, true, false, null; `==`, `!=`, `<`,
`<=`, `>`, `>=`, `+`, `&&`, `||`, `!`, brackets. What a path does not find is null.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Scope = Mapping[str, Any]
Expression = Callable[[Scope], Any]

MAX_CHARACTERS = 1_000
MAX_DEPTH = 30
MAX_PATH_CHARACTERS = 200
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!+()\[\].-]))"""
)
_WORDS = {"true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class NotAnExpression(ValueError):
    """The text is no expression that is known here; the message says where it ends to be one."""


@lru_cache(maxsize=1_024)
def parse(text: str) -> Expression:
    """The expression as a function of names to values; NotAnExpression."""
    if len(text) > MAX_CHARACTERS:
        raise NotAnExpression(f"an expression has at most {MAX_CHARACTERS} characters")
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise NotAnExpression("an expression holds neither NUL nor half a character")
    reader = _Reader(text)
    found = reader.either()
    reader.end()
    return found


def path_of(text: str) -> tuple[str, ...]:
    """The steps of a bare path such as `data.user.id`; NotAnExpression."""
    steps = tuple(text.split("."))
    if len(text) > MAX_PATH_CHARACTERS or not all(re.fullmatch(r"[\w-]+", step) for step in steps):
        raise NotAnExpression(f"{text!r} is no path such as data.user.id")
    return steps


def at(value: Any, steps: tuple[str, ...]) -> Any:
    """What stands at the path, None where nothing does."""
    for step in steps:
        value = _member(value, step)
    return value


class _Reader:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        self._depth = 0
        place = 0
        text = text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise NotAnExpression(f"{text[place : place + 10]!r} at {place + 1} is not known here")
            self._tokens.append((str(found.lastgroup), found.group(str(found.lastgroup)), place))
            place = found.end()

    def either(self) -> Expression:
        """`a || b`"""
        self._go_deeper()
        parts = [self._both()]
        while self._take("||"):
            parts.append(self._both())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else lambda scope: any(part(scope) is True for part in parts)

    def _go_deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotAnExpression(f"an expression is at most {MAX_DEPTH} brackets or exclamation marks deep")

    def end(self) -> None:
        """Nothing is left."""
        if self._at < len(self._tokens):
            _, token, place = self._tokens[self._at]
            raise NotAnExpression(f"{token!r} at {place + 1} is one too many")

    def _both(self) -> Expression:
        parts = [self._compared()]
        while self._take("&&"):
            parts.append(self._compared())
        return parts[0] if len(parts) == 1 else lambda scope: all(part(scope) is True for part in parts)

    def _compared(self) -> Expression:
        left = self._sum()
        for sign, compare in _COMPARES.items():
            if self._take(sign):
                right = self._sum()
                return lambda scope: compare(left(scope), right(scope))
        return left

    def _sum(self) -> Expression:
        parts = [self._single()]
        while self._take("+"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else lambda scope: _joined([part(scope) for part in parts])

    def _single(self) -> Expression:
        if self._take("!"):
            self._go_deeper()
            inner = self._single()
            self._depth -= 1
            return lambda scope: inner(scope) is not True
        if self._take("("):
            whole = self.either()
            self._need(")")
            return whole
        is_less = self._take("-")
        kind, token = self._next()
        if kind == "number":
            number = (float(token) if "." in token else int(token)) * (-1 if is_less else 1)
            return lambda _: number
        if is_less or kind == "sign":
            raise NotAnExpression(f"{token!r} stands where a value should")
        if kind == "text":
            text = _unquoted(token)
            return lambda _: text
        if token in _WORDS:
            word = _WORDS[token]
            return lambda _: word
        return self._path(token)

    def _path(self, first: str) -> Expression:
        steps: list[str] = [first]
        while True:
            if self._take("."):
                kind, token = self._next()
                if kind != "name":
                    raise NotAnExpression(f"{token!r} stands where a name should")
                if self._at < len(self._tokens) and self._tokens[self._at][1] == "(":
                    raise NotAnExpression(f"{token!r}: functions are not known here")
                steps.append(token)
            elif self._take("["):
                kind, token = self._next()
                if kind not in ("text", "number"):
                    raise NotAnExpression(f"{token!r} stands where a name in quotes or a number should")
                steps.append(_unquoted(token) if kind == "text" else token)
                self._need("]")
            else:
                path = tuple(steps)
                return lambda scope: at(scope, path)

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise NotAnExpression("the expression ends too early")
        kind, token, _ = self._tokens[self._at]
        self._at += 1
        return kind, token

    def _take(self, sign: str) -> bool:
        is_there = self._at < len(self._tokens) and self._tokens[self._at][:2] == ("sign", sign)
        self._at += is_there
        return is_there

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise NotAnExpression(f"{sign!r} is missing")


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found.group(1), found.group(1)), token[1:-1])


def _member(value: Any, step: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
        return value[int(step)]
    return None


def _alike(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _comparable(a: Any, b: Any) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (a, b))
    return numbers or (isinstance(a, str) and isinstance(b, str))


_COMPARES: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": _alike,
    "!=": lambda a, b: not _alike(a, b),
    "<=": lambda a, b: _comparable(a, b) and a <= b,
    "<": lambda a, b: _comparable(a, b) and a < b,
    ">=": lambda a, b: _comparable(a, b) and a >= b,
    ">": lambda a, b: _comparable(a, b) and a > b,
}


def _joined(values: list[Any]) -> Any:
    """Texts joined, numbers added; null where they are neither."""
    if all(isinstance(value, str) for value in values):
        return "".join(values)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        try:
            return sum(values)
        except OverflowError:
            return None
    return None
