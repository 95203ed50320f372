"""Statements of those who carry a company's events on: where its chains stand, and what lies behind marks in them."""

from collections.abc import Sequence
from datetime import datetime

from mainstay.kernel.db import Connection, Record, Sql

_HEADS = Sql(
    "events.heads",
    """select workspace_id, seq, greatest(received_at, '1970-01-01Z') as received_at from mainstay.chain_heads
        where company_id = $1 and seq > 0 order by workspace_id""",
)
_BEHIND = Sql(
    "events.behind",
    """select coalesce(sum(h.seq - coalesce(t.seq, 0)), 0)::bigint as events, min(oldest.received_at) as oldest
         from mainstay.chain_heads h
         left join unnest($2::uuid[], $3::bigint[]) as t (workspace_id, seq) on t.workspace_id = h.workspace_id
         left join lateral (
                select e.received_at from mainstay.events e
                 where e.workspace_id = h.workspace_id and e.seq > coalesce(t.seq, 0) order by e.seq limit 1
              ) oldest on true
        where h.company_id = $1 and h.seq > coalesce(t.seq, 0)""",
)


async def heads_of(db: Connection, company_id: str) -> list[Record]:
    """Workspace, seq and time of the newest event of each workspace of the company that has any."""
    return await db.rows(_HEADS, company_id)


async def behind(
    db: Connection, company_id: str, workspace_ids: Sequence[str], seqs: Sequence[int]
) -> tuple[int, datetime | None]:
    """How many seqs of the company lie behind these marks, from the start where there is none; the first one's time."""
    row = await db.row(_BEHIND, company_id, workspace_ids, seqs)
    assert row is not None
    return row["events"], row["oldest"]
