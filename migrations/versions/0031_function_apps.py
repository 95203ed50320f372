"""Applications that serve functions of their own over Inngest's SDKs, as each last registered itself.

Locks: none on existing tables.
"""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.execute(
        """create table mainstay.function_apps (
             id text collate "C" not null constraint function_apps_pkey primary key,
             url text not null,
             sdk text not null,
             functions json not null,
             version bigint not null default nextval('mainstay.function_events_seq'),
             registered_at timestamptz not null default mainstay.now()
           )"""
    )
