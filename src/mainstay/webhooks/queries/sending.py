"""Statements on the way of a delivery: load, record, give up, and find what was missed."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx

_DISABLE = Sql(
    "webhooks.disable_endpoints",
    """update mainstay.endpoints
          set is_active = false, disabled_at = mainstay.now(), disabled_reason = $2, updated_at = mainstay.now()
        where id = any($1::uuid[]) and is_active and deleted_at is null returning id::text, company_id::text, url""",
)
_LOAD = Sql("webhooks.load_deliveries", "select * from mainstay.load_deliveries($1)")
_RECORD = Sql(
    "webhooks.record_attempts",
    f"select mainstay.record_attempts({', '.join(f'${n}' for n in range(1, 15))})",
)
_DISCARD = Sql(
    "webhooks.discard_deliveries",
    """update mainstay.deliveries
          set status = 'DISCARDED', next_attempt_at = null, updated_at = mainstay.now(), last_error = $2
        where id = any($1::uuid[]) and status in ('PENDING', 'RETRYING')""",
)
# A live job is one in the hot table; the row of a delivery and that of its job commit together.
_OVERDUE = Sql(
    "webhooks.overdue_deliveries",
    """with due as materialized (
         select d.id, d.endpoint_id, d.company_id, d.message_id from mainstay.deliveries d
          where d.status in ('PENDING', 'RETRYING') and d.next_attempt_at < mainstay.now() - make_interval(secs => $1)
            and not exists (select from mainstay.jobs j
                             where j.queue = 'nova:webhook' and j.payload = to_jsonb(d.id::text))
          order by d.next_attempt_at limit $2 for update skip locked
       )
       select due.id::text, due.endpoint_id::text, due.company_id, m.trace_id,
              (select x.error from mainstay.dead_jobs x
                where x.kind = 'webhooks.deliver' and x.payload = to_jsonb(due.id::text)
                order by x.died_at desc limit 1) as death
         from due left join mainstay.messages m on m.id = due.message_id""",
)
_GIVE_UP = Sql(
    "webhooks.give_up_deliveries",
    """update mainstay.deliveries d
          set status = 'FAILED', next_attempt_at = null, updated_at = mainstay.now(), last_error = r.reason
         from unnest($1::uuid[], $2::text[]) as r (id, reason)
        where d.id = r.id""",
)
_REQUEUE = Sql(
    "webhooks.requeue_deliveries",
    """with touched as (
         update mainstay.deliveries set next_attempt_at = mainstay.now() where id = any($1::uuid[]) returning id
       )
       select mainstay.enqueue_jobs('nova:webhook', 'webhooks.deliver', $2::text[],
                (select array_agg(to_jsonb(u.id::text) order by u.n) from unnest($1::uuid[]) with ordinality u (id, n)),
                $3::uuid[], $4::text[], 5::smallint, 3::smallint)""",
)


async def disable_endpoints_everywhere(tx: Tx, endpoint_ids: Sequence[str], *, reason: str) -> list[Record]:
    """The active ones among these are inactive for that reason; those that changed."""
    return await tx.rows(_DISABLE, endpoint_ids, reason)


async def load_everywhere(connection: Connection, delivery_ids: Sequence[str]) -> list[Record]:
    """The open ones among these deliveries with all that sending them needs."""
    return await connection.rows(_LOAD, delivery_ids)


async def record_everywhere(tx: Tx, columns: Sequence[Sequence[Any]], *, worker: str, now: float) -> None:
    """One row for each try, and each delivery stands where its newest try left it; `now` is monotonic."""
    await tx.run(_RECORD, worker, now, *columns)


async def discard_everywhere(tx: Tx, delivery_ids: Sequence[str], *, reason: str) -> None:
    """These deliveries will not be sent."""
    await tx.run(_DISCARD, delivery_ids, reason)


async def overdue_everywhere(tx: Tx, *, grace_seconds: float, limit: int) -> list[Record]:
    """Open deliveries, locked, that were due that long ago and have no live job; `death` tells of a dead one."""
    return await tx.rows(_OVERDUE, grace_seconds, limit)


async def give_up_everywhere(tx: Tx, delivery_ids: Sequence[str], *, reasons: Sequence[str]) -> None:
    """These deliveries have failed, each for its reason."""
    await tx.run(_GIVE_UP, delivery_ids, reasons)


async def requeue_everywhere(
    tx: Tx, delivery_ids: Sequence[str], *, lanes: Sequence[str], companies: Sequence[Any], traces: Sequence[str]
) -> None:
    """These deliveries are due now and have a job each."""
    await tx.rows(_REQUEUE, delivery_ids, lanes, companies, traces)
