"""Which schedules there are, what became of each of their runs, and which slots were covered or passed over.

Locks: ACCESS EXCLUSIVE on schedule_runs for moments; no row is rewritten. Code from before this goes on working: its
slots have no run on record.
"""

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.execute(
        """alter table mainstay.schedule_runs
             add column is_covered boolean,
             add column missed integer"""
    )
    op.execute(
        """create table mainstay.schedules (
             name text collate "C" not null constraint schedules_pkey primary key,
             family text collate "C" not null,
             title text not null,
             kind text collate "C" not null,
             queue text not null,
             priority smallint not null,
             max_attempts smallint not null,
             payload jsonb not null,
             slots text not null,
             missed text collate "C" not null,
             late_after interval not null,
             seen_at timestamptz not null,
             constraint schedules_missed_check check (missed in ('latest', 'skip'))
           )"""
    )
    op.execute(
        """create table mainstay.schedule_jobs (
             job_id bigint not null constraint schedule_jobs_pkey primary key,
             schedule text collate "C" not null,
             due_at timestamptz,
             asked_by text,
             enqueued_at timestamptz not null default mainstay.now(),
             started_at timestamptz,
             late_at timestamptz,
             ended_at timestamptz,
             duration_ms real,
             attempt smallint,
             outcome text collate "C",
             constraint schedule_jobs_outcome_check check (outcome in ('completed', 'dead', 'cancelled'))
           ) with (fillfactor = 70)"""
    )
    op.execute("create index schedule_jobs_schedule_idx on mainstay.schedule_jobs (schedule, job_id)")
    op.execute("create index schedule_jobs_unended_idx on mainstay.schedule_jobs (job_id) where ended_at is null")
