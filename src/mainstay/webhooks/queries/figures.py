"""Statements on figures: tries folded into minutes and hours, and read from there."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from mainstay.kernel.db import Connection, Record, Sql, Tx

_FOLD = Sql("webhooks.fold_attempts", "select mainstay.fold_attempts($1)")
_FROM = """from mainstay.{table} f
        where f.company_id = $1 and f.endpoint_id = $2
          and f.bucket >= date_bin($3, mainstay.now(), 'epoch') - $3 * ($4::int - 1)"""
_SERIES: Final = """select date_bin($3, f.bucket, 'epoch') as bucket, sum(f.attempts)::bigint as attempts,
              coalesce(sum(f.attempts) filter (where f.code between 200 and 299), 0)::bigint as delivered {source}
        group by 1 order by 1"""
_BY_CODE: Final = """select f.code, sum(f.attempts)::bigint as attempts {source} group by 1 order by 1"""
_LATENCIES: Final = """select coalesce(array_agg(c.n order by c.slot), '{{}}') as counts,
              mainstay.latency_bounds() as bounds
         from (select u.slot, sum(u.n)::bigint as n {lateral} group by 1) c"""
_STARTS = Sql("webhooks.figure_starts", "select date_bin($1, mainstay.now(), 'epoch') - $1 * ($2::int - 1)")

_DAY_OF_EACH = Sql(
    "webhooks.day_of_each",
    """select g.id as endpoint_id, coalesce(t.attempts, 0)::bigint as attempts,
              coalesce(t.delivered, 0)::bigint as delivered, coalesce(q.counts, '{}') as counts, l.bucket as failed_at
         from unnest($2::uuid[]) as g (id)
         left join lateral (
           select sum(f.attempts) as attempts, sum(f.attempts) filter (where f.code between 200 and 299) as delivered
             from mainstay.endpoint_hours f
            where f.company_id = $1 and f.endpoint_id = g.id and f.bucket > mainstay.now() - interval '1 day'
         ) t on true
         left join lateral (
           select array_agg(c.n order by c.slot) as counts
             from (select u.slot, sum(u.n)::bigint as n
                     from mainstay.endpoint_hours f, unnest(f.latencies) with ordinality as u (n, slot)
                    where f.company_id = $1 and f.endpoint_id = g.id and f.bucket > mainstay.now() - interval '1 day'
                    group by 1) c
         ) q on true
         left join lateral (
           select f.bucket from mainstay.endpoint_minutes f
            where f.company_id = $1 and f.endpoint_id = g.id and f.bucket > mainstay.now() - interval '1 day'
              and f.code not between 200 and 299
            order by f.bucket desc limit 1
         ) l on true""",
)
_BOUNDS = Sql("webhooks.latency_bounds", "select mainstay.latency_bounds()")


def _of(table: str) -> tuple[Sql, Sql, Sql]:
    source = _FROM.format(table=table)
    lateral = source.replace(" f\n", " f, unnest(f.latencies) with ordinality as u (n, slot)\n", 1)
    return (
        Sql("webhooks.figure_series", _SERIES.format(source=source)),
        Sql("webhooks.figure_codes", _BY_CODE.format(source=source)),
        Sql("webhooks.figure_latencies", _LATENCIES.format(lateral=lateral)),
    )


_STATEMENTS: Final = {table: _of(table) for table in ("endpoint_minutes", "endpoint_hours")}


async def fold_everywhere(tx: Tx, *, limit: int) -> int:
    """Up to that many batches of tries are part of the figures; how many. Zero while another fold runs."""
    return int(await tx.value(_FOLD, limit))


async def read_figures(
    connection: Connection, *, company_id: str, endpoint_id: str, table: str, step: timedelta, steps: int
) -> tuple[Any, list[Record], list[Record], Record | None]:
    """When the window begins, its tries by bucket and by code, and the counts of latencies with their bounds."""
    series, codes, latencies = _STATEMENTS[table]
    given = (company_id, endpoint_id, step, steps)
    return (
        await connection.value(_STARTS, step, steps),
        await connection.rows(series, *given),
        await connection.rows(codes, *given),
        await connection.row(latencies, *given),
    )


async def read_day_of_each(
    connection: Connection, *, company_id: str, endpoint_ids: Sequence[str]
) -> tuple[list[Record], list[int]]:
    """For each endpoint the last day: tries, counts of latencies, the minute of its last failure; and the bounds."""
    found = await connection.rows(_DAY_OF_EACH, company_id, endpoint_ids)
    return found, list(await connection.value(_BOUNDS))
