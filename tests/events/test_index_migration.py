"""The index on categories comes to a log that is there: partition by partition, and again where it was cut off."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from mainstay import main
from mainstay.kernel import migrations, partitions
from mainstay.kernel.db import Database, Sql
from tests.conftest import cut_database, drop_database

_INDEXES = """select i.inhrelid::regclass::text as partition, x.indisvalid,
                     exists (select from pg_inherits p where p.inhrelid = x.indexrelid) as is_attached
                from pg_inherits i
                left join pg_index x on x.indrelid = i.inhrelid and x.indexrelid::regclass::text like '%category_idx'
               where i.inhparent = 'mainstay.events'::regclass order by 1"""


@pytest.fixture
async def before(server_url: str) -> AsyncIterator[tuple[Config, Database]]:
    """A database of the revision before, with partitions of events."""
    url = await cut_database(server_url, server_url)
    config = Config()
    config.set_main_option("script_location", str(migrations.directory()))
    config.attributes["url"] = url
    await asyncio.to_thread(command.upgrade, config, "0019")
    db = Database(url, size=2)
    async with db.begin() as tx:
        await partitions.ensure(tx, [spec for spec in main.partitioned() if spec.table == "events"])
    yield config, db
    await db.close()
    await drop_database(server_url, url)


async def test_each_partition_gets_its_index_and_a_run_that_was_cut_off_is_ended(
    before: tuple[Config, Database],
) -> None:
    config, db = before
    left = await db.rows(Sql("t", _INDEXES))
    assert len(left) > 1
    assert all(row["indisvalid"] is None for row in left)
    names = [row["partition"] for row in left]
    # One as a build that was killed leaves it, one that was built and not yet attached.
    for name in names[:2]:
        index = name.partition(".")[2] + "_category_idx"
        await db.run(Sql("t", f"create index {index} on {name} (workspace_id, category, seq)"))
    await db.run(
        Sql("t", "update pg_index set indisvalid = false where indexrelid = to_regclass($1)"),
        f"{names[0]}_category_idx",
    )
    kept = await db.value(Sql("t", "select to_regclass($1)::oid"), f"{names[1]}_category_idx")
    for _ in range(2):
        await asyncio.to_thread(command.upgrade, config, "0020")
        rows = await db.rows(Sql("t", _INDEXES))
        assert [(row["partition"], row["indisvalid"], row["is_attached"]) for row in rows] == [
            (name, True, True) for name in names
        ]
        parent = "select indisvalid from pg_index where indexrelid = 'mainstay.events_category_idx'::regclass"
        assert await db.value(Sql("t", parent))
        await asyncio.to_thread(command.stamp, config, "0019")
    assert await db.value(Sql("t", "select to_regclass($1)::oid"), f"{names[1]}_category_idx") == kept


async def test_it_waits_for_nobody_who_writes(before: tuple[Config, Database]) -> None:
    config, db = before
    writer = await asyncpg.connect(db.dsn)
    try:
        await writer.execute("begin; lock table mainstay.events in row exclusive mode")
        upgrade = asyncio.create_task(asyncio.to_thread(command.upgrade, config, "0020"))
        waits = (
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock' and query like 'create index%')"
        )
        async with asyncio.timeout(60):
            while not await db.value(Sql("t", waits)):
                await asyncio.sleep(0.02)
        # While it waits for older transactions others go on to write.
        async with db.begin() as tx:
            await tx.run(Sql("t", "set local lock_timeout = '5s'"))
            await tx.run(Sql("t", "lock table mainstay.events in row exclusive mode"))
        await writer.execute("commit")
        await upgrade
    finally:
        await writer.close()
