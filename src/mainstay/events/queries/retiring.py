"""Statements on events that leave: marks of retention and archive, where a stored chain begins, cutting before it."""

from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

# What may not leave the table whatever else says so is excluded here, in planning and in the act alike; h is the head.
_MAY_LEAVE = """not exists (select from mainstay.legal_holds l where l.company_id = h.company_id
                        and l.lifted_at is null and coalesce(l.workspace_id, h.workspace_id) = h.workspace_id)"""

_HEADS = Sql(
    "events.retiring_heads",
    f"""select h.workspace_id, h.company_id, h.seq, {_MAY_LEAVE} as may_leave from mainstay.chain_heads h
         where h.seq > 0 and ($1::uuid is null or h.workspace_id > $1) order by h.workspace_id limit $2""",  # noqa: S608
)
_MARK = Sql(
    "events.mark_candidates",
    """with marked as (
         update mainstay.events e set archival_candidate = true
          where e.workspace_id = $1 and e.company_id = $2 and e.seq > $3 and e.seq <= $4
         returning e.seq, e.received_at, e.data_region
       )
       select (received_at at time zone 'UTC')::date as day, min(data_region) as data_region,
              min(seq) as first_seq, max(seq) as last_seq
         from marked group by 1 order by 1""",
)
_FLAG = Sql(
    "events.mark_archived",
    """update mainstay.events set archived = true
        where workspace_id = $1 and company_id = $2 and seq > $3 and seq <= $4 and not archived""",
)
_EVENT_AT = Sql(
    "events.retiring_event",
    """select seq, hash, received_at, (received_at at time zone 'UTC')::date as day
         from mainstay.events where workspace_id = $1 and company_id = $2 and seq = $3""",
)
_SIGNED = Sql(
    "events.checkpoints_between",
    """select seq, note from mainstay.checkpoints
        where workspace_id = $1 and company_id = $2 and seq >= $3 and seq <= $4 order by seq""",
)
_START = Sql(
    "events.chain_start",
    "select seq, hash from mainstay.chain_starts where workspace_id = $1 and company_id = $2",
)
_MOVE_START = Sql(
    "events.move_chain_start",
    f"""insert into mainstay.chain_starts as s (workspace_id, company_id, seq, hash)
        select h.workspace_id, h.company_id, $3, $4 from mainstay.chain_heads h
         where h.workspace_id = $1 and h.company_id = $2 and {_MAY_LEAVE}
        on conflict (workspace_id) do update set seq = excluded.seq, hash = excluded.hash, at = mainstay.now()
         where s.seq < excluded.seq""",  # noqa: S608
)
_DELETE = Sql(
    "events.cut",
    """delete from mainstay.events e using (
         select seq, received_at from mainstay.events
          where workspace_id = $1 and company_id = $2
            and seq <= (select s.seq from mainstay.chain_starts s where s.workspace_id = $1 and s.company_id = $2)
          order by seq limit $3) old
        where e.workspace_id = $1 and e.company_id = $2 and e.seq = old.seq and e.received_at = old.received_at""",
)
# In this form each workspace costs a look into an index; as `exists` it may become a scan of all events.
_LEFT_BEHIND = Sql(
    "events.left_before_start",
    """select s.workspace_id, s.company_id from mainstay.chain_starts s cross join lateral (
         select from mainstay.events e where e.workspace_id = s.workspace_id and e.seq <= s.seq
          order by e.seq limit 1) one""",
)
_PARTITIONS = Sql(
    "events.partitions",
    """select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'mainstay.events'::regclass order by 1""",
)


async def heads_everywhere(connection: Connection, *, after: str | None, limit: int) -> list[Record]:
    """Chains that have events, in the order of their workspaces' ids, and whether their events may leave at all."""
    return await connection.rows(_HEADS, after, limit)


async def mark_candidates(tx: Tx, company_id: str, workspace_id: str, *, after: int, until: int) -> list[Record]:
    """Events after one seq and up to another are candidates for the archive; first and last seq of each day."""
    return await tx.rows(_MARK, workspace_id, company_id, after, until)


async def mark_archived(tx: Tx, company_id: str, workspace_id: str, *, after: int, until: int) -> int:
    """Events after one seq and up to another are marked as archived; how many were not before."""
    return count_of(await tx.run(_FLAG, workspace_id, company_id, after, until))


async def event_at(connection: Connection, company_id: str, workspace_id: str, seq: int) -> Record | None:
    """Hash, time and day of the event of that seq, where the table has it."""
    return await connection.row(_EVENT_AT, workspace_id, company_id, seq)


async def checkpoints_between(
    connection: Connection, company_id: str, workspace_id: str, *, first: int, last: int
) -> list[Record]:
    """Kept checkpoints from one seq to another, both included: seq and note."""
    return await connection.rows(_SIGNED, workspace_id, company_id, first, last)


async def start_of(connection: Connection, company_id: str, workspace_id: str) -> Record | None:
    """The last event that was cut from the table, by seq and hash; None while the whole chain is stored."""
    return await connection.row(_START, workspace_id, company_id)


async def move_start(tx: Tx, company_id: str, workspace_id: str, *, seq: int, event_hash: bytes) -> bool:
    """Whether the stored chain now begins after that event; not where something keeps its events."""
    return count_of(await tx.run(_MOVE_START, workspace_id, company_id, seq, event_hash)) == 1


async def delete_before_start(tx: Tx, company_id: str, workspace_id: str, *, limit: int) -> int:
    """Up to so many events before the chain's start are gone; how many."""
    return count_of(await tx.run(_DELETE, workspace_id, company_id, limit))


async def left_behind_everywhere(connection: Connection) -> list[Record]:
    """Workspaces that still have events before their chain's start."""
    return await connection.rows(_LEFT_BEHIND)


async def partitions_everywhere(connection: Connection) -> list[str]:
    """The partitions of the events, oldest first."""
    return [row["name"] for row in await connection.rows(_PARTITIONS)]


async def tops_everywhere(connection: Connection, partition: str) -> list[Record]:
    """The last event that each workspace has in the partition, by one probe of an index a workspace."""
    return await connection.rows(
        Sql(
            "events.tops_of_partition",
            f"""select h.workspace_id, h.company_id, t.seq, t.hash from mainstay.chain_heads h cross join lateral (
                  select e.seq, e.hash from mainstay.{_checked(partition)} e
                   where e.workspace_id = h.workspace_id order by e.seq desc limit 1) t""",  # noqa: S608
        )
    )


async def drop_everywhere(tx: Tx, partition: str) -> None:
    """The partition is gone with its events; gives up after 2 s of waiting for its lock."""
    await tx.run(Sql("events.drop_partition", f"drop table mainstay.{_checked(partition)}"))


async def lock_everywhere(tx: Tx, partition: str) -> None:
    """Nobody reads or writes the events until the transaction ends; gives up after 2 s of waiting."""
    await tx.run(Sql("events.lock_timeout", "set local lock_timeout = '2s'"))
    await tx.run(Sql("events.lock", "lock table only mainstay.events in access exclusive mode"))
    await tx.run(Sql("events.lock_partition", f"lock table mainstay.{_checked(partition)} in access exclusive mode"))


def _checked(partition: str) -> Any:
    if not (partition.startswith("events_p") and partition[8:].isdigit()):
        raise ValueError("the name of a partition of the events is events_p and its first day")
    return partition
