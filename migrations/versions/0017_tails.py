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
    # Whoever opens a tail of the same company waits here, and then sees the row of whoever was first.
    op.execute(
        """create function mainstay.open_tail(
             p_company uuid, p_tail uuid, p_workspace uuid, p_key uuid, p_node uuid, p_most integer, p_age interval,
             out opened boolean, out seq bigint, out received_at timestamptz) language plpgsql as $$
           begin
             perform pg_advisory_xact_lock(hashtextextended('mainstay.tails/' || p_company, 0));
             select count(*) < p_most into opened from mainstay.tail_streams t
              where t.company_id = p_company and t.seen_at > mainstay.now() - p_age;
             if opened then
               insert into mainstay.tail_streams (id, company_id, workspace_id, key_id, node_id)
               values (p_tail, p_company, p_workspace, p_key, p_node);
             end if;
             select h.seq, greatest(h.received_at, '1970-01-01Z') into seq, received_at
               from mainstay.chain_heads h where h.workspace_id = p_workspace and h.company_id = p_company;
           end
           $$"""
    )
    op.execute(
        """comment on function mainstay.open_tail(uuid, uuid, uuid, uuid, uuid, integer, interval) is
           'Puts a tail into the register, unless the company has so many that were seen within that time; and the seq and time of the workspace''s newest event, null where there is none'"""
    )
