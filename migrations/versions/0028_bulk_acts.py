"""Acts on many jobs, jobs started by hand, jobs of requests that count once; the history of jobs is found by id and time.

Locks: none that holds up readers or writers for long. Each partition of finished_jobs gets its two block range indexes
concurrently, outside any transaction; then the parent gets them on itself alone, and those of the partitions are
attached: SHARE on the parent for moments. Run it again where it was cut off: an index that is not valid is dropped and
built anew. They cost a writer next to nothing, and the build reads each partition once.
"""

from alembic import op
from sqlalchemy import text

revision = "0028"
down_revision = "0027"

_INDEXES = {"id": "id int8_minmax_multi_ops", "finished_at": "finished_at"}
_OPTIONS = "with (autosummarize = on)"
_PARTITIONS = """
select c.oid::regclass::text as name, c.relname
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent = 'mainstay.finished_jobs'::regclass order by 2
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
        for column, columns in _INDEXES.items():
            _build(column, columns)
        op.execute("set lock_timeout = '5s'")
        op.execute("set statement_timeout = '10min'")
        for column, columns in _INDEXES.items():
            _join(column, columns)
    op.execute(
        """create table mainstay.bulk_acts (
             id uuid not null constraint bulk_acts_pkey primary key,
             job_id bigint,
             created_at timestamptz not null default mainstay.now(),
             started_at timestamptz,
             finished_at timestamptz,
             counted integer not null,
             done bigint not null default 0,
             is_floor boolean not null,
             act text collate "C" not null
               constraint bulk_acts_act_check check (act in ('redrive', 'clear', 'cancel', 'promote')),
             queue text collate "C" not null,
             state text collate "C" not null
               constraint bulk_acts_state_check check (state in ('waiting', 'running', 'done', 'cancelled')),
             filter jsonb not null,
             asked_by jsonb not null,
             position jsonb,
             error text
           )"""
    )
    op.execute(
        """create table mainstay.test_runs (
             job_id bigint not null constraint test_runs_pkey primary key,
             asked_at timestamptz not null default mainstay.now(),
             kind text collate "C" not null,
             asked_by jsonb not null
           )"""
    )
    op.execute(
        """create table mainstay.enqueue_requests (
             id uuid not null constraint enqueue_requests_pkey primary key,
             at timestamptz not null default mainstay.now(),
             job_ids bigint[] not null
           )"""
    )


def _build(column: str, columns: str) -> None:
    for partition in op.get_bind().execute(text(_PARTITIONS)).fetchall():
        name = _index_of(partition.relname, column)
        found = op.get_bind().execute(text(_INDEX), {"name": name}).fetchone()
        if found is not None and not found.indisvalid:
            op.execute(f"drop index concurrently {name}")
            found = None
        if found is None:
            index = name.partition(".")[2]
            op.execute(f"create index concurrently {index} on {partition.name} using brin ({columns}) {_OPTIONS}")


def _join(column: str, columns: str) -> None:
    parent = _index_of("finished_jobs", column)
    index = parent.partition(".")[2]
    op.execute(
        f"create index if not exists {index} on only mainstay.finished_jobs using brin ({columns}) {_OPTIONS}"
    )
    for partition in op.get_bind().execute(text(_PARTITIONS)).fetchall():
        name = _index_of(partition.relname, column)
        found = op.get_bind().execute(text(_INDEX), {"name": name}).fetchone()
        if found is not None and not found.is_attached:
            op.execute(f"alter index {parent} attach partition {name}")


def _index_of(table: str, column: str) -> str:
    return f"mainstay.{table}_{column}_idx"
