"""Statements on the way of a delivery: load, record, give up, and find what was missed."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx
from mainstay.webhooks.queries import line

_DISABLE = Sql(
    "webhooks.disable_endpoints",
    """with stopped as materialized (
         select e.id from mainstay.endpoints e where e.id = any($1::uuid[]) and e.is_active and e.deleted_at is null
          order by e.id for no key update
       )
       update mainstay.endpoints e
          set is_active = false, disabled_at = mainstay.now(), disabled_reason = r.reason, updated_at = mainstay.now()
         from stopped, unnest($1::uuid[], $2::text[]) as r (id, reason)
        where e.id = stopped.id and r.id = e.id returning e.id::text""",
)
_MARK_HEALTH = Sql(
    "webhooks.mark_health",
    """update mainstay.endpoint_health h
          set warned = greatest(h.warned, r.warned), trips = h.trips + (r.open_seconds is not null)::int,
              open_until = coalesce(mainstay.now() + make_interval(secs => r.open_seconds), h.open_until),
              updated_at = mainstay.now()
         from unnest($1::uuid[], $2::smallint[], $3::float8[]) as r (id, warned, open_seconds)
        where h.endpoint_id = r.id""",
)
_FORGET_HEALTH = Sql(
    "webhooks.forget_health", "delete from mainstay.endpoint_health where company_id = $1 and endpoint_id = $2"
)
_LOAD = Sql("webhooks.load_deliveries", "select * from mainstay.load_deliveries($1)")
_RECORD = Sql(
    "webhooks.record_attempts",
    f"select * from mainstay.record_attempts({', '.join(f'${n}' for n in range(1, 17))})",  # noqa: S608 (numbers)
)
_DISCARD = Sql(
    "webhooks.discard_deliveries",
    """update mainstay.deliveries
          set status = 'DISCARDED', next_attempt_at = null, updated_at = mainstay.now(), last_error = $2
        where id = any($1::uuid[]) and status in ('PENDING', 'RETRYING')""",
)
_ADMIT = Sql("webhooks.admit", "select * from mainstay.admit($1, $2)")
_FREE_SLOTS = Sql("webhooks.free_slots", "delete from mainstay.endpoint_slots where job_id = any($1::bigint[])")
_DROP_SLOTS = Sql("webhooks.drop_slots", "delete from mainstay.endpoint_slots where until <= mainstay.now()")
# A live job is one in the hot table; the row of a delivery and that of its job commit together. What stands in a line
# shares the job of the line.
_OVERDUE = Sql(
    "webhooks.overdue_deliveries",
    """with due as materialized (
         select d.id, d.endpoint_id, d.company_id, d.message_id from mainstay.deliveries d
          where d.status in ('PENDING', 'RETRYING') and d.next_attempt_at < mainstay.now() - make_interval(secs => $1)
            and not exists (select from mainstay.jobs j
                             where j.queue = 'nova:webhook' and j.payload = to_jsonb(d.id::text))
            and not exists (select from mainstay.fifo_lines l where l.delivery_id = d.id)
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


async def disable_endpoints_everywhere(tx: Tx, endpoint_ids: Sequence[str], *, reasons: Sequence[str]) -> set[str]:
    """The active ones among these are inactive, each for its reason; the ids of those that changed."""
    return {row["id"] for row in await tx.rows(_DISABLE, endpoint_ids, reasons)}


async def mark_health_everywhere(
    tx: Tx, endpoint_ids: Sequence[str], *, warned: Sequence[int], open_seconds: Sequence[float | None]
) -> None:
    """These failing endpoints have been warned that far, and get nothing for that long where a time is given."""
    await tx.run(_MARK_HEALTH, endpoint_ids, warned, open_seconds)


async def forget_health(tx: Tx, *, company_id: str, endpoint_id: str) -> None:
    """The endpoint has a clean record: breaker closed, no failure counted; a line that stood still has its job."""
    await line.start(tx, company_id=company_id, endpoint_id=endpoint_id)
    await tx.run(_FORGET_HEALTH, company_id, endpoint_id)


async def load_everywhere(connection: Connection, delivery_ids: Sequence[str]) -> list[Record]:
    """The open ones among these deliveries with all that sending them needs."""
    return await connection.rows(_LOAD, delivery_ids)


async def admit_everywhere(connection: Connection, endpoint_ids: Sequence[str], job_ids: Sequence[int]) -> list[Record]:
    """For each job whether it may try its endpoint, and after how many seconds it starts or asks again."""
    return await connection.rows(_ADMIT, endpoint_ids, job_ids)


async def record_everywhere(
    tx: Tx, columns: Sequence[Sequence[Any]], *, slots: Sequence[int], worker: str, now: float
) -> list[Record]:
    """One row for each try, each delivery stands where its newest try left it, and these jobs hold no slot.

    Gives the health of the endpoints that failed; `now` is monotonic.
    """
    return await tx.rows(_RECORD, worker, now, slots, *columns)


async def free_slots_everywhere(tx: Tx, job_ids: Sequence[int]) -> None:
    """These jobs hold no slot of their endpoint."""
    await tx.run(_FREE_SLOTS, job_ids)


async def drop_slots_everywhere(tx: Tx) -> None:
    """Slots of tries that nobody recorded in time are gone."""
    await tx.run(_DROP_SLOTS)


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
