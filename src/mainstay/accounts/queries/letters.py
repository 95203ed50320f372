"""Statements on letters."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_WRITE = Sql(
    "accounts.write_letter",
    """insert into mainstay.letters (id, kind, recipient, person_id, company_id, data, expires_at)
       values ($1, $2, $3, $4, $5, $6, mainstay.now() + $7::interval) on conflict (id) do nothing""",
)
_COLUMNS = "id, kind, recipient, person_id, company_id, data, created_at, expires_at"
_LIST = Sql(
    "accounts.list_letters",
    f"""select {_COLUMNS} from mainstay.letters
        where ($1::uuid is null or id < $1) order by id desc limit $2""",  # noqa: S608
)
_FIND = Sql("accounts.find_letter", f"select {_COLUMNS} from mainstay.letters where id = $1")  # noqa: S608
_COUNT = Sql(
    "accounts.count_letters", "select kind, count(*) as many from mainstay.letters group by kind order by kind"
)
_COUNT_RECENT = Sql(
    "accounts.count_recent_letters",
    """select count(*) from mainstay.letters
       where person_id = $1 and kind = $2 and created_at > mainstay.now() - $3::interval""",
)
_PRUNE = Sql("accounts.prune_letters", "delete from mainstay.letters where created_at < mainstay.now() - $1::interval")


async def insert_letter_everywhere(tx: Tx, row: Mapping[str, Any], lifetime: timedelta | None) -> None:
    """The letter waits, once an id; where it has a lifetime, for so long."""
    given = (row["id"], row["kind"], row["recipient"], row["person_id"], row["company_id"], row["data"])
    await tx.run(_WRITE, *given, lifetime)


async def list_letters_everywhere(db: Connection, *, before: str | None, limit: int) -> list[Record]:
    """Letters, newest first."""
    return await db.rows(_LIST, before, limit)


async def find_letter_everywhere(db: Connection, letter_id: str) -> Record | None:
    """One letter."""
    return await db.row(_FIND, letter_id)


async def count_letters_everywhere(db: Connection) -> list[Record]:
    """How many letters wait, by kind."""
    return await db.rows(_COUNT)


async def count_recent_letters_everywhere(db: Connection, person_id: str, kind: str, within: timedelta) -> int:
    """How many letters of the kind the person was written in that time."""
    return int(await db.value(_COUNT_RECENT, person_id, kind, within))


async def prune_letters_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many letters are gone that were written longer ago."""
    return count_of(await db.run(_PRUNE, older_than))
