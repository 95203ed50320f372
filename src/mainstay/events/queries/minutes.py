"""Statements of events per minute."""

from datetime import timedelta

from mainstay.kernel.db import Connection, Record, Sql, Tx

_LOCK_SAMPLES = Sql("events.lock_samples", "lock table mainstay.event_samples in share row exclusive mode")
_SAMPLE = Sql(
    "events.sample",
    """with moved as materialized (
         select h.workspace_id, h.company_id, h.seq, h.seq - coalesce(s.seq, 0) as added,
                date_trunc('minute',
                  least(greatest(h.received_at, mainstay.now() - $1::interval), mainstay.now())) as minute
           from mainstay.chain_heads h left join mainstay.event_samples s on s.workspace_id = h.workspace_id
          where h.metered and h.seq > coalesce(s.seq, 0)
       ), remembered as (
         insert into mainstay.event_samples (workspace_id, company_id, seq)
         select workspace_id, company_id, seq from moved
         on conflict (workspace_id) do update set seq = excluded.seq
       )
       insert into mainstay.event_minutes as m (company_id, minute, events)
       select company_id, minute, sum(added)::bigint from moved group by company_id, minute
       on conflict (company_id, minute) do update set events = m.events + excluded.events""",
)
_PER_MINUTE = Sql(
    "events.per_minute",
    """select g.minute, coalesce(m.events, 0) as events
         from generate_series(date_trunc('minute', mainstay.now()) - ($2::int - 1) * interval '1 minute',
                              date_trunc('minute', mainstay.now()), interval '1 minute') as g(minute)
         left join mainstay.event_minutes m on m.company_id = $1 and m.minute = g.minute
          and m.minute > mainstay.now() - ($2::int + 1) * interval '1 minute'
        order by g.minute""",
)


async def sample_everywhere(tx: Tx, oldest: timedelta) -> None:
    """What every chain grew by since it was last counted is added to its company's minutes, one counter at a time."""
    await tx.run(_LOCK_SAMPLES)
    await tx.run(_SAMPLE, oldest)


async def per_minute(connection: Connection, company_id: str, minutes: int) -> list[Record]:
    """The company's newest minutes with their counts, oldest first."""
    return await connection.rows(_PER_MINUTE, company_id, minutes)
