"""Statements on whole people, whatever companies they are in."""

from collections.abc import Mapping
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_SHOWN = """id, email, name, created_at, suspended_at, email_confirmed_at is not null as is_confirmed,
       mfa_enabled_at is not null as has_mfa"""
_GET = Sql("members.get_person", f"select {_SHOWN} from mainstay.people where id = $1")  # noqa: S608 (constants)
_BY_EMAIL = Sql("members.find_person", f"select {_SHOWN} from mainstay.people where email_key = $1")  # noqa: S608 (constants)
_LOCK = Sql("members.lock_person", f"select {_SHOWN} from mainstay.people where id = $1 for update")  # noqa: S608 (constants)
_INSERT = Sql(
    "members.insert_person",
    """insert into mainstay.people (id, email, email_key, name, password_hash, email_confirmed_at, password_changed_at)
       values ($1, $2, $3, $4, $5, mainstay.now(), mainstay.now()) on conflict do nothing""",
)
_CONFIRM = Sql(
    "members.confirm_email",
    """update mainstay.people set email_confirmed_at = mainstay.now(), updated_at = mainstay.now()
       where id = $1 and email_confirmed_at is null""",
)
_SUSPEND = Sql(
    "members.suspend_person",
    """update mainstay.people set suspended_at = mainstay.now(), updated_at = mainstay.now()
       where id = $1 and suspended_at is null""",
)
_RESTORE = Sql(
    "members.restore_person",
    """update mainstay.people set suspended_at = null, updated_at = mainstay.now()
       where id = $1 and suspended_at is not null""",
)
_COMPANIES = Sql(
    "members.companies_of_person",
    """select c.id, c.name, m.role, m.suspended_at,
              not exists (select from mainstay.memberships o join mainstay.people p on p.id = o.person_id
                where o.company_id = c.id and o.role = 'owner' and o.suspended_at is null
                  and p.suspended_at is null) as has_no_owner
       from mainstay.memberships m join mainstay.companies c on c.id = m.company_id
       where m.person_id = $1 order by c.id""",
)
_END_SESSIONS = Sql(
    "members.end_sessions_of_person",
    """update mainstay.sessions set ended_at = mainstay.now(), ended_reason = $2
       where person_id = $1 and ended_at is null and expires_at > mainstay.now()""",
)


async def find_person_everywhere(db: Connection, person_id: str) -> Record | None:
    """One person."""
    return await db.row(_GET, person_id)


async def find_by_email_everywhere(db: Connection, email_key: str) -> Record | None:
    """The person with that email."""
    return await db.row(_BY_EMAIL, email_key)


async def lock_person_everywhere(tx: Tx, person_id: str) -> Record | None:
    """One person, whom nobody else changes meanwhile."""
    return await tx.row(_LOCK, person_id)


async def insert_person_everywhere(tx: Tx, row: Mapping[str, Any]) -> bool:
    """Whether there is a new person whose address is confirmed; not where somebody has the address."""
    given = (row["id"], row["email"], row["email_key"], row["name"], row["password_hash"])
    return count_of(await tx.run(_INSERT, *given)) == 1


async def confirm_email_everywhere(tx: Tx, person_id: str) -> None:
    """The person's address is confirmed."""
    await tx.run(_CONFIRM, person_id)


async def suspend_person_everywhere(tx: Tx, person_id: str) -> bool:
    """Whether the person was suspended just now."""
    return count_of(await tx.run(_SUSPEND, person_id)) == 1


async def restore_person_everywhere(tx: Tx, person_id: str) -> bool:
    """Whether the person's suspension ended just now."""
    return count_of(await tx.run(_RESTORE, person_id)) == 1


async def companies_of_person_everywhere(db: Connection, person_id: str) -> list[Record]:
    """The person's companies with their role in each, and whether it has no owner who can act."""
    return await db.rows(_COMPANIES, person_id)


async def end_sessions_everywhere(tx: Tx, person_id: str, reason: str) -> int:
    """How many sessions of the person ended just now, in whatever company."""
    return count_of(await tx.run(_END_SESSIONS, person_id, reason))
