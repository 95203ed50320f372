"""Statements on one-time links."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_PUT = Sql(
    "accounts.put_link",
    """insert into mainstay.one_time_links as l (digest, purpose, subject, person_id, company_id, data, expires_at)
       values ($1, $2, $3, $4, $5, $6::jsonb, mainstay.now() + $7::interval)
       on conflict (purpose, subject) where used_at is null do update
         set digest = excluded.digest, person_id = excluded.person_id, company_id = excluded.company_id,
             data = excluded.data, created_at = mainstay.now(), expires_at = excluded.expires_at
       returning expires_at""",
)
_USE = Sql(
    "accounts.use_link",
    """update mainstay.one_time_links set used_at = mainstay.now()
       where digest = $1 and purpose = $2 and used_at is null and expires_at > mainstay.now()
       returning subject, person_id, company_id, data::text as data, expires_at""",
)
_FIND = Sql(
    "accounts.find_link",
    """select subject, person_id, company_id, data::text as data, expires_at from mainstay.one_time_links
       where digest = $1 and purpose = $2 and used_at is null and expires_at > mainstay.now()""",
)
_END = Sql(
    "accounts.end_links",
    "delete from mainstay.one_time_links where purpose = $1 and subject = $2 and used_at is null",
)
_PRUNE = Sql(
    "accounts.prune_links", "delete from mainstay.one_time_links where expires_at < mainstay.now() - $1::interval"
)


async def put_link_everywhere(
    tx: Tx, digest: bytes, row: Mapping[str, Any], data: Mapping[str, Any], lifetime: timedelta
) -> datetime:
    """The link stands in place of an older open one of its purpose and subject; when it expires."""
    given = (row["purpose"], row["subject"], row["person_id"], row["company_id"], orjson.dumps(data).decode())
    expires_at: datetime = await tx.value(_PUT, digest, *given, lifetime)
    return expires_at


async def use_link_everywhere(tx: Tx, digest: bytes, purpose: str) -> Record | None:
    """The link, used just now; None where it is unknown, of another purpose, used before or expired."""
    return await tx.row(_USE, digest, purpose)


async def find_link_everywhere(db: Connection, digest: bytes, purpose: str) -> Record | None:
    """The link where it can be used now."""
    return await db.row(_FIND, digest, purpose)


async def end_links_everywhere(tx: Tx, purpose: str, subject: str) -> int:
    """How many open links of that purpose and subject are gone."""
    return count_of(await tx.run(_END, purpose, subject))


async def prune_links_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many links are gone that expired longer ago."""
    return count_of(await db.run(_PRUNE, older_than))
