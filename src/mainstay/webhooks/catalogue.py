"""The catalogue: which event types there are, each with the schema and an example of its `data`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, Final

import jsonschema_rs
import msgspec
import orjson

from mainstay.kernel import outbox
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.webhooks import schemas, versions
from mainstay.webhooks.errors import TooManyTypes, TypeNotFound, TypeReserved
from mainstay.webhooks.queries import catalogue as rows
from mainstay.webhooks.schemas import TypeWanted

TYPES_AT_MOST: Final = 1_000
SCHEMA_BYTES: Final = 65_536
EXAMPLE_BYTES: Final = 65_536
SCHEMA_PARTS: Final = 20_000
CHECKS_AT_MOST: Final = 5_000_000
PATTERN_BYTES: Final = 262_144
"""How large one `pattern` may be once compiled."""

FAULTS_AT_MOST: Final = 20
FAULT_CHARACTERS: Final = 300
TOLD_WHOLE: Final = 10_000_000
"""Bytes that all faults of an example could hold; past that the first one is told alone."""

AUDIT_EVENT: Final = "audit.event"
"""The entry that stands for every audit event; the type of such a message is the event's action."""

_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_COMPARED: Final = frozenset({"const", "enum", "required", "dependentRequired"})
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,5}")
_IGNORED: Final = frozenset({"default", "examples"})


@dataclass(frozen=True, slots=True)
class TypePage:
    """Types by name as a caller reads them, and the name to go on after (None at the end)."""

    types: list[dict[str, Any]]
    next_after: str | None


async def put(tx: Tx, actor: Actor, wanted: TypeWanted, *, company_id: str, name: str) -> tuple[dict[str, Any], bool]:
    """The company has the type as given, deprecated no longer; what it is now, and whether it is new."""
    _check(name, wanted)
    count = await rows.count_types(tx, company_id=company_id)
    before = await rows.find_type(tx, company_id=company_id, name=name)
    values = {"description": wanted.description, "schema": _text(wanted.schema), "example": _text(wanted.example)}
    if before is None:
        if count >= TYPES_AT_MOST:
            raise TooManyTypes(f"A company may have {TYPES_AT_MOST:,} event types.")
        by = msgspec.json.encode(actor).decode()
        made = await rows.add_type(tx, company_id=company_id, name=name, values=values, created_by=by)
        await _announce(tx, actor, "event_type.created", made, {"version": 1})
        return _show(made), True
    changed = ["description"] if before["description"] != wanted.description else []
    changed += [field for field in ("schema", "example") if _text(_loaded(before[field])) != values[field]]
    if not changed and before["deprecated_at"] is None:
        return _show(before), False
    row = await rows.change_type(tx, company_id=company_id, name=name, values=values)
    if row is None:
        raise TypeNotFound
    await _announce(tx, actor, "event_type.changed", row, {"version": row["version"], "fields": changed})
    return _show(row), False


async def deprecate(tx: Tx, actor: Actor, *, company_id: str, name: str) -> None:
    """The company's type is deprecated, since when is kept; messages of it go out as before."""
    if name in own_types():
        raise TypeReserved
    row = await rows.deprecate_type(tx, company_id=company_id, name=name) if schemas.is_type_name(name) else None
    if row is not None:
        await _announce(tx, actor, "event_type.deprecated", row, {})
    else:
        await get(tx, company_id=company_id, name=name)


async def get(connection: Connection, *, company_id: str, name: str) -> dict[str, Any]:
    """The type of that name, the company's or Mainstay's own; TypeNotFound where there is neither."""
    own = own_types().get(name)
    if own is not None:
        return own
    row = await rows.find_type(connection, company_id=company_id, name=name) if schemas.is_type_name(name) else None
    if row is None:
        raise TypeNotFound
    return _show(row)


async def read(connection: Connection, *, company_id: str, after: str | None = None, limit: int = 50) -> TypePage:
    """One page of the company's types and Mainstay's own, by name."""
    found = await rows.list_types(connection, company_id=company_id, after=after, limit=limit + 1)
    merged = [one for name, one in own_types().items() if after is None or name > after]
    merged = sorted([*merged, *map(_show, found)], key=lambda one: str(one["name"]))
    page = merged[:limit]
    return TypePage(page, str(page[-1]["name"]) if len(merged) > limit else None)


async def sample(connection: Connection, *, company_id: str, name: str) -> tuple[str, Any]:
    """The type and the `data` of an example message; Invalid where there is none."""
    try:
        shown = await get(connection, company_id=company_id, name=name)
    except TypeNotFound:
        raise Invalid(faults=[Fault("there is no such event type", "#/type")]) from None
    if shown["example"] is None:
        raise Invalid(faults=[Fault("this event type has no example", "#/type")])
    return (shown["example"]["action"] if name == AUDIT_EVENT else name), shown["example"]


@cache
def own_types() -> dict[str, dict[str, Any]]:
    """Mainstay's own types by name."""
    written = orjson.loads(resources.files("mainstay.webhooks").joinpath("own_types.json").read_bytes())
    return {
        one["name"]: {
            "name": one["name"],
            "source": "mainstay",
            "description": one["description"],
            "schema": one["payloads"][0]["schema"],
            "example": one["payloads"][0]["example"],
            "payloads": [
                {"version": n, **one["payloads"][min(n, len(one["payloads"])) - 1]} for n in versions.VERSIONS
            ],
            "version": 1,
            "deprecatedAt": None,
            "createdAt": None,
            "updatedAt": None,
        }
        for one in written
    }


def _show(row: Record) -> dict[str, Any]:
    schema, example = _loaded(row["schema"]), _loaded(row["example"])
    return {
        "name": row["name"],
        "source": "company",
        "description": row["description"],
        "schema": schema,
        "example": example,
        "payloads": [_payload(n, schema, example) for n in versions.VERSIONS],
        "version": row["version"],
        "deprecatedAt": schemas.time_text(row["deprecated_at"]),
        "createdAt": schemas.time_text(row["created_at"]),
        "updatedAt": schemas.time_text(row["updated_at"]),
    }


def _payload(version: int, schema: Any, example: Any) -> dict[str, Any]:
    """Schema and example in a payload version; the schema only where that version leaves the data as it is."""
    rendered = orjson.loads(versions.render(orjson.dumps({"data": example}), version))["data"]
    return {"version": version, "schema": schema if rendered == example else None, "example": rendered}


def _check(name: str, wanted: TypeWanted) -> None:
    """Passes what a type may be; Invalid names every fault, TypeReserved a name of Mainstay's own."""
    if name in own_types():
        raise TypeReserved
    if not schemas.is_type_name(name):
        raise Invalid(
            faults=[
                Fault(
                    f"must be at most {schemas.PATTERN_CHARACTERS} letters, digits, '_', ':' and '-' "
                    "in parts joined by dots",
                    "name",
                )
            ]
        )
    faults = [
        *schemas.text_faults(wanted.description, "#/description"),
        *_size_faults(wanted.schema, SCHEMA_BYTES, "#/schema"),
        *_size_faults(wanted.example, EXAMPLE_BYTES, "#/example"),
    ]
    faults = faults or list(_schema_faults(wanted.schema, wanted.example))
    if faults:
        raise Invalid(faults=faults)


def _size_faults(value: Any, most: int, under: str) -> list[Fault]:
    try:
        written = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError) as problem:
        return [Fault(f"cannot be kept: {problem}", under)]
    if len(written) > most:
        return [Fault(f"must have at most {most:,} bytes", under)]
    return [Fault("must not hold the character NUL", under)] if b"\\u0000" in written.replace(b"\\\\", b"") else []


def _schema_faults(schema: Any, example: Any) -> Iterator[Fault]:
    """What is wrong with a schema, or with an example under it. Nothing is ever fetched from elsewhere."""
    if schema is None:
        return
    try:
        parts = _Weight(schema).of(schema, "#/schema")
        if parts * _nodes(example) > CHECKS_AT_MOST:
            yield Fault("the schema and the example are too large to be checked together", "#/example")
            return
        validator = jsonschema_rs.Draft202012Validator(
            schema, offline=True, pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES)
        )
    except _Refused as refused:
        yield refused.fault
    except RecursionError:
        yield Fault("is nested too deeply", "#/schema")
    except jsonschema_rs.ValidationError as broken:
        yield Fault(_cut(f"is no JSON Schema of 2020-12: {broken.message}"), _pointer("#/schema", broken.instance_path))
    else:
        if example is not None and not validator.is_valid(example):
            told = len(orjson.dumps(schema)) * _nodes(example) + len(orjson.dumps(example)) * parts
            for error in _errors(validator, example, every=told <= TOLD_WHOLE):
                said = _cut(f"does not satisfy the schema: {error.message}")
                yield Fault(said, _pointer("#/example", error.instance_path))


def _errors(
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


def _cut(text: str) -> str:
    return text if len(text) <= FAULT_CHARACTERS else text[: FAULT_CHARACTERS - 1] + "…"


class _Refused(Exception):
    """A schema that is not taken; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


class _Weight:
    """Counts the parts of a schema with every reference written out; refuses what it cannot count."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def of(self, schema: Any, at: str) -> int:
        """How many parts; _Refused for references to elsewhere, to itself, and past the limit."""
        if not isinstance(schema, Mapping):
            return 1
        key = id(schema)
        if key in self._open:
            raise _Refused(Fault("must not refer to itself", at))
        if key not in self._known:
            self._open.add(key)
            self._known[key] = 1 + sum(self._of_member(name, value, at) for name, value in schema.items())
            self._open.discard(key)
            if self._known[key] > SCHEMA_PARTS:
                raise _Refused(Fault(f"must have at most {SCHEMA_PARTS:,} parts with its references written out", at))
        return self._known[key]

    def _of_member(self, name: str, value: Any, at: str) -> int:
        at = _pointer(at, [name])
        if name == "$ref":
            return self.of(self._target(value, at), at)
        if name in ("$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$id") and at != "#/schema/$id":
            raise _Refused(Fault("is not supported: use $ref with a pointer into this schema", at))
        if name in _COMPARED:
            return _nodes(value)
        if name in _IGNORED:
            return 1
        if name in _BY_NAME and isinstance(value, Mapping):
            return sum(self.of(one, _pointer(at, [inner])) for inner, one in value.items())
        if isinstance(value, list):
            return sum(self.of(one, _pointer(at, [index])) for index, one in enumerate(value))
        return self.of(value, at)

    def _target(self, reference: Any, at: str) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise _Refused(Fault("must point into this schema: '#/…'", at))
        target = self._root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping) and name in target:
                target = target[name]
            elif isinstance(target, list) and _INDEX.fullmatch(name) and int(name) < len(target):
                target = target[int(name)]
            else:
                raise _Refused(Fault("points to nothing in this schema", at))
        return target


def _nodes(value: Any) -> int:
    if isinstance(value, Mapping):
        return 1 + sum(map(_nodes, value.values()))
    return 1 + sum(map(_nodes, value)) if isinstance(value, list) else 1


def _pointer(under: str, path: Any) -> str:
    return under + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _text(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _loaded(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


async def _announce(tx: Tx, actor: Actor, name: str, row: Record, data: dict[str, Any]) -> None:
    await outbox.announce(
        tx,
        name,
        company_id=str(row["company_id"]),
        actor=actor,
        data={"id": row["name"], "name": row["name"], **data},
    )
