"""One durable PostgreSQL for the tests that kill it, and a world on a database of each test's own."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from mainstay import main
from mainstay.kernel import migrations
from mainstay.kernel.db import Database
from tests.chaos.world import Ground, World, lay_out
from tests.conftest import cut_database, database_url, drop_database
from tests.embedded.conftest import make_place
from tests.receivers import Receiver
from tests.tenancy import open_tenancy


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """A durable server with a migrated template."""
    place = make_place()
    try:
        server = Ground(place / "data")
        try:
            asyncio.run(_prepare(server.dsn))
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place, ignore_errors=True)


async def _prepare(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    await admin.execute("create database template_chaos")
    await admin.close()
    await migrations.migrate(database_url(dsn, "template_chaos"), main.partitioned())


@pytest.fixture
async def world(ground: Ground, tmp_path: Path) -> AsyncIterator[World]:
    """A deployment of the test's own; API and worker are not started."""
    url = await cut_database(ground.dsn, database_url(ground.dsn, "template_chaos"))
    port, api, worker = lay_out(url, tmp_path)
    db = Database(url, size=4)
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=0)
    async with Receiver() as receiver:
        session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        made = World(ground, db, await open_tenancy(db), api, worker, receiver, port, session)
        try:
            yield made
        finally:
            await made.close()
            await drop_database(ground.dsn, url)
