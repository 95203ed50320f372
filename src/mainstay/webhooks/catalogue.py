"""The catalogue: which event types there are, each with the schema and an example of its `data`."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec
import orjson

from mainstay.kernel import outbox
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.web import json_checks
from mainstay.webhooks import schemas, versions
from mainstay.webhooks.errors import TooManyTypes, TypeNotFound, TypeReserved
from mainstay.webhooks.queries import catalogue as rows
from mainstay.webhooks.schemas import TypeWanted

TYPES_AT_MOST: Final = 1_000
SCHEMA_BYTES: Final = 65_536
EXAMPLE_BYTES: Final = 65_536
PAGE_BYTES: Final = 1_048_576
AUDIT_EVENT: Final = "audit.event"
"""The entry that stands for every audit event; the type of such a message is the event's action."""


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
    """One page of the company's types and Mainstay's own, by name; it ends early past 1 MiB of schemas and examples."""
    sizes = await rows.sizes_of_types(connection, company_id=company_id, after=after, limit=limit + 1)
    ahead = {name: 0 for name in own_types() if after is None or name > after} | {
        row["name"]: int(row["size"]) for row in sizes
    }
    names, held = sorted(ahead), 0
    page: list[str] = []
    for name in names[:limit]:
        held += ahead[name]
        if page and held > PAGE_BYTES:
            break
        page.append(name)
    found = await rows.find_types(connection, company_id=company_id, names=page)
    shown = own_types() | {str(row["name"]): _show(row) for row in found}
    types = [shown[name] for name in page if name in shown]
    return TypePage(types, page[-1] if len(page) < len(names) else None)


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
    faults = schemas.text_faults(wanted.description, "#/description")
    for value, under, most in ((wanted.schema, "#/schema", SCHEMA_BYTES), (wanted.example, "#/example", EXAMPLE_BYTES)):
        faults += json_checks.faults_of(value, under, most_bytes=most) or json_checks.nul_faults(value, under)
    faults = faults or list(json_checks.schema_faults(wanted.schema, wanted.example))
    if faults:
        raise Invalid(faults=faults)


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
