"""Statements of erasure and of what is looked up for one person: events in which texts occur, and what is left."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

MOST = 200
"""Events that one statement gives."""
_HAY = """concat_ws(E'\\n', e.actor_id, e.actor_email, e.actor_name, e.target_id, e.target_type, e.payload, e.metadata,
                      e.changes, e.action, e.category, e.project_id)"""
# Substrings, found fast; whether one is the person is judged afterwards.
_WITH = f"""select e.* from mainstay.events e cross join lateral (select {_HAY} as text) h
        where e.workspace_id = $1 and e.company_id = $2 and e.seq > $3 and e.seq <= $4
          and (exists (select from unnest($5::text[]) n where strpos(h.text, n) > 0)
               or exists (select from unnest($6::text[]) n where strpos(lower(h.text), lower(n)) > 0))
        order by e.seq limit {MOST}"""  # noqa: S608 - only columns' names
_FIND = Sql("events.with_texts", _WITH)
_LOCK = Sql("events.lock_with_texts", f"{_WITH} for update of e")
_ERASE = Sql(
    "events.erase",
    """update mainstay.events e
          set actor_id = g.actor_id, actor_email = g.actor_email, actor_name = g.actor_name,
              target_id = g.target_id, target_type = g.target_type,
              payload = case when g.kept[3] then e.payload end, metadata = case when g.kept[4] then e.metadata end,
              changes = case when g.kept[5] then e.changes end,
              salts = g.salts, digests = g.digests::jsonb, fingerprint = null
         from (select u.*, string_to_array(u.keeps, ',')::boolean[] as kept
                 from unnest($3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[],
                             $9::text[], $10::text[], $11::bytea[], $12::text[])
                   as u (seq, received_at, actor_id, actor_email, actor_name, target_id, target_type, keeps, salts,
                         digests)) g
        where e.workspace_id = $1 and e.company_id = $2 and e.seq = g.seq and e.received_at = g.received_at""",
)
_HEADS = Sql(
    "events.heads_of_company",
    """select h.workspace_id, h.seq, coalesce(s.seq, 0) as cut from mainstay.chain_heads h
         left join mainstay.chain_starts s on s.workspace_id = h.workspace_id and s.company_id = h.company_id
        where h.company_id = $1 and h.seq > 0 order by h.workspace_id""",
)


async def find_with(
    connection: Connection,
    company_id: str,
    workspace_id: str,
    *,
    after: int,
    until: int,
    texts: tuple[Sequence[str], Sequence[str]],
) -> list[Record]:
    """The first 200 events after one seq and up to another that hold a text: as it is, or letter case aside."""
    return await connection.rows(_FIND, workspace_id, company_id, after, until, *(list(some) for some in texts))


async def lock_with(
    tx: Tx,
    company_id: str,
    workspace_id: str,
    *,
    after: int,
    until: int,
    texts: tuple[Sequence[str], Sequence[str]],
) -> list[Record]:
    """The same, and nobody changes them before the transaction ends."""
    return await tx.rows(_LOCK, workspace_id, company_id, after, until, *(list(some) for some in texts))


async def erase(tx: Tx, company_id: str, workspace_id: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """The events hold what is given instead; how many."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return count_of(await tx.run(_ERASE, workspace_id, company_id, *columns)) if rows else 0


async def heads_of(connection: Connection, company_id: str) -> list[Record]:
    """Every chain of the company that has events: workspace_id, seq of its head, and up to which seq it was cut."""
    return await connection.rows(_HEADS, company_id)
