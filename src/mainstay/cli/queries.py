"""What `up` and `doctor` ask the database: figures and standing of the whole installation."""

from collections.abc import Sequence
from typing import Final

from mainstay.kernel.db import Connection, Record, Sql, Tx

MOVES: Final = (
    "event_types", "templates", "template_assignments", "event_schemas", "event_schema_versions", "thresholds",
    "threshold_targets", "saved_filters", "made_once", "company_jobs",
)  # fmt: skip
"""Regional tables whose rows go along with a company, each after those that it refers to. What is sealed in them opens
there: the secret is one for all databases."""
GOES_BY_ITSELF: Final = frozenset({"api_keys", "legal_holds", "rule_marks"})
"""Those that the verbs of their rooms carry: keys are merged, holds stand in both, marks tell of a change."""
STAYS: Final = frozenset({
    "alert_sends", "announcements", "api_key_addresses", "api_key_refusals", "api_key_uses", "archive_totals",
    "chain_heads", "chain_starts", "checkpoints", "dead_jobs", "deliveries", "emitted_events", "endpoint_health",
    "endpoint_hours", "endpoint_minutes", "endpoint_paces", "endpoint_slots", "erased_events", "erasure_steps",
    "event_flags", "event_minutes", "event_samples", "events", "fifo_lines", "finished_jobs", "jobs", "messages",
    "meter_caps", "meter_counts", "meter_openings", "pull_items", "replays", "stream_positions", "stream_refusals",
    "tail_streams", "template_checks", "template_reports", "threshold_alerts", "usage_snapshots",
})  # fmt: skip
"""Those with what happened, or what follows from it or from settings: it stays where it happened."""
REFUSES: Final = {
    "endpoints": "Webhooks send from where they are: note them, delete them, and make them again after the move.",
    "streams": "Streams send from where they are: note them, delete them, and make them again after the move.",
    "erasures": "Let erasures that are under way come to their end, or resume them.",
    "function_runs": "Let runs of functions that are under way come to their end, or cancel them.",
    "function_gathers": "Let what debounces and batches of functions gather come to its time.",
    "company_jobs": "Let exports of a person's data that are under way come to their end.",
    "archive_days": "Archived days stay where they are, and are not listed or exported until the company is back: say"
    " --leave-archive if that is wanted.",
}
"""Those of which rows stand in the way, and what to do about it."""
_IN_THE_WAY: Final = {
    "endpoints": "deleted_at is null",
    "erasures": "state <> 'completed'",
    "function_runs": "state = 'open'",
    "company_jobs": "status in ('pending', 'running')",
}
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


async def in_the_way(db: Connection, company_id: str) -> dict[str, int]:
    """How many rows of the company stand in the way of its move out of this database, by table."""
    found = {}
    for table in REFUSES:
        condition = _IN_THE_WAY.get(table, "true")
        counted = f"select count(*) from mainstay.{table} where company_id = $1 and {condition}"  # noqa: S608 - above
        if many := await db.value(Sql("cli.in_the_way", counted), company_id):
            found[table] = many
    return found


async def carry_rows(there: Tx, left: Sequence[Tx], company_id: str) -> None:
    """The company's rows of the tables that move are there, and in none of the databases that it leaves."""
    for tx in left:
        taken = {table: await tx.rows(_sql("take", table), company_id) for table in reversed(MOVES)}
        for table in MOVES:
            await there.run(_sql("put", table), company_id, [row["text"] for row in taken[table]])


def _sql(act: str, table: str) -> Sql:
    """The statement that takes rows of a table as JSON, or puts them; what is there already stays as it is."""
    text = {
        "take": "delete from mainstay.{0} t where t.company_id = $1 returning to_jsonb(t)::text as text",
        "put": """insert into mainstay.{0} select r.* from unnest($2::text[]) given,
                         jsonb_populate_record(null::mainstay.{0}, given::jsonb) r
                   where r.company_id = $1 on conflict do nothing""",
    }[act]
    return Sql(f"cli.{act}_{table}", text.format(table))
