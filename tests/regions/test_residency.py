"""What belongs to a company of the EU lives in the database of the EU and nowhere else."""

import logging

import httpx
import pytest
import structlog

from mainstay.kernel import telemetry
from mainstay.kernel.db import Database, Sql, metadata
from tests.receivers import Receiver, ok
from tests.regions.conftest import Two, running_worker, until
from tests.tenancy import Tenancy

MARK = "zqxmarkofeuropezqx"
HOOKS = "/v1/key/company/webhooks"
EVENT = {
    "action": f"{MARK}.created",
    "category": MARK,
    "actor": {"id": f"{MARK}-id", "email": f"{MARK}@example.eu", "name": f"{MARK} name"},
    "target": {"id": f"{MARK}-target", "type": MARK},
    "payload": {MARK: MARK},
    "metadata": {MARK: [MARK]},
    "changes": [{"field": MARK, "old": MARK, "new": f"{MARK}2"}],
    "projectId": MARK,
}
_TABLES = Sql(
    "test.tables",
    """select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and c.relkind in ('r', 'p')""",
)
# Every file of the database, tables, indexes and long values alike, as it lies on the disk.
_FILES = Sql(
    "test.files",
    """select c.relname from pg_class c where c.relkind in ('r', 'i', 't') and c.relfilenode <> 0
         and position($1::bytea in pg_read_binary_file(pg_relation_filepath(c.oid))) > 0""",
)


async def tables_with(db: Database, text: str) -> set[str]:
    """The tables of which a row holds the text somewhere."""
    found = set()
    for row in await db.rows(_TABLES):
        ask = Sql("test.scan", f"select exists(select from {row['name']} t where t::text ilike '%{text}%')")
        if await db.value(ask):
            found.add(row["name"].rpartition(".")[2].split("_p2")[0])
    return found


async def files_with(db: Database, text: str) -> list[str]:
    """The tables and indexes whose files hold the text."""
    await db.run(Sql("test.checkpoint", "checkpoint"))
    return [row["relname"] for row in await db.rows(_FILES, text.encode())]


async def is_quiet(db: Database) -> bool:
    return not await db.value(Sql("test.waiting", "select count(*) from mainstay.announcements"))


@pytest.mark.contract("HL-RG-01", "HL-RG-03")
async def test_nothing_of_an_event_of_the_eu_is_in_the_home_database(
    two: Two, api: httpx.AsyncClient, eu_company: Tenancy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as logged:
        async with Receiver(ok()) as good, Receiver(ok(500)) as bad:
            for receiver in (good, bad):
                body = {"url": receiver.url(f"/{MARK}"), "events": ["*"], "isActive": True, "description": MARK}
                answer = await api.post(HOOKS, json=body, headers=eu_company.company_auth)
                assert answer.status_code == 201, answer.text
            headers = {**eu_company.auth, "idempotency-key": MARK}
            for _ in range(2):
                answer = await api.post("/v1/key/workspace/events", json=EVENT, headers=headers)
                assert answer.status_code == 201, answer.text
                assert answer.json()["dataRegion"] == "EU"
            batch = {"events": [EVENT, {**EVENT, "dataRegion": "US"}]}
            answer = await api.post("/v1/key/workspace/events/batch", json=batch, headers=eu_company.auth)
            assert [item["status"] for item in answer.json()["data"]] == [201, 400]
            async with running_worker(two.home_url, two.eu_url):
                await good.wait_for(2)
                await bad.wait_for(2)
                await until(lambda: is_quiet(two.home))
                await until(lambda: is_quiet(two.eu))
            for path in ("/v1/key/workspace/events", f"/v1/key/workspace/events?text={MARK[3:-3]}", HOOKS):
                auth = eu_company.company_auth if path == HOOKS else eu_company.auth
                assert MARK in (await api.get(path, headers=auth)).text
    assert await tables_with(two.home, MARK) == set()
    assert await files_with(two.home, MARK) == []
    assert {"events", "messages", "endpoints"} <= await tables_with(two.eu, MARK)
    assert await files_with(two.eu, MARK)
    assert not [line for line in logged if MARK in str(line)]
    assert MARK not in caplog.text
    assert all(MARK not in str(sample) for family in telemetry.REGISTRY.collect() for sample in family.samples)


async def test_regional_tables_hold_a_company_in_its_region_and_home_tables_at_home(
    two: Two, api: httpx.AsyncClient, eu_company: Tenancy
) -> None:
    body = {"url": "http://127.0.0.1:9/", "events": ["*"], "isActive": True}
    assert (await api.post(HOOKS, json=body, headers=eu_company.company_auth)).status_code == 201
    assert (await api.post("/v1/key/workspace/events", json=EVENT, headers=eu_company.auth)).status_code == 201
    async with running_worker(two.home_url, two.eu_url):
        await until(lambda: is_quiet(two.home))
        await until(lambda: is_quiet(two.eu))
        await until(lambda: _is_used(two.eu, eu_company.key_id))
    scopes = {table.name: table.info["scope"] for table in metadata.tables.values()}
    at_home, in_eu = [await tables_with(db, eu_company.company_id) for db in (two.home, two.eu)]
    assert {scopes.get(name, "regional") for name in at_home} == {"home"}
    assert {"companies", "workspaces"} <= at_home
    assert {scopes.get(name, "regional") for name in in_eu} == {"regional"}
    assert {"events", "chain_heads", "api_keys", "api_key_uses", "endpoints", "deliveries", "meter_counts"} <= in_eu


async def _is_used(db: Database, key_id: str) -> bool:
    return bool(await db.value(Sql("test.used", "select 1 from mainstay.api_key_uses where key_id = $1"), key_id))


async def test_the_acts_of_a_company_are_events_in_its_region_each_once(two: Two, eu_company: Tenancy) -> None:
    recorded = Sql(
        "test.recorded",
        """select action, data_region, seq from mainstay.events
            where company_id = $1 and category = 'mainstay' order by 1""",
    )
    async with running_worker(two.home_url, two.eu_url):
        await until(lambda: is_quiet(two.home))
        await until(lambda: is_quiet(two.eu))
    rows = await two.eu.rows(recorded, eu_company.company_id)
    assert [row["action"] for row in rows] == ["company.opened", *["key.issued"] * 3, *["workspace.opened"] * 3]
    assert {row["data_region"] for row in rows} == {"EU"}
    assert sorted(row["seq"] for row in rows) == [1, 2, 3, 4, 5, 6, 7]
    assert await two.home.rows(recorded, eu_company.company_id) == []
    heads = Sql("test.heads", "select count(*) from mainstay.chain_heads where company_id = $1")
    assert await two.home.value(heads, eu_company.company_id) == 0
    assert await two.eu.value(heads, eu_company.company_id) == 3
