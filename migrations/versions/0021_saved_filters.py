"""Filters of the list of events that people keep under a name, each for one company.

Locks: none; the table is new.
"""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute(
        """create table mainstay.saved_filters (
             id uuid not null constraint saved_filters_pkey primary key,
             company_id uuid not null,
             person_id uuid not null,
             name text not null,
             filters jsonb not null,
             created_at timestamptz not null default mainstay.now(),
             constraint saved_filters_company_id_person_id_name_key unique (company_id, person_id, name)
           )"""
    )
