"""Statements on the lines of endpoints that get their messages in order."""

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

KIND = "webhooks.deliver_in_order"

_HEAD = Sql(
    "webhooks.load_head",
    """select l.pos, l.delivery_id::text, d.status, d.attempts as made,
              extract(epoch from d.next_attempt_at - mainstay.now())::float8 as due_seconds, x.*,
              exists (select from mainstay.jobs j
                       where j.id = $2 and j.epoch = $3 and j.dedupe_key is not null) as is_ours
         from (select f.pos, f.delivery_id from mainstay.fifo_lines f
                where f.endpoint_id = $1 order by f.pos limit 1) l
         left join mainstay.deliveries d on d.id = l.delivery_id
         left join lateral mainstay.load_deliveries(array[l.delivery_id]) x on true""",
)
_STEP = Sql("webhooks.step_line", "delete from mainstay.fifo_lines where endpoint_id = $1 and pos = $2")
_LOCK = Sql(
    "webhooks.lock_line", "select is_active, deleted_at from mainstay.endpoints where id = $1 for update skip locked"
)
_IS_EMPTY = Sql(
    "webhooks.is_line_empty", "select not exists (select from mainstay.fifo_lines where endpoint_id = $1) as is_empty"
)
_RELEASE = Sql("webhooks.release_line", "update mainstay.jobs set dedupe_key = null where id = $1 and epoch = $2")
_RENEW = Sql("webhooks.renew_line", "update mainstay.jobs set attempt = 1 where id = $1 and epoch = $2 and attempt > 1")
_CLEAR = Sql(
    "webhooks.clear_line",
    """with gone as (
         delete from mainstay.fifo_lines f
          where f.endpoint_id = $1
            and f.pos in (select b.pos from mainstay.fifo_lines b where b.endpoint_id = $1 order by b.pos limit $3)
         returning f.delivery_id
       ), discarded as (
         update mainstay.deliveries d
            set status = 'DISCARDED', next_attempt_at = null, updated_at = mainstay.now(), last_error = $2
          where d.id in (select delivery_id from gone) and d.status in ('PENDING', 'RETRYING')
       )
       select count(*)::int as gone from gone""",
)
_LOCK_OWNED = Sql(
    "webhooks.lock_endpoint", "select id from mainstay.endpoints where company_id = $1 and id = $2 for no key update"
)
_ADD_JOB = """insert into mainstay.jobs (queue, kind, lane, payload, company_id, dedupe_key, max_attempts)
       select 'nova:webhook', 'webhooks.deliver_in_order', l.endpoint_id::text, to_jsonb(l.endpoint_id::text),
              l.company_id, l.endpoint_id::text, 10
         from {lines} l
       on conflict (kind, dedupe_key) where dedupe_key is not null do nothing"""
_START = Sql(
    "webhooks.start_line",
    _ADD_JOB.format(
        lines="""(select f.endpoint_id, f.company_id from mainstay.fifo_lines f
                   where f.company_id = $1 and f.endpoint_id = $2 order by f.pos limit 1)"""
    ),
)
# Lines without a job: each line is met once, by its first place, however long it is.
_FIND_IDLE = """with recursive line (endpoint_id, company_id) as (
         (select f.endpoint_id, f.company_id from mainstay.fifo_lines f order by f.endpoint_id, f.pos limit 1)
         union all
         select n.endpoint_id, n.company_id from line l cross join lateral (
           select f.endpoint_id, f.company_id from mainstay.fifo_lines f
            where f.endpoint_id > l.endpoint_id order by f.endpoint_id, f.pos limit 1) n
       ), idle as materialized (
         select l.endpoint_id, l.company_id from line l
           join mainstay.endpoints e on e.id = l.endpoint_id and (e.is_active or e.deleted_at is not null)
          where not exists (select from mainstay.jobs j
                             where j.kind = 'webhooks.deliver_in_order' and j.dedupe_key = l.endpoint_id::text)
       )"""
# A death is judged once, so it loses its key with that; whoever serves the line since has the head in its own hands.
_BURIED = Sql(
    "webhooks.buried_heads",
    """with judged as (
         update mainstay.dead_jobs z set dedupe_key = null
          where z.queue = 'nova:webhook' and z.died_at > mainstay.now() - interval '1 hour'
            and z.kind = 'webhooks.deliver_in_order' and z.dedupe_key is not null
         returning z.payload #>> '{}' as endpoint_id, z.died_at, z.error
       )
       select distinct on (d.id) d.id::text, z.error
         from judged z
         join lateral (select f.delivery_id from mainstay.fifo_lines f
                        where f.endpoint_id = z.endpoint_id::uuid order by f.pos limit 1) h on true
         join mainstay.deliveries d on d.id = h.delivery_id
        where d.status in ('PENDING', 'RETRYING') and d.updated_at < z.died_at
          and not exists (select from mainstay.jobs j
                           where j.kind = 'webhooks.deliver_in_order' and j.dedupe_key = z.endpoint_id)
        order by d.id, z.died_at desc""",
)
_START_IDLE = Sql("webhooks.start_idle_lines", f"{_FIND_IDLE} {_ADD_JOB.format(lines='idle')}")


async def load_head_everywhere(connection: Connection, endpoint_id: str, *, job_id: int, epoch: int) -> Record | None:
    """The first delivery of the line with all that sending it needs, and whether the line is this job's; or None."""
    return await connection.row(_HEAD, endpoint_id, job_id, epoch)


async def step_everywhere(tx: Tx, endpoint_id: str, pos: int) -> None:
    """That place is no longer in the line."""
    await tx.run(_STEP, endpoint_id, pos)


async def lock_everywhere(tx: Tx, endpoint_id: str) -> Record | None:
    """The endpoint, to whose line nobody can add until the transaction ends; None while somebody is doing so."""
    return await tx.row(_LOCK, endpoint_id)


async def is_empty_everywhere(tx: Tx, endpoint_id: str) -> bool:
    """Whether nothing stands in the line."""
    return bool(await tx.value(_IS_EMPTY, endpoint_id))


async def release_everywhere(tx: Tx, *, job_id: int, epoch: int) -> None:
    """The line is free for another job."""
    await tx.run(_RELEASE, job_id, epoch)


async def renew_everywhere(tx: Tx, *, job_id: int, epoch: int) -> None:
    """This start of the line's job is the first that counts."""
    await tx.run(_RENEW, job_id, epoch)


async def clear_everywhere(tx: Tx, endpoint_id: str, *, reason: str, limit: int) -> int:
    """The first places of the line are gone and their deliveries discarded; how many."""
    return int(await tx.value(_CLEAR, endpoint_id, reason, limit))


async def start(tx: Tx, *, company_id: str, endpoint_id: str) -> None:
    """A line in which something stands has its job; nobody ends one before this transaction does."""
    await tx.run(_LOCK_OWNED, company_id, endpoint_id)
    await tx.run(_START, company_id, endpoint_id)


async def buried_heads_everywhere(tx: Tx) -> list[Record]:
    """Heads of lines whose job died over them and has no successor, with the reason; each death is told of once."""
    return await tx.rows(_BURIED)


async def start_idle_everywhere(tx: Tx) -> int:
    """Every line of an active or deleted endpoint has its job; how many had none."""
    return count_of(await tx.run(_START_IDLE))
