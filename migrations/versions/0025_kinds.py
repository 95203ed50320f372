"""Kinds of jobs: which there are and which worker knows them, pausing one of them, slots set at run time, figures.

Locks: the index of parked jobs is built concurrently, outside any transaction. The constraint on the state of a job is
exchanged under ACCESS EXCLUSIVE for moments, because the rows are looked at afterwards, under SHARE UPDATE EXCLUSIVE,
which holds nobody up. Then ACCESS EXCLUSIVE on queues and workers for moments; no row is rewritten. What was cut off is
run again from the start. Code from before this goes on working; it does not know of paused kinds.
"""

from alembic import op
from sqlalchemy import text

revision = "0025"
down_revision = "0024"

_IS_VALID = "select indisvalid from pg_index where indexrelid = to_regclass('mainstay.jobs_parked_idx')"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # Building concurrently and validating wait for older transactions without holding up anybody.
        op.execute("set lock_timeout = 0")
        op.execute("set statement_timeout = 0")
        _index_parked()
        op.execute("set lock_timeout = '5s'")
        op.execute(
            """alter table mainstay.jobs drop constraint if exists jobs_state_check, add constraint jobs_state_check
                 check (state in ('waiting', 'delayed', 'active', 'retrying', 'parked')) not valid"""
        )
        op.execute("alter table mainstay.jobs validate constraint jobs_state_check")
        op.execute("set statement_timeout = '10min'")
    op.execute(
        """alter table mainstay.queues
             add column concurrency integer
               constraint queues_concurrency_check check (concurrency between 1 and 10000),
             add column concurrency_by text,
             add column concurrency_at timestamptz"""
    )
    op.execute(
        """alter table mainstay.workers
             add column kinds text[] not null default '{}',
             add column memory_share real,
             add column memory_high_at timestamptz"""
    )
    op.execute(
        """create table mainstay.job_kinds (
             kind text collate "C" not null constraint job_kinds_pkey primary key,
             queue text not null,
             priority smallint not null,
             max_attempts smallint not null,
             backoff text,
             is_public boolean not null,
             seen_at timestamptz not null
           )"""
    )
    op.execute(
        """create table mainstay.kind_pauses (
             kind text collate "C" not null constraint kind_pauses_pkey primary key,
             share smallint not null constraint kind_pauses_share_check check (share between 0 and 99),
             paused_at timestamptz not null default mainstay.now(),
             paused_by text not null
           )"""
    )
    op.execute(
        """create table mainstay.kind_minutes (
             minute timestamptz not null,
             queue text collate "C" not null,
             kind text collate "C" not null,
             outcome text collate "C" not null
               constraint kind_minutes_outcome_check check (outcome in ('completed', 'retried', 'dead')),
             error_class text collate "C" not null,
             attempts bigint not null,
             constraint kind_minutes_pkey primary key (minute, queue, kind, outcome, error_class)
           ) with (fillfactor = 50)"""
    )


def _index_parked() -> None:
    is_valid = op.get_bind().execute(text(_IS_VALID)).scalar()
    if is_valid is False:
        op.execute("drop index concurrently mainstay.jobs_parked_idx")
    if not is_valid:
        op.execute(
            "create index concurrently jobs_parked_idx on mainstay.jobs (queue, kind, pos) where state = 'parked'"
        )
