"""Sessions of people at the console, and how often a password was guessed wrong.

Locks: SHARE ROW EXCLUSIVE on people and companies while the foreign keys of the new, empty table are added.
"""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute(
        """create table mainstay.sessions (
             id uuid primary key,
             person_id uuid not null references mainstay.people (id),
             company_id uuid not null references mainstay.companies (id),
             workspace_id uuid,
             token_hash bytea not null,
             user_agent text not null,
             created_at timestamptz not null default mainstay.now(),
             last_used_at timestamptz not null default mainstay.now(),
             expires_at timestamptz not null,
             ended_at timestamptz,
             constraint sessions_token_hash_key unique (token_hash),
             constraint sessions_token_hash_length_check check (length(token_hash) = 32)
           )"""
    )
    op.execute(
        """create index sessions_person_id_idx on mainstay.sessions (person_id, id)"""
    )
    op.execute("create index sessions_expires_at_idx on mainstay.sessions (expires_at)")
    op.execute(
        """create table mainstay.sign_in_tries (
             subject bytea primary key,
             tries integer not null,
             since timestamptz not null default mainstay.now(),
             constraint sign_in_tries_subject_length_check check (length(subject) = 32)
           )"""
    )
    op.execute("create index sign_in_tries_since_idx on mainstay.sign_in_tries (since)")
