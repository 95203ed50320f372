"""The main path on a PostgreSQL that somebody else runs: the system's own version, and behind PgBouncer."""

import asyncio

import asyncpg
import pytest

from mainstay import events, main
from mainstay.kernel import migrations
from mainstay.kernel.db import Database
from tests.conftest import running_app
from tests.journeys import servers
from tests.receivers import Receiver
from tests.tenancy import open_tenancy, test_settings


async def take_the_main_path(url: str, **settings: str) -> None:
    """An event goes in, a signed webhook comes out, the chain verifies."""
    db = Database(url, size=2, statement_cache=0)
    tenancy = await open_tenancy(db)
    stop = asyncio.Event()
    worker = asyncio.create_task(main.run_worker(test_settings(url, **settings), stop))
    async with Receiver() as receiver, running_app(url, **settings) as api:
        created = await api.post(
            "/v1/key/company/webhooks", json={"url": receiver.url("/"), "events": ["a.*"]}, headers=tenancy.company_auth
        )
        assert created.status_code == 201, created.text
        answers = await asyncio.gather(
            *(api.post("/v1/key/workspace/events", json={"action": f"a.{n}"}, headers=tenancy.auth) for n in range(20))
        )
        assert {answer.status_code for answer in answers} == {201}
        await receiver.wait_for(20)
        bodies = {answer.json()["id"] for answer in answers}
        assert {request.headers["webhook-id"] for request in receiver.requests} == bodies
        page = await api.get("/v1/key/workspace/events", params={"limit": 7, "text": "a.1"}, headers=tenancy.auth)
        assert page.json()["meta"]["total"] == 11
    keys = await events.public_keys(db)
    verdict = await events.verify_workspace(db, tenancy.company_id, tenancy.workspace_id, public_keys=keys)
    assert [verdict.ok, verdict.checked] == [True, 20]
    stop.set()
    await asyncio.wait_for(worker, 60)
    await db.close()


@pytest.mark.contract("DR-DB-01")
async def test_the_main_path_on_the_systems_own_postgresql() -> None:
    with servers.system_postgresql() as server:
        connection = await asyncpg.connect(server)
        version = connection.get_server_version().major
        await connection.close()
        assert version >= 15
        await asyncio.to_thread(lambda: asyncio.run(migrations.migrate(server, main.partitioned())))
        await take_the_main_path(server)


@pytest.mark.contract("DR-DB-01")
async def test_the_main_path_on_the_embedded_postgresql(fresh_url: str) -> None:
    await take_the_main_path(fresh_url)


async def test_the_main_path_behind_pgbouncer_in_transaction_mode(fresh_url: str) -> None:
    with servers.pgbouncer(fresh_url) as pooled:
        await take_the_main_path(pooled, DATABASE_STATEMENT_CACHE="0", DATABASE_DIRECT_URL=fresh_url)


async def test_the_main_path_behind_pgbouncer_without_a_direct_way(fresh_url: str) -> None:
    with servers.pgbouncer(fresh_url) as pooled:
        await take_the_main_path(pooled, DATABASE_STATEMENT_CACHE="0")
