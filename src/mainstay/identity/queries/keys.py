"""Statements on API keys and their uses."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
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
_KEY = (*(column for column in api_keys.c if column.name not in ("digest", "revoked_by", "data_region")), _LAST_USE)
_FIND_KEY = Sql(
    "identity.find_key",
    """select k.id, k.company_id, k.workspace_id, k.data_region, k.kind, k.name, k.read_only, k.allow_list,
         extract(epoch from least(k.expires_at, k.overlap_ends_at) - mainstay.now())::float8 as seconds_left
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
             overlap_ends_at = least(k.overlap_ends_at, excluded.overlap_ends_at)""",
)
_RETAG = Sql(
    "identity.retag_keys",
    "update mainstay.api_keys set data_region = $2 where company_id = $1 and data_region <> $2",
)
_IS_FUTURE = Sql("identity.is_future", "select $1::timestamptz > mainstay.now()")
_ADD_USES = Sql(
    "identity.add_uses",
    """insert into mainstay.api_key_uses as u (key_id, minute, company_id, uses, last_used_at)
       select k.id, date_trunc('minute', mainstay.now()), k.company_id, given.uses, mainstay.now()
       from unnest($1::uuid[], $2::bigint[]) as given (key_id, uses) join mainstay.api_keys k on k.id = given.key_id
       order by k.id
       on conflict (key_id, minute) do update
         set uses = u.uses + excluded.uses, last_used_at = greatest(u.last_used_at, excluded.last_used_at)""",
)
_USES_WITHIN = Sql(
    "identity.uses_within",
    """select coalesce(sum(uses), 0)::bigint from mainstay.api_key_uses
       where company_id = $1 and key_id = $2 and minute > mainstay.now() - $3::interval - interval '1 minute'""",
)
_PRUNE_USES = Sql(
    "identity.prune_uses",
    """delete from mainstay.api_key_uses u where u.minute < mainstay.now() - $1::interval
         and exists (select from mainstay.api_key_uses later
                     where later.key_id = u.key_id and later.minute > u.minute)""",
)


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
    db: Connection, company_id: str, *, workspace_id: str | None, after: str | None, limit: int
) -> list[Record]:
    """Keys of the company in the order of their ids, with their last use."""
    statement = select(*_KEY).where(api_keys.c.company_id == company_id).order_by(api_keys.c.id).limit(limit)
    if workspace_id is not None:
        statement = statement.where(api_keys.c.workspace_id == workspace_id)
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


async def add_uses_everywhere(db: Connection, key_ids: Sequence[str], uses: Sequence[int]) -> None:
    """The uses are added to the current minute of each key."""
    await db.run(_ADD_USES, key_ids, uses)


async def uses_within(db: Connection, company_id: str, key_id: str, window: timedelta) -> int:
    """Uses of the key in all minutes that touch the window up to now."""
    return int(await db.value(_USES_WITHIN, company_id, key_id, window))


async def prune_uses_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many counts of old minutes are gone; the newest of each key stays, as its last use."""
    return count_of(await db.run(_PRUNE_USES, older_than))
