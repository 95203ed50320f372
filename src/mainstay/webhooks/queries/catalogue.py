"""Statements on the catalogue of event types."""

from collections.abc import Mapping, Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx

_LOCK = Sql("webhooks.lock_types", "select pg_advisory_xact_lock(hashtextextended('mainstay.event_types:' || $1, 0))")
_COUNT = Sql("webhooks.count_types", "select count(*) from mainstay.event_types where company_id = $1")
_FIND = Sql("webhooks.find_type", "select * from mainstay.event_types where company_id = $1 and name = $2")
_SIZES = Sql(
    "webhooks.sizes_of_types",
    """select name, coalesce(octet_length(schema::text), 0) + coalesce(octet_length(example::text), 0) as size
         from mainstay.event_types
        where company_id = $1 and ($2::text is null or name collate "C" > $2) order by name collate "C" limit $3""",
)
_THESE = Sql("webhooks.these_types", "select * from mainstay.event_types where company_id = $1 and name = any($2)")
_ADD = Sql(
    "webhooks.add_type",
    """insert into mainstay.event_types (company_id, name, description, schema, example, created_by)
       values ($1, $2, $3, $4, $5, $6) returning *""",
)
_CHANGE = Sql(
    "webhooks.change_type",
    """update mainstay.event_types
          set description = $3, schema = $4, example = $5, deprecated_at = null, updated_at = mainstay.now(),
              version = version + (schema is distinct from $4::jsonb)::int
        where company_id = $1 and name = $2 returning *""",
)
_DEPRECATE = Sql(
    "webhooks.deprecate_type",
    """update mainstay.event_types set deprecated_at = mainstay.now(), updated_at = mainstay.now()
        where company_id = $1 and name = $2 and deprecated_at is null returning *""",
)


async def count_types(tx: Tx, *, company_id: str) -> int:
    """How many types the company has, none of which can be added by others before this transaction ends."""
    await tx.run(_LOCK, company_id)
    return int(await tx.value(_COUNT, company_id))


async def find_type(connection: Connection, *, company_id: str, name: str) -> Record | None:
    """The company's type of that name."""
    return await connection.row(_FIND, company_id, name)


async def sizes_of_types(connection: Connection, *, company_id: str, after: str | None, limit: int) -> list[Record]:
    """The names of the company's types in order, from the one after `after` on, and the bytes that each holds."""
    return await connection.rows(_SIZES, company_id, after, limit)


async def find_types(connection: Connection, *, company_id: str, names: Sequence[str]) -> list[Record]:
    """The company's types of these names, in no order."""
    return await connection.rows(_THESE, company_id, names)


async def add_type(tx: Tx, *, company_id: str, name: str, values: Mapping[str, Any], created_by: str) -> Record:
    """The type as stored; `values` has description, schema and example, the latter two as JSON text."""
    made = await tx.row(_ADD, company_id, name, values["description"], values["schema"], values["example"], created_by)
    assert made is not None
    return made


async def change_type(tx: Tx, *, company_id: str, name: str, values: Mapping[str, Any]) -> Record | None:
    """The type as changed, no longer deprecated; its version rose where the schema is another one."""
    return await tx.row(_CHANGE, company_id, name, values["description"], values["schema"], values["example"])


async def deprecate_type(tx: Tx, *, company_id: str, name: str) -> Record | None:
    """The type, deprecated just now; None where it was so before or there is none."""
    return await tx.row(_DEPRECATE, company_id, name)
