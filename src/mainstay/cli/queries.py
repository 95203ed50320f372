"""What `up` and `doctor` ask the database: figures and standing of the whole installation."""

from typing import Final

from sqlalchemy import func, select

import mainstay.main  # noqa: F401 - brings in the tables of every room
from mainstay.kernel.db import Connection, Record, Sql, compose, metadata

_STAYS: Final = frozenset({
    "alert_sends", "announcements", "api_key_uses", "api_keys", "chain_heads", "chain_starts", "checkpoints",
    "deliveries", "endpoint_health", "endpoint_hours", "endpoint_minutes", "endpoint_paces", "endpoint_slots",
    "event_minutes", "event_samples", "events", "fifo_lines", "jobs", "messages", "meter_caps", "meter_counts",
    "meter_openings", "pull_items", "replays", "stream_positions", "tail_streams", "threshold_alerts",
    "usage_snapshots",
})  # fmt: skip
"""Regional tables with a company's history, or with what follows from settings: they may stay where a company was."""
_EVENTS = Sql("cli.count_events", "select coalesce(sum(seq), 0)::bigint from mainstay.chain_heads")
_DELIVERIES = Sql("cli.count_deliveries", "select status, count(*) from mainstay.deliveries group by status")
_JOBS = Sql("cli.count_jobs", "select state, count(*) from mainstay.jobs group by state")
_OVERDUE = Sql(
    "cli.overdue",
    """select q.queue, coalesce(extract(epoch from mainstay.now() - first.due), 0)::float8 as overdue_seconds
       from unnest($1::text[]) as q (queue) left join lateral (
         select coalesce(j.due_at, j.enqueued_at) as due from mainstay.jobs j
         where j.state = 'waiting' and j.queue = q.queue order by j.pos limit 1) as first on true""",
)
_WORKERS = Sql(
    "cli.live_workers",
    """select name, extract(epoch from clock_timestamp() - heartbeat_at)::float8 as silent_seconds
       from mainstay.workers where ended_at is null order by heartbeat_at desc limit 100""",
)
_TROUBLE = Sql(
    "cli.recent_trouble",
    """select (select count(*) from mainstay.job_attempts where finished_at > mainstay.now() - $1::interval) as failed,
              (select count(*) from mainstay.dead_jobs
                where died_at > mainstay.now() - $1::interval and queue <> all ($2::text[])) as dead,
              (select kind || ': ' || left(error, 200) from mainstay.job_attempts
                where finished_at > mainstay.now() - $1::interval order by finished_at desc limit 1) as latest""",
)
_ANNOUNCEMENTS = Sql(
    "cli.announcements",
    """select coalesce(extract(epoch from mainstay.now() - min(at)), 0)::float8 as lag_seconds,
              count(*) filter (where failures >= 5) as stuck from mainstay.announcements""",
)
_SERVER = Sql(
    "cli.server",
    """select current_setting('server_version_num')::int as version, current_setting('server_encoding') as encoding,
              pg_is_in_recovery() as is_standby,
              current_setting('transaction_read_only') = 'on' as is_read_only,
              extract(epoch from clock_timestamp())::float8 as clock_seconds""",
)


async def count_events_everywhere(db: Connection) -> int:
    """How many events the log has."""
    return int(await db.value(_EVENTS))


async def count_deliveries_everywhere(db: Connection) -> dict[str, int]:
    """Deliveries by status; reads them all, so ask seldom when there are many."""
    return {row[0]: row[1] for row in await db.rows(_DELIVERIES)}


async def count_jobs_everywhere(db: Connection) -> dict[str, int]:
    """Jobs that are not over, by state."""
    return {row[0]: row[1] for row in await db.rows(_JOBS)}


async def overdue_everywhere(db: Connection, queues: list[str]) -> list[Record]:
    """For each queue the seconds for which the first job in its line has been due; 0 for an empty line."""
    return await db.rows(_OVERDUE, queues)


async def live_workers_everywhere(db: Connection) -> list[Record]:
    """Workers that did not end, with the seconds since they were last heard of."""
    return await db.rows(_WORKERS)


async def recent_trouble_everywhere(db: Connection, within: object, forgiven_queues: list[str]) -> Record:
    """Attempts that failed and jobs that died within that time (deaths in forgiven queues aside), the last error."""
    row = await db.row(_TROUBLE, within, forgiven_queues)
    assert row is not None
    return row


async def announcements_everywhere(db: Connection) -> Record:
    """Age of the oldest announcement not yet reacted to, and how many keep failing."""
    row = await db.row(_ANNOUNCEMENTS)
    assert row is not None
    return row


async def server_everywhere(db: Connection) -> Record:
    """Version, encoding, role and clock of the server."""
    row = await db.row(_SERVER)
    assert row is not None
    return row


async def settings_left_behind(db: Connection, company_id: str) -> dict[str, int]:
    """Rows of the company by table, of all regional tables but those that hold what happened, or follow from it."""
    found = {}
    for table in metadata.sorted_tables:
        if table.info["scope"] == "regional" and "company_id" in table.c and table.name not in _STAYS:
            is_live = [table.c.deleted_at.is_(None)] if "deleted_at" in table.c else []
            counted = select(func.count()).select_from(table).where(table.c.company_id == company_id, *is_live)
            many = await db.value(*compose("cli.settings_left_behind", counted))
            if many:
                found[table.name] = many
    return found
