"""Statements on messages and their deliveries: fan-out, one more delivery, and the log."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx

_FAN_OUT = Sql("webhooks.fan_out", "select mainstay.fan_out($1, $2, $3, $4, $5, $6)")
_ADD_MESSAGE = Sql(
    "webhooks.add_message",
    """insert into mainstay.messages (id, company_id, workspace_id, type, body, trace_id)
       values ($1, $2, $3, $4, $5, $6)""",
)
_ADD_DELIVERY = Sql(
    "webhooks.add_delivery",
    """select mainstay.deliver(array[$1::uuid], array[m.id], array[e.id], array[$5::uuid])
         from mainstay.endpoints e, mainstay.messages m
        where e.company_id = $2 and e.id = $3 and m.company_id = $2 and m.id = $4""",
)
_MESSAGE_OF = Sql(
    "webhooks.message_of_delivery",
    """select d.message_id::text, m.trace_id, m.type from mainstay.deliveries d
         left join mainstay.messages m on m.id = d.message_id and m.company_id = d.company_id
        where d.company_id = $1 and d.endpoint_id = $2 and d.id = $3""",
)
# Never `$3 is null or …`: a plan made for any cursor could not follow the index with that.
_LOG = Sql(
    "webhooks.log",
    """select l.*, m.type, m.trace_id from (
         select d.id, d.message_id, d.attempts, d.max_attempts, d.next_attempt_at, d.created_at, d.updated_at,
                d.last_status_code, d.last_error, d.delivered_at, d.replay_of,
                case when $4 and d.status in ('PENDING', 'RETRYING') then 'DISCARDED' else d.status end as status
           from mainstay.deliveries d
          where d.company_id = $1 and d.endpoint_id = $2
            and d.id < coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
          order by d.id desc limit $7
       ) l left join mainstay.messages m on m.id = l.message_id
       where $5::text is null or l.status = $5
       order by l.id desc limit $6""",
)
_LOOKED_TO = Sql(
    "webhooks.log_looked_to",
    """select d.id::text from mainstay.deliveries d
        where d.company_id = $1 and d.endpoint_id = $2
          and d.id < coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        order by d.id desc offset $4 - 1 limit 1""",
)
_FIND = Sql(
    "webhooks.find_delivery",
    """select d.*, m.type, m.trace_id, m.body, m.created_at as made_at from mainstay.deliveries d
         left join mainstay.messages m on m.id = d.message_id and m.company_id = d.company_id
        where d.company_id = $1 and d.endpoint_id = $2 and d.id = $3""",
)
_ATTEMPTS = Sql(
    "webhooks.attempts_of_log",
    """select a.* from mainstay.attempts a
        where a.delivery_id = any($2::uuid[])
          and exists (select from mainstay.deliveries d where d.id = a.delivery_id and d.company_id = $1)
        order by a.delivery_id, a.number""",
)


async def fan_out_everywhere(tx: Tx, columns: Sequence[Sequence[Any]]) -> int:
    """Messages, deliveries and jobs for every endpoint that wants these messages; how many deliveries."""
    return int(await tx.value(_FAN_OUT, *columns))


async def add_message(
    tx: Tx, *, company_id: str, message_id: str, workspace_id: str | None, kind: str, body: str, trace_id: str
) -> None:
    """One message that nobody gets yet."""
    await tx.run(_ADD_MESSAGE, message_id, company_id, workspace_id, kind, body, trace_id)


async def add_delivery(
    tx: Tx, *, company_id: str, endpoint_id: str, delivery_id: str, message_id: str, replay_of: str | None
) -> None:
    """A stored message is on its way to one endpoint: with a job, in its line, or to be pulled."""
    await tx.rows(_ADD_DELIVERY, delivery_id, company_id, endpoint_id, message_id, replay_of)


async def message_of_delivery(
    connection: Connection, *, company_id: str, endpoint_id: str, delivery_id: str
) -> Record | None:
    """The message id with its type and trace, those None where it is no longer kept; None without such a delivery."""
    return await connection.row(_MESSAGE_OF, company_id, endpoint_id, delivery_id)


async def find_delivery(
    connection: Connection, *, company_id: str, endpoint_id: str, delivery_id: str
) -> Record | None:
    """The delivery with its message, whose columns are None where it is no longer kept."""
    return await connection.row(_FIND, company_id, endpoint_id, delivery_id)


async def log_of(
    connection: Connection,
    *,
    company_id: str,
    endpoint_id: str,
    before_id: str | None,
    endpoint_deleted: bool,
    status: str | None,
    limit: int,
    look: int,
) -> list[Record]:
    """Deliveries of an endpoint, newest first, among the next `look`; those that a deletion left open are discarded."""
    return await connection.rows(_LOG, company_id, endpoint_id, before_id, endpoint_deleted, status, limit, look)


async def looked_to(
    connection: Connection, *, company_id: str, endpoint_id: str, before_id: str | None, look: int
) -> str | None:
    """The last of the next `look` deliveries of an endpoint; None where there are fewer."""
    last: str | None = await connection.value(_LOOKED_TO, company_id, endpoint_id, before_id, look)
    return last


async def attempts_of(connection: Connection, *, company_id: str, delivery_ids: Sequence[str]) -> list[Record]:
    """Every try at these deliveries, in order."""
    return await connection.rows(_ATTEMPTS, company_id, delivery_ids)
