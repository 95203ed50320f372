"""Depth of the queues per minute, and resting jobs listed by queue.

Locks: writes to jobs while its new index is built, which reads the table once (about a second per million rows).
Nothing is put in line or taken from it meanwhile. Jobs that ended are in other tables, so this one is small unless much waits.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = (
    """create table mainstay.queue_minutes (
         queue text collate "C" not null,
         minute timestamptz not null,
         waiting integer not null,
         active integer not null,
         retrying integer not null,
         dead integer not null,
         constraint queue_minutes_pkey primary key (minute, queue)
       )""",
    # Only jobs that rest are in it, so a job that runs at once and succeeds never touches it.
    """create index jobs_resting_idx on mainstay.jobs (queue, state, id)
       where state in ('delayed', 'retrying')""",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
