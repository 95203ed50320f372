"""Statements about counters of limits; whose a counter is stands in its key alone."""

from collections.abc import Sequence
from datetime import timedelta

import orjson

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_TAKE = Sql(
    "limits.take",
    "select allowed, remaining, retry_us, reset_us from mainstay.take_limit($1, $2, $3, $4, $5, $6)",
)
_GIVE_BACK = Sql("limits.give_back", "select mainstay.give_back_limit($1, $2, $3)")
_CHECK = Sql("limits.check", "select 1 from mainstay.rate_limits where key = ''")
_CARRY = Sql(
    "limits.carry",
    """select mainstay.carry_limit(c.key, c.window_us, c.ages, c.numbers)
       from jsonb_to_recordset($1::jsonb) as c (key text, window_us bigint, ages bigint[], numbers integer[])
       order by c.key""",
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


async def take_everywhere(
    db: Connection, key: str, *, allowance: int, window_us: int, slot_us: int, cost: int, peek: bool
) -> Record:
    """The cost is taken where it fits: allowed, remaining, retry_us, reset_us."""
    row = await db.row(_TAKE, key, allowance, window_us, slot_us, cost, peek)
    assert row is not None
    return row


async def give_back_everywhere(db: Connection, key: str, *, window_us: int, cost: int) -> None:
    """That many of the oldest hits that still count are gone."""
    await db.run(_GIVE_BACK, key, window_us, cost)


async def check_everywhere(db: Connection) -> None:
    """The table of counters can be read."""
    await db.value(_CHECK)


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
