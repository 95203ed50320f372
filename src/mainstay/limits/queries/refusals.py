"""Statements on hourly counts of what limits refused."""

from collections.abc import Sequence
from datetime import datetime

from mainstay.kernel.db import Connection, Record, Sql, count_of

_ADD = Sql(
    "limits.add_refusals",
    """insert into mainstay.limit_refusals as r (id, hour, policy, mode, company_id, calls, first_at, last_at)
       select mainstay.uuid7(), date_trunc('hour', mainstay.now(), 'UTC'), g.policy, g.mode, g.company_id, g.calls,
              mainstay.now() - g.since_first * interval '1 second', mainstay.now() - g.since_last * interval '1 second'
         from unnest($1::text[], $2::text[], $3::uuid[], $4::bigint[], $5::float8[], $6::float8[])
           as g (policy, mode, company_id, calls, since_first, since_last)
        order by g.policy, g.mode, g.company_id
       on conflict (hour, policy, mode, company_id) do update
         set calls = r.calls + excluded.calls, first_at = least(r.first_at, excluded.first_at),
             last_at = greatest(r.last_at, excluded.last_at)""",
)
_REPORT = Sql(
    "limits.report",
    """select company_id, mode, sum(calls)::bigint as calls, min(first_at) as first_at, max(last_at) as last_at
         from mainstay.limit_refusals where policy = $1 and hour >= date_trunc('hour', $2::timestamptz, 'UTC')
        group by company_id, mode order by sum(calls) desc, company_id limit $3""",
)
_TODAY = Sql(
    "limits.refusals_today",
    """select policy, sum(calls)::bigint as calls, max(last_at) as last_at
         from mainstay.limit_refusals
        where company_id = $1 and mode = 'enforced' and hour >= date_trunc('day', mainstay.now(), 'UTC')
        group by policy""",
)
_PRUNE = Sql(
    "limits.prune_refusals", "delete from mainstay.limit_refusals where hour < mainstay.now() - interval '30 days'"
)


async def add_everywhere(db: Connection, counted: Sequence[tuple[str, str, str | None, int, float, float]]) -> None:
    """These are counted in the current hour: policy, mode, company, calls, and seconds since the first and the last."""
    await db.run(_ADD, *(list(column) for column in zip(*counted, strict=True)))


async def report_everywhere(db: Connection, policy: str, *, since: datetime, most: int) -> list[Record]:
    """Which companies the policy refused or would have refused since the beginning of that hour, most calls first."""
    return await db.rows(_REPORT, policy, since, most)


async def today(db: Connection, company_id: str) -> list[Record]:
    """What the company was refused on this day (UTC), by policy."""
    return await db.rows(_TODAY, company_id)


async def prune_everywhere(db: Connection) -> int:
    """Counts older than 30 days are gone; how many."""
    return count_of(await db.run(_PRUNE))
