"""JSON as a page shows it: indented, marked by kind, and folded where it is deep; every text in it is escaped."""

from typing import Any

import orjson
from markupsafe import Markup, escape

OPEN_DEPTH = 2
MOST_VALUES = 2_000
"""Past that many values the rest is shown unmarked, so that a page stays light."""
MOST_DEPTH = 100
"""Nested deeper than that a text is shown as it is: strangers write the answers of receivers."""


def marked(value: Any) -> Markup:
    """The value (or the JSON text) as markup for a `pre`; text that is not JSON, or nested past 100, as it is."""
    value, text = _opened(value)
    if text is not None:
        return escape(text)
    if _size(value, MOST_VALUES) > MOST_VALUES:
        return escape(plain(value))
    return Markup("").join(_parts(value, 0))


def plain(value: Any) -> str:
    """The same as indented text, for copying; text that is not JSON, or nested past 100, as it is."""
    value, text = _opened(value)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode() if text is None else text


def _opened(value: Any) -> tuple[Any, str | None]:
    """The value of a JSON text and None, or the text that is to be shown as it is."""
    if not isinstance(value, bytes | str):
        return value, None
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    try:
        opened = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None, text
    return (None, text) if _is_too_deep(opened) else (opened, None)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return False
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return True


def _size(value: Any, most: int) -> int:
    waiting, seen = [value], 0
    while waiting and seen <= most:
        one = waiting.pop()
        seen += 1
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return seen


def _parts(value: Any, depth: int) -> list[Markup]:
    if isinstance(value, dict) and value:
        lines = [
            [Markup('<span class="j-key">{}</span>: ').format(_quoted(str(name))), *_parts(one, depth + 1)]
            for name, one in value.items()
        ]
        return _block(lines, depth, "{", "}", "member")
    if isinstance(value, list) and value:
        return _block([_parts(one, depth + 1) for one in value], depth, "[", "]", "item")
    return [_leaf(value)]


_COMMA, _OPEN = Markup(","), Markup(" open")
_NOTHING, _END = Markup(""), Markup("</details>")


def _break(depth: int) -> Markup:
    return Markup("\n{}").format("  " * depth)


def _block(lines: list[list[Markup]], depth: int, opening: str, closing: str, noun: str) -> list[Markup]:
    inner: list[Markup] = []
    for number, line in enumerate(lines):
        inner += [_break(depth + 1), *line, _COMMA if number < len(lines) - 1 else _NOTHING]
    inner.append(_break(depth))
    if depth == 0:
        return [escape(opening), *inner, escape(closing)]
    told = f"{len(lines)} {noun}{'' if len(lines) == 1 else 's'}"
    head = Markup('<details class="j-fold"{}><summary>{}<span class="j-more"> {} {}</span></summary>').format(
        _OPEN if depth < OPEN_DEPTH else _NOTHING, opening, told, closing
    )
    return [head, *inner, escape(closing), _END]


def _leaf(value: Any) -> Markup:
    if isinstance(value, str):
        return Markup('<span class="j-text">{}</span>').format(_quoted(value))
    if value is None or isinstance(value, bool):
        return Markup('<span class="j-word">{}</span>').format(orjson.dumps(value).decode())
    return Markup('<span class="j-number">{}</span>').format(orjson.dumps(value, default=str).decode())


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
