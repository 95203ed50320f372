"""Statements about counters of limits; whose a counter is stands in its key alone."""

from collections.abc import Sequence
from datetime import timedelta

import orjson

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_TAKE = Sql(
    "limits.take",
    """select allowed, remaining, retry_us, reset_us from mainstay.take_limits($1, $2, $3, $4, $5, $6)
        order by place""",
)
_GIVE_BACK = Sql("limits.give_back", "select mainstay.give_back_limit($1, $2, $3)")
_CARRY = Sql(
    "limits.carry",
    """insert into mainstay.rate_limits as r (key, hits_us, numbers, window_us, expires_at)
       select c.key, array(select n.now_us - age from unnest(c.ages) age), c.numbers, c.window_us,
              timestamptz 'epoch' + (n.now_us - c.ages[cardinality(c.ages)] + c.window_us) * interval '1 microsecond'
         from jsonb_to_recordset($1::jsonb) as c (key text, window_us bigint, ages bigint[], numbers integer[]),
              (select (extract(epoch from mainstay.now()) * 1000000)::bigint as now_us) n
        order by c.key collate "C"
       on conflict (key) do update set
         (hits_us, numbers) = (
           select array_agg(h.at order by h.at), array_agg(h.n order by h.at)
             from (select at, n from unnest(r.hits_us, r.numbers) as had (at, n)
                   union all select at, n from unnest(excluded.hits_us, excluded.numbers) as new (at, n)) h),
         window_us = excluded.window_us, expires_at = greatest(r.expires_at, excluded.expires_at)""",
)
_TAKE_AWAY = Sql(
    "limits.take_away",
    """with gone as (delete from mainstay.rate_limits returning key, window_us, hits_us, numbers, expires_at)
       select key, window_us, numbers,
              array(select (extract(epoch from mainstay.now()) * 1000000)::bigint - at from unnest(hits_us) at) as ages
       from gone where expires_at > mainstay.now()""",
)
_COUNT = Sql(
    "limits.count",
    "select count(*) from (select 1 from mainstay.rate_limits where expires_at > mainstay.now() limit $1) l",
)
_PRUNE = Sql(
    "limits.prune",
    """delete from mainstay.rate_limits where key in (
         select key from mainstay.rate_limits
         where expires_at <= mainstay.now() - $1::interval for update skip locked)""",
)


async def take_everywhere(db: Connection, calls: Sequence[tuple[str, int, int, int, int, bool]]) -> list[Record]:
    """The costs are taken where they fit (key, allowance, window, slot, cost, whether only to peek): allowed,
    remaining, retry_us, reset_us of each, in that order."""
    return await db.rows(_TAKE, *(list(column) for column in zip(*calls, strict=True)))


async def give_back_everywhere(db: Connection, key: str, *, window_us: int, cost: int) -> None:
    """That many of the oldest hits that still count are gone."""
    await db.run(_GIVE_BACK, key, window_us, cost)


async def carry_everywhere(tx: Tx, counted: Sequence[tuple[str, int, Sequence[int], Sequence[int]]]) -> None:
    """Hits counted elsewhere (key, window, ages in microseconds, numbers) count here beside what is here."""
    rows = [
        {"key": key, "window_us": window_us, "ages": ages, "numbers": numbers}
        for key, window_us, ages, numbers in counted
    ]
    await tx.run(_CARRY, orjson.dumps(rows).decode())


async def count_everywhere(db: Connection, most: int) -> int:
    """How many counters have not expired; at most `most` are counted."""
    found: int = await db.value(_COUNT, most)
    return found


async def take_away_everywhere(tx: Tx) -> list[Record]:
    """No counter is left; those that had not expired: key, window_us, ages (microseconds), numbers."""
    return await tx.rows(_TAKE_AWAY)


async def prune_everywhere(db: Connection, after: timedelta) -> int:
    """Counters that expired that long ago are gone; how many went."""
    return count_of(await db.run(_PRUNE, after))
