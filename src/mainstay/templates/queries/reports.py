"""Statements of the daily check: how far it came, and what it found."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_TODAY = Sql("templates.today", "select (mainstay.now() at time zone 'UTC')::date")
_ASSIGNED = Sql(
    "templates.assigned_workspaces",
    """select distinct company_id, workspace_id from mainstay.template_assignments
        where workspace_id > $1 order by workspace_id limit $2""",
)
_POSITIONS = Sql(
    "templates.positions",
    """select t.id, t.name, t.mode, t.rules, t.version,
              case when c.version = t.version then c.seq else 0 end as seq,
              case when c.version = t.version then c.received_at else '1970-01-01Z' end as received_at
         from mainstay.template_assignments a
         join mainstay.templates t on t.id = a.template_id
         left join mainstay.template_checks c on c.workspace_id = a.workspace_id and c.template_id = t.id
        where a.company_id = $1 and a.workspace_id = $2 order by t.id""",
)
_LOCK = Sql("templates.lock_check", "select pg_advisory_xact_lock(hashtextextended('mainstay.templates/' || $1, 0))")
_MOVE = Sql(
    "templates.move_check",
    """insert into mainstay.template_checks as c (workspace_id, template_id, company_id, version, seq, received_at)
       select $2, t.id, $1, t.version, $5, $6
         from unnest($3::uuid[], $4::int[]) as g (id, version)
         join mainstay.templates t on t.id = g.id and t.company_id = $1 and t.version = g.version
        order by t.id for key share of t
       on conflict (workspace_id, template_id) do update
         set version = excluded.version, seq = excluded.seq, received_at = excluded.received_at,
             checked_at = mainstay.now()""",
)
_REPORT = Sql(
    "templates.report",
    """insert into mainstay.template_reports as r
         (id, company_id, workspace_id, template_id, template_name, template_version, day, rule, pointer, events,
          examples)
       values ($3, $1, $2, $4, $5, $6, $7, $8, $9, $10, $11::jsonb)
       on conflict on constraint template_reports_once_key do update
         set events = r.events + excluded.events,
             examples = case when jsonb_array_length(r.examples) >= $12 then r.examples
                        else (select jsonb_agg(e order by n) from jsonb_array_elements(r.examples || excluded.examples)
                                with ordinality as x (e, n) where n <= $12) end""",
)
_UNTOLD = Sql(
    "templates.untold_reports",
    """update mainstay.template_reports set told_at = mainstay.now()
        where company_id = $1 and workspace_id = $2 and told_at is null
       returning template_id, template_name, template_version, day, rule, pointer, events""",
)
_LIST = Sql(
    "templates.list_reports",
    """select * from mainstay.template_reports
        where company_id = $1 and ($2::uuid is null or workspace_id = $2) and ($3::uuid is null or template_id = $3)
          and ($4::uuid is null or id < $4) order by id desc limit $5""",
)
_PRUNE = Sql(
    "templates.prune_reports",
    "delete from mainstay.template_reports where day < (mainstay.now() at time zone 'UTC')::date - $1::interval",
)


async def today_everywhere(db: Connection) -> date:
    """The day that it is, in UTC."""
    found: date = await db.value(_TODAY)
    return found


async def assigned_everywhere(db: Connection, *, after: str, limit: int) -> list[Record]:
    """Company and workspace of workspaces that have templates, by id."""
    return await db.rows(_ASSIGNED, after, limit)


async def lock_check(tx: Tx, workspace_id: str) -> None:
    """Nobody else checks the workspace before this transaction ends."""
    await tx.run(_LOCK, workspace_id)


async def positions_of(db: Connection, company_id: str, workspace_id: str) -> list[Record]:
    """The workspace's templates, each with the last event that was checked against its present version."""
    return await db.rows(_POSITIONS, company_id, workspace_id)


async def move_check(
    tx: Tx,
    company_id: str,
    workspace_id: str,
    templates: Sequence[tuple[str, int]],
    *,
    seq: int,
    received_at: datetime,
) -> int:
    """The workspace's events were checked up to there against those versions; how many of them still are in force."""
    identifiers, versions = [one[0] for one in templates], [one[1] for one in templates]
    return count_of(await tx.run(_MOVE, company_id, workspace_id, identifiers, versions, seq, received_at))


async def add_report(tx: Tx, company_id: str, workspace_id: str, values: Sequence[Any]) -> None:
    """What was found is part of the day's row: (row id, template, its name and version, day, rule, pointer, events,
    examples as JSON, most examples)."""
    await tx.run(_REPORT, company_id, workspace_id, *values)


async def take_untold(tx: Tx, company_id: str, workspace_id: str) -> list[Record]:
    """Rows of the workspace that nobody was told of; they count as told."""
    return await tx.rows(_UNTOLD, company_id, workspace_id)


async def list_reports(
    db: Connection,
    company_id: str,
    *,
    workspace_id: str | None,
    template_id: str | None,
    before: str | None,
    limit: int,
) -> list[Record]:
    """Rows of the company, newest first."""
    return await db.rows(_LIST, company_id, workspace_id, template_id, before, limit)


async def prune_reports_everywhere(db: Connection, age: timedelta) -> int:
    """Rows of days longer ago are gone; how many."""
    return count_of(await db.run(_PRUNE, age))
