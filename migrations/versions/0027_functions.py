"""Functions of several steps: their runs, what each step gave, what they wait for, and who may run now.

Locks: none on existing tables.
"""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.execute("create sequence mainstay.function_events_seq")
    op.execute(
        """create table mainstay.function_runs (
             id uuid not null constraint function_runs_pkey primary key,
             job_id bigint,
             company_id uuid,
             event_id uuid,
             rerun_of uuid,
             parent_id uuid,
             created_at timestamptz not null default mainstay.now(),
             started_at timestamptz,
             ended_at timestamptz,
             epoch integer not null default 0,
             retries smallint not null default 0,
             seen_steps smallint not null default 0,
             seen_losses smallint not null default 0,
             failures smallint not null default 0,
             is_waiting boolean not null default false,
             state text collate "C" not null default 'open' constraint function_runs_state_check
               check (state in ('open', 'completed', 'failed', 'cancelled', 'skipped')),
             function_id text collate "C" not null,
             event_name text collate "C" not null,
             parent_step text collate "C",
             limits json,
             reason text,
             input json not null,
             output json,
             error json
           ) with (fillfactor = 80)"""
    )
    op.execute("create index function_runs_function_id_idx on mainstay.function_runs (function_id, state, id)")
    op.execute("create index function_runs_state_idx on mainstay.function_runs (state, id)")
    op.execute(
        """create unique index function_runs_event_id_key on mainstay.function_runs (event_id, function_id)
            where event_id is not null and rerun_of is null"""
    )
    op.execute(
        """create table mainstay.function_steps (
             run_id uuid not null constraint function_steps_run_id_fkey
               references mainstay.function_runs (id) on delete cascade,
             step_id text collate "C" not null,
             started_at timestamptz not null default mainstay.now(),
             ended_at timestamptz,
             wake_at timestamptz,
             since bigint,
             place smallint not null,
             attempt smallint not null default 0,
             kind text collate "C" not null constraint function_steps_kind_check
               check (kind in ('run', 'sleep', 'wait', 'send', 'invoke')),
             state text collate "C" not null constraint function_steps_state_check
               check (state in ('done', 'retrying', 'failed', 'waiting', 'cancelled')),
             event_name text collate "C",
             match_path text collate "C",
             match_value text collate "C",
             condition text,
             output json,
             error json,
             constraint function_steps_pkey primary key (run_id, step_id)
           )"""
    )
    op.execute(
        """create index function_steps_waits_idx on mainstay.function_steps (event_name, match_path, match_value)
            where state = 'waiting' and event_name is not null"""
    )
    op.execute(
        """create table mainstay.function_holds (
             limit_key text collate "C" not null,
             run_id uuid not null constraint function_holds_run_id_fkey
               references mainstay.function_runs (id) on delete cascade,
             size integer not null,
             is_held boolean not null,
             constraint function_holds_pkey primary key (limit_key, run_id)
           )"""
    )
    op.execute("create index function_holds_line_idx on mainstay.function_holds (limit_key, is_held, run_id)")
    op.execute("create index function_holds_run_id_idx on mainstay.function_holds (run_id)")
    op.execute(
        """create table mainstay.function_paces (
             pace_key text collate "C" not null constraint function_paces_pkey primary key,
             at timestamptz not null,
             starts integer not null,
             expires_at timestamptz not null
           ) with (fillfactor = 70)"""
    )
    op.execute("create index function_paces_expires_at_idx on mainstay.function_paces (expires_at)")
    op.execute(
        """create table mainstay.function_gathers (
             function_id text collate "C" not null,
             gather_key text collate "C" not null,
             id uuid not null,
             company_id uuid,
             opened_at timestamptz not null default mainstay.now(),
             due_at timestamptz not null,
             events json[] not null,
             constraint function_gathers_pkey primary key (function_id, gather_key)
           ) with (fillfactor = 70)"""
    )
    op.execute(
        """create table mainstay.function_keys (
             scope text collate "C" not null,
             key_digest bytea not null,
             made_id uuid not null,
             at timestamptz not null default mainstay.now(),
             constraint function_keys_pkey primary key (scope, key_digest)
           )"""
    )
    op.execute("create index function_keys_at_idx on mainstay.function_keys (at)")
