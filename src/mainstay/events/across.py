"""A company's events over all regions: one list, merged from what each region's database holds.

Time leads, then workspace and seq, each as the database stored it. A region that does not answer is left out and said
so; the cursor keeps its place, so that its events come, late but all, once it answers again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mainstay.events.filters import Filters
from mainstay.events.queries import chains
from mainstay.events.reading import PAGE_BYTES, Page, Reader, Searched
from mainstay.kernel.db import Database, Record
from mainstay.kernel.errors import Fault, Invalid, Unavailable
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import REGIONS, Regions

_OVER = ""
"""The place in a region that had nothing to tell of when the list began, newest first: it is not asked again."""
Key = tuple[datetime, str, int]
"""The place of an event in the list."""


@dataclass(frozen=True, slots=True)
class AnsweringRegion:
    """Whether a region answered, and how many events were ever stored in its database, which regions may share."""

    region: str
    answered: bool
    shares_with: Sequence[str] = ()
    events: int | None = None


@dataclass(frozen=True, slots=True)
class GlobalPage:
    """One page over all regions; `has_more` speaks of those that answered, the cursor of all."""

    rows: list[Record]
    next_cursor: str | None
    has_more: bool
    total: int
    total_is_floor: bool
    regions: list[AnsweringRegion]
    searched: Searched | None = None


class Across:
    """Reads a company's events in every region."""

    def __init__(self, regions: Regions, readers: Mapping[str, Reader], cursors: Cursors) -> None:
        self._regions = regions
        self._readers = readers
        self._cursors = cursors

    async def page(
        self, company_id: str, filters: Filters, *, limit: int, cursor: str | None = None, ascending: bool = False
    ) -> GlobalPage:
        """Up to `limit` events and 8 MiB, newest first unless ascending, from each region's place in the cursor.

        Invalid for a cursor of another list, and of a deployment whose regions lived elsewhere. Unavailable where no
        region answers.
        """
        scope = f"events/{company_id}/everywhere/{'up' if ascending else 'down'}"
        names = [name for name, _ in self._regions.all() if name in self._readers]
        places = dict.fromkeys(names) if cursor is None else _places_in(self._cursors.open(scope, cursor), names)
        found = await asyncio.gather(
            *(self._ask(name, company_id, filters, limit, places[name], ascending) for name in names)
        )
        pages = {name: page for name, page in zip(names, found, strict=True) if page is not None}
        if not pages:
            raise Unavailable
        merged = _merge(
            [
                _Part(name, page.rows, self._edge(name, company_id, page, ascending=ascending))
                for name, page in pages.items()
            ],
            limit,
            ascending=ascending,
        )
        for name, row in merged.last.items():
            places[name] = self._readers[name].cursor_at(company_id, row, ascending=ascending)
        for name in merged.passed:
            places[name] = pages[name].next_cursor
        if not ascending:
            places |= {name: _OVER for name, page in pages.items() if places[name] is None and not page.rows}
        is_whole = len(pages) == len(names)
        is_over = is_whole and not merged.has_more
        return GlobalPage(
            merged.rows,
            None if is_over else self._cursors.seal(scope, [[name, place] for name, place in places.items()]),
            merged.has_more,
            sum(page.total for page in pages.values()),
            not is_whole or any(page.total_is_floor for page in pages.values()),
            [AnsweringRegion(region, name in pages) for region, name in self._names().items()],
            Searched.together([page.searched for page in pages.values()]),
        )

    async def regions(self, company_id: str) -> list[AnsweringRegion]:
        """What each region holds of the company; no number where it does not answer."""

        async def ask(db: Database) -> int | None:
            try:
                return await chains.count_stored(db, company_id)
            except Unavailable:
                return None

        databases = self._regions.all()
        answers = await asyncio.gather(*(ask(db) for _, db in databases))
        counts = {name: answer for (name, _), answer in zip(databases, answers, strict=True)}
        return [
            AnsweringRegion(
                region,
                counts[name] is not None,
                [other for other, its in self._names().items() if its == name and other != region],
                counts[name],
            )
            for region, name in self._names().items()
        ]

    def _names(self) -> dict[str, str]:
        """For each region the name under which its database is listed."""
        names = {region: name for name, db in self._regions.all() for region in self._regions.names_on(db)}
        return {region: names[region] for region in REGIONS}

    async def _ask(
        self, name: str, company_id: str, filters: Filters, limit: int, cursor: str | None, ascending: bool
    ) -> Page | None:
        if cursor == _OVER:
            return Page([], None, 0, total_is_floor=False)
        try:
            return await self._readers[name].page(
                company_id, filters, workspace_id=None, limit=limit, cursor=cursor, ascending=ascending
            )
        except Unavailable:
            return None

    def _edge(self, name: str, company_id: str, page: Page, *, ascending: bool) -> Key | None:
        """How far the page of a region tells what is there; None to the end of its list."""
        if page.next_cursor is None:
            return None
        at, workspace_id, seq = self._readers[name].place_in(company_id, page.next_cursor, ascending=ascending)
        return datetime.fromisoformat(at), workspace_id, seq


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    rows: Sequence[Record]
    edge: Key | None


@dataclass(frozen=True, slots=True)
class _Merged:
    """The rows of the page; the last one of each region among them, and the regions that were told of to their edge."""

    rows: list[Record]
    last: dict[str, Record]
    passed: list[str]
    has_more: bool


def _merge(parts: Sequence[_Part], limit: int, *, ascending: bool) -> _Merged:
    """What comes first in all parts together, no further than the nearest edge: behind it an earlier one may follow."""
    sign = min if ascending else max
    edges = [part.edge for part in parts if part.edge is not None]
    until = sign(edges) if edges else None
    told = sorted(
        ((key_of(row), part.name, row) for part in parts for row in part.rows),
        key=lambda one: one[0],
        reverse=not ascending,
    )
    within = [one for one in told if until is None or sign(one[0], until) == one[0]]
    taken: list[tuple[Key, str, Record]] = []
    size = 0
    for one in within[:limit]:
        size += one[2]["bytes"]
        if taken and size > PAGE_BYTES:
            break
        taken.append(one)
    if len(taken) < len(within):
        until = taken[-1][0]
    last = {name: row for _, name, row in taken}
    passed = [
        part.name
        for part in parts
        if part.edge is not None and until is not None and sign(part.edge, until) == part.edge
    ]
    has_more = len(taken) < len(told) or bool(edges)
    return _Merged([row for _, _, row in taken], last, passed, has_more)


def key_of(row: Any) -> Key:
    """The place of an event in the list."""
    return row["received_at"], str(row["workspace_id"]), row["seq"]


def _places_in(position: Sequence[Any], names: Sequence[str]) -> dict[str, str | None]:
    places = {str(name): place for name, place in position}
    if sorted(places) != sorted(names):
        raise Invalid(
            "The regions live in other databases than when this cursor was given; begin anew.",
            faults=[Fault("was given for other databases", "cursor")],
        )
    return places
