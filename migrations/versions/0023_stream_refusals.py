"""Events that a stream's destination refuses for good: which one a stream stands before, and those put aside.

Locks: ACCESS EXCLUSIVE on streams for moments; the columns have constant defaults, and no row is rewritten.
"""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute(
        """alter table mainstay.streams
             add column on_refusal text not null default 'stop'
               constraint streams_on_refusal_check check (on_refusal in ('stop', 'skip')),
             add column batch_at_most integer,
             add column blocked jsonb"""
    )
    op.execute(
        """create table mainstay.stream_refusals (
             stream_id uuid not null
               constraint stream_refusals_stream_id_fkey references mainstay.streams (id) on delete cascade,
             event_id uuid not null,
             company_id uuid not null,
             workspace_id uuid not null,
             seq bigint not null,
             received_at timestamptz not null,
             reason text not null,
             refused_at timestamptz not null default mainstay.now(),
             asked_at timestamptz,
             constraint stream_refusals_pkey primary key (stream_id, event_id)
           )"""
    )
    op.execute(
        """create index stream_refusals_asked_idx on mainstay.stream_refusals (stream_id, received_at, seq)
            where asked_at is not null"""
    )
