"""Statements of the live tail: what workspaces have that is newer, and the register of open tails."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from mainstay.kernel.db import Connection, Record, Sql, count_of

# The heads tell which workspaces have anything new, so that an idle one costs one look at its head, and each of the
# others has an equal share of what is read, so that no more than about that is sorted. The first events of every
# workspace come before the second ones: where bytes end the answer, each still has the next of its own.
_NEWER = Sql(
    "events.tail_newer",
    """with ahead as materialized (
         select t.workspace_id, t.seq, t.received_at
           from unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) as t (workspace_id, seq, received_at)
           join mainstay.chain_heads h on h.workspace_id = t.workspace_id and h.seq > t.seq
       ), share as materialized (
         select ceil($4::float8 / greatest(count(*), 1))::bigint as most from ahead
       ), near as (
         select e.*, row_number() over (partition by e.workspace_id order by e.seq) as number,
                coalesce(octet_length(e.payload), 0) + coalesce(octet_length(e.metadata), 0)
                  + coalesce(octet_length(e.changes), 0) + 1024 as bytes
           from ahead t
          cross join lateral (
                select * from mainstay.events e
                 where e.workspace_id = t.workspace_id and e.seq > t.seq and e.received_at >= t.received_at
                 order by e.seq limit (select most from share)) e
       ), measured as (
         select *, sum(bytes) over (order by number, workspace_id rows unbounded preceding) as bytes_until from near
       )
       select measured.*, share.most as share from measured cross join share
        where bytes_until - bytes < $5 order by number, workspace_id""",
)
_OPEN = Sql("events.tail_open", "select * from mainstay.open_tail($1, $2, $3, $4, $5, $6, $7)")
_CLOSE = Sql("events.tail_close", "delete from mainstay.tail_streams where company_id = $1 and id = $2")
_STANDING = Sql("events.tail_standing", "select id, key_works from mainstay.standing_tails($1)")
_SEE = Sql(
    "events.tail_see",
    "update mainstay.tail_streams set seen_at = mainstay.now() where node_id = $1 and id = any($2::uuid[])",
)
_CLEAN = Sql("events.tail_clean", "delete from mainstay.tail_streams where seen_at < mainstay.now() - $1::interval")


async def newer_everywhere(
    db: Connection,
    workspace_ids: Sequence[str],
    seqs: Sequence[int],
    times: Sequence[datetime],
    *,
    limit: int,
    most_bytes: int,
) -> list[Record]:
    """What each workspace has behind its seq, which was stored at that time or later; each workspace's in order.

    `limit` events in all, of each workspace that has any its equal `share` (at least one), and to the first that
    passes `most_bytes`. `number` counts the events of a workspace.
    """
    return await db.rows(_NEWER, workspace_ids, seqs, times, limit, most_bytes)


async def open_tail(
    db: Connection,
    company_id: str,
    tail_id: str,
    *,
    workspace_id: str,
    key_id: str,
    node_id: str,
    most: int,
    age: timedelta,
) -> Record:
    """The tail is in the register, unless the company has `most` that were seen within that age: `opened`.

    With `seq` and `received_at` of the workspace's newest event, None where there never was one.
    """
    row = await db.row(_OPEN, company_id, tail_id, workspace_id, key_id, node_id, most, age)
    assert row is not None
    return row


async def close_tail(db: Connection, company_id: str, tail_id: str) -> None:
    """The tail is in the register no more."""
    await db.run(_CLOSE, company_id, tail_id)


async def standing_everywhere(db: Connection, node_id: str) -> dict[str, bool]:
    """The tails of a node that nobody has ended, and whether the key of each works."""
    return {str(row["id"]): row["key_works"] for row in await db.rows(_STANDING, node_id)}


async def see_everywhere(db: Connection, node_id: str, tail_ids: Sequence[str]) -> None:
    """These tails of the node were alive just now."""
    await db.run(_SEE, node_id, tail_ids)


async def clean_everywhere(db: Connection, age: timedelta) -> int:
    """Tails not seen for that long are in the register no more; how many."""
    return count_of(await db.run(_CLEAN, age))
