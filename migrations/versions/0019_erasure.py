"""Erasure: requests and how far they are, which events lost which parts; legal holds; jobs that a company asks for.

Locks: ACCESS EXCLUSIVE on archive_days while a column with a constant default is added (milliseconds, nothing is
rewritten); every table is new.
"""

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table mainstay.archive_days add column renewals integer not null default 0")
    op.execute(
        """create table mainstay.erasures (
             id uuid not null constraint erasures_pkey primary key,
             company_id uuid not null,
             is_dry_run boolean not null,
             state text not null default 'waiting'
               constraint erasures_state_check check (state in ('waiting', 'running', 'held', 'failed', 'completed')),
             reason text not null,
             parts text[] not null,
             subject_digest bytea not null,
             subject_sealed bytea,
             requested_by jsonb not null,
             requested_at timestamptz not null default mainstay.now(),
             started_at timestamptz,
             completed_at timestamptz,
             hold_id uuid,
             failure text,
             events bigint not null default 0,
             actors bigint not null default 0,
             targets bigint not null default 0,
             payloads bigint not null default 0,
             metadata bigint not null default 0,
             changes bigint not null default 0,
             kept bigint not null default 0,
             unproven bigint not null default 0,
             objects bigint not null default 0,
             copies bigint not null default 0
           )"""
    )
    op.execute("create index erasures_company_id_idx on mainstay.erasures (company_id, id)")
    op.execute(
        """create table mainstay.erasure_steps (
             erasure_id uuid not null
               constraint erasure_steps_erasure_id_fkey references mainstay.erasures (id) on delete cascade,
             workspace_id uuid not null,
             company_id uuid not null,
             last_seq bigint not null,
             seq bigint not null,
             day date,
             rewriting date,
             done_at timestamptz,
             constraint erasure_steps_pkey primary key (erasure_id, workspace_id)
           ) with (fillfactor = 70)"""
    )
    op.execute(
        """create table mainstay.erased_events (
             erasure_id uuid not null
               constraint erased_events_erasure_id_fkey references mainstay.erasures (id),
             workspace_id uuid not null,
             seq bigint not null,
             company_id uuid not null,
             id uuid not null,
             parts text[] not null,
             at timestamptz not null default mainstay.now(),
             constraint erased_events_pkey primary key (workspace_id, seq, erasure_id)
           )"""
    )
    op.execute("create index erased_events_id_idx on mainstay.erased_events (id)")
    op.execute(
        """create table mainstay.legal_holds (
             id uuid not null constraint legal_holds_pkey primary key,
             company_id uuid not null,
             workspace_id uuid,
             subject_sealed bytea,
             scope text not null
               constraint legal_holds_scope_check check (scope in ('company', 'workspace', 'subject')),
             reason text not null,
             set_by jsonb not null,
             set_at timestamptz not null default mainstay.now(),
             lifted_by jsonb,
             lifted_at timestamptz,
             constraint legal_holds_workspace_check check ((scope = 'workspace') = (workspace_id is not null))
           )"""
    )
    op.execute("create index legal_holds_company_id_idx on mainstay.legal_holds (company_id, id)")
    op.execute(
        """create table mainstay.company_jobs (
             id uuid not null constraint company_jobs_pkey primary key,
             company_id uuid not null,
             type text not null constraint company_jobs_type_check check (type in ('gdpr_export')),
             status text not null default 'pending'
               constraint company_jobs_status_check check (status in ('pending', 'running', 'completed', 'failed')),
             progress smallint not null default 0
               constraint company_jobs_progress_check check (progress between 0 and 100),
             run integer not null default 0,
             data_region text not null,
             subject_sealed bytea,
             object text,
             rows bigint not null default 0,
             failure text,
             created_by jsonb not null,
             created_at timestamptz not null default mainstay.now(),
             completed_at timestamptz,
             expires_at timestamptz
           )"""
    )
    op.execute("create index company_jobs_company_id_idx on mainstay.company_jobs (company_id, id)")
    op.execute(
        """create index company_jobs_expires_at_idx on mainstay.company_jobs (expires_at) where object is not null"""
    )
