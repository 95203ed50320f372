"""Where the events of a request are looked for: the index that leads, how far it is followed, and what is told of that.

In a workspace the filter leads that finds the fewest events, as far as counting to 10,000 along its index tells; the
others are looked for behind it. Over a company, time leads. A search is bounded by events and, for text, by bytes.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from mainstay.events.filters import Filters
from mainstay.events.queries import lists
from mainstay.events.tables import events
from mainstay.kernel.db import Connection, Database

MICROSECOND = timedelta(microseconds=1)
"""The smallest step of a stored time."""
LED_WINDOW = 3_000
"""Behind an index events lie scattered, each in another place of the table: fewer are looked at in the same time."""
_WEIGHED_TO = 10_000


async def scope_of(db: Database, company_id: str, filters: Filters, workspace_id: str | None) -> lists.Slice:
    """The events that a request is about, save the bounds on createdAt within a workspace."""
    lead = None if workspace_id is None else await _lightest(db, company_id, filters.leads(), workspace_id)

    def matches(columns: Any) -> Sequence[Any]:
        return filters.matches(columns, lead)

    bounds = filters.bounds() if workspace_id is None else []
    return lists.Slice(company_id, workspace_id, bounds, matches, lead=lead)


async def slice_of(
    db: Database, company_id: str, filters: Filters, workspace_id: str | None, *, window: int, window_bytes: int
) -> lists.Slice:
    """The events that a request is about; what has no index is looked for among `window` of them."""
    scope = await scope_of(db, company_id, filters, workspace_id)
    if workspace_id is not None:
        scope = scope.between(*await seq_range(db, company_id, filters, workspace_id))
    is_searched = bool(filters.matches(events.c, scope.lead))
    most = window if scope.lead is None else min(window, LED_WINDOW)
    return replace(scope, window=most if is_searched else None, window_bytes=window_bytes if filters.text else None)


async def seq_range(
    connection: Connection, company_id: str, filters: Filters, workspace_id: str
) -> tuple[int, int | None]:
    """The bounds on createdAt as the first seq and the one behind the last, None where nothing bounds it."""
    low, high = 1, None
    if filters.since is not None:
        low = await lists.first_seq_from(connection, company_id, workspace_id, filters.since)
    if filters.until is not None:
        high = await lists.first_seq_from(connection, company_id, workspace_id, filters.until + MICROSECOND)
    return low, high


async def _lightest(
    db: Database, company_id: str, leads: Sequence[tuple[str, str]], workspace_id: str
) -> tuple[str, str] | None:
    """The lead with the fewest events; of those with many, the first."""
    if len(leads) < 2:
        return leads[0] if leads else None
    weights = []
    async with db.begin(readonly=True) as tx:
        await tx.connection.execute("set local enable_sort = off")
        for lead in leads:
            led = lists.Slice(company_id, workspace_id, [], lambda _: [], lead=lead)
            weights.append(await lists.lead_weight_everywhere(tx, led, most=_WEIGHED_TO))
            if weights[-1] == 0:
                return lead
    return leads[weights.index(min(weights))]
