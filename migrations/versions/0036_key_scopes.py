"""What an API key may be narrowed to, where it is used from, how often it is refused, and whether it leaked.

Locks: ACCESS EXCLUSIVE on api_keys and api_key_uses for moments, neither is rewritten; a key of old code has no scopes,
which means all. The two new tables are nobody's yet. Uses of before this revision have no address.
"""

from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.execute(
        """alter table mainstay.api_keys
             add column scopes text[],
             add column leaked_at timestamptz,
             add column leaked_source text"""
    )
    op.execute("alter table mainstay.api_key_uses add column last_address text")
    op.execute(
        """create table mainstay.api_key_addresses (
             key_id uuid not null
               constraint api_key_addresses_key_id_fkey references mainstay.api_keys (id) on delete cascade,
             address text not null,
             company_id uuid not null,
             first_used_at timestamptz not null,
             last_used_at timestamptz not null,
             constraint api_key_addresses_pkey primary key (key_id, address)
           )"""
    )
    op.execute("create index api_key_addresses_last_used_at_idx on mainstay.api_key_addresses (last_used_at)")
    op.execute(
        """create table mainstay.api_key_refusals (
             key_id uuid not null
               constraint api_key_refusals_key_id_fkey references mainstay.api_keys (id) on delete cascade,
             why text not null,
             company_id uuid not null,
             refusals bigint not null,
             last_at timestamptz not null,
             last_address text not null,
             constraint api_key_refusals_pkey primary key (key_id, why),
             constraint api_key_refusals_why_check check (why in ('address', 'read_only', 'scope'))
           )"""
    )
