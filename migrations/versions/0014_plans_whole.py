"""Plans, whole: add-ons as a closed set, own limits, periods that close, thresholds with alerts, and allowances.

Where HyreLog's table "AddOn" stands in this database, its rows are carried over first, as its own migration
20251201210935_phase2_foundation wanted it done by hand: `retention_plus` becomes `RETENTION_S3_ARCHIVE`. A code that is
neither, or a company that is no UUID, stops the migration and the message names the row; HyreLog's table stays as it is.

Locks: ACCESS EXCLUSIVE on meter_counts while two columns and two triggers are added (milliseconds; nothing is
rewritten), and SHARE while its index on open meters is built (one row a workspace and month). Events wait meanwhile.
"""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    _home()
    _carry_over_add_ons()
    _meters()
    _guards()
    _recounting()
    _thresholds()


def _home() -> None:
    op.execute(
        """create table mainstay.add_ons (
             company_id uuid not null,
             code text not null constraint add_ons_code_check check (code in ('RETENTION_S3_ARCHIVE')),
             granted_at timestamptz not null default mainstay.now(),
             granted_by jsonb not null,
             constraint add_ons_pkey primary key (company_id, code)
           )"""
    )
    op.execute(
        """create table mainstay.company_limits (
             company_id uuid not null,
             name text not null
               constraint company_limits_name_check check (name in ('export_rows', 'retention_days', 'event_quota')),
             amount bigint constraint company_limits_amount_check check (amount >= 1),
             constraint company_limits_pkey primary key (company_id, name)
           )"""
    )
    op.execute(
        """create table mainstay.company_choices (
             company_id uuid not null constraint company_choices_pkey primary key,
             blocks_at_limit boolean not null
           )"""
    )
    op.execute(
        """create index company_choices_blocking_idx on mainstay.company_choices (company_id) where blocks_at_limit"""
    )


def _carry_over_add_ons() -> None:
    op.execute(
        r"""do $$
           declare
             v_row record;
           begin
             if 3 <> (select count(*) from information_schema.columns
                       where table_schema = 'public' and table_name = 'AddOn'
                         and column_name in ('id', 'companyId', 'code')) then
               return;
             end if;
             for v_row in execute 'select id::text, "companyId"::text as company, code::text as code from public."AddOn" order by 1' loop
               if v_row.code not in ('retention_plus', 'RETENTION_S3_ARCHIVE') then
                 raise exception 'HyreLog''s add-on % of company % has the unknown code "%"', v_row.id, v_row.company, v_row.code
                   using hint = 'Set its code to RETENTION_S3_ARCHIVE or delete the row, then migrate again.';
               end if;
               if v_row.company !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
                 raise exception 'HyreLog''s add-on % belongs to company "%", which is no UUID', v_row.id, v_row.company
                   using hint = 'Set its companyId to the id that the company has here or delete the row, then migrate again.';
               end if;
               insert into mainstay.add_ons (company_id, code, granted_by)
               values (v_row.company::uuid, 'RETENTION_S3_ARCHIVE', '{"kind": "operator", "id": "hyrelog"}')
               on conflict do nothing;
             end loop;
           end $$"""
    )


def _meters() -> None:
    op.execute(
        """alter table mainstay.meter_counts
             add column capped boolean not null default false, add column closed_at timestamptz"""
    )
    op.execute("create index meter_counts_open_idx on mainstay.meter_counts (period_start, company_id) where closed_at is null")
    op.execute(
        """create table mainstay.meter_closings (
             period_start date not null constraint meter_closings_pkey primary key,
             closed_at timestamptz not null default mainstay.now()
           )"""
    )
    op.execute(
        """create table mainstay.meter_openings (
             workspace_id uuid not null,
             period_start date not null,
             company_id uuid not null,
             seq bigint not null,
             constraint meter_openings_pkey primary key (workspace_id, period_start)
           )"""
    )
    op.execute(
        """create table mainstay.meter_caps (
             company_id uuid not null,
             meter text not null,
             allowance bigint not null,
             constraint meter_caps_pkey primary key (company_id, meter)
           )"""
    )
    op.execute(
        """create table mainstay.usage_snapshots (
             company_id uuid not null,
             workspace_id uuid not null,
             meter text not null,
             period_start date not null,
             quantity bigint not null,
             closed_at timestamptz not null,
             constraint usage_snapshots_pkey primary key (workspace_id, meter, period_start)
           )"""
    )
    op.execute(
        """create index usage_snapshots_company_id_period_start_idx
             on mainstay.usage_snapshots (company_id, period_start)"""
    )


def _guards() -> None:
    op.execute(
        """create function mainstay.refuse_change() returns trigger language plpgsql as $$
           begin
             raise exception '% never changes', tg_table_name using errcode = 'integrity_constraint_violation';
           end $$"""
    )
    op.execute(
        """create trigger usage_snapshots_stay before update on mainstay.usage_snapshots
             for each row execute function mainstay.refuse_change()"""
    )
    # The two locks that the birth of a meter takes, shared by all births and kept to the end of their transactions.
    op.execute(
        """create function mainstay.meter_lock(p_what text) returns bigint language sql immutable as $$
             select hashtextextended('mainstay.meter ' || p_what, 0) $$"""
    )
    op.execute(
        """create function mainstay.refuse_closed_period(p_period date) returns void language plpgsql as $$
           begin
             raise exception 'the period that began on % is closed', p_period
               using errcode = 'serialization_failure', hint = 'Run the transaction again: it counts in the next period.';
           end $$"""
    )
    # The row of the allowance is locked until the commit, so a company's counts are added one after another.
    op.execute(
        """create function mainstay.keep_within_allowance(
             p_company uuid, p_meter text, p_period date, p_added bigint) returns void language plpgsql as $$
           declare
             v_allowance bigint; v_used bigint;
           begin
             select c.allowance into v_allowance from mainstay.meter_caps c
              where c.company_id = p_company and c.meter = p_meter for update;
             if not found then
               return;
             end if;
             select sum(m.quantity) into v_used from mainstay.meter_counts m
              where m.company_id = p_company and m.meter = p_meter and m.period_start = p_period;
             if v_used > v_allowance then
               raise exception 'the allowance is used up'
                 using errcode = 'MQ429', detail = json_build_object('companyId', p_company, 'meter', p_meter,
                   'allowance', v_allowance, 'used', v_used - p_added, 'periodStart', p_period)::text;
             end if;
           end $$"""
    )
    op.execute(
        """create function mainstay.meter_born() returns trigger language plpgsql as $$
           begin
             perform pg_advisory_xact_lock_shared(mainstay.meter_lock('period ' || to_char(new.period_start, 'YYYY-MM-DD')));
             if exists (select from mainstay.meter_closings c where c.period_start = new.period_start) then
               perform mainstay.refuse_closed_period(new.period_start);
             end if;
             perform pg_advisory_xact_lock_shared(mainstay.meter_lock('company ' || new.company_id));
             if exists (select from mainstay.meter_caps c where c.company_id = new.company_id and c.meter = new.meter) then
               update mainstay.meter_counts set capped = true
                where workspace_id = new.workspace_id and meter = new.meter and period_start = new.period_start;
               if new.quantity > 0 then
                 perform mainstay.keep_within_allowance(new.company_id, new.meter, new.period_start, new.quantity);
               end if;
             end if;
             return null;
           end $$"""
    )
    op.execute(
        """create trigger meter_counts_born after insert on mainstay.meter_counts
             for each row execute function mainstay.meter_born()"""
    )
    op.execute(
        """create function mainstay.meter_moved() returns trigger language plpgsql as $$
           begin
             if old.closed_at is not null then
               perform mainstay.refuse_closed_period(old.period_start);
             elsif new.quantity > old.quantity then
               perform mainstay.keep_within_allowance(new.company_id, new.meter, new.period_start, new.quantity - old.quantity);
             end if;
             return null;
           end $$"""
    )
    # The condition is all that a meter without an allowance pays.
    op.execute(
        """create trigger meter_counts_moved after update on mainstay.meter_counts
             for each row when (new.capped or old.closed_at is not null) execute function mainstay.meter_moved()"""
    )


def _recounting() -> None:
    # Nothing is guessed: where deleted events hide the boundary, and it is not the head's own, there is no answer.
    op.execute(
        """create function mainstay.seq_before(p_workspace uuid, p_moment timestamptz) returns bigint
           language plpgsql stable as $$
           declare
             v_seq bigint; v_received timestamptz; v_before bigint; v_after bigint;
           begin
             select h.seq, h.received_at into v_seq, v_received from mainstay.chain_heads h where h.workspace_id = p_workspace;
             if not found or v_received < p_moment then
               return coalesce(v_seq, 0);
             end if;
             select max(e.seq) into v_before from mainstay.events e
              where e.workspace_id = p_workspace and e.received_at < p_moment;
             select min(e.seq) into v_after from mainstay.events e
              where e.workspace_id = p_workspace and e.received_at >= p_moment;
             return case when v_after = coalesce(v_before, 0) + 1 then v_after - 1 end;
           end $$"""
    )
    op.execute(
        """comment on function mainstay.seq_before(uuid, timestamptz) is
           'How many events a workspace had received before a moment that begins a month; null where that cannot be told any more'"""
    )


def _thresholds() -> None:
    op.execute(
        """create table mainstay.thresholds (
             id uuid not null constraint thresholds_pkey primary key,
             company_id uuid not null,
             meter text not null,
             kind text not null constraint thresholds_kind_check check (kind in ('soft', 'hard')),
             unit text not null constraint thresholds_unit_check check (unit in ('absolute', 'percentage')),
             amount bigint not null constraint thresholds_amount_check check (amount >= 1),
             created_at timestamptz not null default mainstay.now()
           )"""
    )
    op.execute("create index thresholds_company_id_id_idx on mainstay.thresholds (company_id, id)")
    op.execute(
        """create table mainstay.threshold_targets (
             id uuid not null constraint threshold_targets_pkey primary key,
             threshold_id uuid not null
               constraint threshold_targets_threshold_id_fkey references mainstay.thresholds (id) on delete cascade,
             company_id uuid not null,
             kind text not null constraint threshold_targets_kind_check check (kind in ('email', 'slack', 'webhook')),
             shown text not null,
             sealed bytea not null
           )"""
    )
    op.execute("create index threshold_targets_threshold_id_idx on mainstay.threshold_targets (threshold_id)")
    op.execute(
        """create table mainstay.threshold_alerts (
             id uuid not null constraint threshold_alerts_pkey primary key,
             company_id uuid not null,
             threshold_id uuid not null,
             meter text not null,
             kind text not null,
             unit text not null,
             amount bigint not null,
             period_start date not null,
             limit_quantity bigint not null,
             quantity bigint not null,
             raised_at timestamptz not null default mainstay.now(),
             settled_at timestamptz,
             constraint threshold_alerts_threshold_id_period_start_key unique (threshold_id, period_start)
           )"""
    )
    op.execute("create index threshold_alerts_company_id_id_idx on mainstay.threshold_alerts (company_id, id)")
    op.execute("create index threshold_alerts_unsettled_idx on mainstay.threshold_alerts (id) where settled_at is null")
    op.execute(
        """create table mainstay.alert_sends (
             id uuid not null constraint alert_sends_pkey primary key,
             alert_id uuid not null
               constraint alert_sends_alert_id_fkey references mainstay.threshold_alerts (id) on delete cascade,
             company_id uuid not null,
             target_id uuid not null,
             target_kind text not null,
             shown text not null,
             attempts integer not null default 0,
             due_at timestamptz not null default mainstay.now(),
             ended_at timestamptz,
             outcome text constraint alert_sends_outcome_check check (outcome in ('sent', 'recorded', 'failed')),
             last_error text,
             constraint alert_sends_ended_check check ((ended_at is null) = (outcome is null))
           )"""
    )
    op.execute("create index alert_sends_alert_id_idx on mainstay.alert_sends (alert_id)")
    op.execute("create index alert_sends_due_at_idx on mainstay.alert_sends (due_at) where ended_at is null")
