"""Events per minute of a company, and how far each chain has been counted for it.

What the chains hold already is taken as counted: it has no minute of its own any more.

Locks: none on existing tables.
"""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(
        """create table mainstay.event_samples (
             workspace_id uuid not null constraint event_samples_pkey primary key,
             company_id uuid not null,
             seq bigint not null
           )"""
    )
    op.execute(
        """insert into mainstay.event_samples (workspace_id, company_id, seq)
           select workspace_id, company_id, seq from mainstay.chain_heads where metered and seq > 0"""
    )
    op.execute(
        """create table mainstay.event_minutes (
             company_id uuid not null,
             minute timestamptz not null,
             events bigint not null,
             constraint event_minutes_pkey primary key (company_id, minute)
           ) partition by range (minute)"""
    )
