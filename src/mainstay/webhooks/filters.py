"""Filters: conditions on the fields of a message, checked, and compiled to one PostgreSQL jsonpath predicate."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from mainstay.kernel.errors import Fault

BYTES_AT_MOST: Final = 8_192
CONDITIONS_AT_MOST: Final = 50
DEPTH_AT_MOST: Final = 5
PATH_CHARACTERS: Final = 256
LIST_AT_MOST: Final = 50

_SCALAR: Final = "must be a text, a number, true, false or null"
_ORDERED: Final = "must be a text or a number"
_PART: Final = re.compile(r"[^\x00-\x1f$][^\x00-\x1f]*")


def faults_of(wanted: Any, under: str = "#/filter") -> list[Fault]:
    """What is wrong with a filter, each with a pointer; nothing for one that can be compiled."""
    if not isinstance(wanted, Mapping):
        return [Fault("must be an object", under)]
    try:
        size = len(orjson.dumps(wanted))
    except (TypeError, ValueError, RecursionError) as problem:
        return [Fault(f"cannot be kept: {problem}", under)]
    if size > BYTES_AT_MOST:
        return [Fault(f"must have at most {BYTES_AT_MOST:,} bytes", under)]
    faults, conditions = [], 0
    for found in _walk(wanted, under, 1):
        if isinstance(found, Fault):
            faults.append(found)
        else:
            conditions += 1
    if conditions > CONDITIONS_AT_MOST:
        faults.append(Fault(f"must have at most {CONDITIONS_AT_MOST} conditions", under))
    return faults


def compile_filter(wanted: Mapping[str, Any]) -> str:
    """The jsonpath predicate (`body::jsonb @@ path::jsonpath`) that is true of exactly the messages that match.

    Each condition is an `exists` of its own, so that a missing field or another type is false and never unknown.
    """
    return _all_of([_compile_member(name, value) for name, value in wanted.items()])


def _walk(wanted: Any, under: str, depth: int) -> Iterator[Fault | None]:
    """A fault for each thing wrong, and None for each condition."""
    if not isinstance(wanted, Mapping) or not wanted:
        yield Fault("must be an object with at least one condition", under)
        return
    if depth > DEPTH_AT_MOST:
        yield Fault(f"must not be nested deeper than {DEPTH_AT_MOST}", under)
        return
    for name, value in wanted.items():
        at = f"{under}/{name.replace('~', '~0').replace('/', '~1')}"
        if name in ("$and", "$or"):
            if not isinstance(value, list) or not value:
                yield Fault("must be a list of filters, not empty", at)
                continue
            for index, one in enumerate(value):
                yield from _walk(one, f"{at}/{index}", depth + 1)
        elif name == "$not":
            yield from _walk(value, at, depth + 1)
        elif not _is_path(name):
            yield Fault(
                f"must be $and, $or, $not, or a path of at most {PATH_CHARACTERS} characters: names joined by dots, "
                "none empty or beginning with '$'",
                at,
            )
        else:
            yield from _walk_condition(value, at)


def _is_path(name: str) -> bool:
    return len(name) <= PATH_CHARACTERS and all(_PART.fullmatch(part) for part in name.split("."))


def _walk_condition(value: Any, at: str) -> Iterator[Fault | None]:
    if isinstance(value, list):
        yield Fault("must not be a list: use $in", at)
    elif not isinstance(value, Mapping):
        problem = _scalar_fault(value)
        yield None if problem is None else Fault(problem, at)
    elif not value:
        yield Fault("must have at least one operator", at)
    else:
        for operator, operand in value.items():
            check = _CHECKS.get(operator)
            problem = f"is no operator; there are {', '.join(_CHECKS)}" if check is None else check(operand)
            yield None if problem is None else Fault(problem, f"{at}/{operator.replace('~', '~0').replace('/', '~1')}")


def _scalar_fault(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return "must not hold the character NUL" if "\0" in value else None
    if isinstance(value, int | float):
        return None if math.isfinite(value) else "must be a finite number"
    return _SCALAR


def _ordered_fault(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _ORDERED
    return _scalar_fault(value)


def _list_fault(value: Any) -> str | None:
    if not isinstance(value, list) or not 1 <= len(value) <= LIST_AT_MOST:
        return f"must be a list of 1 to {LIST_AT_MOST} values"
    return next((f"every value {problem}" for one in value if (problem := _scalar_fault(one)) is not None), None)


def _truth_fault(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _text_fault(value: Any) -> str | None:
    return _scalar_fault(value) if isinstance(value, str) and value else "must be a text, not empty"


_CHECKS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "$eq": _scalar_fault,
    "$ne": _scalar_fault,
    "$gt": _ordered_fault,
    "$gte": _ordered_fault,
    "$lt": _ordered_fault,
    "$lte": _ordered_fault,
    "$in": _list_fault,
    "$nin": _list_fault,
    "$exists": _truth_fault,
    "$startsWith": _text_fault,
}
_SIGNS: Final = {"$eq": "==", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<=", "$startsWith": "starts with"}


def _compile_member(name: str, value: Any) -> str:
    if name == "$and":
        return _all_of([compile_filter(one) for one in value])
    if name == "$or":
        return _any_of([compile_filter(one) for one in value])
    if name == "$not":
        return f"!({compile_filter(value)})"
    path = "$" + "".join("." + json.dumps(part) for part in name.split("."))
    operators = value if isinstance(value, Mapping) else {"$eq": value}
    return _all_of([_compile_condition(path, operator, operand) for operator, operand in operators.items()])


def _compile_condition(path: str, operator: str, operand: Any) -> str:
    if operator == "$exists":
        return f"exists({path})" if operand else f"!(exists({path}))"
    if operator in ("$ne", "$nin"):
        opposite = "$eq" if operator == "$ne" else "$in"
        return f"!({_compile_condition(path, opposite, operand)})"
    if operator == "$in":
        return f"exists({path} ? ({_any_of([f'@ == {_literal(one)}' for one in operand])}))"
    return f"exists({path} ? (@ {_SIGNS[operator]} {_literal(operand)}))"


def _literal(value: Any) -> str:
    """A jsonpath literal: texts in ASCII with every other character escaped, numbers as JSON writes them."""
    return json.dumps(value)


def _all_of(predicates: list[str]) -> str:
    return predicates[0] if len(predicates) == 1 else " && ".join(f"({one})" for one in predicates)


def _any_of(predicates: list[str]) -> str:
    return predicates[0] if len(predicates) == 1 else " || ".join(f"({one})" for one in predicates)
