"""RFC 8785 bytes of one JSON value, refusing whatever two parsers could read differently."""

import json
import re
from typing import Any, NoReturn

import orjson
import rfc8785

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_SIMPLE = frozenset((str, int, bool, type(None)))
_ESCAPES = re.compile(rb"\\u00(?:00|3[aA])")
_ASTRAL = re.compile(rb"[\xf0-\xf4]")
_BAD_TEXT = re.compile("[\x00\ud800-\udfff]")


class NotCanonical(ValueError):
    """The JSON value has no single exact meaning, so it cannot be hashed."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        super().__init__(f"{detail} (at {pointer!r})")
        self.detail = detail
        self.pointer = pointer


def canonical(raw: bytes) -> bytes:
    """Returns the RFC 8785 bytes of one raw JSON value; raises NotCanonical with a JSON pointer into that value."""
    quick = _quick(raw)
    if quick is not None:
        return quick[1]
    return _write_exact(_parse_exact(raw, _whole_number))


def canonical_value(value: dict[str, str]) -> bytes:
    """Returns the RFC 8785 bytes of an object of strings with ASCII member names (an actor, a target)."""
    try:
        out = orjson.dumps(value, None, orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        _refuse_value(value)
    # The same six characters also stand where a text holds a backslash and "u0000": that is no NUL.
    if b"\\" in out and b"\\u0000" in out and any("\0" in text for text in value.values()):
        _refuse_value(value)
    return out


def canonical_parsed(value: Any) -> bytes:
    """Returns the RFC 8785 bytes of a value that some JSON parser made; raises NotCanonical.

    RFC 8785 writes whole doubles below 1e21 without an exponent, so an export may hold integers beyond 2**53:
    they are taken where their digits are just what RFC 8785 writes for that double.
    """
    try:
        out = orjson.dumps(value, None, _OPTIONS)
    except orjson.JSONEncodeError:
        out = b""
    if out and _keeps_order(out, value) and not (b"\\" in out and b"\\u0000" in out) and _is_plain(value):
        return out
    return _write_exact(_with_doubles(value, 0))


def read_json(raw: bytes) -> Any:
    """Returns the value of one exported event, exact or not at all: what is ambiguous raises NotCanonical."""
    quick = _quick(raw)
    if quick is not None:
        return quick[0]
    value = _parse_exact(raw, _exported_number)
    refusal = _first_refusal(value, -1)
    if refusal is not None:
        raise NotCanonical(*refusal)
    return value


def _quick(raw: bytes) -> tuple[Any, bytes] | None:
    """The value and its sorted compact form where that form is provably RFC 8785, else None.

    A parser that drops a duplicate member drops a colon with it; every other colon is copied, unless it was escaped.
    """
    try:
        value = orjson.loads(raw)
        out = orjson.dumps(value, None, _OPTIONS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    if raw.count(b":") != out.count(b":") or (b"\\" in raw and _ESCAPES.search(raw) is not None):
        return None
    if not _keeps_order(out, value) or not _is_plain(value):
        return None
    return value, out


def _keeps_order(out: bytes, value: Any) -> bool:
    """Byte order and UTF-16 order of names differ only where a name leaves the basic plane."""
    return out.isascii() or _ASTRAL.search(out) is None or not _has_astral_name(value)


def _is_plain(value: Any) -> bool:
    """Whether depth and floats are such that orjson writes them as RFC 8785 does (it has refused large integers)."""
    kind = type(value)
    level: list[Any] = [value] if kind is dict or kind is list else [[value]]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for container in level:
            items = container.values() if type(container) is dict else container
            if _SIMPLE.issuperset(map(type, items)):
                continue
            for item in items:
                kind = type(item)
                if kind is dict or kind is list:
                    deeper.append(item)
                elif kind is float:
                    if not 1e-4 <= abs(item) < 1e15 or item.is_integer():
                        return False
                elif kind not in _SIMPLE:
                    return False
        if not deeper:
            return True
        level = deeper
    return False


def _has_astral_name(value: Any) -> bool:
    pending = [value]
    while pending:
        item = pending.pop()
        if type(item) is dict:
            if any(max(name, default="") > "\uffff" for name in item):
                return True
            pending.extend(item.values())
        elif type(item) is list:
            pending.extend(item)
    return False


class _Refused:
    """Stands in the parsed tree where something must be refused, so that the walk can say where."""

    __slots__ = ("detail",)

    def __init__(self, detail: str) -> None:
        self.detail = detail


def _parse_exact(raw: bytes, whole_number: Any) -> Any:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotCanonical(f"not valid UTF-8 at byte {error.start}") from None
    try:
        return json.loads(
            text,
            object_pairs_hook=_members,
            parse_int=whole_number,
            parse_float=_fraction,
            parse_constant=lambda name: _Refused(f"{name} is not a JSON number"),
        )
    except RecursionError:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise NotCanonical(f"not valid JSON: {error.msg.lower()} at character {error.pos}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                found[name] = _Refused("duplicate member name")
            seen.add(name)
    return found


def _whole_number(text: str) -> Any:
    if len(text) <= 17 and -MAX_INTEGER <= (number := int(text)) <= MAX_INTEGER:
        return number
    return _Refused("integer beyond 2^53 - 1, send it as a string")


def _exported_number(text: str) -> Any:
    number = _whole_number(text)
    return _as_double(text) if isinstance(number, _Refused) else number


def _as_double(text: str) -> Any:
    double = float(text)
    if abs(double) < 1e21 and rfc8785.dumps(double).decode() == text:
        return double
    return _Refused("integer that no double holds exactly")


def _fraction(text: str) -> Any:
    number = float(text)
    return _Refused("number too large for a double") if number in (float("inf"), float("-inf")) else number


def _with_doubles(value: Any, depth: int) -> Any:
    if depth <= MAX_DEPTH:
        if isinstance(value, dict):
            return {name: _with_doubles(item, depth + 1) for name, item in value.items()}
        if isinstance(value, list):
            return [_with_doubles(item, depth + 1) for item in value]
        if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
            return _as_double(str(value)) if abs(value) < 10**21 else _Refused("integer that no double holds exactly")
    return value


def _write_exact(value: Any) -> bytes:
    refusal = _first_refusal(value, 0)
    if refusal is not None:
        raise NotCanonical(*refusal)
    try:
        return rfc8785.dumps(value)
    except ValueError as error:
        raise NotCanonical(str(error)) from None


def _first_refusal(value: Any, depth: int) -> tuple[str, str] | None:
    """The first thing to refuse in document order and the JSON pointer to it; an event around a part has depth -1."""
    if isinstance(value, str):
        return (detail, "") if (detail := _text_refusal(value)) else None
    if isinstance(value, _Refused):
        return value.detail, ""
    if not isinstance(value, dict | list):
        return None
    if depth >= MAX_DEPTH:
        return f"nested deeper than {MAX_DEPTH} levels", ""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in members:
        if isinstance(name, str) and (detail := _text_refusal(name)):
            return f"member name: {detail}", ""
        found = _first_refusal(item, depth + 1)
        if found is not None:
            step = name.replace("~", "~0").replace("/", "~1") if isinstance(name, str) else name
            return found[0], f"/{step}{found[1]}"
    return None


def _text_refusal(text: str) -> str | None:
    bad = _BAD_TEXT.search(text)
    if bad is None:
        return None
    return "NUL character" if bad.group() == "\x00" else "lone surrogate"


def _refuse_value(value: Any) -> NoReturn:
    detail, pointer = _first_refusal(value, 0) or ("not a JSON value", "")
    raise NotCanonical(detail, pointer)
