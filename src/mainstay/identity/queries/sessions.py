"""Statements on sessions, and on how often a password was guessed wrong."""

from collections.abc import Sequence
from datetime import timedelta

from mainstay.kernel.db import Connection, Record, Sql, count_of

_TRY = Sql(
    "identity.count_sign_in_try",
    """insert into mainstay.sign_in_tries as t (subject, tries) select given, 1 from unnest($1::bytea[]) given
       order by given
       on conflict (subject) do update
         set tries = case when t.since > mainstay.now() - $2::interval then t.tries + 1 else 1 end,
             since = case when t.since > mainstay.now() - $2::interval then t.since else mainstay.now() end
       returning subject, tries""",
)
_FORGIVE = Sql(
    "identity.forgive_sign_in_try",
    "update mainstay.sign_in_tries set tries = greatest(tries - 1, 0) where subject = any($1::bytea[])",
)
_SEEN_ADDRESSES = Sql(
    "identity.seen_addresses",
    """select distinct seen.address from (
         select s.address from mainstay.people p join mainstay.sessions s on s.person_id = p.id
         where p.email_key = $1 order by s.id desc limit $2
       ) seen where seen.address <> ''""",
)
_PRUNE_TRIES = Sql(
    "identity.prune_sign_in_tries", "delete from mainstay.sign_in_tries where since < mainstay.now() - $1::interval"
)
# A session works while it has not ended, nobody in it is suspended, and neither its own end nor what its company
# sets since has come.
_WORKING = """mainstay.sessions s
       join mainstay.people p on p.id = s.person_id and p.suspended_at is null
       join mainstay.memberships m on m.person_id = s.person_id and m.company_id = s.company_id
                                      and m.suspended_at is null
       join mainstay.companies c on c.id = s.company_id"""
_IN_TIME = """s.ended_at is null and s.expires_at > mainstay.now()
         and (c.session_lifetime_hours is null
              or s.created_at > mainstay.now() - make_interval(hours => c.session_lifetime_hours))
         and s.last_used_at > mainstay.now() - coalesce(make_interval(mins => c.session_idle_minutes), $1::interval)"""
_SESSION = f"""select s.id, s.kind, s.person_id, s.company_id, s.workspace_id, p.name, p.email, m.role, m.features,
              c.data_region, c.name as company_name, coalesce(w.name, '') as workspace_name,
              s.last_used_at < mainstay.now() - interval '1 minute' as is_stale,
              greatest(s.authenticated_at, s.strong_at) > mainstay.now() - $2::interval as is_fresh,
              p.mfa_enabled_at is null and coalesce(c.mfa_required_from <= mainstay.now(), false) as must_set_up_mfa
       from {_WORKING}
       left join mainstay.workspaces w on w.company_id = s.company_id and w.id = s.workspace_id
       where {_IN_TIME}"""  # noqa: S608 - constants
_FIND_SESSION = Sql("identity.find_session", _SESSION + " and s.token_hash = $3")
_FIND_API_SESSION = Sql(
    "identity.find_api_session",
    _SESSION + " and s.id = $3 and s.person_id = $4 and s.company_id = $5 and s.kind = 'api'",
)
_WORKING_SESSIONS = Sql(
    "identity.working_sessions",
    f"select s.id from {_WORKING} where {_IN_TIME} and s.company_id = $2 and s.id = any($3::uuid[])",  # noqa: S608
)
_TOUCH_SESSION = Sql(
    "identity.touch_session", "update mainstay.sessions set last_used_at = mainstay.now() where id = $1"
)
_MOVE_SESSION = Sql(
    "identity.move_session",
    """update mainstay.sessions s
         set company_id = $2, workspace_id = $3::uuid,
             expires_at = least(s.expires_at,
                                s.created_at + coalesce(make_interval(hours => c.session_lifetime_hours), $4::interval))
       from mainstay.companies c
       where s.id = $1 and s.ended_at is null and c.id = $2
         and exists (select from mainstay.memberships m
                     where m.person_id = s.person_id and m.company_id = $2 and m.suspended_at is null)
         and ($3::uuid is null
              or exists (select from mainstay.workspaces w where w.company_id = $2 and w.id = $3::uuid))""",
)
_PRUNE_SESSIONS = Sql(
    "identity.prune_sessions", "delete from mainstay.sessions where expires_at < mainstay.now() - $1::interval"
)


async def count_tries_everywhere(db: Connection, subjects: Sequence[bytes], window: timedelta) -> dict[bytes, int]:
    """One more try of each subject is counted; how many that makes since its window began."""
    return {row["subject"]: row["tries"] for row in await db.rows(_TRY, subjects, window)}


async def seen_addresses_everywhere(db: Connection, email_key: str, *, most: int) -> list[str]:
    """From where whoever has that email opened their newest sessions."""
    return [row["address"] for row in await db.rows(_SEEN_ADDRESSES, email_key, most)]


async def forgive_tries_everywhere(db: Connection, subjects: Sequence[bytes]) -> None:
    """One try less of each subject."""
    await db.run(_FORGIVE, subjects)


async def prune_tries_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many windows that began longer ago are gone."""
    return count_of(await db.run(_PRUNE_TRIES, older_than))


async def find_session_everywhere(
    db: Connection, token_hash: bytes, *, idle: timedelta, fresh: timedelta
) -> Record | None:
    """The session of that token where it works now, with its person and their role."""
    return await db.row(_FIND_SESSION, idle, fresh, token_hash)


async def find_api_session(
    db: Connection, company_id: str, person_id: str, session_id: str, *, idle: timedelta, fresh: timedelta
) -> Record | None:
    """The same of an access token's session, where it is the person's and in that company."""
    return await db.row(_FIND_API_SESSION, idle, fresh, session_id, person_id, company_id)


async def working_sessions(db: Connection, company_id: str, session_ids: Sequence[str], idle: timedelta) -> set[str]:
    """Those of the company's sessions that work now."""
    return {str(row["id"]) for row in await db.rows(_WORKING_SESSIONS, idle, company_id, session_ids)}


async def touch_session_everywhere(db: Connection, session_id: str) -> None:
    """The session was used just now."""
    await db.run(_TOUCH_SESSION, session_id)


async def move_session(
    db: Connection, session_id: str, company_id: str, workspace_id: str | None, lifetime: timedelta
) -> bool:
    """Whether the session stands in that company now, and no longer than there; not where its person is no member or
    the workspace is not its."""
    return count_of(await db.run(_MOVE_SESSION, session_id, company_id, workspace_id, lifetime)) == 1


async def prune_sessions_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many sessions are gone that ended for good longer ago."""
    return count_of(await db.run(_PRUNE_SESSIONS, older_than))
