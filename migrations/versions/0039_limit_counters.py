"""Counters of rate limits shared by several API processes, those processes, and what counts in one call.

Locks: nothing that is there; two new tables.
"""

from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    # Counting again after a crash is cheaper than logging each hit.
    op.execute(
        """create unlogged table mainstay.rate_limits (
             key text not null constraint rate_limits_pkey primary key,
             hits_us bigint[] not null,
             numbers integer[] not null,
             window_us bigint not null,
             expires_at timestamptz not null
           ) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)"""
    )
    op.execute(
        """create table mainstay.api_nodes (
             id uuid not null constraint api_nodes_pkey primary key,
             store text not null,
             started_at timestamptz not null default clock_timestamp(),
             seen_at timestamptz not null default clock_timestamp()
           ) with (fillfactor = 50)"""
    )
    op.execute(_KEEP)
    op.execute(_TAKE)
    op.execute(_GIVE_BACK)
    op.execute(_CARRY)


_KEEP = """
create function mainstay.keep_limit(p_key text, p_window_us bigint, p_hits bigint[], p_numbers integer[]) returns void
language sql as $$
  update mainstay.rate_limits
     set hits_us = p_hits, numbers = p_numbers, window_us = p_window_us,
         expires_at = timestamptz 'epoch'
           + (coalesce(p_hits[cardinality(p_hits)], 0) + p_window_us) * interval '1 microsecond'
   where key = p_key
$$
"""

# A caller that waited for the row decides with the time at which it began to wait, so a hit is never dated before the
# last: it frees late, never early. In slots (p_slot_us > 0) a hit is dated at the end of its slot.
_TAKE = """
create function mainstay.take_limit(
  p_key text, p_allowance integer, p_window_us bigint, p_slot_us bigint, p_cost integer, p_peek boolean,
  out allowed boolean, out remaining integer, out retry_us bigint, out reset_us bigint
) language plpgsql as $$
declare
  now_us bigint := (extract(epoch from mainstay.now()) * 1000000)::bigint;
  at_us bigint;
  hits bigint[];
  amounts integer[];
  used bigint;
  last integer;
  first integer := 1;
begin
  if p_peek or p_cost > p_allowance then
    select r.hits_us, r.numbers into hits, amounts from mainstay.rate_limits r where r.key = p_key;
  else
    loop
      select r.hits_us, r.numbers into hits, amounts from mainstay.rate_limits r where r.key = p_key for update;
      exit when found;
      insert into mainstay.rate_limits (key, hits_us, numbers, window_us, expires_at)
      values (p_key, '{}', '{}', p_window_us, mainstay.now()) on conflict do nothing;
    end loop;
  end if;
  hits := coalesce(hits, '{}');
  last := cardinality(hits);
  while first <= last and hits[first] <= now_us - p_window_us loop
    first := first + 1;
  end loop;
  if first > 1 then
    hits := hits[first:];
    amounts := amounts[first:];
    last := cardinality(hits);
  end if;
  select coalesce(sum(n), 0) into used from unnest(amounts) n;
  allowed := used + p_cost <= p_allowance;
  if allowed and not p_peek then
    at_us := case when p_slot_us > 0 then (now_us / p_slot_us + 1) * p_slot_us else now_us end;
    if last > 0 and at_us <= hits[last] then
      amounts[last] := amounts[last] + p_cost;
    else
      hits := hits || at_us;
      amounts := coalesce(amounts, '{}') || p_cost;
      last := last + 1;
    end if;
    used := used + p_cost;
    perform mainstay.keep_limit(p_key, p_window_us, hits, amounts);
  end if;
  remaining := greatest(p_allowance - used, 0);
  reset_us := case when last > 0 then hits[last] + p_window_us - now_us else 0 end;
  retry_us := 0;
  if not allowed then
    retry_us := p_window_us;
    if p_cost <= p_allowance then
      select f.at + p_window_us - now_us into retry_us
        from (select h.at, h.place, sum(h.n) over (order by h.place) as freed
                from unnest(hits, amounts) with ordinality as h (at, n, place)) f
       where f.freed >= used + p_cost - p_allowance order by f.place limit 1;
    end if;
  end if;
end
$$
"""

_GIVE_BACK = """
create function mainstay.give_back_limit(p_key text, p_window_us bigint, p_cost integer) returns void
language plpgsql as $$
declare
  hits bigint[];
  amounts integer[];
begin
  perform 1 from mainstay.rate_limits r where r.key = p_key for update;
  select array_agg(k.at order by k.place), array_agg(k.kept order by k.place) into hits, amounts
    from (select h.at, h.place, least(h.n, sum(h.n) over (order by h.place) - p_cost)::integer as kept
            from mainstay.rate_limits r, unnest(r.hits_us, r.numbers) with ordinality as h (at, n, place)
           where r.key = p_key and h.at > (extract(epoch from mainstay.now()) * 1000000)::bigint - p_window_us) k
   where k.kept > 0;
  if hits is null then
    delete from mainstay.rate_limits where key = p_key;
  else
    perform mainstay.keep_limit(p_key, p_window_us, hits, amounts);
  end if;
end
$$
"""

_CARRY = """
create function mainstay.carry_limit(p_key text, p_window_us bigint, p_ages bigint[], p_numbers integer[]) returns void
language plpgsql as $$
declare
  now_us bigint := (extract(epoch from mainstay.now()) * 1000000)::bigint;
  hits bigint[];
  amounts integer[];
begin
  insert into mainstay.rate_limits (key, hits_us, numbers, window_us, expires_at)
  values (p_key, '{}', '{}', p_window_us, mainstay.now()) on conflict do nothing;
  perform 1 from mainstay.rate_limits r where r.key = p_key for update;
  select array_agg(h.at order by h.at), array_agg(h.n order by h.at) into hits, amounts
    from (select at, n from mainstay.rate_limits r, unnest(r.hits_us, r.numbers) as had (at, n) where r.key = p_key
          union all select now_us - age, n from unnest(p_ages, p_numbers) as new (age, n)) h;
  perform mainstay.keep_limit(p_key, p_window_us, hits, amounts);
end
$$
"""
