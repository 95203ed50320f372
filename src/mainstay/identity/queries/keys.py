"""Statements on API keys and their uses."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from mainstay.identity.tables import api_key_uses, api_keys
from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of

_LAST_USE = (
    select(api_key_uses.c.last_used_at)
    .where(api_key_uses.c.key_id == api_keys.c.id)
    .order_by(api_key_uses.c.minute.desc())
    .limit(1)
    .scalar_subquery()
    .label("last_used_at")
)
_ENDS_AT = func.least(api_keys.c.expires_at, api_keys.c.overlap_ends_at)
_NOW: ColumnElement[datetime] = literal_column("mainstay.now()")
_STATE = case(
    (api_keys.c.revoked_at.is_not(None), "revoked"),
    (_ENDS_AT <= _NOW, "expired"),
    (api_keys.c.overlap_ends_at.is_not(None), "ending"),
    (api_keys.c.expires_at <= _NOW + literal_column("interval '7 days'"), "ending"),
    else_="working",
)
_KEY = (
    *(column for column in api_keys.c if column.name not in ("digest", "revoked_by", "data_region")),
    _LAST_USE,
    _STATE.label("state"),
)
_FIND_KEY = Sql(
    "identity.find_key",
    """select k.id, k.company_id, k.workspace_id, k.data_region, k.kind, k.name, k.read_only, k.allow_list,
         k.scopes, extract(epoch from least(k.expires_at, k.overlap_ends_at) - mainstay.now())::float8 as seconds_left
       from mainstay.api_keys k where k.digest = $1 and mainstay.key_is_valid(k)""",
)
_LOCK_ROTATABLE = Sql(
    "identity.lock_rotatable_key",
    """select k.id from mainstay.api_keys k
       where k.company_id = $1 and k.id = $2 and mainstay.key_is_valid(k) and k.overlap_ends_at is null for update""",
)
_LOCK_WORKING = Sql(
    "identity.lock_working_keys",
    """select k.id from mainstay.api_keys k
       where k.company_id = $1 and k.id = any($2::uuid[]) and mainstay.key_is_valid(k) order by k.id for update""",
)
_END_OVERLAP = Sql(
    "identity.end_overlap",
    """update mainstay.api_keys set overlap_ends_at = mainstay.now() + $3::interval
       where company_id = $1 and id = $2 returning overlap_ends_at""",
)
_REVOKE = Sql(
    "identity.revoke_key",
    """update mainstay.api_keys set revoked_at = mainstay.now(), revoked_by = $3, revoked_reason = $4
       where company_id = $1 and id = $2 and revoked_at is null""",
)
_CHANGE = Sql(
    "identity.change_key",
    "update mainstay.api_keys set name = $3, labels = $4 where company_id = $1 and id = $2",
)
_FIND_LEAKED = Sql(
    "identity.find_leaked_keys",
    "select k.id, k.company_id, k.digest from mainstay.api_keys k where k.digest = any($1::bytea[])",
)
_MARK_LEAKED = Sql(
    "identity.mark_leaked_key",
    """update mainstay.api_keys set leaked_at = mainstay.now(), leaked_source = $3
       where company_id = $1 and id = $2 and leaked_at is null""",
)
_TAKE = Sql(
    "identity.take_keys",
    "delete from mainstay.api_keys k where k.company_id = $1 returning to_jsonb(k)::text as key",
)
_INSERT_MOVED = Sql(
    "identity.insert_moved",
    """insert into mainstay.api_keys as k
       select r.* from unnest($2::text[]) given, jsonb_populate_record(null::mainstay.api_keys, given::jsonb) r
       where r.company_id = $1
       on conflict (id) do update
         set revoked_at = coalesce(k.revoked_at, excluded.revoked_at),
             revoked_by = case when k.revoked_at is null then excluded.revoked_by else k.revoked_by end,
             revoked_reason = coalesce(k.revoked_reason, excluded.revoked_reason),
             leaked_at = coalesce(k.leaked_at, excluded.leaked_at),
             leaked_source = coalesce(k.leaked_source, excluded.leaked_source),
             overlap_ends_at = least(k.overlap_ends_at, excluded.overlap_ends_at)""",
)
_RETAG = Sql(
    "identity.retag_keys",
    "update mainstay.api_keys set data_region = $2 where company_id = $1 and data_region <> $2",
)
_IS_FUTURE = Sql("identity.is_future", "select $1::timestamptz > mainstay.now()")


async def insert_key(tx: Tx, company_id: str, row: Mapping[str, Any]) -> None:
    """The key is stored."""
    await tx.run(*compose("identity.insert_key", insert(api_keys).values(company_id=company_id, **row)))


async def find_valid_key_everywhere(db: Connection, digest: bytes) -> Record | None:
    """The key of that digest where it works now, with the seconds that are left to it (None: no end is set)."""
    return await db.row(_FIND_KEY, digest)


async def find_key(db: Connection, company_id: str, key_id: str) -> Record | None:
    """One key of the company, with its last use."""
    wanted = (api_keys.c.company_id == company_id) & (api_keys.c.id == key_id)
    return await db.row(*compose("identity.find_key", select(*_KEY).where(wanted)))


async def list_keys(
    db: Connection, company_id: str, *, workspace_id: str | None, state: str | None, after: str | None, limit: int
) -> list[Record]:
    """Keys of the company in the order of their ids, with their state and last use."""
    statement = select(*_KEY).where(api_keys.c.company_id == company_id).order_by(api_keys.c.id).limit(limit)
    if workspace_id is not None:
        statement = statement.where(api_keys.c.workspace_id == workspace_id)
    if state is not None:
        statement = statement.where(_STATE.in_((state,)))
    if after is not None:
        statement = statement.where(api_keys.c.id > after)
    return await db.rows(*compose("identity.list_keys", statement))


async def lock_rotatable_key(tx: Tx, company_id: str, key_id: str) -> bool:
    """Whether the key works and was not rotated before; if so nobody else can rotate or revoke it meanwhile."""
    return await tx.row(_LOCK_ROTATABLE, company_id, key_id) is not None


async def end_overlap(tx: Tx, company_id: str, key_id: str, overlap: timedelta) -> datetime:
    """When the rotated key stops working."""
    ends_at: datetime = await tx.value(_END_OVERLAP, company_id, key_id, overlap)
    return ends_at


async def lock_working_keys(tx: Tx, company_id: str, key_ids: Sequence[str]) -> set[str]:
    """Those of the keys that work; nobody else can rotate or revoke them meanwhile."""
    return {str(row["id"]) for row in await tx.rows(_LOCK_WORKING, company_id, key_ids)}


async def revoke_key(tx: Tx, company_id: str, key_id: str, revoked_by: str, reason: str | None) -> bool:
    """Whether the key was revoked just now."""
    return count_of(await tx.run(_REVOKE, company_id, key_id, revoked_by, reason)) == 1


async def change_key(tx: Tx, company_id: str, key_id: str, *, name: str, labels: Sequence[str]) -> None:
    """The key has that name and those labels."""
    await tx.run(_CHANGE, company_id, key_id, name, labels)


async def find_leaked_keys_everywhere(db: Connection, digests: Sequence[bytes]) -> list[Record]:
    """Those of the digests that are keys, whether they work or not, and of whom."""
    return await db.rows(_FIND_LEAKED, digests)


async def mark_leaked_key(tx: Tx, company_id: str, key_id: str, source: str) -> bool:
    """Whether the key was not known to have leaked before; it is now."""
    return count_of(await tx.run(_MARK_LEAKED, company_id, key_id, source)) == 1


async def take_keys(tx: Tx, company_id: str) -> list[str]:
    """Every key of the company, as JSON; none is left here."""
    return [row["key"] for row in await tx.rows(_TAKE, company_id)]


async def insert_moved(tx: Tx, company_id: str, keys: Sequence[str]) -> None:
    """The keys are here; one that was here already is revoked if either was."""
    if keys:
        await tx.run(_INSERT_MOVED, company_id, keys)


async def retag_keys(tx: Tx, company_id: str, region: str) -> None:
    """The company's keys are of that region."""
    await tx.run(_RETAG, company_id, region)


async def is_future_everywhere(db: Connection, moment: datetime) -> bool:
    """Whether the database's clock has not reached that moment."""
    return bool(await db.value(_IS_FUTURE, moment))
