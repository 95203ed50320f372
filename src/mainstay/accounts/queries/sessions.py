"""Statements that open, refresh, replace, list and end sessions of people."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_MAKE_ROOM = Sql(
    "accounts.make_room",
    """update mainstay.sessions set ended_at = mainstay.now(), ended_reason = 'too_many'
       where id in (select s.id from mainstay.sessions s where s.person_id = $1 and s.ended_at is null
                    order by s.id desc offset $2)""",
)
_OPEN = Sql(
    "accounts.open_session",
    """insert into mainstay.sessions (id, person_id, company_id, kind, token_hash, user_agent, address, strong_at,
                                     expires_at)
       select $2::uuid, $3::uuid, c.id, $4, $5::bytea, $6, $7, case when $8 then mainstay.now() end,
              mainstay.now() + coalesce(make_interval(hours => c.session_lifetime_hours), $9::interval)
       from mainstay.companies c where c.id = $1
       returning expires_at""",
)
_SEEN_FROM = Sql(
    "accounts.seen_from",
    """select distinct address from (
         select address from mainstay.sessions where person_id = $1 and user_agent = $2 order by id desc limit 1000
       ) seen""",
)
_LAST_COMPANY = Sql(
    "accounts.last_company",
    "select company_id from mainstay.sessions where person_id = $1 order by id desc limit 1",
)
# A session that is refreshed must stand as one that is used (identity.find_api_session asks the same).
_STANDS = """s.kind = 'api' and s.ended_at is null and s.expires_at > mainstay.now()
         and (c.session_lifetime_hours is null
              or s.created_at > mainstay.now() - make_interval(hours => c.session_lifetime_hours))
         and s.last_used_at > mainstay.now() - coalesce(make_interval(mins => c.session_idle_minutes), $4::interval)"""
_REFRESH = Sql(
    "accounts.refresh_session",
    f"""update mainstay.sessions s
        set refresh_generation = s.refresh_generation + 1, refreshed_at = mainstay.now(), last_used_at = mainstay.now()
        from mainstay.people p, mainstay.memberships m, mainstay.companies c
        where s.id = $1 and s.person_id = $2 and s.refresh_generation = $3 and {_STANDS}
          and p.id = s.person_id and p.suspended_at is null
          and m.person_id = s.person_id and m.company_id = s.company_id and m.suspended_at is null
          and c.id = s.company_id
        returning s.company_id, s.refresh_generation, s.expires_at""",  # noqa: S608 - constants
)
_END_REUSED = Sql(
    "accounts.end_reused",
    """update mainstay.sessions s set ended_at = mainstay.now(), ended_reason = 'refresh_reused'
       from mainstay.people p
       where s.id = $1 and s.person_id = $2 and s.refresh_generation > $3 and s.ended_at is null
         and s.expires_at > mainstay.now() and p.id = s.person_id
       returning s.company_id, s.user_agent, s.address, p.name, p.email""",
)
_REPLACE = Sql(
    "accounts.replace_session",
    """with old as (
         update mainstay.sessions set ended_at = mainstay.now(), ended_reason = $4
         where id = $2 and person_id = $3 and ended_at is null and expires_at > mainstay.now()
         returning *
       )
       insert into mainstay.sessions (id, person_id, company_id, workspace_id, kind, token_hash, user_agent, address,
                                      created_at, authenticated_at, strong_at, expires_at)
       select $5::uuid, old.person_id, c.id, case when old.company_id = c.id then old.workspace_id end, old.kind,
              case when old.kind = 'console' then $6::bytea end, old.user_agent, old.address, old.created_at,
              case when $7 = 'password' then mainstay.now() else old.authenticated_at end,
              case when $7 = 'code' then mainstay.now() else old.strong_at end,
              least(old.expires_at,
                    old.created_at + coalesce(make_interval(hours => c.session_lifetime_hours), $8::interval))
       from old, mainstay.companies c where c.id = $1
       returning kind, expires_at""",
)
_LIST = Sql(
    "accounts.list_sessions",
    """select s.id, s.kind, s.user_agent, s.address, s.created_at, s.last_used_at, s.expires_at,
              s.strong_at is not null as is_strong, c.id as company_id, c.name as company_name
       from mainstay.sessions s
       join mainstay.memberships m on m.person_id = s.person_id and m.company_id = s.company_id
                                      and m.suspended_at is null
       join mainstay.companies c on c.id = s.company_id
       where s.person_id = $1 and s.ended_at is null and s.expires_at > mainstay.now()
         and (c.session_lifetime_hours is null
              or s.created_at > mainstay.now() - make_interval(hours => c.session_lifetime_hours))
         and s.last_used_at > mainstay.now() - coalesce(make_interval(mins => c.session_idle_minutes), $2::interval)
       order by s.id desc limit $3""",
)
_END = Sql(
    "accounts.end_sessions",
    """update mainstay.sessions set ended_at = mainstay.now(), ended_reason = $4
       where person_id = $1 and ended_at is null and ($2::uuid is null or id = $2)
         and ($3::uuid is null or id <> $3)""",
)


async def make_room_everywhere(tx: Tx, person_id: str, most: int) -> int:
    """How many sessions ended because the person has so many newer ones."""
    return count_of(await tx.run(_MAKE_ROOM, person_id, most))


async def open_session(tx: Tx, company_id: str, row: Mapping[str, Any], lifetime: timedelta) -> datetime:
    """The session is stored; when it ends at the latest: after what its company sets, else the lifetime."""
    ends_at: datetime = await tx.value(
        _OPEN, company_id, row["id"], row["person_id"], row["kind"], row["token_hash"], row["user_agent"],
        row["address"], row["is_strong"], lifetime,
    )  # fmt: skip
    return ends_at


async def seen_from_everywhere(db: Connection, person_id: str, user_agent: str) -> list[str]:
    """From which addresses the person signed in with a browser of that name."""
    return [row["address"] for row in await db.rows(_SEEN_FROM, person_id, user_agent)]


async def last_company_everywhere(db: Connection, person_id: str) -> Any:
    """The company that the person's newest session looks at, or None."""
    return await db.value(_LAST_COMPANY, person_id)


async def refresh_session_everywhere(
    tx: Tx, session_id: str, person_id: str, generation: int, idle: timedelta
) -> Record | None:
    """The session with its next generation, or None where it does not stand or is not at that generation."""
    return await tx.row(_REFRESH, session_id, person_id, generation, idle)


async def end_reused_everywhere(tx: Tx, session_id: str, person_id: str, generation: int) -> Record | None:
    """The session and its person where it ended just now, as a generation before its own was used again."""
    return await tx.row(_END_REUSED, session_id, person_id, generation)


async def replace_session(
    tx: Tx, company_id: str, old: Mapping[str, str], new: Mapping[str, Any], lifetime: timedelta
) -> Record | None:
    """The old session ended and the new one is in its place, in that company and no longer than there; None where the
    old one was over."""
    given = (old["id"], old["person_id"], old["reason"], new["id"], new["token_hash"], new["proof"])
    return await tx.row(_REPLACE, company_id, *given, lifetime)


async def list_sessions_everywhere(db: Connection, person_id: str, idle: timedelta, most: int) -> list[Record]:
    """The person's sessions that work, newest first."""
    return await db.rows(_LIST, person_id, idle, most)


async def end_sessions_everywhere(
    tx: Tx, person_id: str, *, session_id: str | None = None, but: str | None = None, reason: str
) -> int:
    """How many sessions of the person ended just now: the one, or all but one, or all."""
    return count_of(await tx.run(_END, person_id, session_id, but, reason))
