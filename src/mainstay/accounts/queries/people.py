"""Statements on who signs in, with which role where, and what people tell of themselves."""

from collections.abc import Mapping
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx

_MEMBER = """select p.id as person_id, p.email, p.name as person_name, p.mfa_enabled_at, m.role, c.id, c.name, c.slug,
              c.data_region, c.plan, c.created_at,
              p.mfa_enabled_at is null and coalesce(c.mfa_required_from <= mainstay.now(), false) as must_set_up_mfa
       from mainstay.memberships m
       join mainstay.people p on p.id = m.person_id and p.suspended_at is null
       join mainstay.companies c on c.id = m.company_id
       where m.suspended_at is null and m.person_id = $1"""
_FIND_MEMBER = Sql("accounts.find_member", _MEMBER + " and m.company_id = $2")
_MEMBERSHIPS = Sql("accounts.memberships", _MEMBER + " order by c.id limit $2")
_INSERT_PERSON = Sql(
    "accounts.insert_person",
    """insert into mainstay.people (id, email, email_key, name, password_hash, password_changed_at)
       values ($1, $2, $3, $4, $5, mainstay.now()) on conflict do nothing returning id""",
)
_INSERT_OWNER = Sql(
    "accounts.insert_owner",
    "insert into mainstay.memberships (company_id, person_id, role) values ($1, $2, 'owner')",
)
_IS_REGISTERED = Sql("accounts.is_registered", "select exists (select from mainstay.people where email_key = $1)")
_REPLACE_HASH = Sql(
    "accounts.replace_hash",
    """update mainstay.people set password_hash = $3, updated_at = mainstay.now()
       where id = $1 and password_hash = $2""",
)
_HOLD_PERSON = Sql(
    "accounts.hold_person",
    "select password_changed_at, mfa_enabled_at from mainstay.people where id = $1 for no key update",
)
_READ_ACCOUNT = Sql(
    "accounts.read_account",
    """select p.id, p.email, p.name, p.email_confirmed_at, p.mfa_enabled_at, p.password_changed_at, p.profile::text,
              p.created_at from mainstay.people p where p.id = $1""",
)
_CHANGE_ACCOUNT = Sql(
    "accounts.change_account",
    """update mainstay.people set name = coalesce($2, name), updated_at = mainstay.now(),
              profile = jsonb_strip_nulls(profile || $3::jsonb)
       where id = $1""",
)


async def find_member(db: Connection, company_id: str, person_id: str) -> Record | None:
    """The person with their role and the company, where neither person nor membership is suspended."""
    return await db.row(_FIND_MEMBER, person_id, company_id)


async def memberships_everywhere(db: Connection, person_id: str, most: int) -> list[Record]:
    """The same in every company of the person, oldest first."""
    return await db.rows(_MEMBERSHIPS, person_id, most)


async def insert_person_everywhere(tx: Tx, row: Mapping[str, Any]) -> bool:
    """Whether the person is new; not where somebody has the email."""
    given = (row["id"], row["email"], row["email_key"], row["name"], row["password_hash"])
    return await tx.row(_INSERT_PERSON, *given) is not None


async def insert_owner(tx: Tx, company_id: str, person_id: str) -> None:
    """The person owns the company."""
    await tx.run(_INSERT_OWNER, company_id, person_id)


async def is_registered_everywhere(db: Connection, email_key: str) -> bool:
    """Whether somebody has that email."""
    return bool(await db.value(_IS_REGISTERED, email_key))


async def hold_person_everywhere(tx: Tx, person_id: str) -> Record | None:
    """Since when the person has their password and a second factor; neither changes meanwhile."""
    return await tx.row(_HOLD_PERSON, person_id)


async def replace_hash_everywhere(tx: Tx, person_id: str, *, old: str, new: str) -> None:
    """The person's password hash is the new one, unless it changed meanwhile."""
    await tx.run(_REPLACE_HASH, person_id, old, new)


async def read_account_everywhere(db: Connection, person_id: str) -> Record | None:
    """What somebody may read of themselves."""
    return await db.row(_READ_ACCOUNT, person_id)


async def change_account_everywhere(tx: Tx, person_id: str, name: str | None, profile: str) -> None:
    """The name is the given one, if one is; members of the profile are those given, and gone where they are null."""
    await tx.run(_CHANGE_ACCOUNT, person_id, name, profile)
