"""Statements on figures: tries folded into minutes and hours, and read from there."""

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
