"""Statements on the company itself: its name, the limits of its sessions, and how much it has."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx

_SHOWN = """id, name, slug, data_region, plan, created_at, updated_at, mfa_required_from, session_idle_minutes,
       session_lifetime_hours"""
_GET = Sql("members.get_company", f"select {_SHOWN} from mainstay.companies where id = $1")  # noqa: S608 (constants)
_LOCK = Sql("members.lock_whole_company", f"select {_SHOWN} from mainstay.companies where id = $1 for no key update")  # noqa: S608 (constants)
_CHANGE = Sql(
    "members.change_company",
    f"""update mainstay.companies set name = $2, session_idle_minutes = $3, session_lifetime_hours = $4,
          updated_at = mainstay.now() where id = $1 returning {_SHOWN}""",  # noqa: S608 (constants)
)
_SHORTEN = Sql(
    "members.shorten_sessions",
    """update mainstay.sessions s set expires_at = s.created_at + $2::interval
       from mainstay.memberships m
       where m.company_id = $1 and s.person_id = m.person_id and s.company_id = $1 and s.ended_at is null
         and s.expires_at > s.created_at + $2::interval""",
)
_STATS = Sql(
    "members.company_stats",
    """select count(*) filter (where m.role = 'owner') as owners,
              count(*) filter (where m.role = 'manager') as managers,
              count(*) filter (where m.role = 'staff') as staff,
              count(*) filter (where m.suspended_at is not null or p.suspended_at is not null) as suspended,
              (select count(*) from mainstay.departments d where d.company_id = $1) as departments,
              (select count(*) from mainstay.invitations i where i.company_id = $1 and i.accepted_at is null
                 and i.withdrawn_at is null and i.expires_at > mainstay.now()) as open_invitations,
              (select count(*) from mainstay.workspaces w where w.company_id = $1 and not w.system) as workspaces
       from mainstay.memberships m join mainstay.people p on p.id = m.person_id where m.company_id = $1""",
)


async def find_company(db: Connection, company_id: str) -> Record | None:
    """The company."""
    return await db.row(_GET, company_id)


async def lock_whole_company(tx: Tx, company_id: str) -> Record | None:
    """The company, which nobody else changes meanwhile."""
    return await tx.row(_LOCK, company_id)


async def change_company(tx: Tx, company_id: str, given: Mapping[str, Any]) -> Record:
    """The company with that name and those limits."""
    values = (given["name"], given["session_idle_minutes"], given["session_lifetime_hours"])
    found = await tx.row(_CHANGE, company_id, *values)
    assert found is not None
    return found


async def shorten_sessions(tx: Tx, company_id: str, lifetime: timedelta) -> None:
    """No open session of the company ends later than that after it began."""
    await tx.run(_SHORTEN, company_id, lifetime)


async def read_stats(db: Connection, company_id: str) -> Record:
    """How many members by role, departments, open invitations and workspaces the company has."""
    found = await db.row(_STATS, company_id)
    assert found is not None
    return found
