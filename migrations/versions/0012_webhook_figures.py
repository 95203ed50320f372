"""Figures of endpoints, folded from recorded tries, and what looking for missed messages needs.

Locks: SHARE on deliveries and its partitions while the partial index on those that were made by replays is built: it holds
few rows, but the table is read once (about a second per million rows, less where they are in memory).
Events that a webhook wants wait to be taken in, and tries to be recorded, meanwhile.
"""

from alembic import op

revision = "0012"
down_revision = "0011"

BOUNDS = (
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10000, 30000
)  # fmt: skip


def upgrade() -> None:
    op.execute("create index deliveries_replayed_idx on mainstay.deliveries (endpoint_id, message_id) where replay_of is not null")
    op.execute(
        """create function mainstay.latency_bounds() returns integer[] language sql immutable parallel safe as $$
             select array[%s]
           $$""" % ", ".join(map(str, BOUNDS))
    )
    op.execute(
        """comment on function mainstay.latency_bounds() is
           'Milliseconds at which the next of the 25 counts of latencies begins'"""
    )
    op.execute(
        """create function mainstay.add_counts(p_one bigint[], p_other bigint[]) returns bigint[]
           language sql immutable parallel safe as $$
             select array_agg(coalesce(a, 0) + coalesce(b, 0) order by n)
               from unnest(p_one, p_other) with ordinality as u (a, b, n)
           $$"""
    )
    _fold_attempts()
    _untried()


def _fold_attempts() -> None:
    # One fold at a time; a batch is deleted by the statement that adds it to the figures, so it counts once or not yet.
    # The nil UUID stands for the whole company. Tries older than the minutes are kept count in hours alone.
    op.execute(
        f"""create function mainstay.fold_attempts(p_limit integer) returns integer language plpgsql as $$
           declare
             v_batches integer;
           begin
             if not pg_try_advisory_xact_lock(hashtextextended('mainstay.fold_attempts', 0)) then
               return 0;
             end if;
             with taken as (
               delete from mainstay.attempt_batches
                where id in (select id from mainstay.attempt_batches order by id limit p_limit for update skip locked)
               returning at, endpoint_ids, codes, durations_ms
             ), counted as materialized (
               select e.company_id, u.endpoint_id, date_trunc('minute', t.at, 'UTC') as minute,
                      coalesce(u.code, 0::smallint) as code,
                      width_bucket(u.duration_ms, mainstay.latency_bounds()) as slot, count(*) as n
                 from taken t, unnest(t.endpoint_ids, t.codes, t.durations_ms) as u (endpoint_id, code, duration_ms),
                      mainstay.endpoints e
                where e.id = u.endpoint_id
                group by 1, 2, 3, 4, 5
             ), spread as materialized (
               select * from counted
               union all
               select company_id, '00000000-0000-0000-0000-000000000000', minute, code, slot, n from counted
             ), minutes as (
               {_add_to("endpoint_minutes", "s.minute", "s.minute > mainstay.now() - interval '7 days'")}
             ), hours as (
               {_add_to("endpoint_hours", "date_trunc('hour', s.minute, 'UTC')", "true")}
             )
             select count(*) into v_batches from taken;
             return v_batches;
           end
           $$"""
    )
    op.execute(
        """comment on function mainstay.fold_attempts(integer) is
           'Adds up to that many batches of tries to the figures by minute and by hour and takes them away; how many'"""
    )


def _add_to(table: str, bucket: str, condition: str) -> str:
    counts = ", ".join(f"coalesce(sum(s.n) filter (where s.slot = {slot}), 0)::bigint" for slot in range(len(BOUNDS) + 1))
    return f"""insert into mainstay.{table} as f (company_id, endpoint_id, bucket, code, attempts, latencies)
               select s.company_id, s.endpoint_id, {bucket}, s.code, sum(s.n)::bigint, array[{counts}]
                 from spread s where {condition} group by 1, 2, 3, 4 order by 1, 2, 3, 4
               on conflict (company_id, endpoint_id, bucket, code) do update
                 set attempts = f.attempts + excluded.attempts,
                     latencies = mainstay.add_counts(f.latencies, excluded.latencies)"""


def _untried() -> None:
    # Joined by hash whatever the statistics say: looking up a window for each message would cost its square.
    op.execute(
        """create function mainstay.untried(p_company uuid, p_endpoint uuid, p_messages uuid[], p_low uuid, p_high uuid)
           returns setof uuid language plpgsql stable
           set enable_nestloop = off set enable_mergejoin = off set jit = off as $$
           begin
             return query
             select u.id from unnest(p_messages) with ordinality as u (id, n)
              where not exists (
                      select from mainstay.deliveries d
                       where d.company_id = p_company and d.endpoint_id = p_endpoint and d.id between p_low and p_high
                         and (d.attempts > 0 or d.status in ('PENDING', 'RETRYING')) and d.message_id = u.id)
                and not exists (
                      select from mainstay.deliveries d
                       where d.company_id = p_company and d.endpoint_id = p_endpoint and d.replay_of is not null
                         and (d.attempts > 0 or d.status in ('PENDING', 'RETRYING')) and d.message_id = u.id)
                and not exists (
                      select from mainstay.pull_items p
                       where p.company_id = p_company and p.endpoint_id = p_endpoint and p.id >= p_low
                         and p.message_id = u.id)
              order by u.n;
           end
           $$"""
    )
    op.execute(
        """comment on function mainstay.untried(uuid, uuid, uuid[], uuid, uuid) is
           'Those messages, in order, that no delivery to the endpoint tried or will try and that were not kept to be pulled; first deliveries are looked for between two ids, replayed ones everywhere'"""
    )
