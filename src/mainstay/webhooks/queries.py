"""Every statement of the webhooks room."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, insert, null, select, update

from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of
from mainstay.webhooks.tables import endpoints

SHOWN = (
    endpoints.c.id,
    endpoints.c.company_id,
    endpoints.c.workspace_id,
    endpoints.c.url,
    endpoints.c.description,
    endpoints.c.events,
    endpoints.c.retries,
    endpoints.c.is_active,
    endpoints.c.disabled_at,
    endpoints.c.disabled_reason,
    endpoints.c.previous_secret_until,
    endpoints.c.created_at,
    endpoints.c.updated_at,
    endpoints.c.deleted_at,
)

_LOCK_COMPANY = Sql(
    "webhooks.lock_company", "select pg_advisory_xact_lock(hashtextextended('mainstay.endpoints:' || $1, 0))"
)
_COUNT = Sql(
    "webhooks.count_endpoints", "select count(*) from mainstay.endpoints where company_id = $1 and deleted_at is null"
)
_ROTATE = Sql(
    "webhooks.rotate_secret",
    """update mainstay.endpoints
          set secret_sealed = $3,
              previous_secret_sealed = case when $4::int > 0 then secret_sealed end,
              previous_secret_until = case when $4::int > 0 then mainstay.now() + make_interval(secs => $4) end,
              updated_at = mainstay.now()
        where company_id = $1 and id = $2 and deleted_at is null returning *""",
)
_DISABLE = Sql(
    "webhooks.disable_endpoints",
    """update mainstay.endpoints
          set is_active = false, disabled_at = mainstay.now(), disabled_reason = $2, updated_at = mainstay.now()
        where id = any($1::uuid[]) and is_active and deleted_at is null returning id::text, company_id::text, url""",
)
_FORGET_SECRETS = Sql(
    "webhooks.forget_previous_secrets",
    """update mainstay.endpoints set previous_secret_sealed = null, previous_secret_until = null
        where previous_secret_until <= mainstay.now()""",
)
_FAN_OUT = Sql("webhooks.fan_out", "select mainstay.fan_out($1, $2, $3, $4, $5, $6)")
_ADD_MESSAGE = Sql(
    "webhooks.add_message",
    """insert into mainstay.messages (id, company_id, workspace_id, type, body, trace_id)
       values ($1, $2, $3, $4, $5, $6)""",
)
_ADD_DELIVERY = Sql(
    "webhooks.add_delivery",
    """with made as (
         insert into mainstay.deliveries
           (id, message_id, endpoint_id, company_id, max_attempts, next_attempt_at, replay_of)
         select $1, m.id, e.id, e.company_id, e.retries + 1, mainstay.now(), $5
           from mainstay.endpoints e, mainstay.messages m
          where e.company_id = $2 and e.id = $3 and m.id = $4 and m.company_id = $2
         returning endpoint_id, company_id
       )
       select mainstay.enqueue_jobs('nova:webhook', 'webhooks.deliver', array[made.endpoint_id::text],
                array[to_jsonb($1::uuid::text)], array[made.company_id], array[$6], 5::smallint, 3::smallint)
         from made""",
)
_MESSAGE_OF = Sql(
    "webhooks.message_of_delivery",
    """select d.message_id::text, m.trace_id, m.type from mainstay.deliveries d
         left join mainstay.messages m on m.id = d.message_id and m.company_id = d.company_id
        where d.company_id = $1 and d.endpoint_id = $2 and d.id = $3""",
)
_LOG = Sql(
    "webhooks.log",
    """select l.*, m.type, m.trace_id from (
         select d.id, d.message_id, d.attempts, d.max_attempts, d.next_attempt_at, d.created_at, d.updated_at,
                d.last_status_code, d.last_error, d.delivered_at, d.replay_of,
                case when $4 and d.status in ('PENDING', 'RETRYING') then 'DISCARDED' else d.status end as status
           from mainstay.deliveries d
          where d.company_id = $1 and d.endpoint_id = $2 and ($3::uuid is null or d.id < $3)
       ) l left join mainstay.messages m on m.id = l.message_id
       where $5::text is null or l.status = $5
       order by l.id desc limit $6""",
)
_ATTEMPTS = Sql(
    "webhooks.attempts_of_log",
    """select a.* from mainstay.attempts a
        where a.delivery_id = any($2::uuid[])
          and exists (select from mainstay.deliveries d where d.id = a.delivery_id and d.company_id = $1)
        order by a.delivery_id, a.number""",
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


def now() -> ColumnElement[Any]:
    """The database's time, as a value to store."""
    return func.mainstay.now()


async def add_endpoint(tx: Tx, *, company_id: str, values: Mapping[str, Any]) -> Record:
    """The row as stored."""
    query = insert(endpoints).values(company_id=company_id, **values).returning(*SHOWN)
    return (await tx.rows(*compose("webhooks.add_endpoint", query)))[0]


async def count_endpoints(tx: Tx, *, company_id: str) -> int:
    """How many endpoints the company has, none of which can be added by others before this transaction ends."""
    await tx.run(_LOCK_COMPANY, company_id)
    return int(await tx.value(_COUNT, company_id))


async def find_endpoint(
    connection: Connection, *, company_id: str, endpoint_id: str, deleted_too: bool = False
) -> Record | None:
    """The endpoint, or None where the company has no such one."""
    query = select(*SHOWN).where(endpoints.c.company_id == company_id, endpoints.c.id == endpoint_id)
    if not deleted_too:
        query = query.where(endpoints.c.deleted_at.is_(None))
    return await connection.row(*compose("webhooks.find_endpoint", query))


async def list_endpoints(connection: Connection, *, company_id: str, after_id: str | None, limit: int) -> list[Record]:
    """Endpoints in the order of their making, from the one after `after_id` on."""
    query = select(*SHOWN).where(endpoints.c.company_id == company_id, endpoints.c.deleted_at.is_(None))
    if after_id is not None:
        query = query.where(endpoints.c.id > after_id)
    return await connection.rows(*compose("webhooks.list_endpoints", query.order_by(endpoints.c.id).limit(limit)))


async def change_endpoint(tx: Tx, *, company_id: str, endpoint_id: str, values: Mapping[str, Any]) -> Record | None:
    """The row as changed, or None where the company has no such endpoint."""
    return await tx.row(
        *compose(
            "webhooks.change_endpoint",
            update(endpoints)
            .where(
                endpoints.c.company_id == company_id, endpoints.c.id == endpoint_id, endpoints.c.deleted_at.is_(None)
            )
            .values(updated_at=now(), **values)
            .returning(*SHOWN),
        )
    )


async def delete_endpoint(tx: Tx, *, company_id: str, endpoint_id: str) -> bool:
    """Whether there was such an endpoint; its secrets are forgotten."""
    row = await change_endpoint(
        tx,
        company_id=company_id,
        endpoint_id=endpoint_id,
        values={
            "deleted_at": now(),
            "is_active": False,
            "secret_sealed": b"",
            "previous_secret_sealed": null(),
            "previous_secret_until": null(),
        },
    )
    return row is not None


async def rotate_secret(
    tx: Tx, *, company_id: str, endpoint_id: str, sealed: bytes, overlap_seconds: int
) -> Record | None:
    """The endpoint under its new secret, the old one kept for the overlap; None where there is no such endpoint."""
    return await tx.row(_ROTATE, company_id, endpoint_id, sealed, overlap_seconds)


async def disable_endpoints_everywhere(tx: Tx, endpoint_ids: Sequence[str], *, reason: str) -> list[Record]:
    """The active ones among these are inactive for that reason; those that changed."""
    return await tx.rows(_DISABLE, endpoint_ids, reason)


async def forget_previous_secrets_everywhere(tx: Tx) -> int:
    """Old secrets whose overlap is over are gone; how many."""
    return count_of(await tx.run(_FORGET_SECRETS))


async def fan_out_everywhere(tx: Tx, columns: Sequence[Sequence[Any]]) -> int:
    """Messages, deliveries and jobs for every endpoint that wants these messages; how many deliveries."""
    return int(await tx.value(_FAN_OUT, *columns))


async def add_message(
    tx: Tx, *, company_id: str, message_id: str, workspace_id: str | None, kind: str, body: str, trace_id: str
) -> None:
    """One message that nobody gets yet."""
    await tx.run(_ADD_MESSAGE, message_id, company_id, workspace_id, kind, body, trace_id)


async def add_delivery(
    tx: Tx,
    *,
    company_id: str,
    endpoint_id: str,
    delivery_id: str,
    message_id: str,
    replay_of: str | None,
    trace_id: str,
) -> None:
    """A pending delivery of a stored message to one endpoint, with its job."""
    await tx.rows(_ADD_DELIVERY, delivery_id, company_id, endpoint_id, message_id, replay_of, trace_id)


async def message_of_delivery(
    connection: Connection, *, company_id: str, endpoint_id: str, delivery_id: str
) -> Record | None:
    """The message id with its type and trace, those None where it is no longer kept; None without such a delivery."""
    return await connection.row(_MESSAGE_OF, company_id, endpoint_id, delivery_id)


async def log_of(
    connection: Connection,
    *,
    company_id: str,
    endpoint_id: str,
    before_id: str | None,
    endpoint_deleted: bool,
    status: str | None,
    limit: int,
) -> list[Record]:
    """Deliveries of an endpoint, newest first; those that a deletion left open read as discarded."""
    return await connection.rows(_LOG, company_id, endpoint_id, before_id, endpoint_deleted, status, limit)


async def attempts_of(connection: Connection, *, company_id: str, delivery_ids: Sequence[str]) -> list[Record]:
    """Every try at these deliveries, in order."""
    return await connection.rows(_ATTEMPTS, company_id, delivery_ids)


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
