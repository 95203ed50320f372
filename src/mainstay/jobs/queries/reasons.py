"""Statements about what stands between a job and its start: each reads a bounded number of rows."""

from mainstay.jobs.queries.kinds import BUCKET
from mainstay.kernel.db import Connection, Record, Sql

COUNTED_TO = 1_000
_SETTINGS = Sql(
    "jobs.settings_of_job",
    f"""select mainstay.now() as now, q.paused_at, q.paused_by, p.share, p.paused_at as kind_paused_at,
              p.paused_by as kind_paused_by, b.is_passed_over,
              (select error from mainstay.job_attempts where job_id = $1
               order by finished_at desc limit 1) as last_error
       from (select {BUCKET} as bucket from (select $1::bigint as id) i) one
       left join mainstay.queues q on q.name = $2
       left join mainstay.kind_pauses p on p.kind = $3
       cross join lateral (select coalesce(one.bucket >= p.share, false) as is_passed_over) b""",  # noqa: S608 (a constant)
)
_AHEAD = Sql(
    "jobs.ahead_of_job",
    """with own as (select queue, priority, lane, pos from mainstay.jobs where id = $1)
       select (select count(*) from (
                 select 1 from mainstay.jobs j where j.state = 'waiting' and j.queue = own.queue
                   and j.priority = own.priority and j.lane = own.lane and j.pos < own.pos limit $2) a) as in_line,
              (select count(*) from (
                 select 1 from mainstay.jobs j where j.state = 'waiting' and j.queue = own.queue
                   and j.priority < own.priority limit $2) b) as before,
              (select count(*) from (
                 select 1 from mainstay.jobs j where j.state = 'active' and j.queue = own.queue
                   and j.lane = own.lane and j.worker_id = any($3::bigint[]) limit $2) c) as in_lane
       from own""",
)


async def settings_everywhere(db: Connection, job_id: int, queue: str, kind: str) -> Record:
    """The time, what operators set for the queue and the kind, and how the job's last attempt failed."""
    return (await db.rows(_SETTINGS, job_id, queue, kind))[0]


async def ahead_everywhere(db: Connection, job_id: int, workers: list[int]) -> Record | None:
    """Of its line, of higher priorities and running of its lane: how many others, each counted up to 1,000."""
    return await db.row(_AHEAD, job_id, COUNTED_TO, workers)
