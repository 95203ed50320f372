"""How a company's archived days stand, counted as they change, so that nobody has to read them all to know.

Locks: SHARE ROW EXCLUSIVE on archive_days while its rows are counted once: archiving waits, readers do not.
"""

from alembic import op

revision = "0024"
down_revision = "0023"

_SHARE = """
  (d.flagged_seq < d.last_seq and d.cut_at is null)::int as waiting,
  case when d.flagged_seq < d.last_seq and d.cut_at is null
       then d.last_seq - greatest(d.archived_seq, d.first_seq - 1) else 0 end as waiting_events,
  (d.flagged_seq < d.last_seq and d.cut_at is null and d.failure is not null)::int as failing,
  case when d.archived_seq > 0 then d.archived_seq - d.first_seq + 1 else 0 end as archived_events,
  (d.outcome in ('damaged', 'missing') and d.outcome is not null)::int as unsound
"""


def upgrade() -> None:
    op.execute(
        """create table mainstay.archive_totals (
             company_id uuid not null constraint archive_totals_pkey primary key,
             waiting bigint not null,
             waiting_events bigint not null,
             failing bigint not null,
             archived_events bigint not null,
             unsound bigint not null
           ) with (fillfactor = 50)"""
    )
    op.execute(
        f"""create function mainstay.count_archive_day() returns trigger language plpgsql as $$
            begin
              insert into mainstay.archive_totals as t
                     (company_id, waiting, waiting_events, failing, archived_events, unsound)
              select u.company_id, sum(u.sign * u.waiting), sum(u.sign * u.waiting_events), sum(u.sign * u.failing),
                     sum(u.sign * u.archived_events), sum(u.sign * u.unsound)
                from (select d.company_id, 1 as sign, {_SHARE} from (select new.*) d where tg_op <> 'DELETE'
                      union all
                      select d.company_id, -1, {_SHARE} from (select old.*) d where tg_op <> 'INSERT') u
               group by u.company_id order by u.company_id
              on conflict (company_id) do update
                set waiting = t.waiting + excluded.waiting, waiting_events = t.waiting_events + excluded.waiting_events,
                    failing = t.failing + excluded.failing,
                    archived_events = t.archived_events + excluded.archived_events,
                    unsound = t.unsound + excluded.unsound
                where (excluded.waiting, excluded.waiting_events, excluded.failing, excluded.archived_events,
                       excluded.unsound) <> (0, 0, 0, 0, 0);
              return null;
            end
            $$"""
    )
    op.execute(
        """create trigger count_archive_day after insert or update or delete on mainstay.archive_days
             for each row execute function mainstay.count_archive_day()"""
    )
    op.execute(
        f"""insert into mainstay.archive_totals
            select d.company_id, sum(waiting), sum(waiting_events), sum(failing), sum(archived_events), sum(unsound)
              from (select d.company_id, {_SHARE} from mainstay.archive_days d) d group by d.company_id"""
    )
