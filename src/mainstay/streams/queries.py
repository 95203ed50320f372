"""Every SQL statement of the streams room."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of
from mainstay.streams.tables import stream_positions, stream_refusals, streams

_LOCK = Sql("streams.lock_company", "select pg_advisory_xact_lock(hashtextextended('mainstay.streams/' || $1, 0))")
_COUNT = Sql("streams.count", "select count(*) from mainstay.streams where company_id = $1")
_DUE = Sql("streams.due", "select id, company_id from mainstay.due_streams($1)")
_PLACE = Sql(
    "streams.place",
    """insert into mainstay.stream_positions
         (stream_id, part, workspace_id, company_id, first_seq, seq, last_seq, received_at)
       select $2, $3, u.workspace_id, $1, u.seq, u.seq, u.last_seq, u.received_at
         from unnest($4::uuid[], $5::bigint[], $6::bigint[], $7::timestamptz[])
              as u (workspace_id, seq, last_seq, received_at)""",
)
_MOVE = Sql(
    "streams.move",
    """insert into mainstay.stream_positions as p
         (stream_id, part, workspace_id, company_id, first_seq, seq, received_at)
       select $2, $3, u.workspace_id, $1, 0, u.seq, u.received_at
         from unnest($4::uuid[], $5::bigint[], $6::timestamptz[]) as u (workspace_id, seq, received_at)
        order by u.workspace_id
       on conflict (stream_id, part, workspace_id) do update
         set seq = excluded.seq, received_at = excluded.received_at where p.seq < excluded.seq""",
)
_NOW = Sql("streams.now", "select mainstay.now()")
_SENT = Sql(
    "streams.sent",
    """update mainstay.streams set sent = sent + $3, failures = 0, failing_since = null, reason = null,
              state = case state when 'failing' then 'active' else state end, backfill_sent = backfill_sent + $4,
              next_turn_at = mainstay.now() + $5::interval, last_sent_at = mainstay.now(), blocked = null,
              batch_at_most = case when batch_at_most * 2 < $6 then batch_at_most * 2 end
        where company_id = $1 and id = $2""",
)
_FAILED = Sql(
    "streams.failed",
    """update mainstay.streams set failures = failures + 1, failing_since = coalesce(failing_since, mainstay.now()),
              reason = $3, state = case when state = 'paused' then state else $4 end,
              next_turn_at = mainstay.now() + $5::interval
        where company_id = $1 and id = $2""",
)

_COUNT_ASIDE = Sql(
    "streams.count_aside", "select count(*) from mainstay.stream_refusals where company_id = $1 and stream_id = $2"
)
_PUT_ASIDE = Sql(
    "streams.put_aside",
    """insert into mainstay.stream_refusals as r
         (stream_id, event_id, company_id, workspace_id, seq, received_at, reason) values ($2, $3, $1, $4, $5, $6, $7)
       on conflict (stream_id, event_id) do update
         set reason = excluded.reason, refused_at = excluded.refused_at, asked_at = null""",
)
_ASK = Sql(
    "streams.ask_aside",
    """update mainstay.stream_refusals set asked_at = mainstay.now()
        where company_id = $1 and stream_id = $2 and asked_at is null
          and ($3::uuid[] is null or event_id = any($3::uuid[]))""",
)
_FORGET = Sql(
    "streams.forget_aside",
    """delete from mainstay.stream_refusals
        where company_id = $1 and stream_id = $2 and ($3::uuid[] is null or event_id = any($3::uuid[]))""",
)
_NEXT_ASKED = Sql(
    "streams.next_asked",
    """select * from mainstay.stream_refusals where company_id = $1 and stream_id = $2 and asked_at is not null
        order by received_at, seq limit 1""",
)
_ASKED = Sql(
    "streams.asked",
    """select distinct r.stream_id as id, r.company_id from mainstay.stream_refusals r where r.asked_at is not null
        limit $1""",
)
_SENT_AGAIN = Sql(
    "streams.sent_again",
    """with gone as (
         delete from mainstay.stream_refusals where company_id = $1 and stream_id = $2 and event_id = $3 returning 1)
       update mainstay.streams set sent = sent + 1, last_sent_at = mainstay.now()
        where company_id = $1 and id = $2 and exists (select from gone)""",
)
_REFUSED_AGAIN = Sql(
    "streams.refused_again",
    """update mainstay.stream_refusals
          set asked_at = null, reason = case when event_id = $3 then $4 else reason end
        where company_id = $1 and stream_id = $2 and (event_id = $3 or $5) and asked_at is not null""",
)

# One row a kind, so that what is told stays small however many streams there are. A paused stream is behind on purpose.
_FIGURES = Sql(
    "streams.figures",
    """with standing as (
         select s.destination ->> 'type' as kind, s.state, s.blocked is not null as is_blocked,
                s.state = 'paused' as rests, coalesce(lag.events, 0) as events,
                coalesce(greatest(extract(epoch from mainstay.now() - lag.oldest), 0), 0)::float8 as seconds,
                (select count(*) from mainstay.stream_refusals r where r.stream_id = s.id) as aside
           from mainstay.streams s
           left join lateral (
                select sum(h.seq - coalesce(p.seq, 0))::bigint as events, min(first.received_at) as oldest
                  from mainstay.chain_heads h
                  left join mainstay.stream_positions p
                    on p.stream_id = s.id and p.part = 'live' and p.workspace_id = h.workspace_id
                  left join lateral (
                       select e.received_at from mainstay.events e
                        where e.workspace_id = h.workspace_id and e.seq > coalesce(p.seq, 0) order by e.seq limit 1
                     ) first on true
                 where h.company_id = s.company_id and h.seq > coalesce(p.seq, 0)
                ) lag on true
       )
       select kind, count(*) filter (where state = 'active') as active, count(*) filter (where rests) as paused,
              count(*) filter (where state = 'failing') as failing,
              count(*) filter (where state = 'disabled') as disabled,
              coalesce(max(seconds) filter (where not rests), 0) as lag_seconds,
              coalesce(max(events) filter (where not rests), 0) as lag_events,
              count(*) filter (where not rests and seconds > extract(epoch from $1::interval)) as behind,
              count(*) filter (where is_blocked) as blocked, coalesce(sum(aside), 0)::bigint as aside
         from standing group by kind order by kind""",
)


async def lock_company(tx: Tx, company_id: str) -> int:
    """How many streams the company has; nobody else adds one before this transaction ends."""
    await tx.run(_LOCK, company_id)
    found: int = await tx.value(_COUNT, company_id)
    return found


async def add_stream(tx: Tx, company_id: str, values: Mapping[str, Any]) -> Record:
    """The stream as it is stored."""
    statement = insert(streams).values(company_id=company_id, **values).returning(*streams.c)
    row = await tx.row(*compose("streams.add", statement))
    assert row is not None
    return row


async def find_stream(db: Connection, company_id: str, stream_id: str, *, lock: bool = False) -> Record | None:
    """The company's stream of that id; with `lock` nobody changes it before this transaction ends."""
    statement = select(*streams.c).where((streams.c.company_id == company_id) & (streams.c.id == stream_id))
    return await db.row(*compose("streams.find", statement.with_for_update() if lock else statement))


async def list_streams(db: Connection, company_id: str) -> list[Record]:
    """The company's streams, oldest first."""
    statement = select(*streams.c).where(streams.c.company_id == company_id).order_by(streams.c.id)
    return await db.rows(*compose("streams.list", statement))


async def change_stream(tx: Tx, company_id: str, stream_id: str, values: Mapping[str, Any]) -> Record:
    """The stream as it is after the change."""
    statement = (
        update(streams)
        .where((streams.c.company_id == company_id) & (streams.c.id == stream_id))
        .values(**values)
        .returning(*streams.c)
    )
    row = await tx.row(*compose("streams.change", statement))
    assert row is not None
    return row


async def delete_stream(tx: Tx, company_id: str, stream_id: str) -> None:
    """The stream and its positions are gone."""
    gone = streams.delete().where((streams.c.company_id == company_id) & (streams.c.id == stream_id))
    await tx.run(*compose("streams.delete", gone))


async def positions(db: Connection, company_id: str, stream_id: str) -> list[Record]:
    """How far the stream has come in every workspace, by part."""
    c = stream_positions.c
    statement = select(*c).where((c.company_id == company_id) & (c.stream_id == stream_id))
    return await db.rows(*compose("streams.positions", statement))


async def place(
    tx: Tx,
    company_id: str,
    stream_id: str,
    part: str,
    marks: Mapping[str, tuple[int, datetime]],
    ends: Mapping[str, int],
) -> None:
    """That part of the stream begins at these marks, and goes to these seqs where it has an end."""
    await tx.run(
        _PLACE,
        company_id,
        stream_id,
        part,
        list(marks),
        [seq for seq, _ in marks.values()],
        [ends.get(name) for name in marks],
        [received_at for _, received_at in marks.values()],
    )


async def forget_part(tx: Tx, company_id: str, stream_id: str, part: str) -> None:
    """That part of the stream has no positions."""
    c = stream_positions.c
    gone = stream_positions.delete().where((c.company_id == company_id) & (c.stream_id == stream_id) & (c.part == part))
    await tx.run(*compose("streams.forget_part", gone))


async def move(tx: Tx, company_id: str, stream_id: str, part: str, marks: Mapping[str, tuple[int, datetime]]) -> None:
    """That part of the stream stands behind these marks, and never before where it stood."""
    await tx.run(
        _MOVE,
        company_id,
        stream_id,
        part,
        list(marks),
        [seq for seq, _ in marks.values()],
        [received_at for _, received_at in marks.values()],
    )


async def count_sent(
    tx: Tx, company_id: str, stream_id: str, *, live: int, backfilled: int, rest: timedelta, whole_batch: int
) -> None:
    """So many more were sent, the stream works, and rests before its next turn; batches grow back to whole ones."""
    await tx.run(_SENT, company_id, stream_id, live, backfilled, rest, whole_batch)


async def count_failure(tx: Tx, company_id: str, stream_id: str, *, reason: str, state: str, rest: timedelta) -> bool:
    """Whether the stream is there still; it failed once more, is in that state unless paused, and rests."""
    return count_of(await tx.run(_FAILED, company_id, stream_id, reason, state, rest)) == 1


async def due_everywhere(db: Connection, limit: int) -> list[Record]:
    """Streams that have something to send and may, those that wait longest first: id and company."""
    return await db.rows(_DUE, limit)


async def count_aside(db: Connection, company_id: str, stream_id: str) -> int:
    """How many events of the stream are put aside."""
    found: int = await db.value(_COUNT_ASIDE, company_id, stream_id)
    return found


async def list_aside(db: Connection, company_id: str, stream_id: str) -> list[Record]:
    """The events of the stream that are put aside, in the order of their receipt."""
    c = stream_refusals.c
    mine = (c.company_id == company_id) & (c.stream_id == stream_id)
    return await db.rows(*compose("streams.aside", select(*c).where(mine).order_by(c.received_at, c.seq)))


async def put_aside(
    tx: Tx, company_id: str, stream_id: str, event_id: str, place: tuple[str, int, datetime], reason: str
) -> None:
    """The event is put aside; `place` is its workspace, seq and time."""
    await tx.run(_PUT_ASIDE, company_id, stream_id, event_id, *place, reason)


async def ask_aside(tx: Tx, company_id: str, stream_id: str, event_ids: Sequence[str] | None) -> int:
    """These, or all events that are put aside, are to be sent again; how many were not asked for before."""
    return count_of(await tx.run(_ASK, company_id, stream_id, event_ids))


async def forget_aside(tx: Tx, company_id: str, stream_id: str, event_ids: Sequence[str] | None) -> int:
    """These, or all events that are put aside, are on record no more; how many."""
    return count_of(await tx.run(_FORGET, company_id, stream_id, event_ids))


async def next_asked(db: Connection, company_id: str, stream_id: str) -> Record | None:
    """The oldest event of the stream that is to be sent again."""
    return await db.row(_NEXT_ASKED, company_id, stream_id)


async def asked_everywhere(db: Connection, limit: int) -> list[Record]:
    """Streams with events that are to be sent again: id and company."""
    return await db.rows(_ASKED, limit)


async def sent_again(tx: Tx, company_id: str, stream_id: str, event_id: str) -> None:
    """The event went out, and is put aside no more."""
    await tx.run(_SENT_AGAIN, company_id, stream_id, event_id)


async def refused_again(tx: Tx, company_id: str, stream_id: str, event_id: str, *, reason: str, ends_all: bool) -> None:
    """The event stays put aside, for this reason; with `ends_all` no other of the stream is tried either."""
    await tx.run(_REFUSED_AGAIN, company_id, stream_id, event_id, reason, ends_all)


async def figures_everywhere(db: Connection, behind: timedelta) -> list[Record]:
    """By kind of destination: streams by state, the furthest behind, how many for longer than that, blocked, aside."""
    return await db.rows(_FIGURES, behind)


async def now_everywhere(db: Connection) -> datetime:
    """The database's moment."""
    found: datetime = await db.value(_NOW)
    return found
