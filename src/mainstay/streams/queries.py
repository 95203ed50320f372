"""Every SQL statement of the streams room."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of
from mainstay.streams.tables import stream_positions, streams

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
              next_turn_at = mainstay.now() + $5::interval, last_sent_at = mainstay.now()
        where company_id = $1 and id = $2""",
)
_FAILED = Sql(
    "streams.failed",
    """update mainstay.streams set failures = failures + 1, failing_since = coalesce(failing_since, mainstay.now()),
              reason = $3, state = case when state = 'paused' then state else $4 end,
              next_turn_at = mainstay.now() + $5::interval
        where company_id = $1 and id = $2""",
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


async def count_sent(tx: Tx, company_id: str, stream_id: str, *, live: int, backfilled: int, rest: timedelta) -> None:
    """So many more were sent, the stream works, and rests before its next turn."""
    await tx.run(_SENT, company_id, stream_id, live, backfilled, rest)


async def count_failure(tx: Tx, company_id: str, stream_id: str, *, reason: str, state: str, rest: timedelta) -> bool:
    """Whether the stream is there still; it failed once more, is in that state unless paused, and rests."""
    return count_of(await tx.run(_FAILED, company_id, stream_id, reason, state, rest)) == 1


async def due_everywhere(db: Connection, limit: int) -> list[Record]:
    """Streams that have something to send and may, those that wait longest first: id and company."""
    return await db.rows(_DUE, limit)


async def now_everywhere(db: Connection) -> datetime:
    """The database's moment."""
    found: datetime = await db.value(_NOW)
    return found
