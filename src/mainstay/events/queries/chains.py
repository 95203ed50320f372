"""Statements of chains: appending, walking them, their heads, checkpoints and signing keys."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql

APPEND_COLUMNS = 24
_APPEND_ARGUMENTS = ", ".join(f"${n}" for n in range(1, APPEND_COLUMNS + 1))
_APPEND = Sql(
    "events.append",
    f"select * from mainstay.append_events({_APPEND_ARGUMENTS})",  # noqa: S608 - only numbered parameters
)
_BODIES = ("payload", "metadata", "changes")
_BODY_BYTES = " + ".join(f"coalesce(octet_length(e.{name}), 0)" for name in _BODIES)
# Every row of the workspace, also one that names another company: that is a finding.
_CHAIN = Sql(
    "events.chain",
    f"""select * from (
          select e.*, {_BODY_BYTES} as bytes,
                 sum({_BODY_BYTES}) over (order by e.seq rows unbounded preceding) as bytes_until
            from mainstay.events e
           where e.workspace_id = $1 and e.seq > $3 and e.seq <= $4
             and exists (select from mainstay.chain_heads h where h.workspace_id = $1 and h.company_id = $2)
           order by e.seq limit $5
        ) e where e.bytes_until - e.bytes < $6 order by e.seq""",  # noqa: S608 - only columns' names
)
_STRAY = Sql(
    "events.stray",
    """select h.seq as head, e.seq, e.id from mainstay.chain_heads h, lateral (
         (select seq, id from mainstay.events where workspace_id = $1 and seq < 1 order by seq limit 1)
         union all
         (select seq, id from mainstay.events where workspace_id = $1 and seq > h.seq order by seq limit 1)
       ) e where h.workspace_id = $1 and h.company_id = $2 limit 1""",
)
_HEAD = Sql(
    "events.head",
    "select seq, hash, received_at from mainstay.chain_heads where workspace_id = $1 and company_id = $2",
)
_ADD_CHECKPOINT = Sql(
    "events.add_checkpoint",
    """insert into mainstay.checkpoints (workspace_id, seq, company_id, hash, note) values ($1, $2, $3, $4, $5)
       on conflict do nothing""",
)
_CHECKPOINT_AT = Sql(
    "events.checkpoint_at",
    "select note from mainstay.checkpoints where workspace_id = $1 and company_id = $2 and seq = $3",
)
_CHECKPOINTS = Sql(
    "events.checkpoints",
    """select seq, hash, note, at from mainstay.checkpoints where workspace_id = $1 and company_id = $2 and seq < $3
       order by seq desc limit $4""",
)
_CHECKPOINT_FROM = Sql(
    "events.checkpoint_from",
    """select seq, at from mainstay.checkpoints where workspace_id = $1 and company_id = $2 and seq >= $3
       order by seq limit 1""",
)
_UNCHECKED = Sql(
    "events.heads_without_checkpoint",
    """select h.workspace_id, h.company_id from mainstay.chain_heads h where h.seq > 0 and not exists (
         select 1 from mainstay.checkpoints c where c.workspace_id = h.workspace_id and c.seq = h.seq)
       order by h.workspace_id limit $1""",
)
_SIGNING_KEYS = Sql(
    "events.signing_keys",
    "select name, public_key, private_key_sealed from mainstay.signing_keys order by created_at desc",
)
_ADD_SIGNING_KEY = Sql(
    "events.add_signing_key",
    """insert into mainstay.signing_keys (name, public_key, private_key_sealed) values ($1, $2, $3)
       on conflict do nothing""",
)


async def append_everywhere(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> list[Record]:
    """The rows are chained, stored, metered and fanned out, each in its own workspace; one outcome a row."""
    return await connection.rows(_APPEND, *(list(column) for column in zip(*rows, strict=True)))


async def chain_of(
    connection: Connection, company_id: str, workspace_id: str, *, after: int, until: int, limit: int, most_bytes: int
) -> list[Record]:
    """Events of one workspace in the order of the chain, after one seq and up to another, to the first that passes
    that many bytes."""
    return await connection.rows(_CHAIN, workspace_id, company_id, after, until, limit, most_bytes)


async def find_stray(connection: Connection, company_id: str, workspace_id: str) -> Record | None:
    """An event of the workspace that lies outside its chain at this moment: its seq and id, and the head's seq."""
    return await connection.row(_STRAY, workspace_id, company_id)


async def head_of(connection: Connection, company_id: str, workspace_id: str) -> Record | None:
    """Where the workspace's chain stands: seq, hash, received_at."""
    return await connection.row(_HEAD, workspace_id, company_id)


async def add_checkpoint(
    connection: Connection, company_id: str, workspace_id: str, *, seq: int, event_hash: bytes, note: str
) -> None:
    """The checkpoint is kept; the first one of a seq stays."""
    await connection.run(_ADD_CHECKPOINT, workspace_id, seq, company_id, event_hash, note)


async def checkpoint_at(connection: Connection, company_id: str, workspace_id: str, seq: int) -> str | None:
    """The note kept for exactly that seq."""
    note: str | None = await connection.value(_CHECKPOINT_AT, workspace_id, company_id, seq)
    return note


async def checkpoints_of(
    connection: Connection, company_id: str, workspace_id: str, *, before: int, limit: int
) -> list[Record]:
    """Kept checkpoints, newest first."""
    return await connection.rows(_CHECKPOINTS, workspace_id, company_id, before, limit)


async def find_checkpoint_from(connection: Connection, company_id: str, workspace_id: str, seq: int) -> Record | None:
    """The first kept checkpoint at that seq or behind it: its seq and time."""
    return await connection.row(_CHECKPOINT_FROM, workspace_id, company_id, seq)


async def unchecked_heads_everywhere(connection: Connection, limit: int) -> list[Record]:
    """Workspaces whose newest event no checkpoint covers yet."""
    return await connection.rows(_UNCHECKED, limit)


async def signing_keys_everywhere(connection: Connection) -> list[Record]:
    """Every key that ever signed checkpoints, newest first."""
    return await connection.rows(_SIGNING_KEYS)


async def add_signing_key_everywhere(connection: Connection, name: str, public_key: bytes, sealed: bytes) -> None:
    """The key is kept unless one of that name is there."""
    await connection.run(_ADD_SIGNING_KEY, name, public_key, sealed)
