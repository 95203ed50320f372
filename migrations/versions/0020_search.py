"""Events of a workspace found by category through an index.

Locks: none that holds up readers or writers for long. Each partition gets its index concurrently, outside any
transaction: writers go on, and the build waits for transactions that began before it. Then the parent gets its index on
itself alone, and those of the partitions are attached: SHARE on the parent for moments. Run it again where it was cut
off: an index that is not valid is dropped and built anew, one that is there is kept. About 8 s per million events on
one core.
"""

from alembic import op
from sqlalchemy import text

revision = "0020"
down_revision = "0019"

_COLUMNS = "(workspace_id, category, seq)"
_PARTITIONS = """
select c.oid::regclass::text as name, c.relname
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent = 'mainstay.events'::regclass order by 2
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
    parent = _index_of("events")
    op.execute(f"create index if not exists {parent.partition('.')[2]} on only mainstay.events {_COLUMNS}")
    for partition in op.get_bind().execute(text(_PARTITIONS)).fetchall():
        name = _index_of(partition.relname)
        found = op.get_bind().execute(text(_INDEX), {"name": name}).fetchone()
        if found is not None and not found.is_attached:
            op.execute(f"alter index {parent} attach partition {name}")


def _index_of(table: str) -> str:
    return f"mainstay.{table}_category_idx"
