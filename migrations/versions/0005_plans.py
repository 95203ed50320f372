"""Usage meters: one row a workspace, meter and calendar month (UTC), raised in the transaction that uses.

Locks: none on existing tables; everything here is new.
"""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        """create table mainstay.meter_counts (
             company_id uuid not null,
             workspace_id uuid not null,
             meter text not null,
             period_start date not null
               constraint meter_counts_period_start_check check (extract(day from period_start) = 1),
             quantity bigint not null constraint meter_counts_quantity_check check (quantity >= 0),
             constraint meter_counts_pkey primary key (workspace_id, meter, period_start)
           ) with (fillfactor = 50)"""
    )
    op.execute(
        "create index meter_counts_company_id_meter_period_start_idx"
        " on mainstay.meter_counts (company_id, meter, period_start)"
    )
    op.execute(
        """create function mainstay.meter(p_company uuid, p_workspace uuid, p_meter text, p_quantity bigint)
           returns void language sql volatile as $$
             insert into mainstay.meter_counts as m (company_id, workspace_id, meter, period_start, quantity)
             values (p_company, p_workspace, p_meter,
                     date_trunc('month', mainstay.now() at time zone 'UTC')::date, p_quantity)
             on conflict (workspace_id, meter, period_start) do update set quantity = m.quantity + excluded.quantity
           $$"""
    )
