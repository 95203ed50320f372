"""Fixtures for every test: one embedded PostgreSQL a run, one database a worker cut from a migrated template."""

import asyncio
import gc
import os
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import fastapi.dependencies.models
import httpx
import pytest
import structlog

from mainstay import embedded, identity, main
from mainstay.kernel import migrations
from mainstay.kernel.db import Database
from tests import kept_routes
from tests.tenancy import Tenancy, open_tenancy, test_settings

# What is collected stays: looking for garbage among it again and again takes a third of the time.
gc.disable()
_real_connect = socket.socket.connect
PASSWORD_COST = dict(identity.Passwords.__init__.__kwdefaults__)
"""What the product spends on a password, which tests do not."""


def _loopback_only(self: socket.socket, address: object) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = address[0]  # type: ignore[index]
        if host not in ("127.0.0.1", "::1", "localhost") and not str(host).startswith("127."):
            raise AssertionError(f"a test tried to reach {host}: only loopback is allowed")
    return _real_connect(self, address)  # type: ignore[arg-type]


_SLOW = ("up", "chaos", "embedded", "cli", "console", "journeys", "benchmarks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Directories whose files take longest come first, so that at the end no process waits long for another."""
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(_SLOW)}
    items.sort(key=lambda item: rank.get(item.path.parent, len(_SLOW)))


def pytest_collection_finish() -> None:
    # Thousands of collected tests are no garbage: without this each full collection walks them all again.
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "contract(*rows): rows of the requirements ledger that the test shows")
    socket.socket.connect = _loopback_only  # type: ignore[method-assign]
    # The renderer that is taken by itself paints the locals of every frame of a traceback, which takes a second.
    told = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], told])
    kept_routes.keep()
    # At its real cost each password takes a fifth of a second of a core, and tests sign in hundreds of times.
    identity.Passwords.__init__.__kwdefaults__.update(memory_kib=19 * 1024, passes=2)
    # A shell starts background commands with Ctrl-C ignored, and so would every process that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The address of a PostgreSQL server (its `postgres` database) that this test process may fill."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="mainstay-tests-", dir=memory if os.access(memory, os.W_OK) else None) as place:
        Path(place).chmod(0o755)
        # Its transactions would hold back what readers may see, and its statistics would change plans, at any moment.
        calm = {"autovacuum": "off"}
        # Databases come and go by the thousand, and each time all buffers are looked through and changes are logged.
        light = {"shared_buffers": "32MB", "wal_level": "minimal", "max_wal_senders": "0"}
        server = embedded.start(Path(place) / "data", database="postgres", durable=False, settings=calm | light)
        yield server.dsn
        server.stop()


@pytest.fixture(scope="session")
def template_url(server_url: str, worker_id: str) -> str:
    """A migrated database that fresh ones are cut from; nobody connects to it afterwards."""
    name = f"template_{worker_id}_{uuid.uuid4().hex[:8]}"
    url = database_url(server_url, name)

    async def prepare() -> None:
        admin = await asyncpg.connect(server_url)
        await admin.execute(f'create database "{name}"')
        await admin.close()
        await migrations.migrate(url, main.partitioned())

    asyncio.run(prepare())
    return url


def database_url(server_url: str, name: str) -> str:
    """The address of another database on the same server."""
    return server_url.rpartition("/")[0] + "/" + name


async def cut_database(server_url: str, template_url: str) -> str:
    """The address of a fresh database cut from the template."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server_url)
    try:
        # Copied as files: the default writes each page to the log, which takes about seven times as long.
        template = template_url.rpartition("/")[2]
        await admin.execute(f'create database "{name}" template "{template}" strategy file_copy')
    finally:
        await admin.close()
    return database_url(server_url, name)


async def drop_database(server_url: str, url: str) -> None:
    """The database is gone, whoever was connected."""
    admin = await asyncpg.connect(server_url)
    try:
        await admin.execute(f'drop database if exists "{url.rpartition("/")[2]}" with (force)')
    finally:
        await admin.close()


@pytest.fixture
async def fresh_url(server_url: str, template_url: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    url = await cut_database(server_url, template_url)
    yield url
    await drop_database(server_url, url)


@pytest.fixture
async def db(fresh_url: str) -> AsyncIterator[Database]:
    """A pool on a database of the test's own."""
    database = Database(fresh_url, size=8)
    yield database
    await database.close()


class SqlClock:
    """Moves what SQL takes for now, in one database."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._base = "pg_catalog.now()"
        self.offset = timedelta(0)

    async def stop(self) -> datetime:
        """`mainstay.now()` stands at this moment until it is moved, however long a test takes; the moment."""
        async with self._db.connection() as connection:
            now: datetime = await connection.fetchval("select mainstay.now()")
        self._base, self.offset = f"timestamptz '{now.isoformat()}'", timedelta(0)
        await self.move(timedelta(0))
        return now

    async def move(self, by: timedelta) -> None:
        """From now on `mainstay.now()` reads that much later than before."""
        self.offset += by
        async with self._db.connection() as connection:
            await connection.execute(
                f"""create or replace function mainstay.now() returns timestamptz language sql stable parallel safe
                    as $$ select {self._base} + interval '{self.offset.total_seconds():f} seconds' $$"""
            )


@pytest.fixture
def sql_clock(db: Database) -> SqlClock:
    """The clock of the test's own database."""
    return SqlClock(db)


SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The directory of real records beside the checkout; the test is skipped where it is not there."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real records (../shared/data) are not here")
    return SHARED_DATA


@pytest.fixture
async def tenancy(db: Database) -> Tenancy:
    """A company in the test's own database."""
    return await open_tenancy(db)


@asynccontextmanager
async def running_app(url: str, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole API on one database, called in this process."""
    app = main.build_api(test_settings(url, **settings))
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    await messages.put({"type": "lifespan.startup"})
    lifespan = asyncio.create_task(app({"type": "lifespan", "state": {}}, messages.get, answers.put))
    assert (await answers.get())["type"] == "lifespan.startup.complete"
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await messages.put({"type": "lifespan.shutdown"})
    assert (await answers.get())["type"] == "lifespan.shutdown.complete"
    await lifespan
    # The framework remembers each dependency it has ever seen, and with it the whole application that it was of.
    for remembered in vars(fastapi.dependencies.models).values():
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()


@pytest.fixture
async def api(fresh_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole API on the test's own database."""
    async with running_app(fresh_url) as client:
        yield client
