"""Brings a database to the newest shape and makes the partitions that are needed next."""

import asyncio
from pathlib import Path

import asyncpg

from mainstay.kernel import partitions
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.partitions import Partitioned

OLDEST_SERVER = 150_000


class UnfitDatabase(Exception):
    """The database cannot carry Mainstay; the message says why."""


def directory() -> Path:
    """Where the migrations are: inside the installed package, or at the root of a checkout."""
    packaged = Path(__file__).parent.parent / "_migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "migrations"


def newest() -> str:
    """The revision that this code expects."""
    return max(path.name[:4] for path in (directory() / "versions").glob("[0-9]*.py"))


async def migrate(url: str, specs: list[Partitioned]) -> None:
    """The database has the newest shape, under a lock that makes simultaneous callers take turns."""
    # API and workers ask for revisions alone: what carries migrations out is a fifteenth of all that they would load.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    await _check_server(url)
    config = Config()
    config.set_main_option("script_location", str(directory()).replace("%", "%%"))
    config.attributes["url"] = url
    await asyncio.to_thread(command.upgrade, config, "head")
    db = Database(url, size=1, statement_cache=0)
    try:
        async with db.begin() as tx:
            await partitions.ensure(tx, specs)
    finally:
        await db.close()


async def _check_server(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=10, statement_cache_size=0)
    try:
        version = int(await connection.fetchval("select current_setting('server_version_num')"))
        encoding = await connection.fetchval("select current_setting('server_encoding')")
    finally:
        await connection.close()
    if version < OLDEST_SERVER:
        raise UnfitDatabase(f"PostgreSQL {version // 10_000} is too old: Mainstay needs 15 or newer")
    if encoding != "UTF8":
        raise UnfitDatabase(f"the database's encoding is {encoding}: Mainstay needs UTF8")


async def revision(db: Database) -> str | None:
    """The revision that the database has; None before the first migration."""
    try:
        found = await db.value(Sql("migrations.revision", "select version_num from mainstay.migrations"))
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return None
    return None if found is None else str(found)
