"""How many slots each worker has for its queues, and the failed attempts of a kind found through an index.

Locks: ACCESS EXCLUSIVE on workers for moments. Each partition of the attempts gets its index concurrently, outside any
transaction: writers go on. Then the parent gets its index on itself alone, and those of the partitions are attached:
SHARE on the parent for moments. Run it again where it was cut off: an index that is not valid is built anew.
"""

from alembic import op
from sqlalchemy import text

revision = "0032"
down_revision = "0031"

_COLUMNS = "(kind, finished_at)"
_PARTITIONS = """
select c.oid::regclass::text as name, c.relname
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent = 'mainstay.job_attempts'::regclass order by 2
"""
_INDEX = """
select x.indisvalid, exists (select from pg_inherits i where i.inhrelid = x.indexrelid) as is_attached
  from pg_index x where x.indexrelid = to_regclass(:name)
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # Building concurrently waits for older transactions without holding up anybody.
        op.execute("set lock_timeout = 0")
        op.execute("set statement_timeout = 0")
        _build_on_partitions()
        op.execute("set lock_timeout = '5s'")
        op.execute("set statement_timeout = '10min'")
        _join()
    op.execute("alter table mainstay.workers add column slots integer[] not null default '{}'")


def _build_on_partitions() -> None:
    for partition in op.get_bind().execute(text(_PARTITIONS)).fetchall():
        name = _index_of(partition.relname)
        found = op.get_bind().execute(text(_INDEX), {"name": name}).fetchone()
        if found is not None and not found.indisvalid:
            op.execute(f"drop index concurrently {name}")
            found = None
        if found is None:
            op.execute(f"create index concurrently {name.partition('.')[2]} on {partition.name} {_COLUMNS}")


def _join() -> None:
    parent = _index_of("job_attempts")
    op.execute(f"create index if not exists {parent.partition('.')[2]} on only mainstay.job_attempts {_COLUMNS}")
    for partition in op.get_bind().execute(text(_PARTITIONS)).fetchall():
        name = _index_of(partition.relname)
        found = op.get_bind().execute(text(_INDEX), {"name": name}).fetchone()
        if found is not None and not found.is_attached:
            op.execute(f"alter index {parent} attach partition {name}")


def _index_of(table: str) -> str:
    return f"mainstay.{table}_kind_idx"
