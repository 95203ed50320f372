"""Statements of legal holds, and the lock under which nothing is erased while one is set."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx

_LOCK_SET = Sql("erasure.lock_holds", "select pg_advisory_xact_lock(hashtextextended('hold ' || $1::text, 0))")
_LOCK_READ = Sql("erasure.share_holds", "select pg_advisory_xact_lock_shared(hashtextextended('hold ' || $1::text, 0))")
_ADD = Sql(
    "erasure.add_hold",
    """insert into mainstay.legal_holds (id, company_id, scope, workspace_id, subject_sealed, reason, set_by)
       values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing""",
)
_LIFT = Sql(
    "erasure.lift_hold",
    """update mainstay.legal_holds set lifted_at = mainstay.now(), lifted_by = $3, subject_sealed = null
        where company_id = $1 and id = $2 and lifted_at is null returning *""",
)
_FIND = Sql("erasure.find_hold", "select * from mainstay.legal_holds where company_id = $1 and id = $2")
_STANDING = Sql(
    "erasure.standing_holds",
    "select * from mainstay.legal_holds where company_id = $1 and lifted_at is null order by id",
)
_TAKE = Sql(
    "erasure.copies_of_holds",
    "select to_jsonb(h)::text as hold from mainstay.legal_holds h where h.company_id = $1",
)
# One that was lifted here in between stays lifted.
_PUT = Sql(
    "erasure.put_holds",
    """insert into mainstay.legal_holds
       select r.* from unnest($2::text[]) given, jsonb_populate_record(null::mainstay.legal_holds, given::jsonb) r
        where r.company_id = $1 on conflict do nothing""",
)
_LIST = Sql("erasure.list_holds", "select * from mainstay.legal_holds where company_id = $1 order by id desc limit $2")


async def lock(tx: Tx, company_id: str) -> None:
    """No step of an erasure of the company is under way until the transaction ends."""
    await tx.run(_LOCK_SET, company_id)


async def share(tx: Tx, company_id: str) -> None:
    """No hold of the company is set until the transaction ends."""
    await tx.run(_LOCK_READ, company_id)


async def add(tx: Tx, company_id: str, hold_id: str, values: Sequence[Any]) -> None:
    """The hold stands."""
    await tx.run(_ADD, hold_id, company_id, *values)


async def lift(tx: Tx, company_id: str, hold_id: str, by: str) -> Record | None:
    """The hold stands no more; None where it did not."""
    return await tx.row(_LIFT, company_id, hold_id, by)


async def find(connection: Connection, company_id: str, hold_id: str) -> Record | None:
    """One hold of the company, standing or lifted."""
    return await connection.row(_FIND, company_id, hold_id)


async def standing(connection: Connection, company_id: str) -> list[Record]:
    """The holds that stand, oldest first."""
    return await connection.rows(_STANDING, company_id)


async def list_some(connection: Connection, company_id: str, *, limit: int) -> list[Record]:
    """Holds of the company, newest first."""
    return await connection.rows(_LIST, company_id, limit)


async def copies_of(tx: Tx, company_id: str) -> list[str]:
    """Every hold of the company, as JSON."""
    return [row["hold"] for row in await tx.rows(_TAKE, company_id)]


async def put(tx: Tx, company_id: str, holds: Sequence[str]) -> None:
    """Those of the holds that were not here are."""
    await tx.run(_PUT, company_id, holds)
