"""Every statement of the incidents room."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson

from mainstay.kernel.db import Connection, Record, Sql, Tx

_OPEN = Sql(
    "incidents.open_restriction",
    "select id, reason, since, set_by from mainstay.restrictions where closes = 'people' and lifted_at is null",
)
_RESTRICT = Sql(
    "incidents.restrict",
    """insert into mainstay.restrictions as r (id, reason, set_by) values ($1, $2, $3)
       on conflict (closes) where lifted_at is null do update set reason = excluded.reason
       returning id, reason, since, set_by""",
)
_LIFT = Sql(
    "incidents.lift",
    """update mainstay.restrictions set lifted_at = mainstay.now(), lifted_by = $1
       where closes = 'people' and lifted_at is null returning id, reason, since, set_by""",
)
_ADD = Sql(
    "incidents.add_entries",
    """insert into mainstay.auth_log (at, kind, reason, times, person_id, email_digest, company_id, key_id, address,
                                      user_agent, method, route, trace_id)
       select mainstay.now() - make_interval(secs => e.waited), e.kind, e.reason, e.times, e.person_id,
              decode(e.email_digest, 'hex'), e.company_id, e.key_id, e.address, e.user_agent, e.method, e.route,
              e.trace_id
       from jsonb_to_recordset($1) as e (waited float8, kind text, reason text, times integer, person_id uuid,
         email_digest text, company_id uuid, key_id uuid, address text, user_agent text, method text, route text,
         trace_id text)""",
)
_LIST = Sql(
    "incidents.list_entries",
    """select id, at, kind, reason, times, person_id, company_id, key_id, address, user_agent, method, route, trace_id,
              email_digest is not null as has_email
       from mainstay.auth_log
       where ($1::text is null or kind = $1) and ($2::uuid is null or person_id = $2)
         and ($3::uuid is null or company_id = $3) and ($4::text is null or address = $4)
         and ($5::bytea[] is null or email_digest = any($5)) and ($6::timestamptz is null or at >= $6)
         and ($7::timestamptz is null or at < $7) and ($8::bigint is null or id < $8)
       order by id desc limit $9""",
)
_PRUNE = Sql(
    "incidents.prune_entries",
    """delete from mainstay.auth_log where id in (
         select id from mainstay.auth_log where at < mainstay.now() - $1::interval order by at limit $2)""",
)
_DROP_PERSON = (
    Sql("incidents.drop_probe_sessions", "delete from mainstay.sessions where person_id = $1"),
    Sql("incidents.drop_probe_memberships", "delete from mainstay.memberships where person_id = $1"),
    Sql("incidents.drop_probe", "delete from mainstay.people where id = $1 and email_key like '%' || $2"),
)
_PROBES = Sql(
    "incidents.old_probes",
    """select id from mainstay.people where email_key like '%' || $1 and created_at < mainstay.now() - $2::interval
       order by id limit 100""",
)


async def find_open_everywhere(db: Connection) -> Record | None:
    """The restriction that holds now, or None."""
    return await db.row(_OPEN)


async def restrict_everywhere(tx: Tx, restriction_id: str, reason: str, by: str) -> Record:
    """The restriction that holds now, with that reason: a new one, or the one that held already; `by` as JSON."""
    row = await tx.row(_RESTRICT, restriction_id, reason, by)
    assert row is not None
    return row


async def lift_everywhere(tx: Tx, by: str) -> Record | None:
    """The restriction that held until now, or None."""
    return await tx.row(_LIFT, by)


async def add_entries_everywhere(db: Connection, entries: Sequence[Mapping[str, Any]]) -> None:
    """The entries are in the log; `waited` is how many seconds ago each happened."""
    await db.run(_ADD, orjson.dumps(entries).decode())


async def list_entries_everywhere(
    db: Connection, given: Mapping[str, Any], *, before: int | None, limit: int
) -> list[Record]:
    """Entries that match all that is given, newest first."""
    names = ("kind", "person_id", "company_id", "address", "email_digests", "since", "until")
    return await db.rows(_LIST, *(given.get(name) for name in names), before, limit)


async def prune_entries_everywhere(db: Connection, age: timedelta, *, most: int) -> int:
    """Up to so many entries older than that are gone; how many."""
    return int((await db.run(_PRUNE, age, most)).rpartition(" ")[2])


async def drop_probe_everywhere(tx: Tx, person_id: str, domain: str) -> None:
    """The probe account, its membership and its sessions are gone."""
    sessions, memberships, person = _DROP_PERSON
    await tx.run(sessions, person_id)
    await tx.run(memberships, person_id)
    await tx.run(person, person_id, domain)


async def old_probes_everywhere(db: Connection, domain: str, age: timedelta) -> list[str]:
    """Up to 100 probe accounts that are older than that."""
    return [str(row["id"]) for row in await db.rows(_PROBES, domain, age)]
