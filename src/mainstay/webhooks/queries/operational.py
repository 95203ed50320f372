"""Statements for word to owners: what a failed try was about, and messages on dead deliveries."""

from collections.abc import Sequence

from mainstay.kernel.db import Record, Sql, Tx

_STORIES = Sql(
    "webhooks.stories",
    """select d.endpoint_id::text, d.company_id::text, e.url, m.type, left(m.body, $2) as payload
         from mainstay.deliveries d
         join mainstay.endpoints e on e.id = d.endpoint_id
         left join mainstay.messages m on m.id = d.message_id
        where d.id = any($1::uuid[])""",
)
_DEAD = Sql(
    "webhooks.dead_deliveries",
    """select d.id::text, d.company_id::text, d.endpoint_id::text, d.message_id::text, d.attempts, d.last_status_code,
              d.last_error, m.type, m.trace_id, h.hearers, mainstay.now() as now
         from mainstay.deliveries d
         join mainstay.messages m on m.id = d.message_id
         cross join lateral (
           select array_agg(e.id::text order by e.id) as hearers from mainstay.endpoints e
            where e.company_id = d.company_id and e.workspace_id is null and e.is_active and e.deleted_at is null
              and e.id <> d.endpoint_id and e.events && $2::text[]) h
        where d.id = any($1::uuid[]) and d.status = 'FAILED' and m.type <> all($3::text[]) and h.hearers is not null
        order by d.id""",
)
_ADD_MESSAGES = Sql(
    "webhooks.add_messages",
    """insert into mainstay.messages (id, company_id, type, body, trace_id)
       select u.id, u.company_id, $1, u.body, u.trace_id
         from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[]) as u (id, company_id, body, trace_id)""",
)
_DELIVER = Sql(
    "webhooks.deliver",
    """with wanted as materialized (
         select mainstay.uuid7() as id, u.message_id, u.endpoint_id, u.n
           from unnest($1::uuid[], $2::uuid[]) with ordinality as u (message_id, endpoint_id, n)
           join mainstay.endpoints e on e.id = u.endpoint_id
           join mainstay.messages m on m.id = u.message_id
          where e.filter_path is null or mainstay.passes(mainstay.json_or_null(m.body), e.filter_path)
       )
       select mainstay.deliver(array_agg(w.id order by w.n), array_agg(w.message_id order by w.n),
                               array_agg(w.endpoint_id order by w.n), array_agg(null::uuid order by w.n))
         from wanted w""",
)


async def stories_everywhere(tx: Tx, delivery_ids: Sequence[str], characters: int) -> list[Record]:
    """The endpoint, event type and the beginning of the body of each delivery."""
    return await tx.rows(_STORIES, delivery_ids, characters)


async def dead_everywhere(
    tx: Tx, delivery_ids: Sequence[str], *, patterns: Sequence[str], silent: Sequence[str]
) -> list[Record]:
    """The failed ones among these, other than of silent types, that others of the company ask to hear of."""
    return await tx.rows(_DEAD, delivery_ids, patterns, silent)


async def add_messages_everywhere(tx: Tx, kind: str, *columns: Sequence[str]) -> None:
    """Messages of one type that nobody gets yet. Columns: id, company id, body, trace id."""
    await tx.run(_ADD_MESSAGES, kind, *columns)


async def deliver_everywhere(tx: Tx, message_ids: Sequence[str], endpoint_ids: Sequence[str]) -> int:
    """Each message is on its way to its endpoint, whose filter it passes; how many."""
    return int(await tx.value(_DELIVER, message_ids, endpoint_ids) or 0)
