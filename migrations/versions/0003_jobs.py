"""Jobs: the hot table with its lines, where jobs go when they end, queues, workers and schedule slots.

Locks: none on existing tables; everything here is new.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "create sequence mainstay.jobs_id_seq as bigint",
    # The place in line: drawn at enqueue and again whenever a job becomes ready, so ready work is always at the high end.
    "create sequence mainstay.jobs_pos_seq as bigint",
    """create table mainstay.queues (
         name text not null constraint queues_pkey primary key,
         priority smallint not null,
         paused_at timestamptz,
         paused_by text,
         constraint queues_name_check check (name <> '' and length(name) <= 100)
       )""",
    """create table mainstay.workers (
         id bigint generated always as identity constraint workers_pkey primary key,
         name text not null,
         queues text[] not null,
         started_at timestamptz not null,
         heartbeat_at timestamptz not null,
         ended_at timestamptz,
         end_reason text
       ) with (fillfactor = 50)""",
    # Rows live here from enqueue to their end and are rewritten once or twice, so vacuum must be quick and eager.
    """create table mainstay.jobs (
         id bigint not null default nextval('mainstay.jobs_id_seq') constraint jobs_pkey primary key,
         pos bigint not null default nextval('mainstay.jobs_pos_seq'),
         worker_id bigint,
         enqueued_at timestamptz not null default mainstay.now(),
         due_at timestamptz,
         started_at timestamptz,
         company_id uuid,
         epoch integer not null default 0,
         priority smallint not null default 5,
         attempt smallint not null default 0,
         max_attempts smallint not null default 3,
         state text collate "C" not null default 'waiting',
         queue text collate "C" not null,
         kind text collate "C" not null,
         lane text collate "C" not null default '',
         trace_id text collate "C" not null default '',
         dedupe_key text collate "C",
         backoff text collate "C",
         payload jsonb not null,
         constraint jobs_state_check check (state in ('waiting', 'delayed', 'active', 'retrying')),
         constraint jobs_priority_check check (priority between 0 and 10),
         constraint jobs_max_attempts_check check (max_attempts between 1 and 1000),
         constraint jobs_due_check check (due_at is not null or state not in ('delayed', 'retrying'))
       ) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
               autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.1)""",
    "create index jobs_arrival_idx on mainstay.jobs (queue, pos) where state = 'waiting'",
    "create index jobs_line_idx on mainstay.jobs (queue, priority, lane, pos) where state = 'waiting'",
    "create index jobs_due_idx on mainstay.jobs (due_at) where state in ('delayed', 'retrying')",
    "create index jobs_active_idx on mainstay.jobs (worker_id) where state = 'active'",
    "create unique index jobs_dedupe_key_key on mainstay.jobs (kind, dedupe_key) where dedupe_key is not null",
    """create table mainstay.finished_jobs (
         id bigint not null,
         worker_id bigint,
         enqueued_at timestamptz not null,
         started_at timestamptz,
         finished_at timestamptz not null default mainstay.now(),
         company_id uuid,
         duration_ms real,
         attempt smallint not null,
         outcome text collate "C" not null,
         queue text collate "C" not null,
         kind text collate "C" not null,
         lane text collate "C" not null,
         trace_id text collate "C" not null,
         payload jsonb not null,
         constraint finished_jobs_outcome_check check (outcome in ('completed', 'cancelled'))
       ) partition by range (finished_at)""",
    "create index finished_jobs_queue_id_idx on mainstay.finished_jobs (queue, id)",
    """create table mainstay.job_attempts (
         job_id bigint not null,
         worker_id bigint,
         started_at timestamptz not null,
         finished_at timestamptz not null default mainstay.now(),
         duration_ms real,
         attempt smallint not null,
         outcome text collate "C" not null,
         queue text collate "C" not null,
         kind text collate "C" not null,
         error text not null,
         constraint job_attempts_outcome_check check (outcome in ('failed', 'timeout', 'lost', 'discarded'))
       ) partition by range (finished_at)""",
    "create index job_attempts_job_id_idx on mainstay.job_attempts (job_id)",
    """create table mainstay.dead_jobs (
         id bigint not null constraint dead_jobs_pkey primary key,
         worker_id bigint,
         enqueued_at timestamptz not null,
         started_at timestamptz,
         died_at timestamptz not null default mainstay.now(),
         company_id uuid,
         epoch integer not null,
         priority smallint not null,
         attempt smallint not null,
         max_attempts smallint not null,
         reason text collate "C" not null,
         queue text collate "C" not null,
         kind text collate "C" not null,
         lane text collate "C" not null,
         trace_id text collate "C" not null,
         dedupe_key text collate "C",
         backoff text collate "C",
         error text not null,
         payload jsonb not null,
         constraint dead_jobs_reason_check check (reason in ('failed', 'timeout', 'lost', 'discarded'))
       )""",
    "create index dead_jobs_queue_died_at_idx on mainstay.dead_jobs (queue, died_at, id)",
    "create index dead_jobs_died_at_idx on mainstay.dead_jobs (died_at)",
    # The sweep of deliveries asks for the dead job of one; payloads of other kinds may be too large for an index.
    "create index dead_jobs_delivery_idx on mainstay.dead_jobs (payload) where kind = 'webhooks.deliver'",
    # Completed jobs are counted by appending, because one counter row would grow a version chain under an old snapshot.
    """create table mainstay.queue_tallies (
         queue text not null,
         day date not null,
         completed bigint not null
       )""",
    """create table mainstay.schedule_runs (
         schedule text not null,
         due_at timestamptz not null,
         job_id bigint,
         recorded_at timestamptz not null default mainstay.now(),
         constraint schedule_runs_pkey primary key (schedule, due_at)
       )""",
    """insert into mainstay.queues (name, priority) values
         ('nova:email', 1), ('nova:webhook', 5), ('nova:workflow', 5), ('nova:report', 10), ('mainstay:upkeep', 5)""",
    """create function mainstay.enqueue_jobs(
         p_queue text, p_kind text, p_lanes text[], p_payloads jsonb[], p_companies uuid[], p_traces text[],
         p_priority smallint, p_max_attempts smallint
       ) returns void language plpgsql as $$
       begin
         insert into mainstay.jobs (queue, kind, lane, payload, company_id, trace_id, priority, max_attempts)
         select p_queue, p_kind, coalesce(n.lane, ''), n.payload, n.company_id, coalesce(n.trace_id, ''),
                coalesce(p_priority, 5), coalesce(p_max_attempts, 3)
         from unnest(p_lanes, p_payloads, p_companies, p_traces) as n(lane, payload, company_id, trace_id);
       end
       $$""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
