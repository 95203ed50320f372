"""The figures of a whole database, taken each minute and shown from where they are kept.

Locks: none on existing tables.
"""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.execute(
        """create table mainstay.system_figures (
             id smallint not null default 1 constraint system_figures_pkey primary key,
             taken_at timestamptz not null,
             figures jsonb not null,
             constraint system_figures_id_check check (id = 1)
           ) with (fillfactor = 50)"""
    )
    # The rooms whose tables these are stand above the one that shows the figures.
    op.execute(
        """create function mainstay.read_system_figures() returns jsonb language sql stable as $$
             select jsonb_build_object(
               'webhooks', jsonb_build_object(
                 'pending', (select count(*) from (select from mainstay.deliveries
                              where status in ('PENDING', 'RETRYING') limit 1000000) d),
                 'failedTries24h', (select coalesce(sum(attempts), 0) from mainstay.endpoint_hours
                                     where endpoint_id = '00000000-0000-0000-0000-000000000000'
                                       and code not between 200 and 299
                                       and bucket > mainstay.now() - interval '24 hours')),
               'events', jsonb_build_object(
                 'ingested24h', (select coalesce(sum(events), 0) from mainstay.event_minutes
                                  where minute > mainstay.now() - interval '24 hours')),
               'apiKeys', jsonb_build_object(
                 'uses5m', (select coalesce(sum(uses), 0) from mainstay.api_key_uses
                             where minute > mainstay.now() - interval '5 minutes')))
           $$"""
    )
    op.execute(
        """comment on function mainstay.read_system_figures() is
           'Deliveries pending (up to a million) and failed tries, events stored, keys used: of the whole database'"""
    )
