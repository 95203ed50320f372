"""Every statement of the events room."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Uuid, and_, func, literal, or_, select, tuple_
from sqlalchemy.sql import ColumnElement, Select

from mainstay.events.tables import events
from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Record, Sql, Tx, compose

APPEND_COLUMNS = 24
_APPEND_ARGUMENTS = ", ".join(f"${n}" for n in range(1, APPEND_COLUMNS + 1))
_APPEND = Sql(
    "events.append",
    f"select * from mainstay.append_events({_APPEND_ARGUMENTS})",  # noqa: S608 - only numbered parameters
)
_ID_SLACK = timedelta(hours=1)

_CHAIN = Sql(
    "events.chain",
    """select * from mainstay.events where workspace_id = $1 and company_id = $2 and seq > $3 and seq <= $4
       order by seq limit $5""",
)
_HEAD = Sql(
    "events.head",
    "select seq, hash, received_at from mainstay.chain_heads where workspace_id = $1 and company_id = $2",
)
_ADD_CHECKPOINT = Sql(
    "events.add_checkpoint",
    """insert into mainstay.checkpoints (workspace_id, seq, company_id, hash, note) values ($1, $2, $3, $4, $5)
       on conflict do nothing""",
)
_CHECKPOINT_AT = Sql(
    "events.checkpoint_at",
    "select note from mainstay.checkpoints where workspace_id = $1 and company_id = $2 and seq = $3",
)
_CHECKPOINTS = Sql(
    "events.checkpoints",
    """select seq, hash, note, at from mainstay.checkpoints where workspace_id = $1 and company_id = $2 and seq < $3
       order by seq desc limit $4""",
)
_UNCHECKED = Sql(
    "events.heads_without_checkpoint",
    """select h.workspace_id, h.company_id from mainstay.chain_heads h where h.seq > 0 and not exists (
         select 1 from mainstay.checkpoints c where c.workspace_id = h.workspace_id and c.seq = h.seq)
       order by h.workspace_id limit $1""",
)
_SIGNING_KEYS = Sql(
    "events.signing_keys",
    "select name, public_key, private_key_sealed from mainstay.signing_keys order by created_at desc",
)
_ADD_SIGNING_KEY = Sql(
    "events.add_signing_key",
    """insert into mainstay.signing_keys (name, public_key, private_key_sealed) values ($1, $2, $3)
       on conflict do nothing""",
)
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


async def append_everywhere(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[Record]:
    """The rows are chained, stored, metered and fanned out, each in its own workspace; one outcome a row."""
    return await connection.rows(_APPEND, *(list(column) for column in zip(*rows, strict=True)))


async def find_event(
    connection: Connection, company_id: str, event_id: str, *, workspace_id: str | None = None
) -> Record | None:
    """The event of that id within the company, or within one workspace of it."""
    near = ids.time_of(event_id)
    conditions = [events.c.id == event_id, events.c.company_id == company_id]
    if workspace_id is not None:
        conditions.append(events.c.workspace_id == workspace_id)
    close = events.c.received_at.between(near - _ID_SLACK, near + _ID_SLACK)
    found = await connection.row(*compose("events.find", select(events).where(*conditions, close)))
    # A node whose clock is far off gives ids that lie outside; then every partition is asked.
    return found or await connection.row(*compose("events.find_anywhere", select(events).where(*conditions)))


async def chain_of(
    connection: Connection, company_id: str, workspace_id: str, *, after: int, until: int, limit: int
) -> list[Record]:
    """Events of one workspace in the order of the chain, after one seq and up to another."""
    return await connection.rows(_CHAIN, workspace_id, company_id, after, until, limit)


async def head_of(connection: Connection, company_id: str, workspace_id: str) -> Record | None:
    """Where the workspace's chain stands: seq, hash, received_at."""
    return await connection.row(_HEAD, workspace_id, company_id)


@dataclass(frozen=True, slots=True)
class Slice:
    """Which events a list is about: the scope, bounds that follow its order, and filters that may not.

    `matches` gives the filters as conditions on a set of columns.
    """

    company_id: str
    workspace_id: str | None
    bounds: Sequence[ColumnElement[bool]]
    matches: Callable[[Any], Sequence[ColumnElement[bool]]]
    ascending: bool = False

    def near(self, columns: Select[Any]) -> Select[Any]:
        """The scope within its bounds, before any filter."""
        scope = [events.c.company_id == self.company_id]
        if self.workspace_id is not None:
            scope.insert(0, events.c.workspace_id == self.workspace_id)
        return columns.where(*scope, *self.bounds)

    def order(self, columns: Any) -> list[Any]:
        """The order of the list: by seq in one workspace, by time, workspace and seq over a company."""
        keys = (
            [columns.seq] if self.workspace_id is not None else [columns.received_at, columns.workspace_id, columns.seq]
        )
        return [key.asc() if self.ascending else key.desc() for key in keys]


async def list_events_everywhere(
    connection: Connection, wanted: Slice, *, limit: int, offset: int = 0, window: int | None = None
) -> list[Record]:
    """Events of the slice in its order; with a window, found among that many of the next events within its bounds."""
    if window is None:
        statement = wanted.near(select(events)).where(*wanted.matches(events.c))
        statement = statement.order_by(*wanted.order(events.c)).limit(limit).offset(offset)
        return await connection.rows(*compose("events.list", statement))
    near = wanted.near(select(events)).order_by(*wanted.order(events.c)).limit(window).subquery("near")
    found = select(near).where(*wanted.matches(near.c)).order_by(*wanted.order(near.c)).limit(limit).offset(offset)
    return await connection.rows(*compose("events.search", found))


async def find_edge_everywhere(connection: Connection, wanted: Slice, *, window: int) -> Record | None:
    """The last event inside the window of a search; None where the bounds hold fewer events."""
    statement = wanted.near(select(events.c.workspace_id, events.c.seq, events.c.received_at))
    statement = statement.order_by(*wanted.order(events.c)).offset(window - 1).limit(1)
    return await connection.row(*compose("events.search_edge", statement))


async def count_events_everywhere(connection: Connection, wanted: Slice, *, most: int) -> int:
    """How many events the slice has, counted no further than `most`."""
    inner = wanted.near(select(events.c.seq)).where(*wanted.matches(events.c)).limit(most).subquery("counted")
    found: int = await connection.value(*compose("events.count", select(func.count()).select_from(inner)))
    return found


def beyond(position: list[Any], workspace_id: str | None, *, ascending: bool) -> ColumnElement[bool]:
    """What comes after a position of the list: [seq] in one workspace, [time, workspace, seq] over a company."""
    if workspace_id is not None:
        by_seq: ColumnElement[bool] = events.c.seq > position[0] if ascending else events.c.seq < position[0]
        return by_seq
    moment = datetime.fromisoformat(position[0])
    here, there = (
        tuple_(events.c.workspace_id, events.c.seq),
        tuple_(literal(position[1], Uuid(as_uuid=False)), position[2]),
    )
    if ascending:
        after: ColumnElement[bool] = and_(
            events.c.received_at >= moment, or_(events.c.received_at > moment, here > there)
        )
        return after
    before: ColumnElement[bool] = and_(events.c.received_at <= moment, or_(events.c.received_at < moment, here < there))
    return before


async def add_checkpoint(
    connection: Connection, company_id: str, workspace_id: str, *, seq: int, event_hash: bytes, note: str
) -> None:
    """The checkpoint is kept; the first one of a seq stays."""
    await connection.run(_ADD_CHECKPOINT, workspace_id, seq, company_id, event_hash, note)


async def checkpoint_at(connection: Connection, company_id: str, workspace_id: str, seq: int) -> str | None:
    """The note kept for exactly that seq."""
    note: str | None = await connection.value(_CHECKPOINT_AT, workspace_id, company_id, seq)
    return note


async def checkpoints_of(
    connection: Connection, company_id: str, workspace_id: str, *, before: int, limit: int
) -> list[Record]:
    """Kept checkpoints, newest first."""
    return await connection.rows(_CHECKPOINTS, workspace_id, company_id, before, limit)


async def unchecked_heads_everywhere(connection: Connection, limit: int) -> list[Record]:
    """Workspaces whose newest event no checkpoint covers yet."""
    return await connection.rows(_UNCHECKED, limit)


async def signing_keys_everywhere(connection: Connection) -> list[Record]:
    """Every key that ever signed checkpoints, newest first."""
    return await connection.rows(_SIGNING_KEYS)


async def add_signing_key_everywhere(connection: Connection, name: str, public_key: bytes, sealed: bytes) -> None:
    """The key is kept unless one of that name is there."""
    await connection.run(_ADD_SIGNING_KEY, name, public_key, sealed)


async def sample_everywhere(tx: Tx, oldest: timedelta) -> None:
    """What every chain grew by since it was last counted is added to its company's minutes, one counter at a time."""
    await tx.run(_LOCK_SAMPLES)
    await tx.run(_SAMPLE, oldest)


async def per_minute(connection: Connection, company_id: str, minutes: int) -> list[Record]:
    """The company's newest minutes with their counts, oldest first."""
    return await connection.rows(_PER_MINUTE, company_id, minutes)
