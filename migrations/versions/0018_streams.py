"""Streams of a company's events to places of its own, and how far each has come in every workspace.

Locks: none on existing tables.
"""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute(
        """create table mainstay.streams (
             id uuid not null constraint streams_pkey primary key,
             company_id uuid not null,
             name text not null,
             destination jsonb not null,
             secrets_sealed bytea not null,
             form text not null constraint streams_form_check check (form in ('native', 'ocsf')),
             filter jsonb not null,
             state text not null default 'active'
               constraint streams_state_check check (state in ('active', 'paused', 'failing', 'disabled')),
             reason text,
             failures integer not null default 0,
             failing_since timestamptz,
             next_turn_at timestamptz not null default mainstay.now(),
             last_sent_at timestamptz,
             sent bigint not null default 0,
             probe jsonb,
             backfill_state text
               constraint streams_backfill_state_check check (backfill_state in ('running', 'done', 'cancelled')),
             backfill_since timestamptz,
             backfill_began_at timestamptz,
             backfill_ended_at timestamptz,
             backfill_sent bigint not null default 0,
             created_at timestamptz not null default mainstay.now(),
             changed_at timestamptz not null default mainstay.now()
           ) with (fillfactor = 70)"""
    )
    op.execute("create index streams_company_id_idx on mainstay.streams (company_id)")
    op.execute(
        """create index streams_next_turn_at_idx on mainstay.streams (next_turn_at)
            where state in ('active', 'failing')"""
    )
    op.execute(
        """create table mainstay.stream_positions (
             stream_id uuid not null
               constraint stream_positions_stream_id_fkey references mainstay.streams (id) on delete cascade,
             part text not null constraint stream_positions_part_check check (part in ('live', 'backfill')),
             workspace_id uuid not null,
             company_id uuid not null,
             first_seq bigint not null,
             seq bigint not null,
             last_seq bigint,
             received_at timestamptz not null,
             constraint stream_positions_pkey primary key (stream_id, part, workspace_id)
           ) with (fillfactor = 70)"""
    )
    op.execute(
        """create function mainstay.due_streams(p_limit integer) returns table (id uuid, company_id uuid)
           language sql stable as $$
             select s.id, s.company_id from mainstay.streams s
              where s.state in ('active', 'failing') and s.next_turn_at <= mainstay.now()
                and (s.backfill_state = 'running' or exists (
                      select from mainstay.chain_heads h
                        left join mainstay.stream_positions p
                          on p.stream_id = s.id and p.part = 'live' and p.workspace_id = h.workspace_id
                       where h.company_id = s.company_id and h.seq > coalesce(p.seq, 0)))
              order by s.next_turn_at limit p_limit
           $$"""
    )
    op.execute(
        """comment on function mainstay.due_streams(integer) is
           'Streams that may be turned now and have something to send, those that wait longest first'"""
    )
