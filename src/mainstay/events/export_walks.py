"""Ways through the events of an export: a workspace by seq, a company by time up to the heads of one moment."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from mainstay.events import searching
from mainstay.events.filters import Filters
from mainstay.events.queries import chains, lists
from mainstay.events.queries import exporting as rows
from mainstay.events.queries.exporting import Heads
from mainstay.events.reading import SETTLING
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Tx

WIDEST: Final = 50_000
"""Events that one step looks through at most where a filter has no index."""
WIDEST_LED: Final = 1_000_000
"""Seqs that one step covers at most where an index leads to what the filter wants."""


@dataclass(frozen=True, slots=True)
class Step:
    """Some of the events, and where the walk stands behind them."""

    slice: lists.Slice
    place: Any


class Walk(Protocol):
    """A way through the events of an export: `whole` is all of it, `at_most` bounds how many events that are.

    `place` is where it stands; put back, it goes on from there again.
    """

    whole: lists.Slice
    at_most: int
    widest: int
    place: Any

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        ...

    async def next(self, tx: Tx, width: int) -> Step:
        """The next events, among `width` of the scope; the walk stays where it is."""
        ...

    def pass_on(self, step: Step) -> None:
        """The walk stands behind that step."""
        ...


async def begin(db: Database, company_id: str, filters: Filters, workspace_id: str | None) -> Walk:
    """The way through everything that is stored at this moment, in a company or one workspace of it."""
    scope = await searching.scope_of(db, company_id, filters, workspace_id)
    if workspace_id is None:
        certain = await lists.certain_until_everywhere(db, SETTLING)
        return _ByTime(scope, certain, await rows.heads_of(db, company_id, since=certain))
    head = await chains.head_of(db, company_id, workspace_id)
    low, high = await searching.seq_range(db, company_id, filters, workspace_id)
    behind = 1 if head is None else head["seq"] + 1
    return _BySeq(scope, low, behind if high is None else min(high, behind))


class _BySeq:
    """Through one workspace by seq, which is the order of its commits."""

    def __init__(self, scope: lists.Slice, low: int, high: int) -> None:
        self._scope = scope
        self.place: Any = low
        self._high = high
        self.whole = self._between(low, high)
        self.at_most = max(0, high - low)
        self.widest = WIDEST_LED if scope.lead else WIDEST

    @property
    def is_over(self) -> bool:
        return bool(self.place >= self._high)

    async def next(self, tx: Tx, width: int) -> Step:
        high = min(self.place + width, self._high)
        return Step(self._between(self.place, high), high)

    def pass_on(self, step: Step) -> None:
        self.place = step.place

    def _between(self, low: int, high: int) -> lists.Slice:
        return replace(self._scope, ascending=True).between(low, high)


class _ByTime:
    """Through a company by time: first what was certainly stored, then what the heads of the moment cover."""

    def __init__(self, scope: lists.Slice, certain: datetime, heads: Heads) -> None:
        settled = [lists.stored_before(certain)]
        parts = [settled]
        if heads.workspaces and heads.last_at is not None:
            until = lists.stored_before(heads.last_at + searching.MICROSECOND)
            parts.append([rows.stored_from(certain), until, rows.within(heads)])
        self._scope = scope
        self._parts = tuple(parts)
        self.place: Any = (0, None)
        self.widest = WIDEST
        self.at_most = heads.events
        self.whole = self._bounded(rows.either(parts))

    @property
    def is_over(self) -> bool:
        return bool(self.place[0] == len(self._parts))

    async def next(self, tx: Tx, width: int) -> Step:
        part, position = self.place
        rest = self._bounded(self._parts[part])
        if position is not None:
            rest = lists.beyond(rest, position)
        edge = await rows.find_edge_everywhere(tx, rest, width=width)
        return Step(rest if edge is None else replace(rest, bounds=[*rest.bounds, rows.up_to(edge)]), edge)

    def pass_on(self, step: Step) -> None:
        part, row = self.place[0], step.place
        if row is None:
            self.place = (part + 1, None)
        else:
            self.place = (part, [iso(row["received_at"]), str(row["workspace_id"]), row["seq"]])

    def _bounded(self, bounds: Sequence[Any]) -> lists.Slice:
        return replace(self._scope, bounds=[*self._scope.bounds, *bounds], ascending=True)
