"""Retention and archive: days that left the window, where stored chains begin, and what companies and workspaces set.

Locks: none; every table is new.
"""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute(
        """create table mainstay.archive_days (
             workspace_id uuid not null,
             day date not null,
             company_id uuid not null,
             data_region text not null,
             first_seq bigint not null,
             last_seq bigint not null,
             marked_at timestamptz not null default mainstay.now(),
             archived_seq bigint not null default 0,
             flagged_seq bigint not null default 0,
             archived_at timestamptz,
             sha256 bytea,
             bytes bigint,
             failed_at timestamptz,
             failure text,
             verified_at timestamptz,
             outcome text constraint archive_days_outcome_check check (outcome in ('sound', 'damaged', 'missing')),
             finding jsonb,
             cut_at timestamptz,
             constraint archive_days_pkey primary key (workspace_id, day)
           )"""
    )
    op.execute("create index archive_days_company_idx on mainstay.archive_days (company_id, day, workspace_id)")
    op.execute(
        """create index archive_days_waiting_idx on mainstay.archive_days (day, workspace_id)
           where flagged_seq < last_seq and cut_at is null"""
    )
    op.execute(
        """create table mainstay.chain_starts (
             workspace_id uuid not null constraint chain_starts_pkey primary key,
             company_id uuid not null,
             seq bigint not null,
             hash bytea not null,
             at timestamptz not null default mainstay.now()
           )"""
    )
    op.execute(
        """create table mainstay.workspace_retention (
             workspace_id uuid not null constraint workspace_retention_pkey primary key,
             company_id uuid not null,
             days integer not null constraint workspace_retention_days_check check (days between 0 and 36500),
             updated_at timestamptz not null default mainstay.now()
           )"""
    )
    op.execute(
        """create table mainstay.company_retention (
             company_id uuid not null constraint company_retention_pkey primary key,
             grace_days integer not null constraint company_retention_grace_check check (grace_days between 0 and 3650),
             updated_at timestamptz not null default mainstay.now()
           )"""
    )
