"""Event schemas: a versioned JSON Schema for each action of a workspace or of a whole company."""

from typing import Any, Final

import msgspec
import orjson
from msgspec import UNSET

from mainstay.kernel import ids, outbox
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Invalid
from mainstay.kernel.outbox import Actor
from mainstay.templates.errors import SchemaExists, SchemaNotFound, TooManySchemas
from mainstay.templates.queries import event_schemas as rows
from mainstay.templates.queries.templates import mark
from mainstay.templates.schemas import NewSchema, SchemaChange, schema_shown, version_shown
from mainstay.web import json_checks

SCHEMAS_AT_MOST: Final = 200
VERSIONS_AT_MOST: Final = 1_000
SCHEMA_BYTES: Final = 65_536
SCHEMA_PARTS: Final = 5_000
ALL_BYTES: Final = 2_097_152
"""How much all schemas of a workspace, or those of a company for all of its workspaces, may have."""


async def create(tx: Tx, actor: Actor, company_id: str, workspace_id: str | None, wanted: NewSchema) -> dict[str, Any]:
    """Events of the action are checked against version 1 of it, a second later on: the workspace's, or everybody's.

    SchemaExists, TooManySchemas past 200 a workspace or company, Invalid.
    """
    text = _text(wanted.schema)
    await mark(tx, company_id)
    count, size = await rows.measure_schemas(tx, company_id, workspace_id)
    if count >= SCHEMAS_AT_MOST:
        raise TooManySchemas(f"There may be {SCHEMAS_AT_MOST} event schemas.")
    _check_size(size + len(text))
    schema_id = ids.new_id()
    values = {"action": wanted.action, "mode": wanted.mode, "description": wanted.description}
    if not await rows.add_schema(tx, company_id, workspace_id, schema_id, values):
        raise SchemaExists
    await rows.add_version(tx, company_id, schema_id, 1, schema=text, created_by=_by(actor))
    row = await _get(tx, company_id, schema_id, workspace_id)
    await _tell(tx, actor, "schema.created", row)
    return _whole(row)


async def change(
    tx: Tx, actor: Actor, company_id: str, workspace_id: str | None, schema_id: str, wanted: SchemaChange
) -> dict[str, Any]:
    """The schema is as given; another text is its next version, in force at once. SchemaNotFound, Invalid."""
    text = None if wanted.schema is UNSET else _text(wanted.schema)
    await mark(tx, company_id)
    before = await _get(tx, company_id, schema_id, workspace_id)
    version = before["version"]
    if text is not None and text != before["schema"]:
        version += 1
        if version > VERSIONS_AT_MOST:
            raise TooManySchemas(f"An event schema may have {VERSIONS_AT_MOST:,} versions.")
        scope = None if before["workspace_id"] is None else str(before["workspace_id"])
        _, size = await rows.measure_schemas(tx, company_id, scope)
        _check_size(size + len(text) - len(before["schema"]))
        await rows.add_version(tx, company_id, schema_id, version, schema=text, created_by=_by(actor))
    values = {
        "mode": before["mode"] if wanted.mode is UNSET else wanted.mode,
        "description": before["description"] if wanted.description is UNSET else wanted.description,
        "version": version,
    }
    changed = sorted(name for name, value in values.items() if value != before[name])
    if not changed:
        return _whole(before)
    await rows.change_schema(tx, company_id, schema_id, values)
    row = await _get(tx, company_id, schema_id, workspace_id)
    await _tell(tx, actor, "schema.changed", row, fields=changed)
    return _whole(row)


async def delete(tx: Tx, actor: Actor, company_id: str, workspace_id: str | None, schema_id: str) -> None:
    """The schema and its versions are gone. SchemaNotFound."""
    await mark(tx, company_id)
    row = await _get(tx, company_id, schema_id, workspace_id)
    await rows.delete_schema(tx, company_id, schema_id)
    await _tell(tx, actor, "schema.deleted", row)


async def read(
    db: Connection, company_id: str, workspace_id: str | None, schema_id: str, *, version: int | None = None
) -> dict[str, Any]:
    """The schema with the text of that version (of the one in force), and the list of its versions. SchemaNotFound."""
    row = await _get(db, company_id, schema_id, workspace_id)
    number = row["version"] if version is None else version
    found = await rows.find_version(db, company_id, str(row["id"]), number)
    if found is None:
        raise SchemaNotFound("The schema has no such version.")
    versions = await rows.list_versions(db, company_id, schema_id)
    shown = {"shownVersion": number, "schema": orjson.Fragment(found["schema"])}
    return schema_shown(row, **shown, versions=[version_shown(one) for one in versions])


async def list_all(
    db: Connection, company_id: str, workspace_id: str | None, *, action: str | None
) -> list[dict[str, Any]]:
    """The schemas by action, without their text: the workspace's, or with None all of the company's."""
    found = await rows.list_schemas(db, company_id, workspace_id=workspace_id, action=action)
    return [schema_shown(row, bytes=row["bytes"]) for row in found]


async def _get(db: Connection, company_id: str, schema_id: str, workspace_id: str | None) -> Record:
    row = None
    if ids.is_uuid(schema_id):
        row = await rows.find_schema(db, company_id, schema_id, workspace_id=workspace_id)
    if row is None:
        raise SchemaNotFound
    return row


def _text(schema: Any) -> str:
    """The schema as it is kept; Invalid for one that cannot be checked with, within bounds."""
    faults = json_checks.faults_of(schema, "#/schema", most_bytes=SCHEMA_BYTES)
    faults = faults or json_checks.nul_faults(schema, "#/schema")
    if faults:
        raise Invalid(faults=faults)
    try:
        json_checks.compile_schema(schema, most_parts=SCHEMA_PARTS)
    except json_checks.NotTaken as refused:
        raise Invalid(faults=[refused.fault]) from None
    return orjson.dumps(schema).decode()


def _check_size(size: int) -> None:
    if size > ALL_BYTES:
        raise TooManySchemas(f"All event schemas together may have {ALL_BYTES:,} characters.")


def _by(actor: Actor) -> str:
    return msgspec.json.encode(actor).decode()


def _whole(row: Record) -> dict[str, Any]:
    return schema_shown(row, schema=orjson.Fragment(row["schema"]))


async def _tell(tx: Tx, actor: Actor, name: str, row: Record, **more: Any) -> None:
    shown = schema_shown(row)
    data = {"schemaId": shown["id"], **{key: shown[key] for key in ("workspaceId", "action", "mode", "version")}}
    await outbox.announce(tx, name, company_id=str(row["company_id"]), actor=actor, data={**data, **more})
