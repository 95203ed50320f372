"""Statements about events as they come in: ids seen before, and their order."""

from collections.abc import Sequence

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

# Keys are taken in their own order, so that two transactions with the same ones wait and do not deadlock.
_CLAIM = """insert into mainstay.function_keys as k (scope, key_digest, made_id)
         select $1, g.digest, g.id from unnest($2::bytea[], $3::uuid[]) as g(digest, id) order by g.digest
         on conflict (scope, key_digest) do update set made_id = excluded.made_id, at = mainstay.now()
           where k.at <= mainstay.now() - interval '24 hours'
         returning key_digest"""
_NEXT = Sql("functions.next_event", "select nextval('mainstay.function_events_seq')")
_CLAIM_KEYS = Sql("functions.claim_keys", _CLAIM)
_FOUND = Sql(
    "functions.found_keys",
    "select key_digest, made_id from mainstay.function_keys where scope = $1 and key_digest = any($2::bytea[])",
)
_PRUNE = Sql(
    "functions.prune_keys",
    """delete from mainstay.function_keys where (scope, key_digest) in (
         select scope, key_digest from mainstay.function_keys
         where at <= mainstay.now() - interval '24 hours' order by at limit $1)
         and at <= mainstay.now() - interval '24 hours'""",
)


async def next_event_everywhere(tx: Tx) -> int:
    """A number that is higher than that of every event sent before, and of every wait begun before."""
    number: int = await tx.value(_NEXT)
    return number


async def claim_keys_everywhere(tx: Tx, scope: str, digests: Sequence[bytes], ids: Sequence[str]) -> set[bytes]:
    """Which of these keys, each given once, nobody had in the last 24 hours; they are this transaction's now."""
    return {row[0] for row in await tx.rows(_CLAIM_KEYS, scope, digests, ids)}


async def found_keys_everywhere(tx: Tx, scope: str, digests: Sequence[bytes]) -> list[Record]:
    """What the first one of each key made."""
    return await tx.rows(_FOUND, scope, digests)


async def prune_keys_everywhere(db: Connection, count: int) -> int:
    """Up to `count` keys of more than 24 hours ago are forgotten; how many."""
    return count_of(await db.run(_PRUNE, count))
