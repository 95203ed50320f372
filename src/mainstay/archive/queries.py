"""Every statement of the archive room."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import orjson

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_NOW = Sql("archive.now", "select mainstay.now()")
_MARKED = Sql(
    "archive.marked",
    """select w.id, d.last_seq from unnest($1::uuid[]) as w(id) cross join lateral (
         select last_seq from mainstay.archive_days where workspace_id = w.id order by day desc limit 1) d""",
)
_ADD_DAY = Sql(
    "archive.add_day",
    """insert into mainstay.archive_days as d (workspace_id, company_id, day, data_region, first_seq, last_seq)
       values ($1, $2, $3, $4, $5, $6)
       on conflict (workspace_id, day) do update
         set first_seq = least(d.first_seq, excluded.first_seq), last_seq = greatest(d.last_seq, excluded.last_seq),
             marked_at = mainstay.now(), cut_at = null""",
)
_WAITING = Sql(
    "archive.waiting_days",
    """select workspace_id, company_id, day, data_region, last_seq, archived_seq from mainstay.archive_days
        where flagged_seq < last_seq and cut_at is null and (day, workspace_id) > ($1, $2)
        order by day, workspace_id limit $3""",
)
_DAY = Sql(
    "archive.day", "select * from mainstay.archive_days where workspace_id = $1 and company_id = $2 and day = $3"
)
_ARCHIVED = Sql(
    "archive.record_archived",
    """update mainstay.archive_days
          set archived_seq = $4, sha256 = $5, bytes = $6, archived_at = mainstay.now(), verified_at = mainstay.now(),
              outcome = 'sound', finding = null, failure = null, failed_at = null
        where workspace_id = $1 and company_id = $2 and day = $3 and archived_seq <= $4 and renewals = $7""",
)
_RENEW = Sql(
    "archive.renew_day",
    """update mainstay.archive_days set renewals = renewals + 1
        where workspace_id = $1 and company_id = $2 and day = $3""",
)
_FLAGGED = Sql(
    "archive.record_flagged",
    """update mainstay.archive_days set flagged_seq = greatest(flagged_seq, $4)
        where workspace_id = $1 and company_id = $2 and day = $3""",
)
_FAILED = Sql(
    "archive.record_failure",
    """update mainstay.archive_days set failed_at = mainstay.now(), failure = $4
        where workspace_id = $1 and company_id = $2 and day = $3""",
)
_VERIFIED = Sql(
    "archive.record_verified",
    """update mainstay.archive_days set verified_at = mainstay.now(), outcome = $5, finding = $6
        where workspace_id = $1 and company_id = $2 and day = $3 and sha256 = $4""",
)
_TO_VERIFY = Sql(
    "archive.days_to_verify",
    """select day from mainstay.archive_days
        where workspace_id = $1 and company_id = $2 and archived_seq > 0 and verified_at < $3 and day > $4
        order by day limit $5""",
)
_ARCHIVED_WORKSPACES = Sql(
    "archive.archived_workspaces",
    """select distinct company_id, workspace_id from mainstay.archive_days where archived_seq > 0
        order by company_id, workspace_id""",
)
_LIST = Sql(
    "archive.list_days",
    """select * from mainstay.archive_days
        where company_id = $1 and ($2::uuid is null or workspace_id = $2) and (not $3 or archived_seq > 0)
          and ($4::date is null or day >= $4) and ($5::date is null or day <= $5)
          and ($6::date is null or (day, workspace_id) < ($6, $7::uuid))
        order by day desc, workspace_id desc limit $8""",
)
_UNSOUND = Sql(
    "archive.unsound_days",
    """select * from mainstay.archive_days where company_id = $1 and outcome in ('damaged', 'missing')
        order by day desc, workspace_id desc limit $2""",
)
_TO_EXPORT = Sql(
    "archive.days_to_export",
    """select * from mainstay.archive_days
        where company_id = $1 and ($2::uuid is null or workspace_id = $2) and archived_seq > 0
          and ($3::date is null or day >= $3) and ($4::date is null or day <= $4)
          and (day, workspace_id) > ($5, $6)
        order by day, workspace_id limit $7""",
)
_UNCUT = Sql(
    "archive.uncut_days",
    """select * from mainstay.archive_days where workspace_id = $1 and company_id = $2 and cut_at is null
        order by day limit $3""",
)
_CUT = Sql(
    "archive.record_cut",
    """update mainstay.archive_days set cut_at = mainstay.now()
        where workspace_id = $1 and company_id = $2 and last_seq <= $3 and cut_at is null""",
)
_OVERRIDES = Sql(
    "archive.workspace_retention",
    "select workspace_id, days from mainstay.workspace_retention where workspace_id = any($1::uuid[])",
)
_SET_OVERRIDE = Sql(
    "archive.set_workspace_retention",
    """insert into mainstay.workspace_retention (workspace_id, company_id, days) values ($1, $2, $3)
       on conflict (workspace_id) do update set days = excluded.days, updated_at = mainstay.now()""",
)
_REMOVE_OVERRIDE = Sql(
    "archive.remove_workspace_retention",
    "delete from mainstay.workspace_retention where workspace_id = $1 and company_id = $2",
)
_GRACES = Sql(
    "archive.grace_days",
    "select company_id, grace_days from mainstay.company_retention where company_id = any($1::uuid[])",
)
_SET_GRACE = Sql(
    "archive.set_grace_days",
    """insert into mainstay.company_retention (company_id, grace_days) values ($1, $2)
       on conflict (company_id) do update set grace_days = excluded.grace_days, updated_at = mainstay.now()""",
)
_FIGURES = Sql(
    "archive.figures",
    """select count(*) filter (where waiting) as waiting,
              coalesce(sum(last_seq - greatest(archived_seq, first_seq - 1)) filter (where waiting), 0)
                as waiting_events,
              coalesce(extract(epoch from mainstay.now() - min(day) filter (where waiting)), 0)::float8
                as oldest_seconds,
              count(*) filter (where failure is not null and waiting) as failing,
              count(*) filter (where archived_seq > 0) as archived,
              coalesce(sum(archived_seq - first_seq + 1) filter (where archived_seq > 0), 0) as archived_events,
              coalesce(sum(bytes), 0) as bytes, min(verified_at) as least_verified_at,
              count(*) filter (where outcome = 'damaged') as damaged,
              count(*) filter (where outcome = 'missing') as missing
         from (select *, flagged_seq < last_seq and cut_at is null as waiting from mainstay.archive_days
                where $1::uuid is null or company_id = $1) d""",
)

_TOTALS = Sql(
    "archive.totals",
    """select coalesce(sum(waiting), 0)::bigint as waiting, coalesce(sum(failing), 0)::bigint as failing,
              coalesce(sum(unsound), 0)::bigint as unsound,
              coalesce(sum(archived_events), 0)::bigint as archived_events,
              coalesce((select extract(epoch from mainstay.now() - d.day) from mainstay.archive_days d
                         where d.flagged_seq < d.last_seq and d.cut_at is null
                         order by d.day, d.workspace_id limit 1), 0)::float8 as oldest_seconds
         from mainstay.archive_totals""",
)


async def now_everywhere(connection: Connection) -> datetime:
    """The database's time."""
    found: datetime = await connection.value(_NOW)
    return found


async def marked_everywhere(connection: Connection, workspace_ids: Sequence[str]) -> dict[str, int]:
    """Up to which seq the events of each workspace are candidates."""
    return {str(row["id"]): row["last_seq"] for row in await connection.rows(_MARKED, workspace_ids)}


async def add_day(
    tx: Tx, company_id: str, workspace_id: str, *, day: date, region: str, first_seq: int, last_seq: int
) -> None:
    """The day has candidates from one seq to another, beside those that it had."""
    await tx.run(_ADD_DAY, workspace_id, company_id, day, region, first_seq, last_seq)


async def waiting_days_everywhere(connection: Connection, *, after: tuple[date, str], limit: int) -> list[Record]:
    """Days whose events are not all marked as archived, by day and workspace."""
    return await connection.rows(_WAITING, *after, limit)


async def find_day(connection: Connection, company_id: str, workspace_id: str, day: date) -> Record | None:
    """One day of a workspace."""
    return await connection.row(_DAY, workspace_id, company_id, day)


async def record_archived(
    tx: Tx, company_id: str, workspace_id: str, day: date, *, seq: int, sha256: bytes, size: int, renewals: int
) -> bool:
    """Whether the day's object is on record as holding the events up to that seq; not where it held more, or was made
    of what the table had before the day was renewed."""
    return count_of(await tx.run(_ARCHIVED, workspace_id, company_id, day, seq, sha256, size, renewals)) == 1


async def renew(tx: Tx, company_id: str, workspace_id: str, day: date) -> None:
    """An object of the day that was made before counts for nothing unless it is on record already."""
    await tx.run(_RENEW, workspace_id, company_id, day)


async def record_flagged(tx: Tx, company_id: str, workspace_id: str, day: date, *, seq: int) -> None:
    """The day's events up to that seq are marked as archived."""
    await tx.run(_FLAGGED, workspace_id, company_id, day, seq)


async def record_failure(connection: Connection, company_id: str, workspace_id: str, day: date, failure: str) -> None:
    """The day's archival failed, and why."""
    await connection.run(_FAILED, workspace_id, company_id, day, failure[:1000])


async def record_verified(
    tx: Tx,
    company_id: str,
    workspace_id: str,
    day: date,
    *,
    sha256: bytes,
    outcome: str,
    finding: Mapping[str, Any] | None,
) -> bool:
    """Whether the outcome is on record; not where the object was replaced meanwhile."""
    found = None if finding is None else orjson.dumps(finding).decode()
    return count_of(await tx.run(_VERIFIED, workspace_id, company_id, day, sha256, outcome, found)) == 1


async def days_to_verify(
    connection: Connection, company_id: str, workspace_id: str, *, before: datetime, after: date, limit: int
) -> list[date]:
    """Archived days that were last verified before a moment, in their order."""
    return [row["day"] for row in await connection.rows(_TO_VERIFY, workspace_id, company_id, before, after, limit)]


async def archived_workspaces_everywhere(connection: Connection) -> list[Record]:
    """Every workspace that has archives, with its company."""
    return await connection.rows(_ARCHIVED_WORKSPACES)


async def list_days(
    connection: Connection,
    company_id: str,
    workspace_id: str | None,
    *,
    archived_only: bool,
    since: date | None,
    until: date | None,
    before: tuple[date, str] | None,
    limit: int,
) -> list[Record]:
    """Days of the company, newest first."""
    position = before or (None, None)
    return await connection.rows(_LIST, company_id, workspace_id, archived_only, since, until, *position, limit)


async def unsound_days(connection: Connection, company_id: str, *, limit: int) -> list[Record]:
    """Days of the company whose object is not sound, newest first."""
    return await connection.rows(_UNSOUND, company_id, limit)


async def days_to_export(
    connection: Connection,
    company_id: str,
    workspace_id: str | None,
    *,
    since: date | None,
    until: date | None,
    after: tuple[date, str],
    limit: int,
) -> list[Record]:
    """Archived days of the company, oldest first."""
    return await connection.rows(_TO_EXPORT, company_id, workspace_id, since, until, *after, limit)


async def uncut_days(connection: Connection, company_id: str, workspace_id: str, *, limit: int) -> list[Record]:
    """Days of the workspace whose events are still in the table, oldest first."""
    return await connection.rows(_UNCUT, workspace_id, company_id, limit)


async def record_cut(tx: Tx, company_id: str, workspace_id: str, *, seq: int) -> None:
    """Days that end at that seq or before have left the table."""
    await tx.run(_CUT, workspace_id, company_id, seq)


async def overrides_everywhere(connection: Connection, workspace_ids: Sequence[str]) -> dict[str, int]:
    """The retention in days of those workspaces that have their own."""
    return {str(row["workspace_id"]): row["days"] for row in await connection.rows(_OVERRIDES, workspace_ids)}


async def set_override(tx: Tx, company_id: str, workspace_id: str, *, days: int | None) -> None:
    """The workspace keeps its events so many days; None: as long as its company does."""
    if days is None:
        await tx.run(_REMOVE_OVERRIDE, workspace_id, company_id)
    else:
        await tx.run(_SET_OVERRIDE, workspace_id, company_id, days)


async def graces_everywhere(connection: Connection, company_ids: Sequence[str]) -> dict[str, int]:
    """The grace in days of those companies that have set one."""
    return {str(row["company_id"]): row["grace_days"] for row in await connection.rows(_GRACES, company_ids)}


async def set_grace(tx: Tx, company_id: str, *, days: int) -> None:
    """The company's events stay so many days after they left the window."""
    await tx.run(_SET_GRACE, company_id, days)


async def figures_of(connection: Connection, company_id: str | None) -> Record:
    """Days that wait and days that are archived, counted; of all companies where none is named."""
    found = await connection.row(_FIGURES, company_id)
    assert found is not None
    return found


async def totals_everywhere(connection: Connection) -> Record:
    """How all companies' days stand, by counts that are kept: as cheap however many days there are."""
    found = await connection.row(_TOTALS)
    assert found is not None
    return found
