"""Erasures and holds of a company of the EU are obeyed where its events are, and leave nothing anywhere else."""

import json
from typing import Any

import httpx
import pytest

from mainstay import events
from mainstay.kernel.db import Database, Sql
from tests.regions.conftest import Two, running_worker, until
from tests.regions.test_command_line import command
from tests.regions.test_residency import MARK, is_quiet, tables_with
from tests.tenancy import Tenancy

EVENTS = "/v1/key/workspace/events"
ERASURES = "/v1/key/company/erasures"
HOLDS = "/v1/key/company/holds"
PERSON = f"{MARK}-id"
# The person is the actor alone: action, category and project stay.
SPOKEN: dict[str, Any] = {"action": "doc.opened", "actor": {"id": PERSON, "email": f"{MARK}@example.eu", "name": MARK}}
ASKED = {"actorId": PERSON, "actorEmail": f"{MARK}@example.eu", "alsoKnownAs": [MARK], "reason": "asked"}

HOLD = "00000000-0000-7000-8000-00000000000a"
_HOLD = Sql(
    "t",
    """insert into mainstay.legal_holds (id, company_id, scope, reason, set_by)
       values ($2, $1, 'company', 'case', '{"kind": "operator", "id": "x"}')""",
)


async def send(api: httpx.AsyncClient, company: Tenancy) -> None:
    assert (await api.post(EVENTS, json=SPOKEN, headers=company.auth)).status_code == 201


async def asked(api: httpx.AsyncClient, company: Tenancy) -> dict[str, Any]:
    answer = await api.post(ERASURES, json=ASKED, headers=company.company_auth)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def read(api: httpx.AsyncClient, company: Tenancy, erasure_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"{ERASURES}/{erasure_id}", headers=company.company_auth)).json()
    return found


async def is_in(state: str, api: httpx.AsyncClient, company: Tenancy, erasure_id: str) -> bool:
    return bool((await read(api, company, erasure_id))["state"] == state)


async def rows_of(db: Database, table: str, company: Tenancy) -> int:
    statement = Sql("t", f"select count(*) from mainstay.{table} where company_id = $1")
    return int(await db.value(statement, company.company_id))


@pytest.mark.contract("HL-RG-01", "HL-RG-03")
async def test_an_erasure_in_the_eu_obeys_holds_there_and_nothing_of_either_is_at_home(
    two: Two, api: httpx.AsyncClient, eu_company: Tenancy, us_company: Tenancy
) -> None:
    await send(api, eu_company)
    await send(api, us_company)
    held = {"reason": f"case {MARK[:9]}", "actorEmail": f"{MARK}@example.eu"}
    hold = await api.post(HOLDS, json=held, headers=eu_company.company_auth)
    assert hold.status_code == 201, hold.text
    assert (await rows_of(two.eu, "legal_holds", eu_company), await rows_of(two.home, "legal_holds", eu_company)) == (
        1,
        0,
    )
    refused = await api.post(ERASURES, json=ASKED, headers=eu_company.company_auth)
    assert (refused.status_code, refused.json()["holdId"]) == (409, hold.json()["id"])
    assert (await api.post(f"{HOLDS}/{hold.json()['id']}/lift", headers=eu_company.company_auth)).status_code == 200
    erasure = await asked(api, eu_company)
    async with running_worker(two.home_url, two.eu_url):
        await until(lambda: is_in("completed", api, eu_company, erasure["id"]))
        await until(lambda: is_quiet(two.home))
        await until(lambda: is_quiet(two.eu))
    assert (await read(api, eu_company, erasure["id"]))["found"]["events"] == 1
    assert await tables_with(two.eu, MARK) == set()
    # The company of the US speaks of the same person, and was not asked about.
    assert await tables_with(two.home, MARK) == {"events"}
    for table in ("erasures", "erasure_steps", "erased_events", "legal_holds", "events", "jobs"):
        assert await rows_of(two.home, table, eu_company) == 0, table
    keys = await events.public_keys(two.eu)
    verdict = await events.verify_workspace(two.eu, eu_company.company_id, eu_company.workspace_id, public_keys=keys)
    assert (verdict.ok, verdict.erased) == (True, 1)


async def test_a_company_that_has_moved_is_erased_held_and_told_of_in_both_databases(
    two: Two, api: httpx.AsyncClient, us_company: Tenancy
) -> None:
    await send(api, us_company)
    first = await asked(api, us_company)
    async with running_worker(two.home_url, two.eu_url):
        await until(lambda: is_in("completed", api, us_company, first["id"]))
        await send(api, us_company)
        ran = await command(two, "companies", "move-region", us_company.company_id, "EU")
        assert ran.code == 0, ran.err
        await until(lambda: _is_stored(api, us_company))
        # As a hold that is set while the run is in the other database: there alone, so that only that part stops.
        await two.home.run(_HOLD, us_company.company_id, HOLD)
        second = await asked(api, us_company)
        await until(lambda: is_in("held", api, us_company, second["id"]))
        refused = await api.post(f"{ERASURES}/{second['id']}/resume", headers=us_company.company_auth)
        assert (refused.status_code, refused.json()["holdId"]) == (409, HOLD)
        assert (await api.post(f"{HOLDS}/{HOLD}/lift", headers=us_company.company_auth)).status_code == 200
        resumed = await api.post(f"{ERASURES}/{second['id']}/resume", headers=us_company.company_auth)
        assert resumed.status_code == 202
        await until(lambda: is_in("completed", api, us_company, second["id"]))
        await until(lambda: is_quiet(two.home))
        await until(lambda: is_quiet(two.eu))
    assert (await read(api, us_company, second["id"]))["found"]["parts"]["actor"] == 2
    told = "select payload from mainstay.events where company_id = $1 and action = 'person.erased' order by seq desc"
    assert json.loads(await two.eu.value(Sql("t", told), us_company.company_id))["found"]["events"] == 2
    assert await tables_with(two.home, MARK) == await tables_with(two.eu, MARK) == set()
    resumed_once = "select count(*) from mainstay.events where company_id = $1 and action = 'erasure.resumed'"
    assert await two.eu.value(Sql("t", resumed_once), us_company.company_id) == 1, "what was refused is not told"
    listed = (await api.get(ERASURES, headers=us_company.company_auth)).json()["data"]
    assert [(one["id"], one["state"]) for one in listed] == [(second["id"], "completed"), (first["id"], "completed")]
    page = {"limit": 1}
    seen = []
    while True:
        found = (
            await api.get(f"{ERASURES}/{second['id']}/events", params=page, headers=us_company.company_auth)
        ).json()
        seen += [(one["storedIn"], one["seq"], one["parts"]) for one in found["data"]]
        if not found["meta"]["hasMore"]:
            break
        page = {"limit": 1, "cursor": found["meta"]["nextCursor"]}
    assert seen == [("US", 2, ["actor"]), ("EU", 1, ["actor"])]
    hold = await api.post(HOLDS, json={"reason": "case"}, headers=us_company.company_auth)
    assert hold.status_code == 201
    assert [await rows_of(db, "legal_holds", us_company) for db in (two.home, two.eu)] == [2, 1]


async def _is_stored(api: httpx.AsyncClient, company: Tenancy) -> bool:
    answer = await api.post(EVENTS, json=SPOKEN, headers=company.auth)
    assert answer.status_code in (201, 503)
    return answer.status_code == 201
