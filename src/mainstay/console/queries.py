"""Every statement of the console: filters that people keep."""

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_LOCK = Sql("console.lock_saved", "select pg_advisory_xact_lock(hashtextextended('saved_filters/' || $1 || $2, 0))")
_COUNT = Sql(
    "console.count_saved",
    "select count(*) from mainstay.saved_filters where company_id = $1 and person_id = $2 and name <> $3",
)
_SAVE = Sql(
    "console.save_filters",
    """insert into mainstay.saved_filters (id, company_id, person_id, name, filters) values ($3, $1, $2, $4, $5)
       on conflict (company_id, person_id, name) do update set filters = excluded.filters""",
)
_LIST = Sql(
    "console.list_saved",
    """select id, name, filters from mainstay.saved_filters where company_id = $1 and person_id = $2
        order by lower(name), id""",
)
_DELETE = Sql(
    "console.delete_saved",
    "delete from mainstay.saved_filters where company_id = $1 and person_id = $2 and id = $3",
)


async def lock_saved(tx: Tx, company_id: str, person_id: str) -> None:
    """Nobody else saves filters of this person in this company before this transaction ends."""
    await tx.value(_LOCK, company_id, person_id)


async def count_saved(tx: Tx, company_id: str, person_id: str, *, besides: str) -> int:
    """How many the person has, not counting the one of that name."""
    found: int = await tx.value(_COUNT, company_id, person_id, besides)
    return found


async def save(tx: Tx, company_id: str, person_id: str, *, saved_id: str, name: str, filters: str) -> None:
    """The filters are kept under the name, in place of what it stood for."""
    await tx.run(_SAVE, company_id, person_id, saved_id, name, filters)


async def list_saved(db: Connection, company_id: str, person_id: str) -> list[Record]:
    """What the person keeps, by name."""
    return await db.rows(_LIST, company_id, person_id)


async def delete_saved(tx: Tx, company_id: str, person_id: str, saved_id: str) -> bool:
    """Whether there was such a one; it is gone."""
    return count_of(await tx.run(_DELETE, company_id, person_id, saved_id)) > 0
