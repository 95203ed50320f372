"""Statements on event schemas and their versions."""

from collections.abc import Mapping
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_MEASURE = Sql(
    "templates.measure_schemas",
    """select count(*) as schemas, coalesce(sum(length(v.schema)), 0)::bigint as size
         from mainstay.event_schemas s
         join mainstay.event_schema_versions v on v.schema_id = s.id and v.version = s.version
        where s.company_id = $1 and s.workspace_id is not distinct from $2::uuid""",
)
_ADD = Sql(
    "templates.add_schema",
    """insert into mainstay.event_schemas (id, company_id, workspace_id, action, mode, description)
       values ($3, $1, $2, $4, $5, $6) on conflict (company_id, workspace_id, action) do nothing""",
)
_ADD_VERSION = Sql(
    "templates.add_schema_version",
    """insert into mainstay.event_schema_versions (schema_id, version, company_id, schema, created_by)
       values ($2, $3, $1, $4, $5)""",
)
_CHANGE = Sql(
    "templates.change_schema",
    """update mainstay.event_schemas set mode = $3, description = $4, version = $5, changed_at = mainstay.now()
        where company_id = $1 and id = $2""",
)
_DELETE = Sql("templates.delete_schema", "delete from mainstay.event_schemas where company_id = $1 and id = $2")
_WHOLE = """select s.*, v.schema from mainstay.event_schemas s
              join mainstay.event_schema_versions v on v.schema_id = s.id and v.version = s.version
             where s.company_id = $1"""
_FIND = Sql("templates.find_schema", f"{_WHOLE} and s.id = $2 and ($3::uuid is null or s.workspace_id = $3)")
_LIST = Sql(
    "templates.list_schemas",
    """select s.*, length(v.schema) as bytes from mainstay.event_schemas s
         join mainstay.event_schema_versions v on v.schema_id = s.id and v.version = s.version
        where s.company_id = $1 and ($2::uuid is null or s.workspace_id = $2)
          and ($3::text is null or s.action = $3) order by s.action, s.id""",
)
_VERSIONS = Sql(
    "templates.schema_versions",
    """select version, created_by, created_at from mainstay.event_schema_versions
        where company_id = $1 and schema_id = $2 order by version desc""",
)
_VERSION = Sql(
    "templates.schema_version",
    "select * from mainstay.event_schema_versions where company_id = $1 and schema_id = $2 and version = $3",
)
_IN_FORCE = Sql(
    "templates.schemas_in_force",
    """select distinct on (s.action) s.id, s.action, s.mode, s.version, v.schema
         from mainstay.event_schemas s
         join mainstay.event_schema_versions v on v.schema_id = s.id and v.version = s.version
        where s.company_id = $1 and (s.workspace_id = $2 or s.workspace_id is null)
        order by s.action, s.workspace_id nulls last""",
)


async def measure_schemas(tx: Tx, company_id: str, workspace_id: str | None) -> tuple[int, int]:
    """How many schemas the workspace has, or the company has for all of its workspaces, and their characters."""
    row = await tx.row(_MEASURE, company_id, workspace_id)
    assert row is not None
    return row["schemas"], row["size"]


async def add_schema(
    tx: Tx, company_id: str, workspace_id: str | None, schema_id: str, values: Mapping[str, Any]
) -> bool:
    """Whether the schema is stored: there was none for the action."""
    given = (values["action"], values["mode"], values["description"])
    return count_of(await tx.run(_ADD, company_id, workspace_id, schema_id, *given)) == 1


async def add_version(tx: Tx, company_id: str, schema_id: str, version: int, *, schema: str, created_by: str) -> None:
    """The version is stored for good."""
    await tx.run(_ADD_VERSION, company_id, schema_id, version, schema, created_by)


async def change_schema(tx: Tx, company_id: str, schema_id: str, values: Mapping[str, Any]) -> None:
    """The schema is as given, and that version is the one in force."""
    await tx.run(_CHANGE, company_id, schema_id, values["mode"], values["description"], values["version"])


async def delete_schema(tx: Tx, company_id: str, schema_id: str) -> None:
    """The schema and its versions are gone."""
    await tx.run(_DELETE, company_id, schema_id)


async def find_schema(db: Connection, company_id: str, schema_id: str, *, workspace_id: str | None) -> Record | None:
    """The schema with its version in force; of that workspace alone, where one is given."""
    return await db.row(_FIND, company_id, schema_id, workspace_id)


async def list_schemas(
    db: Connection, company_id: str, *, workspace_id: str | None, action: str | None
) -> list[Record]:
    """The company's schemas by action, without their text; of one workspace or action alone, where given."""
    return await db.rows(_LIST, company_id, workspace_id, action)


async def list_versions(db: Connection, company_id: str, schema_id: str) -> list[Record]:
    """The schema's versions, newest first, without their text."""
    return await db.rows(_VERSIONS, company_id, schema_id)


async def find_version(db: Connection, company_id: str, schema_id: str, version: int) -> Record | None:
    """One version with its text."""
    return await db.row(_VERSION, company_id, schema_id, version)


async def schemas_in_force(db: Connection, company_id: str, workspace_id: str) -> list[Record]:
    """One schema an action: the workspace's own, or its company's."""
    return await db.rows(_IN_FORCE, company_id, workspace_id)
