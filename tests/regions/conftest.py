"""Two databases: home, where the US and APAC live, and one of the EU's own; and a company of the EU."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from mainstay import identity, main
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database
from mainstay.kernel.regions import Region, Regions
from tests.conftest import cut_database, drop_database, running_app
from tests.tenancy import OPERATOR, Tenancy, test_settings

AWAY = "postgresql://nobody:nothing@127.0.0.1:9/nowhere"


@dataclass(frozen=True)
class Two:
    """The addresses, and small pools on both."""

    home_url: str
    eu_url: str
    regions: Regions

    @property
    def home(self) -> Database:
        return self.regions.home

    @property
    def eu(self) -> Database:
        return self.regions.of("EU")


@pytest.fixture
async def two(server_url: str, template_url: str, fresh_url: str) -> AsyncIterator[Two]:
    eu_url = await cut_database(server_url, template_url)
    regions = Regions.at(fresh_url, {"EU": eu_url}, size=4, statement_cache=64, name="test")
    yield Two(fresh_url, eu_url, regions)
    await regions.close()
    await drop_database(server_url, eu_url)


async def open_company(regions: Regions, region: Region) -> Tenancy:
    """A fresh company of a region, its keys issued where the region lives."""
    async with regions.home.begin() as tx:
        slug = f"c-{secrets.token_hex(6)}"
        company = await identity.open_company(tx, OPERATOR, name="Test", slug=slug, region=region, plan="growth")
        first = await identity.open_workspace(tx, OPERATOR, company.id, name="Production")
        second = await identity.open_workspace(tx, OPERATOR, company.id, name="Staging")
    async with regions.of(region).begin() as tx:
        keys = [
            await identity.issue_key(
                tx, OPERATOR, company.id, kind="workspace", name="k", workspace_id=one.id, home=regions.home
            )
            for one in (first, second)
        ]
        whole = await identity.issue_key(tx, OPERATOR, company.id, kind="company", name="k", home=regions.home)
    ids = (company.id, first.id, second.id, keys[0].secret, keys[0].record.id, keys[1].secret, whole.secret)
    return Tenancy(*ids, whole.record.id)


@pytest.fixture
async def eu_company(two: Two) -> Tenancy:
    return await open_company(two.regions, "EU")


@pytest.fixture
async def us_company(two: Two) -> Tenancy:
    return await open_company(two.regions, "US")


@pytest.fixture
async def api(two: Two) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole API on both databases."""
    async with running_app(two.home_url, DATABASE_URL_EU=two.eu_url) as client:
        yield client


@asynccontextmanager
async def running_worker(home_url: str, eu_url: str) -> AsyncIterator[asyncio.Task[None]]:
    """A worker of both databases."""
    stop = asyncio.Event()
    settings = test_settings(home_url, DATABASE_URL_EU=eu_url, SHUTDOWN_SECONDS="5")
    task = asyncio.create_task(main.run_worker(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        await task
        # Gauges of the process show its parts together, and those that ended would stand still for the tests to come.
        for gauge in (telemetry.LOOP_LAST_RUN, telemetry.QUEUE_SIZE):
            gauge.clear()


async def until(ask: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """The condition holds, in time."""
    async with asyncio.timeout(seconds):
        while not await ask():
            await asyncio.sleep(0.05)
