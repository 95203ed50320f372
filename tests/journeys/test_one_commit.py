"""One commit: the event, its deliveries and their jobs stand or fall together."""

import secrets
from contextlib import suppress

import httpx
import pytest

from mainstay import webhooks
from mainstay.events import ingest, intake
from mainstay.kernel.db import Database, Sql
from tests.tenancy import Tenancy, open_tenancy

COUNTS = Sql(
    "test.counts",
    """select (select count(*) from mainstay.events where category <> 'mainstay') as events,
              (select count(*) from mainstay.messages) as messages,
              (select count(*) from mainstay.deliveries where status = 'PENDING') as deliveries,
              (select count(*) from mainstay.jobs where queue = 'nova:webhook') as jobs,
              (select coalesce(sum(quantity), 0)::int from mainstay.meter_counts) as metered""",
)


async def counts(db: Database) -> list[int]:
    row = await db.row(COUNTS)
    assert row is not None
    return list(row.values())


class Undo(Exception):
    """Ends a transaction without its writes."""


@pytest.mark.contract("HL-E-07", "NP-W-15", "NP-Q-05")
async def test_an_event_its_deliveries_and_their_jobs_are_one_commit(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    for events in (["task.*"], ["*"], ["user.updated"]):
        body = {"url": "http://127.0.0.1:9/hook", "events": events, "isActive": True}
        assert (await api.post("/v1/key/company/webhooks", json=body, headers=tenancy.company_auth)).status_code == 201
    place = intake.Place(tenancy.workspace_id, tenancy.company_id, "US", None)
    event = intake.prepare(b'{"action":"task.created"}', place, secrets.token_hex(16))
    with suppress(Undo):
        async with db.begin() as tx:
            await ingest.append(tx, [event])
            assert await tx.value(Sql("test.seen", "select count(*) from mainstay.deliveries")) == 2
            raise Undo
    assert await counts(db) == [0, 0, 0, 0, 0]
    await api.post("/v1/key/workspace/events", json={"action": "task.created"}, headers=tenancy.auth)
    assert await counts(db) == [1, 1, 2, 2, 1]
    await api.post("/v1/key/workspace/events", json={"action": "unwanted"}, headers=tenancy.auth)
    assert await counts(db) == [2, 2, 3, 3, 2]
    assert webhooks.QUEUE == "nova:webhook"


@pytest.mark.contract("HL-A-04")
async def test_a_workspace_belongs_to_one_company_and_an_event_may_name_a_project(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    stranger = await open_tenancy(db)
    mine = (await api.get("/v1/key/company/workspaces", headers=tenancy.company_auth)).json()["data"]
    theirs = (await api.get("/v1/key/company/workspaces", headers=stranger.company_auth)).json()["data"]
    assert {one["id"] for one in mine}.isdisjoint(one["id"] for one in theirs)
    assert {one["companyId"] for one in mine} == {tenancy.company_id}
    body = {"action": "a", "projectId": "p-1"}
    event = (await api.post("/v1/key/workspace/events", json=body, headers=tenancy.auth)).json()
    assert event["projectId"] == "p-1"
    found = await api.get("/v1/key/workspace/events", params={"projectId": "p-1"}, headers=tenancy.auth)
    assert [one["id"] for one in found.json()["data"]] == [event["id"]]


@pytest.mark.contract("HL-RG-01", "HL-RG-02")
async def test_a_companys_region_is_one_of_three(api: httpx.AsyncClient, db: Database) -> None:
    for region in ("US", "EU", "APAC"):
        tenancy = await open_tenancy(db, region=region)
        company = (await api.get("/v1/key/company", headers=tenancy.company_auth)).json()
        assert company["dataRegion"] == region
    with pytest.raises(Exception, match=r"(?i)region|not valid"):
        await open_tenancy(db, region="MOON")
