"""Statements on companies, workspaces, people and memberships."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from mainstay.identity.tables import companies, people, workspaces
from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of

_COMPANY = (companies.c.id, companies.c.name, companies.c.slug, companies.c.data_region, companies.c.plan,
            companies.c.created_at)  # fmt: skip
_WORKSPACE = (workspaces.c.id, workspaces.c.company_id, workspaces.c.name, workspaces.c.slug, workspaces.c.system,
              workspaces.c.created_at)  # fmt: skip
_PERSON = (people.c.id, people.c.email, people.c.name, people.c.password_hash, people.c.suspended_at,
           people.c.password_changed_at)  # fmt: skip
_LAST_COMPANY = Sql(
    "identity.last_company",
    """select m.company_id::text from mainstay.memberships m where m.person_id = $1
       order by (select s.id from mainstay.sessions s where s.person_id = $1 and s.company_id = m.company_id
                 order by s.id desc limit 1) desc nulls last, m.company_id limit 1""",
)
_SYSTEM_WORKSPACES = Sql(
    "identity.system_workspaces",
    """select w.id, w.company_id, c.data_region from mainstay.workspaces w
       join mainstay.companies c on c.id = w.company_id where w.system and w.company_id = any($1::uuid[])""",
)
_LOCK_REGION = Sql("identity.lock_region", "select data_region from mainstay.companies where id = $1 for update")
_MOVE_COMPANY = Sql(
    "identity.move_company",
    "update mainstay.companies set data_region = $2, updated_at = mainstay.now() where id = $1",
)
_ADD_MEMBERSHIP = Sql(
    "identity.add_membership",
    """insert into mainstay.memberships (company_id, person_id, role) values ($1, $2, $3)
       on conflict (company_id, person_id) do nothing""",
)
_MEMBERSHIPS = Sql(
    "identity.memberships",
    """select c.id, c.name, c.slug, c.data_region, c.plan, c.created_at, m.role from mainstay.memberships m
       join mainstay.companies c on c.id = m.company_id
       where m.person_id = $1 and m.suspended_at is null and ($2::uuid is null or m.company_id = $2)
       order by c.id limit $3""",
)


async def insert_company_everywhere(tx: Tx, row: Mapping[str, Any]) -> Record | None:
    """The new company, or None where its slug is taken."""
    statement = insert(companies).values(**row).on_conflict_do_nothing(index_elements=["slug"])
    return await tx.row(*compose("identity.insert_company", statement.returning(*_COMPANY)))


async def find_company(db: Connection, company_id: str) -> Record | None:
    """One company."""
    return await db.row(*compose("identity.find_company", select(*_COMPANY).where(companies.c.id == company_id)))


async def list_companies_everywhere(db: Connection, *, after: str | None, limit: int) -> list[Record]:
    """Companies in the order of their ids, which is the order in which they were opened."""
    statement = select(*_COMPANY).order_by(companies.c.id).limit(limit)
    if after is not None:
        statement = statement.where(companies.c.id > after)
    return await db.rows(*compose("identity.list_companies", statement))


async def insert_workspace(tx: Tx, company_id: str, row: Mapping[str, Any]) -> Record | None:
    """The new workspace, or None where the company already has one of that slug."""
    statement = insert(workspaces).values(company_id=company_id, **row)
    statement = statement.on_conflict_do_nothing(index_elements=["company_id", "slug"])
    return await tx.row(*compose("identity.insert_workspace", statement.returning(*_WORKSPACE)))


async def find_workspace(db: Connection, company_id: str, workspace_id: str) -> Record | None:
    """One workspace of the company."""
    wanted = (workspaces.c.company_id == company_id) & (workspaces.c.id == workspace_id)
    return await db.row(*compose("identity.find_workspace", select(*_WORKSPACE).where(wanted)))


async def list_workspaces(db: Connection, company_id: str, *, after: str | None, limit: int) -> list[Record]:
    """Workspaces of the company in the order of their ids."""
    statement = select(*_WORKSPACE).where(workspaces.c.company_id == company_id).order_by(workspaces.c.id).limit(limit)
    if after is not None:
        statement = statement.where(workspaces.c.id > after)
    return await db.rows(*compose("identity.list_workspaces", statement))


async def system_workspaces_everywhere(db: Connection, company_ids: Sequence[str]) -> list[Record]:
    """The system workspace of each company, with the company's region."""
    return await db.rows(_SYSTEM_WORKSPACES, company_ids)


async def lock_region(tx: Tx, company_id: str) -> Any:
    """The company's region, which nobody else can change meanwhile; None where there is no such company."""
    return await tx.value(_LOCK_REGION, company_id)


async def move_company(tx: Tx, company_id: str, region: str) -> None:
    """The company is of that region."""
    await tx.run(_MOVE_COMPANY, company_id, region)


async def count_workspaces(db: Connection, company_id: str, *, most: int) -> int:
    """How many workspaces the company has, counted up to `most`."""
    some = select(literal_column("1")).where(workspaces.c.company_id == company_id).limit(most).subquery()
    statement: Select[Any] = select(literal_column("count(*)")).select_from(some)
    return int(await db.value(*compose("identity.count_workspaces", statement)))


async def insert_person_everywhere(tx: Tx, row: Mapping[str, Any]) -> Record | None:
    """The new person, or None where somebody already has that email."""
    statement = insert(people).values(**row).on_conflict_do_nothing().returning(*_PERSON)
    return await tx.row(*compose("identity.insert_person", statement))


async def find_person_everywhere(db: Connection, email_key: str) -> Record | None:
    """The person with that email."""
    return await db.row(*compose("identity.find_person", select(*_PERSON).where(people.c.email_key == email_key)))


async def last_company_everywhere(db: Connection, person_id: str) -> Any:
    """The company where the person signed in last, else the first of theirs, or None."""
    return await db.value(_LAST_COMPANY, person_id)


async def insert_membership(tx: Tx, company_id: str, person_id: str, role: str) -> bool:
    """Whether the person became a member just now."""
    return count_of(await tx.run(_ADD_MEMBERSHIP, company_id, person_id, role)) == 1


async def memberships_everywhere(db: Connection, person_id: str, *, company_id: str | None, most: int) -> list[Record]:
    """The companies of one person (or only the one asked for) with the role in each."""
    return await db.rows(_MEMBERSHIPS, person_id, company_id, most)
