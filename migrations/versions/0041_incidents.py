"""Restricted mode with its history, and the authentication log.

Locks: nothing that exists; the tables are new.
"""

from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    op.execute(
        """create table mainstay.restrictions (
             id uuid not null,
             closes text not null default 'people',
             reason text not null,
             since timestamptz not null default mainstay.now(),
             set_by jsonb not null,
             lifted_at timestamptz,
             lifted_by jsonb,
             constraint restrictions_pkey primary key (id)
           )"""
    )
    op.execute(
        "create unique index restrictions_one_open_idx on mainstay.restrictions (closes) where lifted_at is null"
    )
    op.execute(
        """create table mainstay.auth_log (
             id bigint generated always as identity,
             at timestamptz not null default mainstay.now(),
             kind text not null,
             reason text not null,
             times integer not null default 1,
             person_id uuid,
             email_digest bytea,
             company_id uuid,
             key_id uuid,
             address text not null default '',
             user_agent text not null default '',
             method text not null default '',
             route text not null default '',
             trace_id text not null default '',
             constraint auth_log_pkey primary key (id)
           )"""
    )
    op.execute("create index auth_log_at_idx on mainstay.auth_log (at)")
    op.execute("create index auth_log_address_idx on mainstay.auth_log (address, id)")
    op.execute(
        "create index auth_log_person_id_idx on mainstay.auth_log (person_id, id) where person_id is not null"
    )
