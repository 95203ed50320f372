"""Every SQL statement of the identity room."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from mainstay.identity.tables import api_key_uses, api_keys, companies, people, workspaces
from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of

_COMPANY = (companies.c.id, companies.c.name, companies.c.slug, companies.c.data_region, companies.c.plan,
            companies.c.created_at)  # fmt: skip
_WORKSPACE = (workspaces.c.id, workspaces.c.company_id, workspaces.c.name, workspaces.c.slug, workspaces.c.system,
              workspaces.c.created_at)  # fmt: skip
_PERSON = (people.c.id, people.c.email, people.c.name, people.c.password_hash, people.c.suspended_at)

_LAST_USE = (
    select(api_key_uses.c.last_used_at)
    .where(api_key_uses.c.key_id == api_keys.c.id)
    .order_by(api_key_uses.c.minute.desc())
    .limit(1)
    .scalar_subquery()
    .label("last_used_at")
)
_KEY = (*(column for column in api_keys.c if column.name not in ("digest", "revoked_by", "data_region")), _LAST_USE)

_FIND_KEY = Sql(
    "identity.find_key",
    """select k.id, k.company_id, k.workspace_id, k.data_region, k.kind, k.name, k.read_only, k.allow_list,
         extract(epoch from least(k.expires_at, k.overlap_ends_at) - mainstay.now())::float8 as seconds_left
       from mainstay.api_keys k where k.digest = $1 and mainstay.key_is_valid(k)""",
)
_LOCK_ROTATABLE = Sql(
    "identity.lock_rotatable_key",
    """select k.id from mainstay.api_keys k
       where k.company_id = $1 and k.id = $2 and mainstay.key_is_valid(k) and k.overlap_ends_at is null for update""",
)
_END_OVERLAP = Sql(
    "identity.end_overlap",
    """update mainstay.api_keys set overlap_ends_at = mainstay.now() + $3::interval
       where company_id = $1 and id = $2 returning overlap_ends_at""",
)
_REVOKE = Sql(
    "identity.revoke_key",
    """update mainstay.api_keys set revoked_at = mainstay.now(), revoked_by = $3
       where company_id = $1 and id = $2 and revoked_at is null""",
)
_IS_FUTURE = Sql("identity.is_future", "select $1::timestamptz > mainstay.now()")
_ADD_USES = Sql(
    "identity.add_uses",
    """insert into mainstay.api_key_uses as u (key_id, minute, company_id, uses, last_used_at)
       select k.id, date_trunc('minute', mainstay.now()), k.company_id, given.uses, mainstay.now()
       from unnest($1::uuid[], $2::bigint[]) as given (key_id, uses) join mainstay.api_keys k on k.id = given.key_id
       order by k.id
       on conflict (key_id, minute) do update
         set uses = u.uses + excluded.uses, last_used_at = greatest(u.last_used_at, excluded.last_used_at)""",
)
_USES_WITHIN = Sql(
    "identity.uses_within",
    """select coalesce(sum(uses), 0)::bigint from mainstay.api_key_uses
       where company_id = $1 and key_id = $2 and minute > mainstay.now() - $3::interval - interval '1 minute'""",
)
_PRUNE_USES = Sql(
    "identity.prune_uses",
    """delete from mainstay.api_key_uses u where u.minute < mainstay.now() - $1::interval
         and exists (select from mainstay.api_key_uses later
                     where later.key_id = u.key_id and later.minute > u.minute)""",
)
_SYSTEM_WORKSPACES = Sql(
    "identity.system_workspaces",
    """select w.id, w.company_id, c.data_region from mainstay.workspaces w
       join mainstay.companies c on c.id = w.company_id where w.system and w.company_id = any($1::uuid[])""",
)
_ADD_MEMBERSHIP = Sql(
    "identity.add_membership",
    """insert into mainstay.memberships (company_id, person_id, role) values ($1, $2, $3)
       on conflict (company_id, person_id) do nothing""",
)
_FIND_MEMBER = Sql(
    "identity.find_member",
    """select p.id, p.email, p.name, p.suspended_at, m.role from mainstay.memberships m
       join mainstay.people p on p.id = m.person_id where m.company_id = $1 and m.person_id = $2""",
)
_MEMBERSHIPS = Sql(
    "identity.memberships",
    """select c.id, c.name, c.slug, c.data_region, c.plan, c.created_at, m.role from mainstay.memberships m
       join mainstay.companies c on c.id = m.company_id
       where m.person_id = $1 and ($2::uuid is null or m.company_id = $2) order by c.id limit $3""",
)
_REPLACE_HASH = Sql(
    "identity.replace_hash",
    """update mainstay.people set password_hash = $3, updated_at = mainstay.now()
       where id = $1 and password_hash = $2""",
)

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
_PRUNE_TRIES = Sql(
    "identity.prune_sign_in_tries", "delete from mainstay.sign_in_tries where since < mainstay.now() - $1::interval"
)
_OPEN_SESSION = Sql(
    "identity.open_session",
    """insert into mainstay.sessions (id, person_id, company_id, token_hash, user_agent, expires_at)
       values ($1, $2, $3, $4, $5, mainstay.now() + $6::interval)""",
)
_FIND_SESSION = Sql(
    "identity.find_session",
    """select s.id, s.person_id, s.company_id, s.workspace_id, p.name, p.email, m.role, c.name as company_name,
              coalesce(w.name, '') as workspace_name,
              s.last_used_at < mainstay.now() - interval '1 minute' as is_stale
       from mainstay.sessions s
       join mainstay.people p on p.id = s.person_id and p.suspended_at is null
       join mainstay.memberships m on m.person_id = s.person_id and m.company_id = s.company_id
       join mainstay.companies c on c.id = s.company_id
       left join mainstay.workspaces w on w.company_id = s.company_id and w.id = s.workspace_id
       where s.token_hash = $1 and s.ended_at is null and s.expires_at > mainstay.now()
         and s.last_used_at > mainstay.now() - $2::interval""",
)
_WORKING_SESSIONS = Sql(
    "identity.working_sessions",
    """select s.id from mainstay.sessions s
       join mainstay.people p on p.id = s.person_id and p.suspended_at is null
       join mainstay.memberships m on m.person_id = s.person_id and m.company_id = s.company_id
       where s.company_id = $1 and s.id = any($2::uuid[]) and s.ended_at is null and s.expires_at > mainstay.now()
         and s.last_used_at > mainstay.now() - $3::interval""",
)
_LAST_COMPANY = Sql(
    "identity.last_company",
    "select company_id from mainstay.sessions where person_id = $1 order by id desc limit 1",
)
_TOUCH_SESSION = Sql(
    "identity.touch_session", "update mainstay.sessions set last_used_at = mainstay.now() where id = $1"
)
_MOVE_SESSION = Sql(
    "identity.move_session",
    """update mainstay.sessions s set company_id = $2, workspace_id = $3::uuid
       where s.id = $1 and s.ended_at is null
         and exists (select from mainstay.memberships m where m.person_id = s.person_id and m.company_id = $2)
         and ($3::uuid is null
              or exists (select from mainstay.workspaces w where w.company_id = $2 and w.id = $3::uuid))""",
)
_END_SESSION = Sql(
    "identity.end_sessions",
    """update mainstay.sessions set ended_at = mainstay.now()
       where person_id = $1 and ended_at is null and ($2::uuid is null or id = $2)""",
)
_PRUNE_SESSIONS = Sql(
    "identity.prune_sessions", "delete from mainstay.sessions where expires_at < mainstay.now() - $1::interval"
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


async def replace_hash_everywhere(tx: Tx, person_id: str, *, old: str, new: str) -> None:
    """The person's password hash is the new one, unless it changed meanwhile."""
    await tx.run(_REPLACE_HASH, person_id, old, new)


async def insert_membership(tx: Tx, company_id: str, person_id: str, role: str) -> bool:
    """Whether the person became a member just now."""
    return count_of(await tx.run(_ADD_MEMBERSHIP, company_id, person_id, role)) == 1


async def find_member(db: Connection, company_id: str, person_id: str) -> Record | None:
    """The person with the role held in the company."""
    return await db.row(_FIND_MEMBER, company_id, person_id)


async def memberships_everywhere(db: Connection, person_id: str, *, company_id: str | None, most: int) -> list[Record]:
    """The companies of one person (or only the one asked for) with the role in each."""
    return await db.rows(_MEMBERSHIPS, person_id, company_id, most)


async def insert_key(tx: Tx, company_id: str, row: Mapping[str, Any]) -> None:
    """The key is stored."""
    await tx.run(*compose("identity.insert_key", insert(api_keys).values(company_id=company_id, **row)))


async def find_valid_key_everywhere(db: Connection, digest: bytes) -> Record | None:
    """The key of that digest where it works now, with the seconds that are left to it (None: no end is set)."""
    return await db.row(_FIND_KEY, digest)


async def find_key(db: Connection, company_id: str, key_id: str) -> Record | None:
    """One key of the company, with its last use."""
    wanted = (api_keys.c.company_id == company_id) & (api_keys.c.id == key_id)
    return await db.row(*compose("identity.find_key", select(*_KEY).where(wanted)))


async def list_keys(
    db: Connection, company_id: str, *, workspace_id: str | None, after: str | None, limit: int
) -> list[Record]:
    """Keys of the company in the order of their ids, with their last use."""
    statement = select(*_KEY).where(api_keys.c.company_id == company_id).order_by(api_keys.c.id).limit(limit)
    if workspace_id is not None:
        statement = statement.where(api_keys.c.workspace_id == workspace_id)
    if after is not None:
        statement = statement.where(api_keys.c.id > after)
    return await db.rows(*compose("identity.list_keys", statement))


async def lock_rotatable_key(tx: Tx, company_id: str, key_id: str) -> bool:
    """Whether the key works and was not rotated before; if so nobody else can rotate or revoke it meanwhile."""
    return await tx.row(_LOCK_ROTATABLE, company_id, key_id) is not None


async def end_overlap(tx: Tx, company_id: str, key_id: str, overlap: timedelta) -> datetime:
    """When the rotated key stops working."""
    ends_at: datetime = await tx.value(_END_OVERLAP, company_id, key_id, overlap)
    return ends_at


async def revoke_key(tx: Tx, company_id: str, key_id: str, revoked_by: str) -> bool:
    """Whether the key was revoked just now."""
    return count_of(await tx.run(_REVOKE, company_id, key_id, revoked_by)) == 1


async def is_future_everywhere(db: Connection, moment: datetime) -> bool:
    """Whether the database's clock has not reached that moment."""
    return bool(await db.value(_IS_FUTURE, moment))


async def add_uses_everywhere(db: Connection, key_ids: Sequence[str], uses: Sequence[int]) -> None:
    """The uses are added to the current minute of each key."""
    await db.run(_ADD_USES, key_ids, uses)


async def uses_within(db: Connection, company_id: str, key_id: str, window: timedelta) -> int:
    """Uses of the key in all minutes that touch the window up to now."""
    return int(await db.value(_USES_WITHIN, company_id, key_id, window))


async def prune_uses_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many counts of old minutes are gone; the newest of each key stays, as its last use."""
    return count_of(await db.run(_PRUNE_USES, older_than))


async def count_tries_everywhere(db: Connection, subjects: Sequence[bytes], window: timedelta) -> dict[bytes, int]:
    """One more try of each subject is counted; how many that makes since its window began."""
    return {row["subject"]: row["tries"] for row in await db.rows(_TRY, subjects, window)}


async def forgive_tries_everywhere(db: Connection, subjects: Sequence[bytes]) -> None:
    """One try less of each subject."""
    await db.run(_FORGIVE, subjects)


async def prune_tries_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many windows that began longer ago are gone."""
    return count_of(await db.run(_PRUNE_TRIES, older_than))


async def insert_session(tx: Tx, company_id: str, row: Mapping[str, Any], lifetime: timedelta) -> None:
    """The session is stored and ends after its lifetime at the latest."""
    await tx.run(_OPEN_SESSION, row["id"], row["person_id"], company_id, row["token_hash"], row["user_agent"], lifetime)


async def last_company_everywhere(db: Connection, person_id: str) -> Any:
    """The company that the person's newest session looks at, or None."""
    return await db.value(_LAST_COMPANY, person_id)


async def find_session_everywhere(db: Connection, token_hash: bytes, idle: timedelta) -> Record | None:
    """The session of that token where it works now, with its person and their role."""
    return await db.row(_FIND_SESSION, token_hash, idle)


async def working_sessions(db: Connection, company_id: str, session_ids: Sequence[str], idle: timedelta) -> set[str]:
    """Those of the company's sessions that work now."""
    return {str(row["id"]) for row in await db.rows(_WORKING_SESSIONS, company_id, session_ids, idle)}


async def touch_session_everywhere(db: Connection, session_id: str) -> None:
    """The session was used just now."""
    await db.run(_TOUCH_SESSION, session_id)


async def move_session(db: Connection, session_id: str, company_id: str, workspace_id: str | None) -> bool:
    """Whether the session stands in that company now; not where its person is no member or the workspace is not its."""
    return count_of(await db.run(_MOVE_SESSION, session_id, company_id, workspace_id)) == 1


async def end_sessions_everywhere(tx: Tx, person_id: str, session_id: str | None) -> int:
    """How many sessions of the person ended just now: the one, or all."""
    return count_of(await tx.run(_END_SESSION, person_id, session_id))


async def prune_sessions_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many sessions are gone that ended for good longer ago."""
    return count_of(await db.run(_PRUNE_SESSIONS, older_than))
