"""Requests whose effect is to happen once, labels of API keys, and why a key was revoked.

Locks: ACCESS EXCLUSIVE on api_keys for moments: the columns have constant defaults, and no row is rewritten.
"""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.execute(
        """create table mainstay.made_once (
             company_id uuid not null,
             scope text not null,
             key_digest bytea not null,
             fingerprint bytea not null,
             made_id uuid,
             at timestamptz not null default mainstay.now(),
             constraint made_once_pkey primary key (company_id, scope, key_digest)
           )"""
    )
    op.execute("create index made_once_at_idx on mainstay.made_once (at)")
    op.execute(
        """alter table mainstay.api_keys
             add column labels text[] not null default '{}', add column revoked_reason text"""
    )
