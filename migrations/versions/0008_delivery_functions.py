"""Webhooks whole: the functions of fan-out, lines, loading, admission and recording.

Locks: none on existing tables. Processes of the version before go on: fan_out keeps its arguments, load_deliveries its
arguments and its columns before the new ones, and record_attempts stays beside a new one of other arguments. What they
send obeys none of the new settings.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

# Plans are kept for as long as a session lives. These tables grow by millions of rows between two looks of the
# statistics collector, so the plans must be those that are right for large tables from the first row on.
INDEXED = "set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan"
BY_KEY = INDEXED + " set enable_hashjoin = off set enable_mergejoin = off"


def upgrade() -> None:
    _filters()
    _line_up()
    _set_apart()
    _fan_out()
    _deliver()
    _load_deliveries()
    _admit()
    _record_attempts()


def _filters() -> None:
    op.execute(
        """create function mainstay.json_or_null(p_text text) returns jsonb language plpgsql immutable strict as $$
           begin
             return p_text::jsonb;
           exception when others then
             return null;
           end
           $$"""
    )
    op.execute(
        """comment on function mainstay.json_or_null(text) is 'The text as JSON; null where it cannot be kept as such'"""
    )
    op.execute(
        """create function mainstay.passes(p_document jsonb, p_path text) returns boolean
           language plpgsql immutable as $$
           begin
             return p_path is null or p_document is null or coalesce(p_document @@ p_path::jsonpath, false);
           exception when others then
             return true;
           end
           $$"""
    )
    op.execute(
        """comment on function mainstay.passes(jsonb, text) is
           'Whether a body passes the filter of an endpoint; what cannot be read or evaluated passes, so nothing is lost'"""
    )


def _line_up() -> None:
    # The share lock is on what a drain that ends locks for update: either it sees the new rows, or its key is free.
    op.execute(
        """create function mainstay.line_up(
             p_endpoints uuid[], p_deliveries uuid[], p_companies uuid[], p_traces text[]
           ) returns void language plpgsql %(plans)s as $$
           begin
             perform from mainstay.endpoints e where e.id = any (p_endpoints) order by e.id for key share;
             insert into mainstay.fifo_lines (endpoint_id, delivery_id, company_id)
             select u.endpoint_id, u.delivery_id, u.company_id
               from unnest(p_endpoints, p_deliveries, p_companies) with ordinality
                    as u (endpoint_id, delivery_id, company_id, n)
              order by u.n;
             insert into mainstay.jobs (queue, kind, lane, payload, company_id, trace_id, dedupe_key, max_attempts)
             select distinct on (u.endpoint_id) 'nova:webhook', 'webhooks.deliver_in_order', u.endpoint_id::text,
                    to_jsonb(u.endpoint_id::text), u.company_id, u.trace_id, u.endpoint_id::text, 10
               from unnest(p_endpoints, p_companies, p_traces) as u (endpoint_id, company_id, trace_id)
              where not exists (select from mainstay.jobs j
                                 where j.kind = 'webhooks.deliver_in_order' and j.dedupe_key = u.endpoint_id::text)
              order by u.endpoint_id
             on conflict (kind, dedupe_key) where dedupe_key is not null do nothing;
           end
           $$""" % {"plans": INDEXED}
    )
    op.execute(
        """comment on function mainstay.line_up(uuid[], uuid[], uuid[], text[]) is
           'These deliveries stand at the end of the line of their endpoint, in this order, and each line has a job'"""
    )


def _fan_out() -> None:
    # Subscriptions are matched once per distinct company, workspace and type, however many messages share them.
    # The nil UUID stands for "no workspace" so that the joins can hash. Ways: 0 a job, 1 nothing, 2 the line, 3 pulled.
    op.execute(
        """create or replace function mainstay.fan_out(
             p_ids uuid[], p_companies uuid[], p_workspaces uuid[], p_types text[], p_bodies text[], p_traces text[]
           ) returns integer language plpgsql %(plans)s as $$
           declare
             nowhere constant uuid := '00000000-0000-0000-0000-000000000000';
             lanes text[];
             payloads jsonb[];
             companies uuid[];
             traces text[];
             others mainstay.planned_delivery[];
             in_line integer := 0;
           begin
             if not exists (
               select from mainstay.endpoints e where e.company_id = any (p_companies) and e.deleted_at is null
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
               select k.company_id, k.workspace_id, k.type, e.id as endpoint_id, e.retries + 1 as max_attempts,
                      e.filter_path,
                      case when not e.is_active then 1 when e.kind = 'pull' then 3 when e.is_fifo then 2 else 0 end as way
                 from kinds k
                 join mainstay.endpoints e on e.company_id = k.company_id
                where e.deleted_at is null
                  and (e.workspace_id is null or e.workspace_id = k.workspace_id)
                  and e.events && k.patterns
             ), read as materialized (
               select g.id, mainstay.json_or_null(g.body) as document from given g
                where (g.company_id, g.workspace_id, g.type) in (
                  select m.company_id, m.workspace_id, m.type from matched m where m.filter_path is not null)
             ), planned as materialized (
               select mainstay.uuid7() as id, g.id as message_id, m.endpoint_id, m.company_id, m.max_attempts,
                      g.trace_id, m.way
                 from given g
                 join matched m on m.company_id = g.company_id and m.workspace_id = g.workspace_id and m.type = g.type
                 left join read r on r.id = g.id
                where m.filter_path is null or mainstay.passes(r.document, m.filter_path)
             ), stored as (
               insert into mainstay.messages (id, company_id, workspace_id, type, body, trace_id)
               select g.id, g.company_id, nullif(g.workspace_id, nowhere), g.type, g.body, g.trace_id
                 from given g
                where g.id in (select message_id from planned)
             ), delivering as (
               insert into mainstay.deliveries (id, message_id, endpoint_id, company_id, max_attempts, next_attempt_at)
               select id, message_id, endpoint_id, company_id, max_attempts, case when way = 0 then mainstay.now() end
                 from planned where way in (0, 2)
             ), special as (
               select array_agg((p.id, p.message_id, p.endpoint_id, p.company_id, p.trace_id, p.way
                                )::mainstay.planned_delivery) as others
                 from planned p where p.way > 1
             )
             select array_agg(p.endpoint_id::text), array_agg(to_jsonb(p.id::text)),
                    array_agg(p.company_id), array_agg(p.trace_id), (select s.others from special s)
               into lanes, payloads, companies, traces, others
               from planned p where p.way = 0;
             if others is not null then
               in_line := mainstay.set_apart(others, p_ids);
             end if;
             if lanes is null then
               return in_line;
             end if;
             perform mainstay.enqueue_jobs(
               'nova:webhook', 'webhooks.deliver', lanes, payloads, companies, traces, 5::smallint, 3::smallint);
             return cardinality(lanes) + in_line;
           end
           $$""" % {"plans": INDEXED}
    )
    op.execute(
        """comment on function mainstay.fan_out(uuid[], uuid[], uuid[], text[], text[], text[]) is
           'Stores each message that an endpoint wants, and for each active one a pending delivery with its job, a place in line or an item to pull; returns the number of deliveries'"""
    )


def _set_apart() -> None:
    op.execute(
        """create type mainstay.planned_delivery as (
             id uuid, message_id uuid, endpoint_id uuid, company_id uuid, trace_id text, way integer
           )"""
    )
    op.execute(
        """create function mainstay.set_apart(p_planned mainstay.planned_delivery[], p_order uuid[])
           returns integer language plpgsql %(plans)s as $$
           declare
             endpoints uuid[];
             deliveries uuid[];
             companies uuid[];
             traces text[];
           begin
             -- Items of one transaction are read in the order of their ids, so the ids are dealt out as messages came.
             if exists (select from unnest(p_planned) p where p.way = 3) then
               insert into mainstay.pull_items (id, endpoint_id, message_id, company_id)
               select i.id, p.endpoint_id, p.message_id, p.company_id
                 from (select u.endpoint_id, u.message_id, u.company_id, row_number() over (order by o.n, u.n) as place
                         from unnest(p_planned) with ordinality
                              as u (id, message_id, endpoint_id, company_id, trace_id, way, n)
                         join (select g.message_id, min(g.n) as n
                                 from unnest(p_order) with ordinality as g (message_id, n) group by g.message_id) o
                           on o.message_id = u.message_id
                        where u.way = 3) p
                 join (select u.id, row_number() over (order by u.id) as place
                         from unnest(p_planned) u where u.way = 3) i on i.place = p.place;
             end if;
             select array_agg(p.endpoint_id order by o.n, p.n), array_agg(p.id order by o.n, p.n),
                    array_agg(p.company_id order by o.n, p.n), array_agg(p.trace_id order by o.n, p.n)
               into endpoints, deliveries, companies, traces
               from unnest(p_planned) with ordinality
                    as p (id, message_id, endpoint_id, company_id, trace_id, way, n)
               join (select u.message_id, min(u.n) as n
                       from unnest(p_order) with ordinality as u (message_id, n) group by u.message_id) o
                 on o.message_id = p.message_id
              where p.way = 2;
             if deliveries is null then
               return 0;
             end if;
             perform mainstay.line_up(endpoints, deliveries, companies, traces);
             return cardinality(deliveries);
           end
           $$""" % {"plans": INDEXED}
    )
    op.execute(
        """comment on function mainstay.set_apart(mainstay.planned_delivery[], uuid[]) is
           'Items of endpoints that pull are kept for them; deliveries in order stand in line as their messages came'"""
    )


def _deliver() -> None:
    op.execute(
        """create function mainstay.deliver(
             p_ids uuid[], p_messages uuid[], p_endpoints uuid[], p_replays uuid[]
           ) returns integer language plpgsql %(plans)s as $$
           declare
             planned mainstay.planned_delivery[];
             lanes text[];
             payloads jsonb[];
             companies uuid[];
             traces text[];
           begin
             select array_agg((u.id, m.id, e.id, e.company_id, m.trace_id,
                               case when e.kind = 'pull' then 3 when e.is_fifo then 2 else 0 end
                              )::mainstay.planned_delivery order by u.n)
               into planned
               from unnest(p_ids, p_messages, p_endpoints) with ordinality as u (id, message_id, endpoint_id, n)
               join mainstay.messages m on m.id = u.message_id
               join mainstay.endpoints e on e.id = u.endpoint_id and e.company_id = m.company_id
              where e.deleted_at is null;
             if planned is null then
               return 0;
             end if;
             insert into mainstay.deliveries
               (id, message_id, endpoint_id, company_id, max_attempts, next_attempt_at, replay_of)
             select p.id, p.message_id, p.endpoint_id, p.company_id, e.retries + 1,
                    case when p.way = 0 then mainstay.now() end, u.replay_of
               from unnest(planned) p
               join mainstay.endpoints e on e.id = p.endpoint_id
               join unnest(p_ids, p_replays) as u (id, replay_of) on u.id = p.id
              where p.way in (0, 2);
             perform mainstay.set_apart(planned, p_messages) where exists (select from unnest(planned) p where p.way > 1);
             select array_agg(p.endpoint_id::text), array_agg(to_jsonb(p.id::text)),
                    array_agg(p.company_id), array_agg(p.trace_id)
               into lanes, payloads, companies, traces
               from unnest(planned) p where p.way = 0;
             if lanes is not null then
               perform mainstay.enqueue_jobs(
                 'nova:webhook', 'webhooks.deliver', lanes, payloads, companies, traces, 5::smallint, 3::smallint);
             end if;
             return cardinality(planned);
           end
           $$""" % {"plans": INDEXED}
    )
    op.execute(
        """comment on function mainstay.deliver(uuid[], uuid[], uuid[], uuid[]) is
           'One more delivery (ids given) of each stored message to its endpoint, whatever that subscribes to, by the way of the endpoint: a job, a place at the end of its line, or an item to pull; how many'"""
    )


def _load_deliveries() -> None:
    op.execute("drop function mainstay.load_deliveries(uuid[])")
    op.execute(
        """create function mainstay.load_deliveries(p_ids uuid[]) returns table (
             id text, attempts smallint, max_attempts smallint, is_first boolean, message_id text, type text, body text,
             trace_id text, age_seconds float8, endpoint_id text, url text, is_wanted boolean, secret_sealed bytea,
             previous_sealed bytea, headers_sealed bytea, policy text, is_gated boolean
           ) language plpgsql stable %(plans)s as $$
           begin
             return query
             select d.id::text, d.attempts, d.max_attempts, d.attempts = 0 and d.replay_of is null,
                    m.id::text, m.type, m.body, m.trace_id, extract(epoch from mainstay.now() - m.created_at)::float8,
                    e.id::text, e.url, e.is_active and e.deleted_at is null and e.url is not null, e.secret_sealed,
                    case when e.previous_secret_until > mainstay.now() then e.previous_secret_sealed end,
                    e.headers_sealed,
                    case when e.retry_profile <> 'standard' or e.signing <> 'hmac' or e.trace_context <> 'propagate'
                           or e.payload_version <> 1 or e.rate_limit_per_second is not null
                           or e.concurrency is not null
                         then jsonb_build_object(
                                'profile', e.retry_profile, 'signing', e.signing, 'trace', e.trace_context,
                                'version', e.payload_version, 'rate', e.rate_limit_per_second,
                                'concurrency', e.concurrency)::text end,
                    e.rate_limit_per_second is not null or e.concurrency is not null or h.open_until is not null
               from mainstay.deliveries d
               join mainstay.endpoints e on e.id = d.endpoint_id
               left join mainstay.messages m on m.id = d.message_id
               left join mainstay.endpoint_health h on h.endpoint_id = d.endpoint_id and h.open_until is not null
              where d.id = any (p_ids) and d.status in ('PENDING', 'RETRYING', 'FAILED');
           end
           $$""" % {"plans": BY_KEY}
    )
    op.execute(
        """comment on function mainstay.load_deliveries(uuid[]) is
           'The deliveries among these that may still be tried, with all that sending them needs; policy is null for ordinary endpoints, and gated ones ask mainstay.admit'"""
    )


def _admit() -> None:
    # The lock on the endpoint orders all askers, whichever worker they are in; what was granted before is read after it.
    # A place in the pace is 1.05 / rate seconds; a try starts within 0.05 s of its place or asks again.
    op.execute(
        """create function mainstay.admit(p_endpoints uuid[], p_jobs bigint[])
           returns table (job_id bigint, is_admitted boolean, wait_seconds float8) language plpgsql %(plans)s as $$
           declare
             moment constant timestamptz := mainstay.now();
             ahead constant interval := interval '100 milliseconds';
             asked record;
             busy integer;
             places integer;
             upcoming timestamptz;
           begin
             perform from mainstay.endpoints e where e.id = any (p_endpoints) order by e.id for no key update;
             for asked in
               select e.id, e.company_id, e.rate_limit_per_second as rate, e.concurrency, h.open_until, p.next_at, u.jobs
                 from (select g.endpoint_id, array_agg(g.job order by g.job) as jobs
                         from unnest(p_endpoints, p_jobs) as g (endpoint_id, job) group by g.endpoint_id) u
                 join mainstay.endpoints e on e.id = u.endpoint_id
                 left join mainstay.endpoint_health h on h.endpoint_id = e.id
                 left join mainstay.endpoint_paces p on p.endpoint_id = e.id
                order by e.id
             loop
               busy := 0;
               places := case when asked.open_until is not null then 1 else asked.concurrency end;
               if places is not null then
                 select count(*) into busy from mainstay.endpoint_slots s
                  where s.endpoint_id = asked.id and s.until > moment and s.job_id <> all (asked.jobs);
               end if;
               upcoming := greatest(asked.next_at, moment);
               foreach job_id in array asked.jobs loop
                 is_admitted := false;
                 if asked.open_until > moment then
                   wait_seconds := least(extract(epoch from asked.open_until - moment), 15);
                 elsif busy >= places then
                   wait_seconds := case when asked.open_until is null then 0.1 else 1.0 end;
                 elsif asked.rate is not null and upcoming > moment + ahead then
                   wait_seconds := greatest(extract(epoch from upcoming - moment - ahead / 2), 0.01);
                 else
                   is_admitted := true;
                   wait_seconds := case when asked.rate is null then 0 else extract(epoch from upcoming - moment) end;
                   upcoming := upcoming + make_interval(secs => 1.05 / asked.rate);
                   if places is not null then
                     busy := busy + 1;
                     insert into mainstay.endpoint_slots as s (job_id, endpoint_id, company_id, until)
                     values (admit.job_id, asked.id, asked.company_id, moment + interval '35 seconds')
                     on conflict on constraint endpoint_slots_pkey
                        do update set until = excluded.until, endpoint_id = excluded.endpoint_id;
                   end if;
                 end if;
                 return next;
               end loop;
               if asked.rate is not null and upcoming > greatest(asked.next_at, moment) then
                 insert into mainstay.endpoint_paces as p (endpoint_id, company_id, next_at)
                 values (asked.id, asked.company_id, upcoming)
                 on conflict on constraint endpoint_paces_pkey do update set next_at = excluded.next_at;
               end if;
             end loop;
           end
           $$""" % {"plans": BY_KEY}
    )
    op.execute(
        """comment on function mainstay.admit(uuid[], bigint[]) is
           'For each job that wants to try its endpoint: admitted to start after a wait of up to 0.1 s, or to ask again after one. Keeps, over all workers: the rate, the tries at once, and one probe at a time behind an open breaker'"""
    )


def _record_attempts() -> None:
    # The function of the same name and other arguments stays: processes of the version before record their tries by it.
    # p_started and p_now are readings of one monotonic clock; only their difference counts.
    # A try that fails 24 hours after the one that began the newest day of failure, or later, begins another.
    # Rows of health are locked in the order of their ids before any is changed; new ones are added in that order, too.
    op.execute(
        """create function mainstay.record_attempts(
             p_worker text, p_now float8, p_slots bigint[], p_ids uuid[], p_numbers smallint[], p_started float8[],
             p_durations integer[], p_outcomes text[], p_codes smallint[], p_errors text[], p_headers text[],
             p_bodies text[], p_addresses text[], p_standings text[], p_waits float8[], p_endpoints uuid[]
           ) returns table (
             endpoint_id text, failures integer, failing_since timestamptz, days smallint, warned smallint,
             trips smallint, open_until timestamptz, now timestamptz
           ) language plpgsql %(plans)s as $$
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
             insert into mainstay.attempt_batches (endpoint_ids, codes, durations_ms)
             values (p_endpoints, array_replace(p_codes, null, 0::smallint), p_durations);
             if cardinality(p_slots) > 0 then
               delete from mainstay.endpoint_slots s where s.job_id = any (p_slots);
             end if;
             if 'delivered' = all (p_outcomes) and not exists (
               select from mainstay.endpoint_health h where h.endpoint_id = any (p_endpoints)
             ) then
               return;
             end if;
             perform from mainstay.endpoint_health h
               where h.endpoint_id = any (p_endpoints) order by h.endpoint_id for update;
             delete from mainstay.endpoint_health h
              where h.endpoint_id in (select r.endpoint_id from unnest(p_endpoints, p_outcomes) as r (endpoint_id, outcome)
                                       where r.outcome = 'delivered');
             return query
             with tries as materialized (
               select r.endpoint_id, r.started,
                      max(r.started) filter (where r.outcome = 'delivered') over (partition by r.endpoint_id) as well_at
                 from unnest(p_endpoints, p_outcomes, p_started) as r (endpoint_id, outcome, started)
                where r.outcome <> 'unsendable'
             ), failed as (
               select t.endpoint_id, count(*)::integer as failures, min(t.started) as since
                 from tries t where t.started > coalesce(t.well_at, '-infinity') group by t.endpoint_id
             )
             insert into mainstay.endpoint_health as h (endpoint_id, company_id, failures, failing_since)
             select f.endpoint_id, e.company_id, f.failures,
                    mainstay.now() - make_interval(secs => greatest(p_now - f.since, 0))
               from failed f join mainstay.endpoints e on e.id = f.endpoint_id
              order by f.endpoint_id
             on conflict on constraint endpoint_health_pkey
                do update set failures = h.failures + excluded.failures, updated_at = mainstay.now(),
                              failing_since = coalesce(h.failing_since, excluded.failing_since),
                              days = h.days + (excluded.day_at >= h.day_at + interval '24 hours')::integer,
                              day_at = case when excluded.day_at >= h.day_at + interval '24 hours'
                                            then excluded.day_at else h.day_at end
             returning h.endpoint_id::text, h.failures, h.failing_since, h.days, h.warned, h.trips, h.open_until,
                       mainstay.now();
           end
           $$""" % {"plans": BY_KEY}
    )
    op.execute(
        """comment on function mainstay.record_attempts(
             text, float8, bigint[], uuid[], smallint[], float8[], integer[], text[], smallint[], text[], text[], text[],
             text[], text[], float8[], uuid[]) is
           'One row for each try, each delivery stands where its newest try left it, and slots are free; gives the health of the endpoints that failed'"""
    )
