"""Statements of lists of events: what a list is about, its pages, and where a time stands in a chain."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Any

from sqlalchemy import BigInteger, Uuid, and_, func, literal, or_, select, tuple_
from sqlalchemy.sql import ColumnElement, Select

from mainstay.events.tables import chain_heads, events
from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Record, Sql, compose

_ID_SLACK = timedelta(hours=1)
_BODIES = ("payload", "metadata", "changes")
_TEXTS = ("action", "actor_id", "actor_email", "actor_name", "target_id", *_BODIES)
_FIXED_BYTES = 1_024
"""About what an event takes in an answer beside its texts."""
_BEHIND_ALL = 2**62
# seq and time rise together in a chain, so halving finds the place of a moment in some thirty steps; what is not
# kept any more lies before every moment.
_FIRST_SEQ_FROM = Sql(
    "events.first_seq_from",
    """with recursive search(low, high) as (
         select 0::bigint, h.seq + 1 from mainstay.chain_heads h where h.workspace_id = $1 and h.company_id = $2
         union all
         select case when e.received_at >= $3 then s.low else (s.low + s.high) / 2 end,
                case when e.received_at >= $3 then (s.low + s.high) / 2 else s.high end
           from search s left join lateral (
                  select received_at from mainstay.events
                   where workspace_id = $1 and seq = (s.low + s.high) / 2 limit 1) e on true
          where s.high - s.low > 1
       )
       select high from search order by high - low limit 1""",
)
# Asked in a transaction of its own, before the one that reads: what has ended by then is seen there, what is
# still running or begins later stores nothing below the answer. A transaction shows up some moments after its time.
_CERTAIN_UNTIL = Sql(
    "events.certain_until",
    """select mainstay.now() - greatest($1::interval, max(own.xact_start - a.xact_start))
         from pg_stat_activity a, (select xact_start from pg_stat_activity where pid = pg_backend_pid()) own
        where a.datname = current_database() and a.xact_start is not null
          and a.backend_type is distinct from 'autovacuum worker'""",
)


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


async def first_seq_from(connection: Connection, company_id: str, workspace_id: str, moment: datetime) -> int:
    """The seq of the workspace's first event stored at that moment or later; the next free one where there is none."""
    found: int | None = await connection.value(_FIRST_SEQ_FROM, workspace_id, company_id, moment)
    return found or 1


async def certain_until_everywhere(connection: Connection, slack: timedelta) -> datetime:
    """No event will be stored any more with an earlier time: the start of the oldest transaction that runs."""
    found: datetime = await connection.value(_CERTAIN_UNTIL, slack)
    return found


@dataclass(frozen=True, slots=True)
class Slice:
    """Which events a list is about: the scope, bounds that an index follows in its order, and filters that it does not.

    Within a workspace `lead` names the column, with its value, whose index gives the events in the order of seq; `low`
    and `high` bound seq, `high` itself left out. `matches` gives the other filters as conditions on a set of columns;
    `window` and `window_bytes` say among how many of the next events within the bounds they are looked for.
    """

    company_id: str
    workspace_id: str | None
    bounds: Sequence[ColumnElement[bool]]
    matches: Callable[[Any], Sequence[ColumnElement[bool]]]
    ascending: bool = False
    window: int | None = None
    window_bytes: int | None = None
    lead: tuple[str, str] | None = None
    low: int = 0
    high: int = _BEHIND_ALL

    def between(self, low: int, high: int | None) -> "Slice":
        """The same from one seq on, and below another."""
        return replace(self, low=max(self.low, low), high=self.high if high is None else min(self.high, high))

    def near(self, columns: Select[Any]) -> Select[Any]:
        """The scope within its bounds, before any filter."""
        if self.workspace_id is None:
            return columns.where(events.c.company_id == self.company_id, *self.bounds)
        # Asked once of the chain's head: asked of the events themselves, it can lead the planner through the whole
        # company to find the few of a small workspace.
        of_company = (chain_heads.c.workspace_id == self.workspace_id) & (chain_heads.c.company_id == self.company_id)
        is_theirs = select(literal(1)).select_from(chain_heads).where(of_company).exists()
        return columns.where(events.c.workspace_id == self.workspace_id, is_theirs, *self._seqs(), *self.bounds)

    def _seqs(self) -> list[ColumnElement[bool]]:
        if self.lead is None:
            return [events.c.seq >= self.low, events.c.seq < self.high]
        # As a range of the lead's index. As an equality it would leave the planner free to walk the whole workspace by
        # seq in the hope of meeting the value soon, which takes seconds where the value is rare.
        name, value = self.lead
        place, exact = tuple_(events.c[name], events.c.seq), literal(value, events.c[name].type)
        low, high = (tuple_(exact, literal(seq, BigInteger)) for seq in (self.low, self.high))
        # Not null is said for the planner, which does not conclude it from a range: some of these indexes leave it out.
        return [place >= low, place < high, events.c[name].is_not(None)]

    def in_order(self, columns: Select[Any]) -> Select[Any]:
        """The same in the order of the list."""
        keys = self.order(events.c)
        if self.lead is not None:
            first = events.c[self.lead[0]]
            keys = [first.asc() if self.ascending else first.desc(), *keys]
        return self.near(columns).order_by(*keys)

    def order(self, columns: Any) -> list[Any]:
        """The order of the list: by seq in one workspace, by time, workspace and seq over a company."""
        keys = (
            [columns.seq] if self.workspace_id is not None else [columns.received_at, columns.workspace_id, columns.seq]
        )
        return [key.asc() if self.ascending else key.desc() for key in keys]

    def found(self, limit: int, offset: int = 0) -> Select[Any]:
        """The events that match, in the order of the list."""
        if self.window is None:
            return self.in_order(select(events)).where(*self.matches(events.c)).limit(limit).offset(offset)
        near = self._windowed(select(events))
        found = select(*(near.c[column.name] for column in events.c)).where(*self.matches(near.c))
        return found.order_by(*self.order(near.c)).limit(limit).offset(offset)

    def counted(self, most: int) -> Select[Any]:
        """A row for each event that matches, up to so many; in order, so that the same index is followed."""
        one = literal(1).label("one")
        if self.window is None:
            return self.in_order(select(one)).where(*self.matches(events.c)).limit(most)
        near = self._windowed(select(events))
        return select(one).where(*self.matches(near.c)).limit(most)

    def edge(self) -> Select[Any]:
        """The position of the event that fills the window, where there are so many."""
        keys = (events.c.workspace_id, events.c.seq, events.c.received_at)
        if self.window_bytes is None:
            return self.in_order(select(*keys)).offset((self.window or 1) - 1).limit(1)
        near = self._windowed(select(*keys))
        full = or_(near.c.number == self.window, near.c.bytes_until >= self.window_bytes)
        return select(near).where(full).order_by(*self.order(near.c)).limit(1)

    def _windowed(self, columns: Select[Any]) -> Any:
        if self.window_bytes is None:
            return self.in_order(columns).limit(self.window).subquery("near")
        size = _bytes_of(events.c, _BODIES)
        order: Any = {"order_by": self.order(events.c), "rows": (None, 0)}
        numbered = columns.add_columns(
            size.label("bytes"),
            func.sum(size).over(**order).label("bytes_until"),
            func.row_number().over(order_by=order["order_by"]).label("number"),
        )
        near = self.in_order(numbered).limit(self.window).subquery("numbered")
        return select(near).where(near.c.bytes_until - near.c.bytes < self.window_bytes).subquery("near")


def _bytes_of(columns: Any, names: Sequence[str]) -> ColumnElement[int]:
    """How long the texts are together; PostgreSQL knows it of each without reading it."""
    sizes: list[ColumnElement[int]] = [func.coalesce(func.octet_length(columns[name]), 0) for name in names]
    return reduce(add, sizes)


async def list_events_everywhere(
    connection: Connection, wanted: Slice, *, limit: int, offset: int = 0, most_bytes: int
) -> list[Record]:
    """Events of the slice in its order, to the first that passes that many bytes; each with its `bytes`."""
    picked = wanted.found(limit, offset).subquery("picked")
    size = _bytes_of(picked.c, _TEXTS) + _FIXED_BYTES
    until = func.sum(size).over(order_by=wanted.order(picked.c), rows=(None, 0))
    measured = select(picked, size.label("bytes"), until.label("bytes_until")).subquery("measured")
    within = measured.c.bytes_until - measured.c.bytes <= most_bytes
    statement = select(measured).where(within).order_by(*wanted.order(measured.c))
    return await connection.rows(*compose("events.list", statement))


async def find_edge_everywhere(connection: Connection, wanted: Slice) -> Record | None:
    """The last event inside the window of a search; None where the bounds hold fewer events."""
    return await connection.row(*compose("events.search_edge", wanted.edge()))


async def looked_at_everywhere(connection: Connection, wanted: Slice) -> Record:
    """How many events the slice has before any filter, counted no further than its window, and the times they span."""
    keys = wanted.in_order(select(events.c.received_at)).limit(wanted.window).subquery("near")
    at = keys.c.received_at
    statement = select(func.count().label("events"), func.min(at).label("since"), func.max(at).label("until"))
    found = await connection.row(*compose("events.looked_at", statement.select_from(keys)))
    assert found is not None
    return found


async def find_last_everywhere(connection: Connection, wanted: Slice) -> Record | None:
    """The last event of an ascending slice before any filter: its workspace, seq and time."""
    keys = (events.c.workspace_id, events.c.seq, events.c.received_at)
    return await connection.row(
        *compose("events.last", replace(wanted, ascending=False).in_order(select(*keys)).limit(1))
    )


async def lead_weight_everywhere(connection: Connection, wanted: Slice, *, most: int) -> int:
    """How many events a lead's index has for the slice, counted no further than `most`."""
    one = wanted.in_order(select(literal(1).label("one"))).limit(most).subquery("one")
    found: int = await connection.value(*compose("events.lead_weight", select(func.count()).select_from(one)))
    return found


async def count_events_everywhere(connection: Connection, wanted: Slice, *, most: int) -> int:
    """How many events the slice has, counted no further than `most`, and no further than its window."""
    counted = select(func.count()).select_from(wanted.counted(most).subquery("counted"))
    found: int = await connection.value(*compose("events.count", counted))
    return found


def stored_before(moment: datetime) -> ColumnElement[bool]:
    """What was stored before that moment."""
    return events.c.received_at < moment


def beyond(wanted: Slice, position: list[Any]) -> Slice:
    """What comes after a position of the list: [seq] in one workspace, [time, workspace, seq] over a company."""
    if wanted.workspace_id is not None:
        seq = position[0]
        return wanted.between(seq + 1, None) if wanted.ascending else wanted.between(0, seq)
    moment = datetime.fromisoformat(position[0])
    here, there = (
        tuple_(events.c.workspace_id, events.c.seq),
        tuple_(literal(position[1], Uuid(as_uuid=False)), position[2]),
    )
    if wanted.ascending:
        after: ColumnElement[bool] = and_(
            events.c.received_at >= moment, or_(events.c.received_at > moment, here > there)
        )
        return replace(wanted, bounds=[*wanted.bounds, after])
    before: ColumnElement[bool] = and_(events.c.received_at <= moment, or_(events.c.received_at < moment, here < there))
    return replace(wanted, bounds=[*wanted.bounds, before])


def up_to(wanted: Slice, position: list[Any]) -> Slice:
    """What comes no later in the list than a position of it, which is written as in `beyond`."""
    if wanted.workspace_id is not None:
        seq = position[0]
        return wanted.between(0, seq + 1) if wanted.ascending else wanted.between(seq, None)
    moment = datetime.fromisoformat(position[0])
    here = tuple_(events.c.workspace_id, events.c.seq)
    there = tuple_(literal(position[1], Uuid(as_uuid=False)), position[2])
    if wanted.ascending:
        within = and_(events.c.received_at <= moment, or_(events.c.received_at < moment, here <= there))
    else:
        within = and_(events.c.received_at >= moment, or_(events.c.received_at > moment, here >= there))
    return replace(wanted, bounds=[*wanted.bounds, within])
