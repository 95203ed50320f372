"""Many calls on counters of rate limits in one statement.

Locks: nothing; a new function. The one for single calls stays for processes of the version before.
"""

from alembic import op

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    op.execute(_TAKE_ALL)


# Rows are locked in the order of their keys, so that no two statements wait for each other, and each is locked and
# written once however many calls are on it. Hits that lie more than a window ahead are of a clock that was set back,
# and count from now: nobody waits longer than two windows.
_TAKE_ALL = """
create function mainstay.take_limits(
  p_keys text[], p_allowances integer[], p_windows_us bigint[], p_slots_us bigint[], p_costs integer[],
  p_peeks boolean[]
) returns table (place bigint, allowed boolean, remaining integer, retry_us bigint, reset_us bigint)
language plpgsql as $$
declare
  now_us bigint := (extract(epoch from mainstay.now()) * 1000000)::bigint;
  one record;
  held text;
  held_window_us bigint;
  is_locked boolean;
  is_changed boolean := false;
  hits bigint[];
  amounts integer[];
  used bigint;
  first integer;
  last integer;
  at_us bigint;
  freed bigint;
begin
  for one in
    select c.key, c.allowance, c.window_us, c.slot_us, c.cost, c.place,
           not (c.peek or c.cost > c.allowance) as takes
      from unnest(p_keys, p_allowances, p_windows_us, p_slots_us, p_costs, p_peeks)
        with ordinality as c (key, allowance, window_us, slot_us, cost, peek, place)
     order by c.key collate "C", c.place
  loop
    if held is distinct from one.key or (one.takes and not is_locked) then
      if is_changed then
        perform mainstay.keep_limit(held, held_window_us, hits[first:], amounts[first:]);
        is_changed := false;
      end if;
      held := one.key;
      is_locked := one.takes;
      if one.takes then
        loop
          select r.hits_us, r.numbers into hits, amounts from mainstay.rate_limits r where r.key = held for update;
          exit when found;
          insert into mainstay.rate_limits (key, hits_us, numbers, window_us, expires_at)
          values (held, '{}', '{}', one.window_us, mainstay.now()) on conflict do nothing;
        end loop;
      else
        select r.hits_us, r.numbers into hits, amounts from mainstay.rate_limits r where r.key = held;
      end if;
      hits := coalesce(hits, '{}');
      amounts := coalesce(amounts, '{}');
      first := 1;
      last := cardinality(hits);
      select coalesce(sum(n), 0) into used from unnest(amounts) n;
    end if;
    while first <= last and hits[first] <= now_us - one.window_us loop
      used := used - amounts[first];
      first := first + 1;
    end loop;
    if first <= last and hits[last] > now_us + one.window_us then
      hits := array[now_us];
      amounts := array[least(used, 2147483647)::integer];
      first := 1;
      last := 1;
    end if;
    place := one.place;
    allowed := used + one.cost <= one.allowance;
    if allowed and one.takes then
      at_us := case when one.slot_us > 0 then (now_us / one.slot_us + 1) * one.slot_us else now_us end;
      if first <= last and at_us <= hits[last] then
        amounts[last] := amounts[last] + one.cost;
      else
        hits := hits || at_us;
        amounts := amounts || one.cost;
        last := last + 1;
      end if;
      used := used + one.cost;
      held_window_us := one.window_us;
      is_changed := true;
    end if;
    remaining := greatest(one.allowance - used, 0);
    reset_us := case when first <= last then hits[last] + one.window_us - now_us else 0 end;
    retry_us := 0;
    if not allowed then
      retry_us := one.window_us;
      if one.cost <= one.allowance then
        freed := 0;
        for at in first .. last loop
          freed := freed + amounts[at];
          retry_us := hits[at] + one.window_us - now_us;
          exit when freed >= used + one.cost - one.allowance;
        end loop;
      end if;
    end if;
    return next;
  end loop;
  if is_changed then
    perform mainstay.keep_limit(held, held_window_us, hits[first:], amounts[first:]);
  end if;
end
$$
"""
