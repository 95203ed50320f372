"""Audit events: one gapless chain a workspace, and the statement that extends it.

Locks: SHARE ROW EXCLUSIVE on workspaces for the moment of adding its trigger; everything else is new.
"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """create table mainstay.chain_heads (
             workspace_id uuid not null constraint chain_heads_pkey primary key,
             company_id uuid not null,
             metered boolean not null,
             seq bigint not null default 0,
             hash bytea not null default decode(repeat('00', 32), 'hex'),
             received_at timestamptz not null default '-infinity'
           ) with (fillfactor = 50)"""
    )
    # A head per workspace from its birth, so that the first event finds a row to lock.
    op.execute(
        """create function mainstay.start_chain() returns trigger language plpgsql as $$
           begin
             insert into mainstay.chain_heads (workspace_id, company_id, metered)
             values (new.id, new.company_id, not new.system);
             return new;
           end $$"""
    )
    op.execute(
        """create trigger workspaces_start_chain after insert on mainstay.workspaces
           for each row execute function mainstay.start_chain()"""
    )
    op.execute(
        """insert into mainstay.chain_heads (workspace_id, company_id, metered)
           select id, company_id, not system from mainstay.workspaces on conflict do nothing"""
    )
    op.execute(
        """create table mainstay.events (
             workspace_id uuid not null,
             seq bigint not null,
             id uuid not null,
             company_id uuid not null,
             data_region text not null,
             project_id text,
             action text not null,
             category text not null,
             actor_id text,
             actor_email text,
             actor_name text,
             target_id text,
             target_type text,
             payload text,
             metadata text,
             changes text,
             salts bytea,
             digests jsonb,
             prev_hash bytea not null,
             hash bytea not null,
             hash_version smallint not null default 1,
             trace_id text not null,
             occurred_at timestamptz not null,
             received_at timestamptz not null,
             archived boolean not null default false,
             archival_candidate boolean not null default false,
             idempotency_key bytea,
             fingerprint bytea,
             constraint events_pkey primary key (workspace_id, seq, received_at)
           ) partition by range (received_at)"""
    )
    op.execute("create index events_id_idx on mainstay.events (id)")
    op.execute("create index events_company_idx on mainstay.events (company_id, received_at, workspace_id, seq)")
    op.execute("create index events_action_idx on mainstay.events (workspace_id, action, seq)")
    op.execute(
        "create index events_actor_idx on mainstay.events (workspace_id, actor_id, seq) where actor_id is not null"
    )
    op.execute(
        """create index events_idempotency_idx on mainstay.events (workspace_id, idempotency_key)
           where idempotency_key is not null"""
    )
    op.execute(
        """create table mainstay.checkpoints (
             workspace_id uuid not null,
             seq bigint not null,
             company_id uuid not null,
             hash bytea not null,
             note text not null,
             at timestamptz not null default mainstay.now(),
             constraint checkpoints_pkey primary key (workspace_id, seq)
           )"""
    )
    op.execute(
        """create table mainstay.signing_keys (
             name text not null constraint signing_keys_pkey primary key,
             public_key bytea not null,
             private_key_sealed bytea not null,
             created_at timestamptz not null default mainstay.now()
           )"""
    )
    op.execute(
        """create function mainstay.link(p_hash bytea, p_leaf bytea, p_head bytea) returns bytea
           language plpgsql immutable parallel safe as $$ begin return sha256(coalesce(p_hash, p_head) || p_leaf); end $$"""
    )
    op.execute(
        """create aggregate mainstay.chain (leaf bytea, head bytea) (sfunc = mainstay.link, stype = bytea)"""
    )
    # Outcomes: 0 stored, 1 the same request was stored before, 2 the idempotency key was used for another request,
    # 3 the key is no longer valid, 4 no such workspace.
    # One generic plan: planning this anew for every flush costs more than running it.
    # The heads are locked by a statement of their own, so that the next one sees what others committed meanwhile.
    op.execute(
        """create function mainstay.append_events(
             p_workspaces uuid[], p_companies uuid[], p_keys uuid[], p_ids uuid[], p_regions text[], p_projects text[],
             p_actions text[], p_categories text[], p_actor_ids text[], p_actor_emails text[], p_actor_names text[],
             p_target_ids text[], p_target_types text[], p_payloads text[], p_metadata text[], p_changes text[],
             p_salts bytea[], p_traces text[], p_occurred timestamptz[], p_idempotency bytea[], p_fingerprints bytea[],
             p_core_heads text[], p_core_tails text[], p_message_heads text[]
           ) returns table (n bigint, outcome smallint, id uuid, seq bigint, prev_hash bytea, hash bytea, received_at timestamptz)
           language plpgsql set plan_cache_mode = force_generic_plan as $$
           #variable_conflict use_column
           declare
             v_now timestamptz := mainstay.now();
             v_n bigint[]; v_ids uuid[]; v_seqs bigint[]; v_prevs bytea[]; v_hashes bytea[]; v_received timestamptz[];
             v_bodies text[];
             v_had_n bigint[]; v_had_same boolean[]; v_had_ids uuid[]; v_had_seqs bigint[]; v_had_prevs bytea[];
             v_had_hashes bytea[]; v_had_received timestamptz[];
             v_all boolean;
           begin
             perform 1 from mainstay.chain_heads h where h.workspace_id = any(p_workspaces)
               order by h.workspace_id for update;

             select array_agg(i.n), array_agg(e.fingerprint = i.fingerprint), array_agg(e.id), array_agg(e.seq),
                    array_agg(e.prev_hash), array_agg(e.hash), array_agg(e.received_at)
               into v_had_n, v_had_same, v_had_ids, v_had_seqs, v_had_prevs, v_had_hashes, v_had_received
               from unnest(p_workspaces, p_idempotency, p_fingerprints) with ordinality as i(workspace_id, key, fingerprint, n)
               join mainstay.events e on e.workspace_id = i.workspace_id and e.idempotency_key = i.key
                 and e.received_at > v_now - interval '24 hours'
              where i.key is not null;

             with input as materialized (
               select i.*
                 from unnest(p_workspaces, p_companies, p_keys, p_ids, p_regions, p_projects, p_actions, p_categories,
                             p_actor_ids, p_actor_emails, p_actor_names, p_target_ids, p_target_types,
                             p_payloads, p_metadata, p_changes, p_salts, p_traces, p_occurred,
                             p_idempotency, p_fingerprints, p_core_heads, p_core_tails, p_message_heads)
                      with ordinality as i(workspace_id, company_id, key_id, id, data_region, project_id, action, category,
                             actor_id, actor_email, actor_name, target_id, target_type,
                             payload, metadata, changes, salts, trace_id, occurred_at,
                             idempotency_key, fingerprint, core_head, core_tail, message_head, n)
                where (v_had_n is null or i.n <> all (v_had_n))
             ), valid as materialized (
               select k.id from mainstay.api_keys k where k.id = any(p_keys) and mainstay.key_is_valid(k)
             ), placed as (
               select i.*, h.hash as head, h.metered, h.seq + row_number() over w as seq,
                      greatest(h.received_at, v_now) as received_at
                 from input i
                 join mainstay.chain_heads h on h.workspace_id = i.workspace_id and h.company_id = i.company_id
                where i.key_id is null or i.key_id in (select v.id from valid v)
               window w as (partition by i.workspace_id order by i.n)
             ), timed as (
               select p.*, to_char(p.received_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as received_text
                 from placed p
             ), linked as (
               select t.*, mainstay.chain(
                        sha256('\\x00'::bytea || convert_to(t.core_head || t.received_text || '","seq":' || t.seq || t.core_tail, 'UTF8')),
                        t.head) over w as hash
                 from timed t window w as (partition by t.workspace_id order by t.n)
             ), chained as materialized (
               select l.*, coalesce(lag(l.hash) over w, l.head) as prev_hash
                 from linked l window w as (partition by l.workspace_id order by l.n)
             ), stored as (
               insert into mainstay.events (
                 workspace_id, seq, id, company_id, data_region, project_id, action, category,
                 actor_id, actor_email, actor_name, target_id, target_type, payload, metadata, changes,
                 salts, prev_hash, hash, trace_id, occurred_at, received_at, idempotency_key, fingerprint)
               select c.workspace_id, c.seq, c.id, c.company_id, c.data_region, c.project_id, c.action, c.category,
                      c.actor_id, c.actor_email, c.actor_name, c.target_id, c.target_type, c.payload, c.metadata, c.changes,
                      c.salts, c.prev_hash, c.hash, c.trace_id, c.occurred_at, c.received_at, c.idempotency_key, c.fingerprint
                 from chained c
             ), last as materialized (
               select distinct on (c.workspace_id) c.workspace_id, c.company_id, c.metered, c.seq, c.hash, c.received_at,
                      count(*) over (partition by c.workspace_id) as added
                 from chained c order by c.workspace_id, c.n desc
             ), moved as (
               update mainstay.chain_heads h set seq = l.seq, hash = l.hash, received_at = l.received_at
                 from last l where h.workspace_id = l.workspace_id
             ), metered as (
               select mainstay.meter(l.company_id, l.workspace_id, 'events', l.added) from last l where l.metered
             )
             select array_agg(c.n order by c.n), array_agg(c.id order by c.n), array_agg(c.seq order by c.n),
                    array_agg(c.prev_hash order by c.n), array_agg(c.hash order by c.n),
                    array_agg(c.received_at order by c.n),
                    array_agg(c.message_head || ',"createdAt":"' || c.received_text || '","receivedAt":"' || c.received_text
                      || '","seq":' || c.seq || ',"prevHash":"' || encode(c.prev_hash, 'hex')
                      || '","hash":"' || encode(c.hash, 'hex') || '"}}' order by c.n)
               into v_n, v_ids, v_seqs, v_prevs, v_hashes, v_received, v_bodies
               from chained c, (select count(*) from metered) as counted;

             if v_n is not null then
               v_all := cardinality(v_n) = cardinality(p_ids);
               perform mainstay.fan_out(
                 v_ids,
                 case when v_all then p_companies else (select array_agg(p_companies[i] order by o) from unnest(v_n) with ordinality u(i, o)) end,
                 case when v_all then p_workspaces else (select array_agg(p_workspaces[i] order by o) from unnest(v_n) with ordinality u(i, o)) end,
                 case when v_all then p_actions else (select array_agg(p_actions[i] order by o) from unnest(v_n) with ordinality u(i, o)) end,
                 v_bodies,
                 case when v_all then p_traces else (select array_agg(p_traces[i] order by o) from unnest(v_n) with ordinality u(i, o)) end);
             end if;

             return query
               select s.n, 0::smallint, s.id, s.seq, s.prev_hash, s.hash, s.received_at
                 from unnest(v_n, v_ids, v_seqs, v_prevs, v_hashes, v_received) as s(n, id, seq, prev_hash, hash, received_at)
               union all
               select d.n, (case when d.same then 1 else 2 end)::smallint, d.id, d.seq, d.prev_hash, d.hash, d.received_at
                 from unnest(v_had_n, v_had_same, v_had_ids, v_had_seqs, v_had_prevs, v_had_hashes, v_had_received)
                        as d(n, same, id, seq, prev_hash, hash, received_at)
               union all
               select i.n, (case when h.workspace_id is null then 4 else 3 end)::smallint, null, null, null, null, null
                 from unnest(p_workspaces, p_companies) with ordinality as i(workspace_id, company_id, n)
                 left join mainstay.chain_heads h on h.workspace_id = i.workspace_id and h.company_id = i.company_id
                where (v_n is null or cardinality(v_n) < cardinality(p_ids))
                  and i.n <> all (coalesce(v_n, '{}'::bigint[])) and i.n <> all (coalesce(v_had_n, '{}'::bigint[]));
           end $$"""
    )
