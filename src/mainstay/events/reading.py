"""Lists of events: filters, cursor and page, and totals that never count the whole."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import or_
from sqlalchemy.sql import ColumnElement

from mainstay.events import queries
from mainstay.events.errors import EventNotFound
from mainstay.events.intake import parse_time
from mainstay.events.tables import events
from mainstay.kernel import ids, paging
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Record
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors

TOTAL_EXACT_TO = 10_000
DEEPEST_PAGED_ROW = 10_000
SCAN_WINDOW = 50_000
_EXACT = {
    "action": "action",
    "category": "category",
    "actorId": "actor_id",
    "actorEmail": "actor_email",
    "targetId": "target_id",
    "projectId": "project_id",
}
_SEARCHED = (
    "action",
    "actor_id",
    "actor_email",
    "actor_name",
    "target_id",
    "target_type",
    "payload",
    "metadata",
    "changes",
)
_INDEXED = frozenset({"action", "actorId"})
_COUNT_TIMEOUT = "set local statement_timeout = '1s'"
_LIST_TIMEOUT = "set local statement_timeout = '10s'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a list is asked for. `from`/`to` bound createdAt, `occurredFrom`/`occurredTo` occurredAt, both inclusive."""

    since: datetime | None = None
    until: datetime | None = None
    occurred_since: datetime | None = None
    occurred_until: datetime | None = None
    exact: dict[str, str] = field(default_factory=dict)
    text: str | None = None

    def is_indexed(self, workspace_id: str | None) -> bool:
        """Whether an index leads to every row asked for, so that nothing needs to be looked through."""
        reachable = _INDEXED if workspace_id is not None else frozenset[str]()
        return not (self.text or self.occurred_since or self.occurred_until or set(self.exact) - reachable)

    def bounds(self) -> list[ColumnElement[bool]]:
        """The bounds on createdAt, which follow the order of every list."""
        found: list[ColumnElement[bool]] = []
        if self.since:
            found.append(events.c.received_at >= self.since)
        if self.until:
            found.append(events.c.received_at <= self.until)
        return found

    def matches(self, columns: Any) -> list[ColumnElement[bool]]:
        """All other filters, as conditions on these columns."""
        found = [columns[_EXACT[name]] == value for name, value in self.exact.items()]
        if self.occurred_since:
            found.append(columns.occurred_at >= self.occurred_since)
        if self.occurred_until:
            found.append(columns.occurred_at <= self.occurred_until)
        if self.text:
            found.append(or_(*(columns[name].icontains(self.text, autoescape=True) for name in _SEARCHED)))
        return found


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its rows, the cursor behind them, and a total that is exact unless it is a floor."""

    rows: list[Record]
    next_cursor: str | None
    total: int
    total_is_floor: bool


def filters_of(query: Any) -> Filters:
    """The filters of query parameters; Invalid names each that is wrong."""
    faults: list[Fault] = []

    def time_of(name: str) -> datetime | None:
        text = query.get(name)
        if text is None:
            return None
        moment = parse_time(text + "T00:00:00Z" if len(text) == 10 else text)
        if moment is None:
            faults.append(Fault("must be a date or a time with a zone such as 2026-01-02T03:04:05Z", name))
        return moment

    exact = {name: query[name] for name in _EXACT if name in query}
    for name, value in (*exact.items(), ("text", query.get("text"))):
        if value is not None and (not 1 <= len(value) <= 512 or "\0" in value):
            faults.append(Fault("must have 1 to 512 characters, none of them NUL", name))
    found = Filters(
        since=time_of("from"),
        until=time_of("to"),
        occurred_since=time_of("occurredFrom"),
        occurred_until=time_of("occurredTo"),
        exact=exact,
        text=query.get("text"),
    )
    if found.since and found.until and found.since > found.until:
        faults.append(Fault("must not lie after 'to'", "from"))
    if faults:
        raise Invalid(faults=faults)
    return found


class Reader:
    """Reads events for one caller's scope: a company, or one workspace of it."""

    def __init__(self, db: Database, cursors: Cursors) -> None:
        self._db = db
        self._cursors = cursors

    async def page(
        self,
        company_id: str,
        filters: Filters,
        *,
        workspace_id: str | None,
        limit: int,
        page: int = 1,
        cursor: str | None = None,
        ascending: bool = False,
    ) -> Page:
        """One page of events, newest first unless ascending.

        By cursor, filters without an index look through at most 50,000 events a page: the page may then be short and
        still have a next cursor. By page number, no further than the first 10,000 events.
        """
        paging.check_limit(limit)
        direction = "up" if ascending else "down"
        scope = f"events/{company_id}/{workspace_id or ''}/{direction}"
        bounds = filters.bounds()
        if cursor is not None:
            page = 1
            bounds.append(queries.beyond(self._cursors.open(scope, cursor), workspace_id, ascending=ascending))
        elif page < 1 or page * limit > DEEPEST_PAGED_ROW:
            raise Invalid(
                faults=[Fault(f"pages reach from 1 to event {DEEPEST_PAGED_ROW}; follow nextCursor from there", "page")]
            )
        wanted = queries.Slice(company_id, workspace_id, bounds, filters.matches, ascending)
        window = None if filters.is_indexed(workspace_id) else SCAN_WINDOW
        offset = (page - 1) * limit
        async with self._db.begin(readonly=True, isolation="repeatable_read") as tx:
            await tx.connection.execute(_LIST_TIMEOUT)
            rows = await queries.list_events_everywhere(tx, wanted, limit=limit + 1, offset=offset, window=window)
            last = rows[limit - 1] if len(rows) > limit else None
            if last is None and window is not None:
                last = await queries.find_edge_everywhere(tx, wanted, window=window)
        rows = rows[:limit]
        next_cursor = None if last is None else self._cursors.seal(scope, _position(last, workspace_id))
        whole = queries.Slice(company_id, workspace_id, filters.bounds(), filters.matches)
        total, is_floor = await self._total(whole, at_least=offset + len(rows))
        return Page(rows, next_cursor, total, is_floor)

    async def _total(self, whole: queries.Slice, *, at_least: int) -> tuple[int, bool]:
        try:
            async with self._db.begin(readonly=True) as tx:
                await tx.connection.execute(_COUNT_TIMEOUT)
                count = await queries.count_events_everywhere(tx, whole, most=TOTAL_EXACT_TO + 1)
        except asyncpg.QueryCanceledError:
            return at_least, True
        return min(count, TOTAL_EXACT_TO), count > TOTAL_EXACT_TO

    async def get(self, company_id: str, event_id: str, *, workspace_id: str | None) -> Record:
        """The event of that id in the scope, or EventNotFound."""
        if not ids.is_uuid(event_id):
            raise EventNotFound
        row = await queries.find_event(self._db, company_id, event_id, workspace_id=workspace_id)
        if row is None:
            raise EventNotFound
        return row


def _position(row: Record, workspace_id: str | None) -> list[object]:
    if workspace_id is not None:
        return [row["seq"]]
    return [iso(row["received_at"]), str(row["workspace_id"]), row["seq"]]
