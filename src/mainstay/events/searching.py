"""Where the events of a request are looked for: the scope, and bounds that an index follows."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from mainstay.events.filters import Filters
from mainstay.events.queries import lists
from mainstay.kernel.db import Database

MICROSECOND = timedelta(microseconds=1)
"""The smallest step of a stored time."""


def scope_of(company_id: str, filters: Filters, workspace_id: str | None) -> lists.Slice:
    """The events that a request is about, save the bounds on createdAt within a workspace."""
    bounds = filters.bounds() if workspace_id is None else filters.lead(workspace_id)

    def matches(columns: Any) -> Sequence[Any]:
        return filters.matches(columns, workspace_id)

    return lists.Slice(company_id, workspace_id, bounds, matches)


async def seq_range(db: Database, company_id: str, filters: Filters, workspace_id: str) -> tuple[int, int | None]:
    """The bounds on createdAt as the first seq and the one behind the last, None where nothing bounds it."""
    low, high = 1, None
    if filters.since is not None:
        low = await lists.first_seq_from(db, company_id, workspace_id, filters.since)
    if filters.until is not None:
        high = await lists.first_seq_from(db, company_id, workspace_id, filters.until + MICROSECOND)
    return low, high
