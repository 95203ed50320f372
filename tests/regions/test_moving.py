"""A company moves: new events go to the new region, the old ones stay, keys work as before."""

import json
from datetime import timedelta

import httpx

from mainstay import identity
from mainstay.kernel.db import Sql
from tests.regions.conftest import AWAY, Two, open_company, running_worker, until
from tests.regions.test_command_line import command
from tests.regions.test_global import ask
from tests.regions.test_residency import is_quiet
from tests.tenancy import OPERATOR, Tenancy

EVENTS = "/v1/key/workspace/events"
_KEYS = Sql("test.keys", "select id::text, data_region from mainstay.api_keys where company_id = $1")


async def send(api: httpx.AsyncClient, company: Tenancy, action: str) -> httpx.Response:
    return await api.post(EVENTS, json={"action": action}, headers=company.auth)


async def test_new_events_go_to_the_new_region_and_the_old_ones_stay(
    two: Two, api: httpx.AsyncClient, us_company: Tenancy
) -> None:
    first = await send(api, us_company, "before")
    ran = await command(two, "companies", "move-region", us_company.company_id, "eu", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["dataRegion"] == "EU"
    # A node that remembers where the key was says so, until it has forgotten.
    answers = []

    async def is_stored() -> bool:
        answers.append(await send(api, us_company, "after"))
        return answers[-1].status_code == 201

    await until(is_stored)
    assert {answer.status_code for answer in answers[:-1]} <= {503}
    second = answers[-1].json()
    assert (first.json()["dataRegion"], second["dataRegion"], second["seq"]) == ("US", "EU", 1)
    assert await two.home.rows(_KEYS, us_company.company_id) == []
    assert {row["data_region"] for row in await two.eu.rows(_KEYS, us_company.company_id)} == {"EU"}
    here = (await api.get(EVENTS, headers=us_company.auth)).json()["data"]
    assert [one["action"] for one in here] == ["after"]
    everywhere = (await ask(api, us_company))["data"]
    assert [one["action"] for one in everywhere] == ["after", "before"]
    async with running_worker(two.home_url, two.eu_url):
        await until(lambda: is_quiet(two.home))
        await until(lambda: is_quiet(two.eu))
    moved = Sql("test.moved", "select payload from mainstay.events where company_id = $1 and action = 'company.moved'")
    payload = json.loads(await two.eu.value(moved, us_company.company_id))
    assert (payload["from"], payload["to"]) == ("US", "EU")
    ran = await command(two, "verify", "--company", us_company.company_id, "--all", "--json")
    assert ran.code == 0, ran.err
    assert any("(US)" in json.loads(line)["name"] for line in ran.out.splitlines())


async def test_a_company_with_settings_behind_is_not_moved(
    two: Two, api: httpx.AsyncClient, us_company: Tenancy
) -> None:
    body = {"url": "http://127.0.0.1:9/", "events": ["*"], "isActive": True}
    made = await api.post("/v1/key/company/webhooks", json=body, headers=us_company.company_auth)
    ran = await command(two, "companies", "move-region", us_company.company_id, "EU")
    assert (ran.code, "1 endpoints" in ran.err) == (1, True)
    assert (await send(api, us_company, "still")).json()["dataRegion"] == "US"
    await api.delete(f"/v1/key/company/webhooks/{made.json()['id']}", headers=us_company.company_auth)
    assert (await command(two, "companies", "move-region", us_company.company_id, "APAC")).code == 0
    for region in ("mars", "us "):
        assert (await command(two, "companies", "move-region", us_company.company_id, region)).code == 2


async def test_nothing_changes_while_the_new_region_is_away(two: Two, us_company: Tenancy) -> None:
    ran = await command(two, "companies", "move-region", us_company.company_id, "EU", eu_url=AWAY)
    assert ran.code == 1
    company = await identity.get_company(two.home, us_company.company_id)
    assert company.data_region == "US"
    assert len(await two.home.rows(_KEYS, us_company.company_id)) == 3


async def test_a_move_that_was_cut_off_is_ended_by_the_next_and_revives_no_key(two: Two) -> None:
    company = await open_company(two.regions, "EU")
    # As if the old region's commit had been lost: the keys stand in both databases, and one was revoked in one.
    for row in await two.eu.rows(Sql("test.all", "select to_jsonb(k)::text from mainstay.api_keys k")):
        copy = "insert into mainstay.api_keys select (jsonb_populate_record(null::mainstay.api_keys, $1::jsonb)).*"
        await two.home.run(Sql("test.copy", copy), row[0])
    async with two.home.begin() as tx:
        await identity.revoke_key(tx, OPERATOR, company.company_id, company.key_id)
    await identity.move_company(two.regions, OPERATOR, company.company_id, "EU")
    assert await two.home.rows(_KEYS, company.company_id) == []
    found = await identity.get_key(two.eu, company.company_id, company.key_id)
    assert found.revoked_at is not None
    async with two.eu.begin() as tx:
        made = await identity.rotate_key(
            tx, OPERATOR, company.company_id, company.company_key_id, overlap=timedelta(0), home=two.home
        )
    assert made.record.replaces == company.company_key_id
