"""The migrated database is what the tables of the rooms say, and all time comes from one function."""

import ast
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from mainstay import main
from mainstay.kernel import migrations
from mainstay.kernel.db import metadata
from tests.architecture.sources import declared_tables, python_files, shown, texts_of, tree_of

VERSIONS = sorted((migrations.directory() / "versions").glob("[0-9]*.py"))
_TIME = re.compile(
    r"(?<!mainstay\.)(?<![\w.])(?:pg_catalog\.)?(?:now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday)"
    r"\s*\(\s*\)|\b(?:current_timestamp|current_date|current_time|localtime|localtimestamp)\b|'now'|'today'",
    re.IGNORECASE,
)
REAL_TIME = {
    ("migrations/versions/0001_ground.py", "pg_catalog.now()"): "the definition of mainstay.now() itself",
    ("migrations/versions/0001_ground.py", "clock_timestamp()"): "ids that sort must not stand still in a transaction",
    ("src/mainstay/jobs/queries/workers.py", "clock_timestamp()"): "whether a worker lives is a matter of real time",
    ("src/mainstay/jobs/queries/schedules.py", "clock_timestamp()"): "how long a handler took in its own transaction",
    ("src/mainstay/jobs/queries/schedules.py", "pg_catalog.now()"): "the same, counted from the transaction's start",
    ("src/mainstay/limits/queries/nodes.py", "clock_timestamp()"): "whether an API process lives is the same",
    ("src/mainstay/limits/tables.py", "clock_timestamp()"): "the same",
    ("migrations/versions/0039_limit_counters.py", "clock_timestamp()"): "the same",
    ("src/mainstay/cli/queries.py", "clock_timestamp()"): "the doctor compares the clocks of two machines",
}


def _engine(url: str) -> Any:
    return create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)


def _is_declared(name: str | None, kind: str, parents: Any) -> bool:
    if kind == "schema":
        return name == "mainstay"
    if kind == "table":
        return name != "migrations" and not re.search(r"_p\d{8}$", name or "")
    return True


def _differences(connection: Connection) -> list[Any]:
    options = {
        "include_schemas": True,
        "include_name": _is_declared,
        "compare_type": True,
        "compare_server_default": True,
    }
    declared_tables()
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def test_the_migrated_database_is_what_the_tables_say(fresh_url: str) -> None:
    engine = _engine(fresh_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
    await engine.dispose()


_SHAPE = """
  with c as (
    select c.* from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'mainstay' and c.relkind in ('r', 'p') and not c.relispartition and c.relname <> 'migrations'
  )
  select c.relname::text as of, 'table' as kind,
         concat_ws(' ', c.relkind::text, pg_get_partkeydef(c.oid)) as what
    from c
  union all
  select c.relname, 'column ' || a.attname,
         concat_ws(' ', format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
           'identity ' || nullif(a.attidentity::text, ''), 'collate ' || nullif(l.collname, 'default')::text,
           'default ' || pg_get_expr(d.adbin, d.adrelid))
    from c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    left join pg_collation l on l.oid = a.attcollation
  union all
  select c.relname, 'constraint ' || k.conname, pg_get_constraintdef(k.oid)
    from c join pg_constraint k on k.conrelid = c.oid where k.contype <> 'n'
  union all
  select c.relname, 'index ' || i.relname, pg_get_indexdef(i.oid)
    from c join pg_index x on x.indrelid = c.oid join pg_class i on i.oid = x.indexrelid
"""


async def _shape_of(url: str) -> dict[tuple[str, str], str]:
    connection = await asyncpg.connect(url)
    try:
        return {(row["of"], row["kind"]): row["what"] for row in await connection.fetch(_SHAPE)}
    finally:
        await connection.close()


async def test_checks_defaults_and_partial_indexes_are_what_the_tables_say(fresh_url: str, server_url: str) -> None:
    """The same tables, made from their declarations beside the migrated ones, read alike in PostgreSQL's own words."""
    migrated = await _shape_of(fresh_url)
    connection = await asyncpg.connect(fresh_url)
    now = await connection.fetchval("select pg_get_functiondef('mainstay.now()'::regprocedure)")
    await connection.execute("alter schema mainstay rename to migrated; create schema mainstay")
    await connection.execute(now)
    await connection.close()
    declared_tables()
    engine = _engine(fresh_url)
    async with engine.begin() as declared:
        await declared.run_sync(metadata.create_all)
    await engine.dispose()
    assert await _shape_of(fresh_url) == migrated


async def test_migrating_again_changes_nothing(fresh_url: str) -> None:
    before = await _shape_of(fresh_url)
    await migrations.migrate(fresh_url, main.partitioned())
    assert await _shape_of(fresh_url) == before
    engine = _engine(fresh_url)
    async with engine.connect() as connection:
        found = await connection.scalar(text("select version_num from mainstay.migrations"))
    await engine.dispose()
    assert found == migrations.newest()


def test_migrations_are_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.directory()))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    chain = [script.revision for script in reversed(scripts)]
    assert chain == [path.name[:4] for path in VERSIONS] == [f"{n:04}" for n in range(1, len(VERSIONS) + 1)]
    assert [script.down_revision for script in reversed(scripts)] == [None, *chain[:-1]]


@pytest.mark.parametrize("path", VERSIONS, ids=shown)
def test_a_migration_says_what_it_locks(path: Path) -> None:
    docstring = ast.get_docstring(tree_of(path)) or ""
    assert re.search(r"^Locks: \w", docstring, re.MULTILINE)


@pytest.mark.parametrize("path", VERSIONS, ids=shown)
def test_a_migration_means_the_same_whatever_the_code_becomes(path: Path) -> None:
    imported = [
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [name for name in imported if name and name.startswith("mainstay")] == []


def test_sql_reads_the_time_through_one_function() -> None:
    found = {
        (shown(path), match.group().lower())
        for path in python_files("src/mainstay", "migrations")
        for _, string in texts_of(path)
        for match in _TIME.finditer(string)
    }
    assert found == set(REAL_TIME)


def test_composed_sql_reads_the_time_through_one_function() -> None:
    """`func.mainstay.now()` is that function; `func.now()` would be PostgreSQL's."""
    found = [
        f"{shown(path)}:{node.lineno} func.{node.attr}"
        for path in python_files("src/mainstay", "migrations")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "func"
        if re.fullmatch(r"now|\w*timestamp|current_\w+|localtime", node.attr)
    ]
    assert found == []
