"""Statements on who belongs to a company, with which rights, and what goes with that."""

from collections.abc import Sequence
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_SHOWN = """p.id, p.email, p.name, m.role, m.features, m.suspended_at, m.suspended_by::text as suspended_by,
       m.invited_by::text as invited_by, m.created_at, p.suspended_at is not null as is_suspended_everywhere,
       p.mfa_enabled_at is not null as has_mfa, p.email_confirmed_at is not null as is_confirmed,
       (select max(s.last_used_at) from mainstay.sessions s
         where s.person_id = m.person_id and s.company_id = m.company_id) as last_seen_at"""
_WANTED = """from mainstay.memberships m join mainstay.people p on p.id = m.person_id
       where m.company_id = $1 and ($2::text is null or m.role = $2)
         and ($3::boolean is null or (m.suspended_at is not null or p.suspended_at is not null) = $3)
         and ($4::text is null or p.name ilike $4 or p.email ilike $4)
         and ($5::uuid is null or exists (select from mainstay.department_members d
               where d.company_id = $1 and d.department_id = $5 and d.person_id = m.person_id))
         and ($6::boolean is null or (p.mfa_enabled_at is not null) = $6)"""
_LOCK_COMPANY = Sql("members.lock_company", "select id from mainstay.companies where id = $1 for no key update")
_LOCK_MEMBERS = Sql(
    "members.lock_members",
    """select m.person_id, m.role, m.features, m.suspended_at, p.name, p.email from mainstay.memberships m
       join mainstay.people p on p.id = m.person_id
       where m.company_id = $1 and m.person_id = any($2::uuid[]) order by m.person_id for update of m""",
)
_LIST = Sql(
    "members.list_members",
    f"select {_SHOWN} {_WANTED} and ($7::uuid is null or m.person_id > $7) order by m.person_id limit $8",
)
_COUNT = Sql("members.count_members", f"select count(*) {_WANTED}")
_GET = Sql(
    "members.get_member",
    f"""select {_SHOWN} from mainstay.memberships m join mainstay.people p on p.id = m.person_id
        where m.company_id = $1 and m.person_id = $2""",  # noqa: S608 (constants)
)
_ACTING = Sql(
    "members.find_acting",
    """select m.role, m.features from mainstay.memberships m join mainstay.people p on p.id = m.person_id
       where m.company_id = $1 and m.person_id = $2 and m.suspended_at is null and p.suspended_at is null""",
)
_INSERT = Sql(
    "members.insert_member",
    """insert into mainstay.memberships (company_id, person_id, role, features, invited_by)
       values ($1, $2, $3, $4, $5::jsonb) on conflict (company_id, person_id) do nothing""",
)
_SET_RIGHTS = Sql(
    "members.set_rights",
    """update mainstay.memberships set role = $3, features = $4, updated_at = mainstay.now()
       where company_id = $1 and person_id = $2""",
)
_SUSPEND = Sql(
    "members.suspend",
    """update mainstay.memberships set suspended_at = mainstay.now(), suspended_by = $3::jsonb,
              updated_at = mainstay.now()
       where company_id = $1 and person_id = $2 and suspended_at is null""",
)
_RESTORE = Sql(
    "members.restore",
    """update mainstay.memberships set suspended_at = null, suspended_by = null, updated_at = mainstay.now()
       where company_id = $1 and person_id = $2 and suspended_at is not null""",
)
_DELETE = Sql("members.delete_member", "delete from mainstay.memberships where company_id = $1 and person_id = $2")
_OTHER_OWNERS = Sql(
    "members.other_owners",
    """select count(*) from mainstay.memberships m join mainstay.people p on p.id = m.person_id
       where m.company_id = $1 and m.person_id <> $2 and m.role = 'owner' and m.suspended_at is null
         and p.suspended_at is null""",
)
_END_SESSIONS = Sql(
    "members.end_sessions",
    """update mainstay.sessions set ended_at = mainstay.now(), ended_reason = $3
       where company_id = $1 and person_id = $2 and ended_at is null and expires_at > mainstay.now()""",
)
_PLACES = Sql(
    "members.count_places",
    """select (select count(*) from mainstay.memberships where company_id = $1)
            + (select count(*) from mainstay.invitations where company_id = $1 and accepted_at is null
                and withdrawn_at is null and expires_at > mainstay.now() and email_key <> $2)""",
)
_KEYS = Sql(
    "members.count_keys",
    """select count(*) from mainstay.api_keys k where k.company_id = $1 and mainstay.key_is_valid(k)
         and ($2::text is null or (k.created_by->>'kind' = 'person' and k.created_by->>'id' = $2))""",
)


async def lock_company(tx: Tx, company_id: str) -> bool:
    """Whether there is such a company; others that decide who belongs to it wait for this transaction."""
    return await tx.value(_LOCK_COMPANY, company_id) is not None


async def lock_members(tx: Tx, company_id: str, person_ids: Sequence[str]) -> dict[str, Record]:
    """Those of these people who are members, by id; nobody else changes them meanwhile."""
    return {str(row["person_id"]): row for row in await tx.rows(_LOCK_MEMBERS, company_id, sorted(set(person_ids)))}


async def list_members(db: Connection, company_id: str, wanted: Sequence[Any], after: str | None, limit: int) -> Any:
    """Members in the order of their ids: those of `wanted` role, state, pattern, department and factor."""
    return await db.rows(_LIST, company_id, *wanted, after, limit)


async def count_members(db: Connection, company_id: str, wanted: Sequence[Any]) -> int:
    """How many members are wanted so."""
    return int(await db.value(_COUNT, company_id, *wanted))


async def find_member(db: Connection, company_id: str, person_id: str) -> Record | None:
    """One member of the company."""
    return await db.row(_GET, company_id, person_id)


async def find_acting(db: Connection, company_id: str, person_id: str) -> Record | None:
    """Role and features of a member who is not suspended, by the company or everywhere."""
    return await db.row(_ACTING, company_id, person_id)


async def insert_member(
    tx: Tx, company_id: str, person_id: str, *, role: str, features: Sequence[str], invited_by: str
) -> bool:
    """Whether the person became a member just now."""
    return count_of(await tx.run(_INSERT, company_id, person_id, role, list(features), invited_by)) == 1


async def set_rights(tx: Tx, company_id: str, person_id: str, role: str, features: Sequence[str]) -> None:
    """The member has that role and those features."""
    await tx.run(_SET_RIGHTS, company_id, person_id, role, list(features))


async def suspend_member(tx: Tx, company_id: str, person_id: str, by: str) -> bool:
    """Whether the member was suspended just now."""
    return count_of(await tx.run(_SUSPEND, company_id, person_id, by)) == 1


async def restore_member(tx: Tx, company_id: str, person_id: str) -> bool:
    """Whether the member's suspension ended just now."""
    return count_of(await tx.run(_RESTORE, company_id, person_id)) == 1


async def delete_member(tx: Tx, company_id: str, person_id: str) -> bool:
    """Whether the person was a member until now; they are in no department of the company any more either."""
    return count_of(await tx.run(_DELETE, company_id, person_id)) == 1


async def count_other_owners(tx: Tx, company_id: str, person_id: str) -> int:
    """How many owners besides that person can act."""
    return int(await tx.value(_OTHER_OWNERS, company_id, person_id))


async def end_sessions(tx: Tx, company_id: str, person_id: str, reason: str) -> int:
    """How many sessions of the person in the company ended just now."""
    return count_of(await tx.run(_END_SESSIONS, company_id, person_id, reason))


async def count_places(tx: Tx, company_id: str, email_key: str) -> int:
    """How many members and open invitations the company has, one for that address not counted."""
    return int(await tx.value(_PLACES, company_id, email_key))


async def count_keys(db: Connection, company_id: str, *, made_by: str | None = None) -> int:
    """How many keys of the company work, or how many of those that the person made; asked where its keys are."""
    return int(await db.value(_KEYS, company_id, made_by))
