"""Since when no worker has known the function of a run, so that runs of what was taken away end.

Locks: ACCESS EXCLUSIVE on function_runs for moments; no row is read.
"""

from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    op.execute("alter table mainstay.function_runs add column unknown_since timestamptz")
