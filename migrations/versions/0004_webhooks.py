"""Webhooks: endpoints, messages, deliveries, attempts, and the fan-out of messages to the endpoints that want them.

Locks: none on existing tables; everything here is new.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

# Plans are kept for as long as a session lives. These tables grow by millions of rows between two looks of the
# statistics collector, so the plans must be those that are right for large tables from the first row on.
INDEXED = "set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan"
BY_KEY = INDEXED + " set enable_hashjoin = off set enable_mergejoin = off"


def upgrade() -> None:
    _endpoints()
    _messages()
    _deliveries()
    _attempts()
    _event_patterns()
    _fan_out()
    _load_deliveries()
    _record_attempts()


def _endpoints() -> None:
    op.execute(
        """create table mainstay.endpoints (
             id uuid not null constraint endpoints_pkey primary key,
             company_id uuid not null,
             workspace_id uuid,
             url text not null,
             description text not null default '',
             events text[] not null,
             retries smallint not null default 4,
             is_active boolean not null default true,
             disabled_at timestamptz,
             disabled_reason text,
             secret_sealed bytea not null,
             previous_secret_sealed bytea,
             previous_secret_until timestamptz,
             created_at timestamptz not null default mainstay.now(),
             created_by jsonb not null,
             updated_at timestamptz not null default mainstay.now(),
             deleted_at timestamptz,
             constraint endpoints_retries_check check (retries between 0 and 4),
             constraint endpoints_events_check check (cardinality(events) between 1 and 100)
           )"""
    )
    op.execute(
        """create index endpoints_company_id_id_idx on mainstay.endpoints (company_id, id) where deleted_at is null"""
    )
    op.execute(
        """create index endpoints_previous_secret_until_idx on mainstay.endpoints (previous_secret_until)
           where previous_secret_until is not null"""
    )


def _messages() -> None:
    op.execute(
        """create table mainstay.messages (
             id uuid not null constraint messages_pkey primary key,
             company_id uuid not null,
             workspace_id uuid,
             type text not null,
             body text not null,
             trace_id text not null,
             created_at timestamptz not null default mainstay.now()
           ) partition by range (id)"""
    )


def _deliveries() -> None:
    op.execute(
        """create table mainstay.deliveries (
             id uuid not null constraint deliveries_pkey primary key,
             message_id uuid not null,
             endpoint_id uuid not null,
             company_id uuid not null,
             status text not null default 'PENDING',
             attempts smallint not null default 0,
             max_attempts smallint not null,
             next_attempt_at timestamptz,
             created_at timestamptz not null default mainstay.now(),
             updated_at timestamptz not null default mainstay.now(),
             last_status_code smallint,
             last_error text,
             delivered_at timestamptz,
             replay_of uuid,
             constraint deliveries_status_check
               check (status in ('PENDING', 'RETRYING', 'DELIVERED', 'FAILED', 'DISCARDED'))
           ) partition by range (id)"""
    )
    op.execute("create index deliveries_endpoint_id_id_idx on mainstay.deliveries (endpoint_id, id)")
    op.execute(
        """create index deliveries_next_attempt_at_idx on mainstay.deliveries (next_attempt_at)
           where status in ('PENDING', 'RETRYING')"""
    )


def _attempts() -> None:
    op.execute(
        """create table mainstay.attempts (
             delivery_id uuid not null,
             number smallint not null,
             started_at timestamptz not null,
             duration_ms integer not null,
             outcome text not null,
             status_code smallint,
             error text,
             response_headers jsonb not null,
             response_body text not null,
             address text not null,
             worker text not null,
             constraint attempts_pkey primary key (delivery_id, number)
           ) partition by range (delivery_id)"""
    )


def _event_patterns() -> None:
    op.execute(
        """create function mainstay.event_patterns(p_type text) returns text[]
           language plpgsql immutable strict parallel safe as $$
           declare
             parts text[] := string_to_array(p_type, '.');
             prefix text := '';
             patterns text[] := array['*', p_type];
           begin
             for n in 1 .. cardinality(parts) - 1 loop
               prefix := prefix || parts[n] || '.';
               patterns := patterns || (prefix || '*');
             end loop;
             return patterns;
           end
           $$"""
    )
    op.execute(
        """comment on function mainstay.event_patterns(text) is
           'Every subscription pattern that matches an event type: *, the type itself, and each dotted prefix with .*'"""
    )


def _fan_out() -> None:
    # Subscriptions are matched once per distinct company, workspace and type, however many messages share them.
    # The nil UUID stands for "no workspace" so that the joins can hash.
    op.execute(
        """create function mainstay.fan_out(
             p_ids uuid[], p_companies uuid[], p_workspaces uuid[], p_types text[], p_bodies text[], p_traces text[]
           ) returns integer language plpgsql %(plans)s as $$
           declare
             nowhere constant uuid := '00000000-0000-0000-0000-000000000000';
             lanes text[];
             payloads jsonb[];
             companies uuid[];
             traces text[];
           begin
             if not exists (
               select from mainstay.endpoints e
                where e.company_id = any (p_companies) and e.is_active and e.deleted_at is null
             ) then
               return 0;
             end if;
             with given as materialized (
               select g.id, g.company_id, coalesce(g.workspace_id, nowhere) as workspace_id, g.type, g.body, g.trace_id
                 from unnest(p_ids, p_companies, p_workspaces, p_types, p_bodies, p_traces)
                      as g (id, company_id, workspace_id, type, body, trace_id)
             ), kinds as materialized (
               select k.company_id, k.workspace_id, k.type, mainstay.event_patterns(k.type) as patterns
                 from (select distinct company_id, workspace_id, type from given) k
             ), matched as materialized (
               select k.company_id, k.workspace_id, k.type, e.id as endpoint_id, e.retries + 1 as max_attempts
                 from kinds k
                 join mainstay.endpoints e on e.company_id = k.company_id
                where e.is_active and e.deleted_at is null
                  and (e.workspace_id is null or e.workspace_id = k.workspace_id)
                  and e.events && k.patterns
             ), planned as materialized (
               select mainstay.uuid7() as id, g.id as message_id, m.endpoint_id, m.company_id, m.max_attempts, g.trace_id
                 from given g
                 join matched m on m.company_id = g.company_id and m.workspace_id = g.workspace_id and m.type = g.type
             ), stored as (
               insert into mainstay.messages (id, company_id, workspace_id, type, body, trace_id)
               select g.id, g.company_id, nullif(g.workspace_id, nowhere), g.type, g.body, g.trace_id
                 from given g
                where g.id in (select message_id from planned)
             ), delivering as (
               insert into mainstay.deliveries (id, message_id, endpoint_id, company_id, max_attempts, next_attempt_at)
               select id, message_id, endpoint_id, company_id, max_attempts, mainstay.now() from planned
             )
             select array_agg(p.endpoint_id::text), array_agg(to_jsonb(p.id::text)),
                    array_agg(p.company_id), array_agg(p.trace_id)
               into lanes, payloads, companies, traces
               from planned p;
             if lanes is null then
               return 0;
             end if;
             perform mainstay.enqueue_jobs(
               'nova:webhook', 'webhooks.deliver', lanes, payloads, companies, traces, 5::smallint, 3::smallint);
             return cardinality(lanes);
           end
           $$""" % {"plans": INDEXED}
    )
    op.execute(
        """comment on function mainstay.fan_out(uuid[], uuid[], uuid[], text[], text[], text[]) is
           'Stores each message that an active endpoint wants, one pending delivery per endpoint and one job per delivery; returns the number of deliveries'"""
    )


def _load_deliveries() -> None:
    op.execute(
        """create function mainstay.load_deliveries(p_ids uuid[]) returns table (
             id text, attempts smallint, max_attempts smallint, is_first boolean, message_id text, type text, body text,
             trace_id text, age_seconds float8, endpoint_id text, url text, is_wanted boolean, secret_sealed bytea,
             previous_sealed bytea
           ) language plpgsql stable %(plans)s as $$
           begin
             return query
             select d.id::text, d.attempts, d.max_attempts, d.attempts = 0 and d.replay_of is null,
                    m.id::text, m.type, m.body, m.trace_id, extract(epoch from mainstay.now() - m.created_at)::float8,
                    e.id::text, e.url, e.is_active and e.deleted_at is null, e.secret_sealed,
                    case when e.previous_secret_until > mainstay.now() then e.previous_secret_sealed end
               from mainstay.deliveries d
               join mainstay.endpoints e on e.id = d.endpoint_id
               left join mainstay.messages m on m.id = d.message_id
              where d.id = any (p_ids) and d.status in ('PENDING', 'RETRYING', 'FAILED');
           end
           $$""" % {"plans": BY_KEY}
    )
    op.execute(
        """comment on function mainstay.load_deliveries(uuid[]) is
           'The deliveries among these that may still be tried, with all that sending them needs'"""
    )


def _record_attempts() -> None:
    # p_started and p_now are readings of one monotonic clock; only their difference counts.
    op.execute(
        """create function mainstay.record_attempts(
             p_worker text, p_now float8, p_ids uuid[], p_numbers smallint[], p_started float8[], p_durations integer[],
             p_outcomes text[], p_codes smallint[], p_errors text[], p_headers text[], p_bodies text[],
             p_addresses text[], p_standings text[], p_waits float8[]
           ) returns void language plpgsql %(plans)s as $$
           begin
             insert into mainstay.attempts (delivery_id, number, started_at, duration_ms, outcome, status_code, error,
                                            response_headers, response_body, address, worker)
             select r.id, r.number, mainstay.now() - make_interval(secs => greatest(p_now - r.started, 0)),
                    r.duration_ms, r.outcome, r.code, r.error, r.headers::jsonb, r.body, r.address, p_worker
               from unnest(p_ids, p_numbers, p_started, p_durations, p_outcomes, p_codes, p_errors, p_headers, p_bodies,
                           p_addresses)
                    as r (id, number, started, duration_ms, outcome, code, error, headers, body, address)
             on conflict do nothing;
             update mainstay.deliveries d
                set status = r.standing, attempts = r.number, updated_at = mainstay.now(),
                    next_attempt_at = mainstay.now() + make_interval(secs => r.wait_seconds),
                    last_status_code = r.code, last_error = r.error,
                    delivered_at = case when r.standing = 'DELIVERED' then mainstay.now() end
               from unnest(p_ids, p_standings, p_numbers, p_waits, p_codes, p_errors)
                    as r (id, standing, number, wait_seconds, code, error)
              where d.id = r.id and d.attempts < r.number and d.status in ('PENDING', 'RETRYING', 'FAILED');
           end
           $$""" % {"plans": BY_KEY}
    )
    op.execute(
        """comment on function mainstay.record_attempts(
             text, float8, uuid[], smallint[], float8[], integer[], text[], smallint[], text[], text[], text[], text[],
             text[], float8[]) is
           'One row for each try, and each delivery stands where its newest try left it'"""
    )
