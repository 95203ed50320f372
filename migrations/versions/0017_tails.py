"""The register of open tails: which node holds them, and when each was last seen alive.

Locks: none on existing tables.
"""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute(
        """create table mainstay.tail_streams (
             id uuid not null constraint tail_streams_pkey primary key,
             company_id uuid not null,
             workspace_id uuid not null,
             key_id uuid not null,
             node_id uuid not null,
             opened_at timestamptz not null default mainstay.now(),
             seen_at timestamptz not null default mainstay.now()
           ) with (fillfactor = 50)"""
    )
    op.execute("create index tail_streams_company_id_idx on mainstay.tail_streams (company_id)")
    op.execute("create index tail_streams_node_id_idx on mainstay.tail_streams (node_id)")
    op.execute(
        """create function mainstay.standing_tails(p_node uuid) returns table (id uuid, key_works boolean)
           language sql stable as $$
             select t.id, exists (select from mainstay.api_keys k where k.id = t.key_id and mainstay.key_is_valid(k))
               from mainstay.tail_streams t where t.node_id = p_node
           $$"""
    )
    op.execute(
        """comment on function mainstay.standing_tails(uuid) is
           'The tails of a node that nobody has ended, and whether the key that opened each still works'"""
    )
