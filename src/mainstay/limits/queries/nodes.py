"""Statements about the API processes that live, by the server's real clock."""

from datetime import timedelta

from mainstay.kernel.db import Connection, Record, Sql, Tx

# Who joins and who leaves the others alone take turns, so that neither misses the other.
_LOCK = Sql("limits.lock_nodes", "select pg_advisory_xact_lock(hashtextextended('mainstay.api_nodes', 0))::text")
_OTHERS = Sql(
    "limits.other_nodes",
    """select id, store, extract(epoch from clock_timestamp() - seen_at)::float8 as silent_seconds
       from mainstay.api_nodes where id <> $1 and seen_at > clock_timestamp() - $2::interval order by id""",
)
_BEAT = Sql(
    "limits.beat",
    """insert into mainstay.api_nodes as n (id, store) values ($1, $2)
       on conflict (id) do update set store = excluded.store, seen_at = clock_timestamp()""",
)
_LEAVE = Sql("limits.leave", "delete from mainstay.api_nodes where id = $1")
_FORGET = Sql("limits.forget_nodes", "delete from mainstay.api_nodes where seen_at <= clock_timestamp() - $1::interval")


async def lock_nodes_everywhere(tx: Tx) -> None:
    """Nobody joins and nobody decides that it is alone until this transaction ends."""
    await tx.run(_LOCK)


async def other_nodes_everywhere(db: Connection, node_id: str, within: timedelta) -> list[Record]:
    """The other processes that were seen within that time: id, store, silent_seconds."""
    return await db.rows(_OTHERS, node_id, within)


async def beat_everywhere(db: Connection, node_id: str, store: str) -> None:
    """The process lives, and counts there."""
    await db.run(_BEAT, node_id, store)


async def leave_everywhere(db: Connection, node_id: str) -> None:
    """The process is gone."""
    await db.run(_LEAVE, node_id)


async def forget_nodes_everywhere(db: Connection, after: timedelta) -> None:
    """Processes that were last seen that long ago are forgotten."""
    await db.run(_FORGET, after)
