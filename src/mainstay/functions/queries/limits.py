"""Statements about who may run now: places under concurrency limits, the pace of starts, events being gathered."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_LOCK_ONE = Sql(
    "functions.lock_limit", "select pg_advisory_xact_lock(hashtext('mainstay.functions'), hashtext($1::text))"
)
_HELD = Sql(
    "functions.held_places",
    """select limit_key, count(*) as held from mainstay.function_holds
       where limit_key = any($1::text[]) and is_held group by limit_key""",
)
_HOLDERS = Sql(
    "functions.holders",
    "select distinct run_id from mainstay.function_holds where run_id = any($1::uuid[]) and is_held",
)
_PLACE = Sql(
    "functions.place",
    """insert into mainstay.function_holds (limit_key, run_id, size, is_held)
       select * from unnest($1::text[], $2::uuid[], $3::int[], $4::boolean[])
       on conflict (limit_key, run_id) do update set is_held = excluded.is_held, size = excluded.size""",
)
_RELEASE = Sql(
    "functions.release", "delete from mainstay.function_holds where run_id = any($1::uuid[]) returning limit_key"
)
_LINE = Sql(
    "functions.line",
    """select h.run_id, h.limit_key, h.size from mainstay.function_holds h
       where not h.is_held and h.run_id in (
         select l.run_id from unnest($1::text[]) as k(key)
         cross join lateral (select run_id from mainstay.function_holds
                             where limit_key = k.key and not is_held order by run_id limit $2) l)
       order by h.run_id, h.limit_key""",
)
_ADMIT = Sql("functions.admit", "update mainstay.function_holds set is_held = true where run_id = any($1::uuid[])")
_KEYS_WAITED_FOR = Sql(
    "functions.keys_waited_for",
    """select h.limit_key, min(r.limits ->> 'domain') as domain from mainstay.function_holds h
       join mainstay.function_runs r on r.id = h.run_id where not h.is_held group by h.limit_key limit $1""",
)
# The start that is the next of its key: `at` is when the one after it is due at the earliest.
_THROTTLE = Sql(
    "functions.throttle",
    """insert into mainstay.function_paces as p (pace_key, at, starts, expires_at)
       values ($1, mainstay.now() + $2::interval, 1, mainstay.now() + $2::interval + interval '1 day')
       on conflict (pace_key) do update
         set at = greatest(p.at, mainstay.now()) + $2::interval, starts = p.starts + 1,
             expires_at = greatest(p.at, mainstay.now()) + $2::interval + interval '1 day'
       returning greatest(at - ($2::interval * $3::int), mainstay.now()) as start_at""",
)
_RATE = Sql(
    "functions.rate",
    """insert into mainstay.function_paces as p (pace_key, at, starts, expires_at)
       values ($1, mainstay.now(), 1, mainstay.now() + $2::interval)
       on conflict (pace_key) do update
         set at = case when p.expires_at <= mainstay.now() then mainstay.now() else p.at end,
             starts = case when p.expires_at <= mainstay.now() then 1 else p.starts + 1 end,
             expires_at = case when p.expires_at <= mainstay.now() then mainstay.now() + $2::interval
                               else p.expires_at end
         where p.expires_at <= mainstay.now() or p.starts < $3::int
       returning starts""",
)
_PRUNE_PACES = Sql(
    "functions.prune_paces",
    """delete from mainstay.function_paces where pace_key in (
         select pace_key from mainstay.function_paces where expires_at <= mainstay.now()
         limit $1 for update skip locked)
         and expires_at <= mainstay.now()""",
)
_DEBOUNCE = Sql(
    "functions.debounce",
    """insert into mainstay.function_gathers as g (function_id, gather_key, id, company_id, due_at, events)
       values ($1, $2, $3, $4, mainstay.now() + $6::interval, array[$5::json])
       on conflict (function_id, gather_key) do update
         set events = excluded.events,
             due_at = least(mainstay.now() + $6::interval, g.opened_at + coalesce($7::interval, interval '365 days'))
       returning id, due_at, 1 as count""",
)
_BATCH = Sql(
    "functions.batch",
    """insert into mainstay.function_gathers as g (function_id, gather_key, id, company_id, due_at, events)
       values ($1, $2, $3, $4, mainstay.now() + $6::interval, array[$5::json])
       on conflict (function_id, gather_key) do update set events = g.events || excluded.events
       returning id, due_at, cardinality(events) as count, pg_column_size(events) as bytes""",
)
_FIND_GATHER = Sql(
    "functions.find_gather",
    """select due_at, greatest(due_at - mainstay.now(), interval '0') as wait, events, company_id
       from mainstay.function_gathers where function_id = $1 and gather_key = $2 and id = $3 for update""",
)
_OVERDUE = Sql(
    "functions.overdue_gathers",
    """update mainstay.function_gathers set due_at = mainstay.now() where (function_id, gather_key) in (
         select function_id, gather_key from mainstay.function_gathers
         where function_id = any($1::text[]) and due_at < mainstay.now() - interval '5 minutes'
         limit $2 for update skip locked)
       returning function_id, gather_key, id, company_id""",
)
_END_GATHER = Sql(
    "functions.end_gather",
    "delete from mainstay.function_gathers where function_id = $1 and gather_key = $2 and id = $3 returning events",
)


async def lock_limits_everywhere(tx: Tx, domains: Sequence[str]) -> None:
    """Until the transaction ends nobody else counts or gives places of these domains. Locked one by one, in order."""
    for domain in sorted(set(domains)):
        await tx.rows(_LOCK_ONE, domain)


async def held_places_everywhere(tx: Tx, keys: Sequence[str]) -> dict[str, int]:
    """How many places of each key are held."""
    return {row["limit_key"]: row["held"] for row in await tx.rows(_HELD, keys)}


async def holders_everywhere(tx: Tx, run_ids: Sequence[str]) -> set[str]:
    """Those of the runs that hold their places."""
    return {str(row[0]) for row in await tx.rows(_HOLDERS, run_ids)}


async def place_everywhere(tx: Tx, rows: Sequence[tuple[str, str, int, bool]]) -> None:
    """Runs hold places, or stand in line for them. Columns: key, run, size of the limit, held."""
    await tx.run(_PLACE, *([list(column) for column in zip(*rows, strict=True)]))


async def release_everywhere(tx: Tx, run_ids: Sequence[str]) -> set[str]:
    """The runs hold nothing and stand in no line; the keys they had."""
    return {row[0] for row in await tx.rows(_RELEASE, run_ids)}


async def line_everywhere(tx: Tx, keys: Sequence[str], count: int) -> list[Record]:
    """The first `count` runs in line for each key, with all the places that they need, oldest first."""
    return await tx.rows(_LINE, keys, count)


async def admit_everywhere(tx: Tx, run_ids: Sequence[str]) -> None:
    """Runs that stood in line hold their places."""
    await tx.run(_ADMIT, run_ids)


async def keys_waited_for_everywhere(db: Connection, count: int) -> list[Record]:
    """Keys that somebody stands in line for."""
    return await db.rows(_KEYS_WAITED_FOR, count)


async def throttle_everywhere(tx: Tx, key: str, gap: timedelta, burst: int) -> datetime:
    """When the next run of the key may start, which is taken now."""
    start_at: datetime = await tx.value(_THROTTLE, key, gap, burst)
    return start_at


async def rate_everywhere(tx: Tx, key: str, period: timedelta, limit: int) -> bool:
    """Whether one more run of the key may start in its period; then it is counted."""
    return await tx.value(_RATE, key, period, limit) is not None


async def prune_paces_everywhere(db: Connection, count: int) -> int:
    """Up to `count` keys that say nothing any more are gone; how many."""
    return count_of(await db.run(_PRUNE_PACES, count))


async def debounce_everywhere(tx: Tx, *values: Any) -> Record:
    """The event is the last of its key. Values: function, key, id, company, event, period, timeout."""
    return (await tx.rows(_DEBOUNCE, *values))[0]


async def batch_everywhere(tx: Tx, *values: Any) -> Record:
    """The event is one more of its key. Values: function, key, id, company, event, timeout."""
    return (await tx.rows(_BATCH, *values))[0]


async def find_gather_everywhere(tx: Tx, function_id: str, key: str, gather_id: str) -> Record | None:
    """What has been gathered, and how long it is still to wait; nobody adds to it until the transaction ends."""
    return await tx.row(_FIND_GATHER, function_id, key, gather_id)


async def overdue_gathers_everywhere(tx: Tx, function_ids: Sequence[str], count: int) -> list[Record]:
    """What should have started over five minutes ago, and is due now."""
    return await tx.rows(_OVERDUE, function_ids, count)


async def end_gather_everywhere(tx: Tx, function_id: str, key: str, gather_id: str) -> list[str] | None:
    """The events gathered, which are gathered no longer; None where that was done."""
    events: list[str] | None = await tx.value(_END_GATHER, function_id, key, gather_id)
    return events
