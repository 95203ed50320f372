"""Statements on passwords and email addresses of people, and on what a change of them ends."""

from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_PERSON = """select p.id, p.email, p.email_key, p.name, p.password_hash, p.suspended_at, p.email_confirmed_at
             from mainstay.people p"""
_FIND = Sql("accounts.find_person", _PERSON + " where p.id = $1")
_FIND_BY_EMAIL = Sql("accounts.find_person_by_email", _PERSON + " where p.email_key = $1")
_COMPANIES = Sql(
    "accounts.companies_of",
    """select c.id, c.name from mainstay.memberships m join mainstay.companies c on c.id = m.company_id
       where m.person_id = $1
       order by (select s.id from mainstay.sessions s where s.person_id = $1 and s.company_id = m.company_id
                 order by s.id desc limit 1) desc nulls last, c.id limit 1000""",
)
_SET_PASSWORD = Sql(
    "accounts.set_password",
    """update mainstay.people set password_hash = $2, password_changed_at = mainstay.now(), updated_at = mainstay.now()
       where id = $1 and suspended_at is null and ($3::text is null or password_hash = $3)""",
)
_CONFIRM_EMAIL = Sql(
    "accounts.confirm_email",
    """update mainstay.people set email_confirmed_at = mainstay.now(), updated_at = mainstay.now()
       where id = $1 and email_key = $2 and email_confirmed_at is null""",
)
_CHANGE_EMAIL = Sql(
    "accounts.change_email",
    """update mainstay.people
         set email = $2, email_key = $3, email_confirmed_at = mainstay.now(), updated_at = mainstay.now()
       where id = $1 and email_key = $4 and suspended_at is null returning name""",
)


async def find_person_everywhere(db: Connection, person_id: str) -> Record | None:
    """The person with their password hash."""
    return await db.row(_FIND, person_id)


async def find_person_by_email_everywhere(db: Connection, email_key: str) -> Record | None:
    """The person of that address."""
    return await db.row(_FIND_BY_EMAIL, email_key)


async def companies_of_everywhere(db: Connection, person_id: str) -> list[Record]:
    """Id and name of the first 1,000 companies of the person, that of the newest session first."""
    return await db.rows(_COMPANIES, person_id)


async def set_password_everywhere(tx: Tx, person_id: str, new_hash: str, *, old_hash: str | None) -> bool:
    """Whether the person's password is the new one: not where they are suspended or the old one is another by now."""
    return count_of(await tx.run(_SET_PASSWORD, person_id, new_hash, old_hash)) == 1


async def confirm_email_everywhere(tx: Tx, person_id: str, email_key: str) -> bool:
    """Whether the address, which is still the person's, was confirmed just now."""
    return count_of(await tx.run(_CONFIRM_EMAIL, person_id, email_key)) == 1


async def change_email_everywhere(tx: Tx, person_id: str, *, email: str, key: str, old_key: str) -> Any:
    """The name of the person, whose address is the new one and confirmed; None where it was changed meanwhile."""
    return await tx.value(_CHANGE_EMAIL, person_id, email, key, old_key)
