"""Jobs and events from transactions of others: `enqueue`, `enqueue_many` and `emit`, and the line of emitted events.

Locks: none on existing tables; everything here is new. Nobody but the owner may call the functions until it is granted.
"""

from alembic import op

revision = "0026"
down_revision = "0025"

_DEFINER = "language plpgsql security definer set search_path = pg_catalog, pg_temp"

_TABLE = """
create table mainstay.emitted_events (
  id bigint generated always as identity constraint emitted_events_pkey primary key,
  workspace_id uuid not null,
  company_id uuid not null,
  event_id uuid not null,
  bytes integer not null,
  trace_id text not null,
  event jsonb not null,
  emitted_at timestamptz not null default mainstay.now(),
  refused_at timestamptz,
  reason text,
  detail text
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0)
"""

# What W3C calls a valid traceparent is continued; anything else begins a new trace, as over HTTP.
_TRACE = """
create function mainstay.trace_of(traceparent text) returns text language sql volatile
set search_path = pg_catalog, pg_temp as $$
  select coalesce(
    substring(traceparent from '^00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$'),
    replace(gen_random_uuid()::text, '-', ''))
$$
"""

# What every way in asks of a job: its kind is public, its values are such as a row may have.
_SPEC = """
create function mainstay.public_job(
  kind text, inout queue text, inout attempts integer, inout priority integer, backoff jsonb, delay interval,
  inout run_at timestamptz, out backoff_text text
) returns record language plpgsql set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
  v_kind mainstay.job_kinds;
  v_known text;
begin
  if kind is null then
    raise exception 'a job needs a kind' using errcode = 'null_value_not_allowed';
  end if;
  select k.* into v_kind from mainstay.job_kinds k where k.kind = public_job.kind;
  if not found or not v_kind.is_public then
    select string_agg(n.kind, ', ') into v_known from (
      select k.kind from mainstay.job_kinds k where k.is_public order by k.kind limit 20) n;
    if v_kind.kind is not null then
      raise exception 'jobs of the kind "%" are not put in line from outside', kind
        using errcode = 'insufficient_privilege', hint = 'Public kinds: ' || coalesce(v_known, 'none yet') || '.';
    end if;
    raise exception 'there is no kind of job "%"', left(kind, 200)
      using errcode = 'undefined_object',
        hint = 'A kind is known once a worker that has a task for it has started. Public kinds: '
          || coalesce(v_known, 'none yet') || '.';
  end if;
  queue := coalesce(queue, v_kind.queue);
  attempts := coalesce(attempts, v_kind.max_attempts);
  priority := coalesce(priority, v_kind.priority);
  if not exists (select from mainstay.queues q where q.name = public_job.queue) then
    raise exception 'there is no queue "%"', left(queue, 200)
      using errcode = 'undefined_object', hint = 'Leave the queue out: the kind has one.';
  end if;
  if attempts not between 1 and 1000 then
    raise exception 'attempts are 1 to 1000, not %', attempts using errcode = 'invalid_parameter_value',
      hint = 'They count every start, the first one too.';
  end if;
  if priority not between 0 and 10 then
    raise exception 'a priority is 0 to 10, not %', priority using errcode = 'invalid_parameter_value',
      hint = '0 is served first.';
  end if;
  if run_at is not null and delay is not null then
    raise exception 'give run_at or delay, not both' using errcode = 'invalid_parameter_value';
  end if;
  run_at := coalesce(run_at, mainstay.now() + delay);
  if run_at > mainstay.now() + interval '10 years' then
    raise exception 'a job is due within ten years, not at %', run_at using errcode = 'invalid_parameter_value';
  end if;
  if run_at <= mainstay.now() then
    run_at := null;
  end if;
  if jsonb_typeof(backoff) <> 'null' then
    if jsonb_typeof(backoff) <> 'object' or (select bool_or(m not in ('type', 'delay', 'jitter'))
                                               from jsonb_object_keys(backoff) m)
       or coalesce(backoff ->> 'type', '') not in ('fixed', 'exponential')
       or coalesce(backoff ->> 'delay', '') !~ '^[0-9]{1,8}$' or (backoff ->> 'delay')::integer > 86400000
       or coalesce(backoff ->> 'jitter', '0') !~ '^(0(\\.[0-9]{1,6})?|1(\\.0{1,6})?)$' then
      raise exception 'this is no backoff: %', left(backoff::text, 200) using errcode = 'invalid_parameter_value',
        hint = 'For example {"type": "exponential", "delay": 2000}: milliseconds, at most a day; also "fixed"; '
          '"jitter" is 0 to 1.';
    end if;
    backoff_text := concat_ws(':', backoff ->> 'type', backoff ->> 'delay', coalesce(backoff ->> 'jitter', '0.0'));
  end if;
end $$
"""

_ENQUEUE = f"""
create function mainstay.enqueue(
  kind text, payload jsonb default 'null', queue text default null, attempts integer default null,
  backoff jsonb default null, delay interval default null, run_at timestamptz default null,
  priority integer default null, dedupe_key text default null, lane text default null, company_id uuid default null,
  traceparent text default null
) returns bigint {_DEFINER} as $$
#variable_conflict use_column
declare
  v_job record;
  v_payload jsonb := coalesce(enqueue.payload, 'null');
  v_lane text := coalesce(enqueue.lane, enqueue.company_id::text, '');
  v_id bigint;
begin
  select * into v_job from mainstay.public_job(
    enqueue.kind, enqueue.queue, enqueue.attempts, enqueue.priority, enqueue.backoff, enqueue.delay, enqueue.run_at);
  if octet_length(v_payload::text) > 262144 then
    raise exception 'the payload has % bytes; at most 262144 are kept', octet_length(v_payload::text)
      using errcode = 'program_limit_exceeded', hint = 'Keep what is large in a table, and give its key.';
  end if;
  if length(v_lane) > 200 then
    raise exception 'a lane has at most 200 characters' using errcode = 'invalid_parameter_value';
  end if;
  if length(enqueue.dedupe_key) not between 1 and 200 then
    raise exception 'a dedupe key has 1 to 200 characters' using errcode = 'invalid_parameter_value';
  end if;
  for n in 1..5 loop
    insert into mainstay.jobs (queue, kind, priority, max_attempts, lane, company_id, trace_id, backoff, dedupe_key,
                               payload, state, due_at)
    values (v_job.queue, enqueue.kind, v_job.priority, v_job.attempts, v_lane, enqueue.company_id,
            mainstay.trace_of(enqueue.traceparent), v_job.backoff_text, enqueue.dedupe_key, v_payload,
            case when v_job.run_at is null then 'waiting' else 'delayed' end, v_job.run_at)
    on conflict (kind, dedupe_key) where dedupe_key is not null do nothing returning id into v_id;
    if v_id is not null then
      if v_job.run_at is null then
        perform pg_notify('mainstay_jobs', v_job.queue);
      end if;
      return v_id;
    end if;
    select j.id into v_id from mainstay.jobs j where j.kind = enqueue.kind and j.dedupe_key = enqueue.dedupe_key;
    if v_id is not null then
      return v_id;
    end if;
  end loop;
  raise exception 'jobs with this dedupe key come and go too fast' using errcode = 'serialization_failure',
    hint = 'Run the transaction again.';
end $$
"""

_ENQUEUE_MANY = f"""
create function mainstay.enqueue_many(
  kind text, payloads jsonb[], queue text default null, attempts integer default null, backoff jsonb default null,
  delay interval default null, run_at timestamptz default null, priority integer default null,
  lanes text[] default null, lane text default null, company_id uuid default null, traceparent text default null
) returns setof bigint {_DEFINER} as $$
#variable_conflict use_column
declare
  v_job record;
  v_lane text := coalesce(enqueue_many.lane, enqueue_many.company_id::text, '');
  v_trace text := mainstay.trace_of(enqueue_many.traceparent);
  v_place bigint;
begin
  select * into v_job from mainstay.public_job(
    enqueue_many.kind, enqueue_many.queue, enqueue_many.attempts, enqueue_many.priority, enqueue_many.backoff,
    enqueue_many.delay, enqueue_many.run_at);
  if enqueue_many.payloads is null or cardinality(enqueue_many.payloads) = 0 then
    return;
  end if;
  select p.place into v_place from unnest(enqueue_many.payloads) with ordinality as p (payload, place)
   where octet_length(p.payload::text) > 262144 order by p.place limit 1;
  if found then
    raise exception 'payload % has more than 262144 bytes', v_place
      using errcode = 'program_limit_exceeded', hint = 'Keep what is large in a table, and give its key.';
  end if;
  if cardinality(enqueue_many.lanes) <> cardinality(enqueue_many.payloads) then
    raise exception 'give as many lanes as payloads' using errcode = 'invalid_parameter_value';
  end if;
  if length(v_lane) > 200 or exists (select from unnest(enqueue_many.lanes) l where length(l) > 200) then
    raise exception 'a lane has at most 200 characters' using errcode = 'invalid_parameter_value';
  end if;
  if v_job.run_at is null then
    perform pg_notify('mainstay_jobs', v_job.queue);
  end if;
  return query
    insert into mainstay.jobs (queue, kind, priority, max_attempts, lane, company_id, trace_id, backoff, payload, state,
                               due_at)
    select v_job.queue, enqueue_many.kind, v_job.priority, v_job.attempts, coalesce(n.lane, v_lane),
           enqueue_many.company_id, v_trace, v_job.backoff_text, coalesce(n.payload, 'null'),
           case when v_job.run_at is null then 'waiting' else 'delayed' end, v_job.run_at
      from unnest(enqueue_many.payloads, enqueue_many.lanes) with ordinality as n (payload, lane, place)
     order by n.place
    returning id;
end $$
"""

# As much of the intake's rules as SQL can say; the intake itself has the last word. Null where nothing is wrong.
_FAULT = r"""
create function mainstay.fault_of_event(event jsonb) returns text language plpgsql immutable
set search_path = pg_catalog, pg_temp as $$
declare
  v_name text; v_value jsonb; v_type text; v_most integer; v_inner text; v_part jsonb;
begin
  if jsonb_typeof(event) <> 'object' then
    return 'an event is an object';
  end if;
  if jsonb_typeof(event -> 'action') is distinct from 'string' or length(event ->> 'action') not between 1 and 128
     or event ->> 'action' !~ '^[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*$' then
    return '"action" is needed: letters, digits, _ : - in parts separated by dots, at most 128 characters';
  end if;
  for v_name, v_value in select * from jsonb_each(event) loop
    v_type := jsonb_typeof(v_value);
    if v_name = 'action' then
      continue;
    elsif v_name in ('category', 'projectId', 'idempotencyKey', 'occurredAt') then
      v_most := case v_name when 'idempotencyKey' then 256 else 128 end;
      if v_type <> 'null' and (v_type <> 'string' or length(v_value #>> '{}') not between 1 and v_most) then
        return format('"%s" is a text of 1 to %s characters', v_name, v_most);
      end if;
      if v_name = 'occurredAt' and v_value #>> '{}' !~
           '^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$' then
        return '"occurredAt" is a time with a zone such as 2026-01-02T03:04:05.678Z';
      end if;
    elsif v_name in ('payload', 'metadata') then
      if v_type not in ('object', 'null') then
        return format('"%s" is an object', v_name);
      end if;
    elsif v_name in ('actor', 'target') then
      if v_type = 'null' then
        continue;
      elsif v_type <> 'object' or v_value = '{}' then
        return format('"%s" is an object with at least one member', v_name);
      end if;
      for v_inner, v_part in select * from jsonb_each(v_value) loop
        v_most := case when v_name = 'actor' then
                    case v_inner when 'id' then 512 when 'email' then 320 when 'name' then 512 end
                  else case v_inner when 'id' then 512 when 'type' then 128 end end;
        if v_most is null then
          return format('"%s" has no member "%s"', v_name, left(v_inner, 100));
        elsif jsonb_typeof(v_part) <> 'null'
              and (jsonb_typeof(v_part) <> 'string' or length(v_part #>> '{}') not between 1 and v_most) then
          return format('"%s" of "%s" is a text of 1 to %s characters', v_inner, v_name, v_most);
        end if;
      end loop;
    elsif v_name = 'changes' then
      if v_type not in ('array', 'null') or (v_type = 'array' and jsonb_array_length(v_value) > 1000) then
        return '"changes" is an array of at most 1000 changes';
      end if;
    else
      return format('an event has no member "%s"', left(v_name, 100));
    end if;
  end loop;
  if event @? '$.** ? (@.type() == "number" && (@ > 9007199254740991 || @ < -9007199254740991))' then
    return 'a number lies beyond 2^53 - 1: send it as a text';
  end if;
  return null;
end $$
"""

_EMIT = f"""
create function mainstay.emit(workspace_id uuid, event jsonb, traceparent text default null) returns uuid
{_DEFINER} as $$
#variable_conflict use_column
declare
  v_chain mainstay.chain_heads;
  v_bytes integer := octet_length(emit.event::text);
  v_fault text;
  v_id uuid;
begin
  if emit.workspace_id is null or emit.event is null then
    raise exception 'emit needs a workspace and an event' using errcode = 'null_value_not_allowed';
  end if;
  select h.* into v_chain from mainstay.chain_heads h where h.workspace_id = emit.workspace_id;
  if not found then
    raise exception 'there is no workspace % in this database', emit.workspace_id using errcode = 'no_data_found',
      hint = 'Give the id of a workspace whose company keeps its data in this database.';
  end if;
  if not v_chain.metered then
    raise exception 'workspace % is a system workspace, which the service alone writes', emit.workspace_id
      using errcode = 'insufficient_privilege', hint = 'Give the id of one of the company''s own workspaces.';
  end if;
  if v_bytes > 1048576 then
    raise exception 'the event has % bytes; at most 1048576 are taken', v_bytes
      using errcode = 'program_limit_exceeded', hint = 'Keep what is large elsewhere, and emit where it is.';
  end if;
  v_fault := mainstay.fault_of_event(emit.event);
  if v_fault is not null then
    raise exception 'this is no event: %', v_fault using errcode = 'invalid_parameter_value',
      hint = 'An event has the members that the HTTP intake takes: action, category, actor, target, projectId, payload, '
        'metadata, changes, occurredAt, idempotencyKey.';
  end if;
  v_id := mainstay.uuid7();
  insert into mainstay.emitted_events (workspace_id, company_id, event_id, bytes, trace_id, event)
  values (emit.workspace_id, v_chain.company_id, v_id, v_bytes, mainstay.trace_of(emit.traceparent), emit.event);
  perform pg_notify('mainstay_jobs', 'mainstay:emitted');
  return v_id;
end $$
"""

_FUNCTIONS = ("trace_of", "public_job", "enqueue", "enqueue_many", "fault_of_event", "emit")


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(
        """create index emitted_events_line_idx on mainstay.emitted_events (workspace_id, id)
            where refused_at is null"""
    )
    op.execute(
        "create index emitted_events_refused_idx on mainstay.emitted_events (id) where refused_at is not null"
    )
    for statement in (_TRACE, _SPEC, _ENQUEUE, _ENQUEUE_MANY, _FAULT, _EMIT):
        op.execute(statement)
    for name in _FUNCTIONS:
        op.execute(f"revoke all on function mainstay.{name} from public")
