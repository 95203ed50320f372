"""Statements of chains: appending, walking them, their heads, checkpoints and signing keys."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql

APPEND_COLUMNS = 24
_ARGUMENTS = [f"${n}" for n in range(1, APPEND_COLUMNS + 1)]
_FIND_BY_KEYS = Sql(
    "events.find_by_keys",
    """select id, seq, prev_hash, hash, received_at, idempotency_key, fingerprint from mainstay.events
        where company_id = $1 and workspace_id = $2 and idempotency_key = any($3::bytea[])
          and received_at > mainstay.now() - interval '24 hours' order by seq""",
)
# Allowances are locked first and in one order; the argument makes the function wait for that.
_APPEND = Sql(
    "events.append",
    f"""with allowed as materialized (
          select c.company_id from mainstay.meter_caps c where c.company_id = any($2::uuid[])
           order by c.company_id for update
        )
        select a.*, locked.n as allowances from (select count(*) as n from allowed) as locked
         cross join lateral mainstay.append_events(
           case when locked.n >= 0 then $1::uuid[] end, {", ".join(_ARGUMENTS[1:])}) as a""",  # noqa: S608 - only numbered parameters
)
_APPEND_OF_FREE = Sql(
    "events.append",
    f"select *, 0 as allowances from mainstay.append_events({', '.join(_ARGUMENTS)})",  # noqa: S608 - only numbered parameters
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
# What opened a workspace also starts its chain where companies are. In the database of a region the chain starts when
# it is needed: for a key that may write, as it is issued only for a workspace that is there.
_START_CHAINS = Sql(
    "events.start_chains",
    """insert into mainstay.chain_heads (workspace_id, company_id, metered)
       select * from unnest($1::uuid[], $2::uuid[], $3::boolean[]) on conflict do nothing""",
)
_START_CHAIN_OF_KEY = Sql(
    "events.start_chain_of_key",
    """insert into mainstay.chain_heads (workspace_id, company_id, metered)
       select k.workspace_id, k.company_id, true from mainstay.api_keys k
        where k.id = $3 and k.company_id = $2 and k.workspace_id = $1 and not k.read_only and mainstay.key_is_valid(k)
       on conflict do nothing""",
)
_DROP_EMPTY_CHAINS = Sql(
    "events.drop_empty_chains", "delete from mainstay.chain_heads where seq = 0 and workspace_id = any($1::uuid[])"
)
_COUNT_STORED = Sql(
    "events.count_stored", "select coalesce(sum(seq), 0)::bigint from mainstay.chain_heads where company_id = $1"
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


async def find_by_keys(
    connection: Connection, company_id: str, workspace_id: str, keys: Sequence[bytes]
) -> list[Record]:
    """The events of the workspace that requests with these keys stored within 24 hours."""
    return await connection.rows(_FIND_BY_KEYS, company_id, workspace_id, keys)


async def append_everywhere(
    connection: Connection, rows: Sequence[tuple[Any, ...]], *, are_free: bool = False
) -> list[Record]:
    """The rows are chained, stored, metered and fanned out, each in its own workspace; one outcome a row, each with
    how many `allowances` their companies have. Where they `are_free`, those are not asked for first."""
    return await connection.rows(
        _APPEND_OF_FREE if are_free else _APPEND, *(list(column) for column in zip(*rows, strict=True))
    )


async def start_chains_everywhere(connection: Connection, starts: Sequence[tuple[str, str, bool]]) -> None:
    """Each workspace has a chain here: (workspace, company, whether its events are counted)."""
    await connection.run(_START_CHAINS, *(list(column) for column in zip(*starts, strict=True)))


async def start_chain_of_key(connection: Connection, company_id: str, workspace_id: str, key_id: str) -> None:
    """The key's workspace has a chain here, where the key may write to it."""
    await connection.run(_START_CHAIN_OF_KEY, workspace_id, company_id, key_id)


async def drop_empty_chains_everywhere(connection: Connection, workspace_ids: Sequence[str]) -> None:
    """Those of the workspaces that never had an event here have no chain here."""
    await connection.run(_DROP_EMPTY_CHAINS, workspace_ids)


async def count_stored(connection: Connection, company_id: str) -> int:
    """How many events of the company were ever stored here."""
    count: int = await connection.value(_COUNT_STORED, company_id)
    return count


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
