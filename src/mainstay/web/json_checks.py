"""JSON that callers give: how large and how deep, and whether an example satisfies its JSON Schema. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import jsonschema_rs
import orjson

from mainstay.kernel.errors import Fault

DEPTH_AT_MOST: Final = 100
"""Answers nest what was given a little deeper, and no answer may nest deeper than 254."""

SCHEMA_PARTS: Final = 20_000
CHECKS_AT_MOST: Final = 5_000_000
PATTERN_BYTES: Final = 262_144
"""How large one `pattern` may be once compiled."""

FAULTS_AT_MOST: Final = 20
FAULT_CHARACTERS: Final = 300
TOLD_WHOLE: Final = 10_000_000
"""Bytes that all faults of an example could hold; past that the first one is told alone."""

_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_COMPARED: Final = frozenset({"const", "enum", "required", "dependentRequired"})
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,5}")
_IGNORED: Final = frozenset({"default", "examples"})


def faults_of(value: Any, under: str, *, most_bytes: int) -> list[Fault]:
    """What is wrong with a value that is to be kept and shown; nothing for one that may be."""
    if _is_deeper(value, DEPTH_AT_MOST):
        return [Fault(f"must not be nested deeper than {DEPTH_AT_MOST}", under)]
    try:
        written = orjson.dumps(value)
    except (TypeError, ValueError) as problem:
        return [Fault(f"cannot be kept: {problem}", under)]
    if len(written) > most_bytes:
        return [Fault(f"must have at most {most_bytes:,} bytes", under)]
    return []


def nul_faults(value: Any, under: str) -> list[Fault]:
    """What is wrong with a value that passed `faults_of` and is to be stored as jsonb."""
    held = b"\\u0000" in orjson.dumps(value).replace(b"\\\\", b"")
    return [Fault("must not hold the character NUL", under)] if held else []


class NotTaken(Exception):
    """A schema that is not taken; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema ready to check with; `parts` is how many it has with every reference written out."""

    validator: jsonschema_rs.Draft202012Validator
    parts: int


def compile_schema(schema: Any, under: str = "#/schema", *, most_parts: int = SCHEMA_PARTS) -> Compiled:
    """The schema ready to check with; NotTaken says what is wrong. Nothing is ever fetched from elsewhere."""
    try:
        parts = _Weight(schema, under, most_parts).of(schema, under)
        options = jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES)
        return Compiled(jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=options), parts)
    except RecursionError:
        raise NotTaken(Fault("is nested too deeply", under)) from None
    except jsonschema_rs.ValidationError as broken:
        detail = cut(f"is no JSON Schema of 2020-12: {broken.message}")
        raise NotTaken(Fault(detail, pointer_to(under, broken.instance_path))) from None


def schema_faults(schema: Any, example: Any) -> Iterator[Fault]:
    """What is wrong with a schema, or with an example under it."""
    if schema is None:
        return
    try:
        compiled = compile_schema(schema)
    except NotTaken as refused:
        yield refused.fault
        return
    if compiled.parts * _nodes(example) > CHECKS_AT_MOST:
        yield Fault("the schema and the example are too large to be checked together", "#/example")
        return
    if example is not None and not compiled.validator.is_valid(example):
        told = len(orjson.dumps(schema)) * _nodes(example) + len(orjson.dumps(example)) * compiled.parts
        for error in errors_of(compiled.validator, example, every=told <= TOLD_WHOLE):
            said = cut(f"does not satisfy the schema: {error.message}")
            yield Fault(said, pointer_to("#/example", error.instance_path))


def errors_of(
    validator: jsonschema_rs.Draft202012Validator, example: Any, *, every: bool
) -> Iterator[jsonschema_rs.ValidationError]:
    """The first errors, or the very first alone: looking for every one keeps a copy of schema and example for each."""
    if every:
        yield from islice(validator.iter_errors(example), FAULTS_AT_MOST)
        return
    try:
        validator.validate(example)
    except jsonschema_rs.ValidationError as first:
        yield first


def cut(text: str) -> str:
    """The text, or the first 300 characters of a longer one."""
    return text if len(text) <= FAULT_CHARACTERS else text[: FAULT_CHARACTERS - 1] + "…"


class _Weight:
    """Counts the parts of a schema with every reference written out; refuses what it cannot count."""

    def __init__(self, root: Any, under: str, most: int) -> None:
        self._root = root
        self._under = under
        self._most = most
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def of(self, schema: Any, at: str) -> int:
        """How many parts; NotTaken for references to elsewhere, to itself, and past the limit."""
        if not isinstance(schema, Mapping):
            return 1
        key = id(schema)
        if key in self._open:
            raise NotTaken(Fault("must not refer to itself", at))
        if key not in self._known:
            self._open.add(key)
            self._known[key] = 1 + sum(self._of_member(name, value, at) for name, value in schema.items())
            self._open.discard(key)
            if self._known[key] > self._most:
                raise NotTaken(Fault(f"must have at most {self._most:,} parts with its references written out", at))
        return self._known[key]

    def _of_member(self, name: str, value: Any, at: str) -> int:
        at = pointer_to(at, [name])
        if name == "$ref":
            return self.of(self._target(value, at), at)
        if name in ("$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$id") and at != f"{self._under}/$id":
            raise NotTaken(Fault("is not supported: use $ref with a pointer into this schema", at))
        if name in _COMPARED:
            return _nodes(value)
        if name in _IGNORED:
            return 1
        if name in _BY_NAME and isinstance(value, Mapping):
            return sum(self.of(one, pointer_to(at, [inner])) for inner, one in value.items())
        if isinstance(value, list):
            return sum(self.of(one, pointer_to(at, [index])) for index, one in enumerate(value))
        return self.of(value, at)

    def _target(self, reference: Any, at: str) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise NotTaken(Fault("must point into this schema: '#/…'", at))
        target = self._root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and name in target:
                target = target[name]
            elif isinstance(target, list) and _INDEX.fullmatch(name) and int(name) < len(target):
                target = target[int(name)]
            else:
                raise NotTaken(Fault("points to nothing in this schema", at))
        return target


def _nodes(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + sum(map(_nodes, value.values()))
    return 1 + sum(map(_nodes, value)) if isinstance(value, list) else 1


def pointer_to(under: str, path: Any) -> str:
    """The JSON pointer of a path below another pointer."""
    return under + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return False
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return True
