"""Statements of ingestion: which companies have rules, and the flags of events."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_MARKS = Sql(
    "templates.marks",
    """select company_id, version from mainstay.rule_marks
        where $1 or changed_at > mainstay.now() - interval '2 minutes'""",
)
_KEEP = Sql(
    "templates.keep_flags",
    """insert into mainstay.event_flags (workspace_id, seq, company_id, flags)
       select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::jsonb[]) on conflict do nothing""",
)
_FLAGS = Sql(
    "templates.flags",
    """select f.workspace_id, f.seq, f.flags from unnest($2::uuid[], $3::bigint[]) as wanted (workspace_id, seq)
         join mainstay.event_flags f using (workspace_id, seq) where f.company_id = $1""",
)
_PRUNE = Sql(
    "templates.prune_flags",
    """delete from mainstay.event_flags f using (
         select e.workspace_id, e.seq from mainstay.chain_starts s
           join mainstay.event_flags e on e.workspace_id = s.workspace_id and e.seq <= s.seq limit $1
       ) gone where f.workspace_id = gone.workspace_id and f.seq = gone.seq""",
)


async def marks_everywhere(db: Connection, *, all_of_them: bool) -> list[Record]:
    """The version of the rules of every company that ever had any, or of those changed within two minutes."""
    return await db.rows(_MARKS, all_of_them)


async def keep_flags_everywhere(tx: Tx, rows: Sequence[tuple[Any, ...]]) -> None:
    """Each event has its flags: (workspace, seq, company, flags as JSON)."""
    await tx.run(_KEEP, *(list(column) for column in zip(*rows, strict=True)))


async def flags_of(db: Connection, company_id: str, places: Sequence[tuple[str, int]]) -> list[Record]:
    """The flags of those of the events that have any."""
    return await db.rows(_FLAGS, company_id, [place[0] for place in places], [place[1] for place in places])


async def prune_flags_everywhere(db: Connection, *, limit: int) -> int:
    """Flags of events that left the table are gone, at most so many; how many."""
    return count_of(await db.run(_PRUNE, limit))
