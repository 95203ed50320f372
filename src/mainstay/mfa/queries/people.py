"""Statements on people, their companies and sessions, and on what companies demand."""

from datetime import datetime, timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_PERSON = Sql("mfa.person", "select p.id, p.name, p.email, p.mfa_enabled_at from mainstay.people p where p.id = $1")
_NAMED = Sql(
    "mfa.person_named",
    """select p.id, p.name, p.email from mainstay.people p
       where p.id = $1::uuid or lower(p.email collate "C") = lower($2::text collate "C")""",
)
_COMPANIES = Sql(
    "mfa.companies_of",
    """select m.company_id from mainstay.memberships m where m.person_id = $1
       order by (select s.id from mainstay.sessions s where s.person_id = $1 and s.company_id = m.company_id
                 order by s.id desc limit 1) desc nulls last, m.company_id limit 1000""",
)
_MEMBER = Sql(
    "mfa.member",
    """select p.id, p.name, p.email, m.role,
              exists (select from mainstay.memberships o where o.person_id = $2 and o.company_id <> $1) as has_others
       from mainstay.memberships m join mainstay.people p on p.id = m.person_id
       where m.company_id = $1 and m.person_id = $2 for share of m""",
)
_END_SESSIONS = Sql(
    "mfa.end_sessions",
    """update mainstay.sessions s set ended_at = mainstay.now(), ended_reason = 'mfa_reset'
       where s.person_id = $1 and s.ended_at is null""",
)
_END_WEAK = Sql(
    "mfa.end_weak_sessions",
    """update mainstay.sessions s set ended_at = mainstay.now(), ended_reason = 'mfa_enabled'
       where s.person_id = $1 and s.ended_at is null and s.strong_at is null and ($2::uuid is null or s.id <> $2)""",
)
_STRENGTHEN = Sql(
    "mfa.strengthen_session",
    """update mainstay.sessions s set strong_at = mainstay.now()
       where s.person_id = $1 and s.id = $2 and s.ended_at is null""",
)
_DEMAND = Sql(
    "mfa.demand",
    """update mainstay.companies c
         set mfa_required_from = case when $2::timestamptz is null then least(c.mfa_required_from, mainstay.now())
                                      else greatest($2::timestamptz, mainstay.now()) end,
             updated_at = mainstay.now()
       where c.id = $1 and ($2::timestamptz is null or $2::timestamptz <= mainstay.now() + $3::interval)
       returning c.mfa_required_from""",
)
_RELENT = Sql(
    "mfa.relent", "update mainstay.companies set mfa_required_from = null, updated_at = mainstay.now() where id = $1"
)
_DEMANDED = Sql("mfa.demanded", "select c.mfa_required_from from mainstay.companies c where c.id = $1")
_COUNTED = Sql(
    "mfa.count_members",
    """select count(*) as members, count(*) filter (where p.mfa_enabled_at is null) as without
       from mainstay.memberships m join mainstay.people p on p.id = m.person_id and p.suspended_at is null
       where m.company_id = $1 and m.suspended_at is null""",
)
_WITHOUT = Sql(
    "mfa.members_without",
    """select p.id, p.name, p.email, m.role
       from mainstay.memberships m join mainstay.people p on p.id = m.person_id and p.suspended_at is null
       where m.company_id = $1 and m.suspended_at is null and p.mfa_enabled_at is null
       order by p.name, p.id limit $2""",
)


async def find_person_everywhere(db: Connection, person_id: str) -> Record | None:
    """The person, and since when a second factor is on."""
    return await db.row(_PERSON, person_id)


async def find_person_named_everywhere(db: Connection, *, person_id: str | None, email: str) -> Record | None:
    """The person of that id or email."""
    return await db.row(_NAMED, person_id, email)


async def companies_of_everywhere(db: Connection, person_id: str) -> list[str]:
    """The first 1,000 companies of the person, that of the newest session first."""
    return [str(row["company_id"]) for row in await db.rows(_COMPANIES, person_id)]


async def find_member(tx: Tx, company_id: str, person_id: str) -> Record | None:
    """The person with the role held in the company, and whether they have other companies."""
    return await tx.row(_MEMBER, company_id, person_id)


async def end_sessions_everywhere(tx: Tx, person_id: str) -> int:
    """How many sessions of the person ended just now."""
    return count_of(await tx.run(_END_SESSIONS, person_id))


async def end_weak_sessions_everywhere(tx: Tx, person_id: str, *, but: str | None) -> int:
    """How many sessions of the person ended just now in which no second factor was ever shown."""
    return count_of(await tx.run(_END_WEAK, person_id, but))


async def strengthen_session_everywhere(tx: Tx, person_id: str, session_id: str) -> None:
    """In that session the second factor was shown just now."""
    await tx.run(_STRENGTHEN, person_id, session_id)


async def demand(tx: Tx, company_id: str, since: datetime | None, *, within: timedelta) -> Any:
    """From when the company demands a second factor; None where that lies further ahead than may be."""
    return await tx.value(_DEMAND, company_id, since, within)


async def relent(tx: Tx, company_id: str) -> None:
    """The company demands no second factor."""
    await tx.run(_RELENT, company_id)


async def demanded_from(db: Connection, company_id: str) -> Any:
    """From when the company demands a second factor, or None."""
    return await db.value(_DEMANDED, company_id)


async def count_members(db: Connection, company_id: str) -> tuple[int, int]:
    """How many people may act for the company, and how many of them have no second factor."""
    row = await db.row(_COUNTED, company_id)
    assert row is not None
    return row["members"], row["without"]


async def members_without(db: Connection, company_id: str, *, limit: int) -> list[Record]:
    """People who may act for the company and have no second factor, by name."""
    return await db.rows(_WITHOUT, company_id, limit)
