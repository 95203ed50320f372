"""The ground: time, ids and announcements.

Locks: none on existing tables; everything here is new.
"""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # The one place where SQL reads the time; tests replace its body to move it.
    op.execute(
        """create function mainstay.now() returns timestamptz language sql stable parallel safe
           as 'select pg_catalog.now()'"""
    )
    # UUID version 7 (RFC 9562): 48 bits of milliseconds, then version, variant and random bits.
    op.execute(
        """create function mainstay.uuid7() returns uuid language sql volatile parallel safe as $$
             select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
               placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
               52, 1), 53, 1), 'hex')::uuid
           $$"""
    )
    op.execute(
        """create table mainstay.announcements (
             id uuid not null constraint announcements_pkey primary key,
             name text not null,
             company_id uuid,
             actor jsonb not null,
             data jsonb not null,
             trace_id text not null,
             at timestamptz not null default mainstay.now(),
             due_at timestamptz not null default mainstay.now(),
             failures integer not null default 0,
             last_error text
           )"""
    )
    op.execute("create index announcements_due_at_idx on mainstay.announcements (due_at)")
