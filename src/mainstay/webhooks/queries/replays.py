"""Statements on replays: what they would send again, what they have made, and how far they looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Record, Sql, Tx

_ADD = Sql(
    "webhooks.add_replay",
    """insert into mainstay.replays (id, company_id, endpoint_id, scope, wanted, matched, is_floor, created_by)
       values ($1, $2, $3, $4, $5, $6, $7, $8) returning *""",
)
_FIND = Sql(
    "webhooks.find_replay",
    "select * from mainstay.replays where company_id = $1 and endpoint_id = $2 and id = $3",
)
_LOCK = Sql(
    "webhooks.lock_replay",
    """select r.*, e.kind, e.is_fifo, e.retries, e.is_active and e.deleted_at is null as is_wanted
         from mainstay.replays r join mainstay.endpoints e on e.id = r.endpoint_id
        where r.company_id = $1 and r.id = $2 for update of r for share of e""",
)
_LIST = Sql(
    "webhooks.list_replays",
    """select * from mainstay.replays
        where company_id = $1 and endpoint_id = $2 and ($3::uuid is null or id < $3) order by id desc limit $4""",
)
_RUNNING = Sql(
    "webhooks.count_running_replays",
    "select count(*) from mainstay.replays where company_id = $1 and endpoint_id = $2 and state = 'running'",
)
_ONE_AT_A_TIME = Sql(
    "webhooks.lock_replays", "select pg_advisory_xact_lock(hashtextextended('mainstay.replays:' || $1 || $2, 0))"
)
_MOVE = Sql(
    "webhooks.move_replay",
    "update mainstay.replays set made = made + $3, looked_to = $4 where company_id = $1 and id = $2",
)
_END = Sql(
    "webhooks.end_replay",
    """update mainstay.replays set state = $3, error = $4, finished_at = mainstay.now()
        where company_id = $1 and id = $2 and state = 'running' returning *""",
)
_END_OF = {
    "deliveries": """select count(*) as looked, (array_agg(l.id order by l.id desc))[1]::text as last
         from (select d.id from mainstay.deliveries d
                where d.company_id = $1 and d.endpoint_id = $2 and d.id > $3 and d.id < $4 order by d.id limit $5) l""",
    "messages": """select count(*) as looked, (array_agg(l.id order by l.id desc))[1]::text as last
         from (select m.id from mainstay.messages m
                where m.company_id = $1 and $2::uuid is not null and m.id > $3 and m.id < $4
                order by m.id limit $5) l""",
}
# Test messages were meant for one endpoint, and word of dead deliveries reaches those alone that name it.
_CHOSEN = {
    "deliveries": """select d.id, d.message_id from mainstay.deliveries d
         join mainstay.messages m on m.id = d.message_id and m.company_id = d.company_id
        where d.company_id = $1 and d.endpoint_id = $2 and d.id > $3 and d.id <= $4 and d.status = any($6::text[])
          and ($5::text[] is null or mainstay.event_patterns(m.type) && $5)
        order by d.id""",
    "messages": """select m.id, m.id as message_id from mainstay.messages m
         join mainstay.endpoints e on e.company_id = m.company_id and e.id = $2
        where m.company_id = $1 and m.id > $3 and m.id <= $4
          and (e.workspace_id is null or e.workspace_id = m.workspace_id)
          and e.events && mainstay.event_patterns(m.type)
          and ($5::text[] is null or mainstay.event_patterns(m.type) && $5)
          and (m.type <> 'delivery.dead' or e.events && $6::text[])
          and right(m.body, 13) <> ',"test":true}'
          and (e.filter_path is null or mainstay.passes(mainstay.json_or_null(m.body), e.filter_path))
        order by m.id""",
}
_UNTRIED = """select u as id, u as message_id
                from mainstay.untried($1, $2, array(select c.message_id from ({chosen}) c), $7, $8) as u"""
_STEPS = {
    "deliveries": _CHOSEN["deliveries"],
    "messages": _CHOSEN["messages"],
    "missed": _UNTRIED.format(chosen=_CHOSEN["messages"]),
}
_CHOOSE_OF = "select c.id::text, c.message_id::text from ({step}) c limit ${n}"
_COUNT_OF = "select count(*) from (select from ({step}) c limit ${n}) counted"


def _limited(name: str, text: str, scope: str) -> Sql:
    return Sql(f"webhooks.{name}_{scope}", text.format(step=_STEPS[scope], n=9 if scope == "missed" else 7))


_CHOOSE = {scope: _limited("choose", _CHOOSE_OF, scope) for scope in _STEPS}
_COUNT = {scope: _limited("count", _COUNT_OF, scope) for scope in _STEPS}
_LAST = {
    scope: Sql(f"webhooks.look_at_{scope}", _END_OF["deliveries" if scope == "deliveries" else "messages"])
    for scope in _STEPS
}
_MAKE = Sql(
    "webhooks.make_replayed",
    """with made as (
         insert into mainstay.deliveries
           (id, message_id, endpoint_id, company_id, max_attempts, next_attempt_at, replay_of)
         select mainstay.uuid7(), m.id, e.id, e.company_id, e.retries + 1, mainstay.now(), u.replay_of
           from unnest($3::uuid[], $4::uuid[]) as u (message_id, replay_of)
           join mainstay.messages m on m.id = u.message_id and m.company_id = $1
           join mainstay.endpoints e on e.id = $2 and e.company_id = $1
         returning id, message_id
       ), jobs as (
         select array_agg($2::uuid::text) as lanes, array_agg(to_jsonb(made.id::text)) as payloads,
                array_agg($1::uuid) as companies, array_agg(m.trace_id) as traces, count(*) as n
           from made join mainstay.messages m on m.id = made.message_id
       )
       select j.n, mainstay.enqueue_jobs('nova:webhook', 'webhooks.deliver', j.lanes, j.payloads, j.companies, j.traces,
                                         $5::smallint, 3::smallint)
         from jobs j where j.n > 0""",
)
_MAKE_APART = Sql(
    "webhooks.make_replayed_apart",
    """select mainstay.deliver(array_agg(u.id order by u.n), array_agg(u.message_id order by u.n),
                               array_agg(e.id), array_agg(u.replay_of order by u.n))
         from unnest($3::uuid[], $4::uuid[], $5::uuid[]) with ordinality as u (message_id, replay_of, id, n)
         join mainstay.endpoints e on e.id = $2 and e.company_id = $1""",
)
LIVE_PRIORITY: Final = 5
REPLAY_PRIORITY: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a replay sends again: the scope, between which ids, and of which kinds.

    `marks` are the statuses of deliveries, or the patterns that ask for dead deliveries. `tried` bounds the ids of
    first deliveries of those messages.
    """

    scope: str
    company_id: str
    endpoint_id: str
    after: str
    before: str
    types: Sequence[str] | None
    marks: Sequence[str]
    tried: tuple[str, str]

    def arguments(self, upto: str) -> list[Any]:
        """The statement's arguments up to its limit."""
        given: list[Any] = [self.company_id, self.endpoint_id, self.after, upto, self.types, self.marks]
        return given + (list(self.tried) if self.scope == "missed" else [])


async def add_replay(tx: Tx, *, company_id: str, values: Sequence[Any]) -> Record:
    """The replay as stored; `values`: id, endpoint, scope, what is wanted, matched, whether that is a floor, author."""
    replay_id, *rest = values
    made = await tx.row(_ADD, replay_id, company_id, *rest)
    assert made is not None
    return made


async def find_replay(connection: Connection, *, company_id: str, endpoint_id: str, replay_id: str) -> Record | None:
    """The replay of that endpoint."""
    return await connection.row(_FIND, company_id, endpoint_id, replay_id)


async def lock_replay(tx: Tx, *, company_id: str, replay_id: str) -> Record | None:
    """The replay, which nobody else moves before this transaction ends, with what its endpoint wants now."""
    return await tx.row(_LOCK, company_id, replay_id)


async def list_replays(
    connection: Connection, *, company_id: str, endpoint_id: str, before_id: str | None, limit: int
) -> list[Record]:
    """Replays of an endpoint, newest first."""
    return await connection.rows(_LIST, company_id, endpoint_id, before_id, limit)


async def count_running(tx: Tx, *, company_id: str, endpoint_id: str) -> int:
    """How many replays of the endpoint run; others start none before this transaction ends."""
    await tx.rows(_ONE_AT_A_TIME, company_id, endpoint_id)
    return int(await tx.value(_RUNNING, company_id, endpoint_id))


async def look(connection: Connection, choice: Choice, *, company_id: str, limit: int) -> tuple[int, str | None]:
    """How many rows lie ahead, up to the limit, and the id of the last of these."""
    row = await connection.row(_LAST[choice.scope], company_id, choice.endpoint_id, choice.after, choice.before, limit)
    return (0, None) if row is None else (row["looked"], row["last"])


async def choose(connection: Connection, choice: Choice, *, company_id: str, upto: str, limit: int) -> list[Record]:
    """What is sent again among the rows up to that id: where it was found and its message, in order."""
    assert choice.company_id == company_id
    return await connection.rows(_CHOOSE[choice.scope], *choice.arguments(upto), limit)


async def count(connection: Connection, choice: Choice, *, company_id: str, upto: str, limit: int) -> int:
    """How many would be sent again among the rows up to that id, counted up to the limit."""
    assert choice.company_id == company_id
    return int(await connection.value(_COUNT[choice.scope], *choice.arguments(upto), limit))


async def make(
    tx: Tx, *, company_id: str, endpoint_id: str, message_ids: Sequence[str], replay_of: Sequence[str], apart: bool
) -> int:
    """These messages are on their way to the endpoint after what is live (`apart`: in its line, or to be pulled)."""
    if apart:
        made_ids = sorted(ids.new_id() for _ in message_ids)
        return int(await tx.value(_MAKE_APART, company_id, endpoint_id, message_ids, replay_of, made_ids) or 0)
    return int(await tx.value(_MAKE, company_id, endpoint_id, message_ids, replay_of, REPLAY_PRIORITY) or 0)


async def move_replay(tx: Tx, *, company_id: str, replay_id: str, made: int, looked_to: str) -> None:
    """So many more were made, and everything up to that id was looked at."""
    await tx.run(_MOVE, company_id, replay_id, made, looked_to)


async def end_replay(tx: Tx, *, company_id: str, replay_id: str, state: str, error: str | None = None) -> Record | None:
    """The replay is over; None where it was before."""
    return await tx.row(_END, company_id, replay_id, state, error)
