"""Statements that tell which schedules there are and what became of their runs."""

from collections.abc import Sequence

from mainstay.kernel.db import Connection, Record, Sql

_RUN = """r.job_id, r.due_at, r.asked_by, r.enqueued_at, coalesce(r.started_at, case when j.state = 'active'
            then j.started_at end) as started_at, r.late_at, r.ended_at, r.duration_ms, r.outcome, j.state,
          coalesce(r.attempt, j.attempt) as attempt"""
_LIST = Sql(
    "jobs.list_schedules",
    f"""select s.name, s.family, s.title, s.kind, s.queue, s.slots, s.missed as missed_rule, s.late_after, s.seen_at,
              mainstay.now() as now, l.due_at as slot_at, l.is_covered, g.due_at as gap_at, g.missed as gap, {_RUN}
       from mainstay.schedules s
       left join lateral (select due_at, job_id, is_covered from mainstay.schedule_runs l where l.schedule = s.name
                          order by l.due_at desc limit 1) l on true
       left join lateral (select due_at, missed from mainstay.schedule_runs l
                          where l.schedule = s.name and l.missed > 0 order by l.due_at desc limit 1) g on true
       left join lateral (select * from mainstay.schedule_jobs r where r.schedule = s.name and r.due_at is not null
                          order by r.job_id desc limit 1) r on true
       left join mainstay.jobs j on j.id = r.job_id
       where ($1::text is null or s.name = $1) and ($2::text is null or s.family = $2)
       order by s.family, s.name""",  # noqa: S608 (a constant)
)
_FIND = Sql("jobs.find_schedule", "select * from mainstay.schedules where name = $1")
# Slots that a run covered are those after its own that name its job.
_RUNS = Sql(
    "jobs.list_runs",
    f"""select {_RUN}, (select count(*) from mainstay.schedule_runs c
                        where c.schedule = r.schedule and c.due_at >= coalesce(r.due_at, r.enqueued_at)
                          and c.due_at <= coalesce(r.ended_at, 'infinity') and c.job_id = r.job_id and c.is_covered
                       ) as covered
       from mainstay.schedule_jobs r left join mainstay.jobs j on j.id = r.job_id
       where r.schedule = $1 and r.job_id < $2 order by r.job_id desc limit $3""",  # noqa: S608 (a constant)
)
_HAS_UNFINISHED = Sql(
    "jobs.has_unfinished_run",
    """select exists (select from mainstay.jobs j where j.kind = s.kind and j.dedupe_key = 'schedule ' || s.name)
       from mainstay.schedules s where s.name = $1""",
)


async def list_schedules_everywhere(db: Connection, name: str | None, family: str | None) -> list[Record]:
    """Each schedule with its newest slot, the run of its newest slot that had one, and its newest gap."""
    return await db.rows(_LIST, name, family)


async def find_schedule_everywhere(db: Connection, name: str) -> Record | None:
    """The schedule."""
    return await db.row(_FIND, name)


async def list_runs_everywhere(db: Connection, name: str, before_id: int, count: int) -> Sequence[Record]:
    """Runs of a schedule under that job id, newest first, each with how many slots it covered."""
    return await db.rows(_RUNS, name, before_id, count)


async def has_unfinished_run_everywhere(db: Connection, name: str) -> bool:
    """Whether a run of the schedule waits, runs or will be tried again."""
    return bool(await db.value(_HAS_UNFINISHED, name))
