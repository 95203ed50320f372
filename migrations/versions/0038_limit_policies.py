"""What operators set of limits at run time, and hourly counts of what limits refused.

Locks: none on what is there; the tables are new.
"""

from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    op.execute(
        """create table mainstay.limit_overrides (
             id uuid not null,
             policy text not null,
             company_id uuid,
             allowance integer not null,
             window_seconds integer not null,
             until timestamptz,
             reason text not null,
             set_by jsonb not null,
             set_at timestamptz not null default mainstay.now(),
             constraint limit_overrides_pkey primary key (id),
             constraint limit_overrides_policy_company_id_key unique nulls not distinct (policy, company_id),
             constraint limit_overrides_allowance_check check (allowance >= 1),
             constraint limit_overrides_window_seconds_check check (window_seconds between 1 and 86400)
           )"""
    )
    op.execute(
        """create table mainstay.limit_modes (
             policy text not null,
             mode text not null,
             reason text not null,
             set_by jsonb not null,
             set_at timestamptz not null default mainstay.now(),
             constraint limit_modes_pkey primary key (policy),
             constraint limit_modes_mode_check check (mode in ('enforced', 'shadow', 'off'))
           )"""
    )
    op.execute(
        """create table mainstay.limit_refusals (
             id uuid not null,
             hour timestamptz not null,
             policy text not null,
             mode text not null,
             company_id uuid,
             calls bigint not null,
             first_at timestamptz not null,
             last_at timestamptz not null,
             constraint limit_refusals_pkey primary key (id),
             constraint limit_refusals_hour_policy_mode_company_id_key
               unique nulls not distinct (hour, policy, mode, company_id),
             constraint limit_refusals_mode_check check (mode in ('enforced', 'shadow'))
           )"""
    )
    op.execute("create index limit_refusals_policy_hour_idx on mainstay.limit_refusals (policy, hour)")
    op.execute("create index limit_refusals_company_id_hour_idx on mainstay.limit_refusals (company_id, hour)")
