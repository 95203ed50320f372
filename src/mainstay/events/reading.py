"""Lists of events: cursor and page, pages bounded by bytes, and totals that never count the whole."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from mainstay.events import searching
from mainstay.events.errors import EventNotFound
from mainstay.events.filters import Filters
from mainstay.events.queries import chains, lists
from mainstay.kernel import ids, paging
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors

TOTAL_EXACT_TO = 10_000
DEEPEST_PAGED_ROW = 10_000
SCAN_WINDOW = 20_000
SCAN_WINDOW_BYTES = 64 * 1024 * 1024
PAGE_BYTES = 8 * 1024 * 1024
SETTLING = timedelta(seconds=1)
# Every list follows an index in its order. Where few rows are expected the planner would rather read all of them and
# sort, which takes seconds where it is wrong.
_COUNT_TIMEOUT = "set local statement_timeout = '1s'; set local enable_sort = off"
_LIST_TIMEOUT = "set local statement_timeout = '10s'; set local enable_sort = off"
_NIL = "00000000-0000-0000-0000-000000000000"
_BEFORE_ALL = {"received_at": datetime(1970, 1, 1, tzinfo=UTC), "workspace_id": _NIL, "seq": 0}


@dataclass(frozen=True, slots=True)
class Searched:
    """Among which events a page looked for what no index finds: when the first and the last were stored, and how many.

    The times are None where there were none.
    """

    since: datetime | None
    until: datetime | None
    events: int

    @classmethod
    def together(cls, parts: Sequence["Searched | None"]) -> "Searched | None":
        """What several pages looked among, or None where none of them had to."""
        told = [part for part in parts if part is not None]
        if not told:
            return None
        since = [part.since for part in told if part.since is not None]
        until = [part.until for part in told if part.until is not None]
        return cls(min(since, default=None), max(until, default=None), sum(part.events for part in told))

    def told(self) -> dict[str, Any]:
        """The same as answers have it."""
        since, until = (None if at is None else iso(at) for at in (self.since, self.until))
        return {"from": since, "to": until, "events": self.events}


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its rows, the cursor behind them, and a total that is exact unless it is a floor.

    `searched` is None where indexes found all of it.
    """

    rows: list[Record]
    next_cursor: str | None
    total: int
    total_is_floor: bool
    searched: Searched | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """What a follower has not seen yet, oldest first, and the cursor to come back with."""

    rows: list[Record]
    cursor: str
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainPlace:
    """Where an event stands in its workspace's chain; a checkpoint at or behind it proves it, None until one does."""

    seq: int
    hash: str
    prev_hash: str
    head_seq: int
    checkpoint_seq: int | None
    checkpoint_at: datetime | None


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
        page: int | None = None,
        cursor: str | None = None,
        ascending: bool = False,
    ) -> Page:
        """One page of events, newest first unless ascending; up to `limit` and up to 8 MiB, but at least one.

        By cursor, what no index finds is looked for among at most 20,000 events a page (64 MiB for text): the page may
        then be short and still have a next cursor. By page number, no further than the first 10,000 events, and
        Invalid where the page is over 8 MiB. Ascending over a company, up to what is certain to be complete.
        """
        paging.check_limit(limit)
        if page is not None and cursor is None and (page < 1 or page * limit > DEEPEST_PAGED_ROW):
            raise Invalid(
                faults=[Fault(f"pages reach from 1 to event {DEEPEST_PAGED_ROW}; follow nextCursor from there", "page")]
            )
        scope = _scope(company_id, workspace_id, ascending=ascending)
        whole = await self._slice(company_id, filters, workspace_id)
        wanted = replace(whole, ascending=ascending)
        if ascending and workspace_id is None:
            wanted = await self._certain(wanted)
        if cursor is not None:
            wanted = lists.beyond(wanted, self._cursors.open(scope, cursor))
        offset = 0 if cursor is not None or page is None else (page - 1) * limit
        async with self._reading() as tx:
            found = await _read(tx, wanted, limit, offset)
            searched = None if wanted.window is None else await _searched(tx, wanted, found)
        if found.was_cut and page is not None and cursor is None:
            raise Invalid(
                faults=[Fault("the events of this page are over 8 MiB; ask for fewer or follow nextCursor", "limit")]
            )
        next_cursor = None if found.last is None else self._cursors.seal(scope, _position(found.last, workspace_id))
        total, is_floor = await self._total(whole, at_least=offset + len(found.rows))
        return Page(found.rows, next_cursor, total, is_floor, searched)

    async def follow(
        self, company_id: str, filters: Filters, *, workspace_id: str | None, limit: int, cursor: str | None = None
    ) -> Followed:
        """The newest events, or with a cursor those stored since then, oldest first; none is left out or told twice.

        Made to be asked each second: one short walk along an index, bounded as a page is, and no total. Over a
        company an event shows up about a second after it was stored, and waits for transactions that began before it.
        """
        paging.check_limit(limit)
        scope = _scope(company_id, workspace_id, ascending=True)
        wanted = await self._slice(company_id, filters, workspace_id)
        if workspace_id is None:
            wanted = await self._certain(wanted)
        position = _position(_BEFORE_ALL, workspace_id) if cursor is None else self._cursors.open(scope, cursor)
        if cursor is not None:
            wanted = lists.beyond(replace(wanted, ascending=True), position)
        async with self._reading() as tx:
            found = await _read(tx, wanted, limit, 0)
            last = found.last if cursor is not None else None
            has_more = last is not None
            last = last or await lists.find_last_everywhere(tx, replace(wanted, lead=None))
        rows = found.rows if cursor is not None else found.rows[::-1]
        position = position if last is None else _position(last, workspace_id)
        return Followed(rows, self._cursors.seal(scope, position), has_more)

    def cursor_at(self, company_id: str, row: Any, *, ascending: bool) -> str:
        """The cursor that goes on behind this event in the company's list."""
        return self._cursors.seal(_scope(company_id, None, ascending=ascending), _position(row, None))

    def place_in(self, company_id: str, cursor: str, *, ascending: bool) -> list[Any]:
        """Where a cursor of the company's list goes on: behind this time, workspace and seq."""
        return self._cursors.open(_scope(company_id, None, ascending=ascending), cursor)

    async def get(self, company_id: str, event_id: str, *, workspace_id: str | None) -> Record:
        """The event of that id in the scope, or EventNotFound."""
        if not ids.is_uuid(event_id):
            raise EventNotFound
        row = await lists.find_event(self._db, company_id, event_id, workspace_id=workspace_id)
        if row is None:
            raise EventNotFound
        return row

    async def place_of(self, row: Record) -> ChainPlace:
        """Where an event that was read stands in its chain, and which signed checkpoint covers it."""
        company_id, workspace_id = str(row["company_id"]), str(row["workspace_id"])
        head = await chains.head_of(self._db, company_id, workspace_id)
        checkpoint = await chains.find_checkpoint_from(self._db, company_id, workspace_id, row["seq"])
        return ChainPlace(
            seq=row["seq"],
            hash=row["hash"].hex(),
            prev_hash=row["prev_hash"].hex(),
            head_seq=row["seq"] if head is None else head["seq"],
            checkpoint_seq=None if checkpoint is None else checkpoint["seq"],
            checkpoint_at=None if checkpoint is None else checkpoint["at"],
        )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Tx]:
        async with self._db.begin(readonly=True, isolation="repeatable_read") as tx:
            await tx.connection.execute(_LIST_TIMEOUT)
            yield tx

    async def _slice(self, company_id: str, filters: Filters, workspace_id: str | None) -> lists.Slice:
        return await searching.slice_of(
            self._db, company_id, filters, workspace_id, window=SCAN_WINDOW, window_bytes=SCAN_WINDOW_BYTES
        )

    async def _certain(self, wanted: lists.Slice) -> lists.Slice:
        """The slice without what could still get an earlier neighbour."""
        until = await lists.certain_until_everywhere(self._db, SETTLING)
        return replace(wanted, bounds=[*wanted.bounds, lists.stored_before(until)])

    async def _total(self, whole: lists.Slice, *, at_least: int) -> tuple[int, bool]:
        try:
            async with self._db.begin(readonly=True, isolation="repeatable_read") as tx:
                await tx.connection.execute(_COUNT_TIMEOUT)
                count = await lists.count_events_everywhere(tx, whole, most=TOTAL_EXACT_TO + 1)
                is_cut = whole.window is not None and await lists.find_edge_everywhere(tx, whole) is not None
        except asyncpg.QueryCanceledError:
            return at_least, True
        total = min(max(count, at_least if is_cut else 0), TOTAL_EXACT_TO)
        return total, is_cut or count > TOTAL_EXACT_TO


@dataclass(frozen=True, slots=True)
class _Found:
    rows: list[Record]
    last: Any
    was_cut: bool


async def _read(tx: Tx, wanted: lists.Slice, limit: int, offset: int) -> _Found:
    """The rows of one page; `last` is the position to go on from, `was_cut` says that bytes ended it before `limit`."""
    rows = await lists.list_events_everywhere(tx, wanted, limit=limit + 1, offset=offset, most_bytes=PAGE_BYTES)
    size = 0
    for number, row in enumerate(rows):
        size += row["bytes"]
        if number == limit or (number and size > PAGE_BYTES):
            return _Found(rows[:number], rows[number - 1], number < limit)
    if size > PAGE_BYTES:
        return _Found(rows, rows[-1], was_cut=True)
    last = None if wanted.window is None else await lists.find_edge_everywhere(tx, wanted)
    return _Found(rows, last, was_cut=False)


async def _searched(tx: Tx, wanted: lists.Slice, found: _Found) -> Searched:
    """How far the page looked: as far as it goes on from, or to the end of the list."""
    if found.last is not None:
        wanted = lists.up_to(wanted, _position(found.last, wanted.workspace_id))
    row = await lists.looked_at_everywhere(tx, wanted)
    return Searched(row["since"], row["until"], row["events"])


def _scope(company_id: str, workspace_id: str | None, *, ascending: bool) -> str:
    return f"events/{company_id}/{workspace_id or ''}/{'up' if ascending else 'down'}"


def _position(row: Any, workspace_id: str | None) -> list[object]:
    if workspace_id is not None:
        return [row["seq"]]
    return [iso(row["received_at"]), str(row["workspace_id"]), row["seq"]]


async def head_seq(db: Connection, company_id: str, workspace_id: str) -> int:
    """The seq of the workspace's last event: how many it has ever stored."""
    head = await chains.head_of(db, company_id, workspace_id)
    return 0 if head is None else int(head["seq"])
