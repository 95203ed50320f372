"""One workspace of a company, as its company key sees it in the whole application."""

import httpx

from mainstay import identity
from mainstay.kernel.db import Database
from mainstay.kernel.regions import Regions
from tests.tenancy import OPERATOR, Tenancy, open_tenancy

PATH = "/v1/key/company/workspaces"


async def test_a_workspace_is_told_with_what_it_holds(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    batch = {"events": [{"action": "user.signed_in"}] * 3}
    stored = await api.post("/v1/key/workspace/events/batch", json=batch, headers=tenancy.auth)
    assert stored.status_code == 200
    answer = await api.get(f"{PATH}/{tenancy.workspace_id}", headers=tenancy.company_auth)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    listed = (await api.get(PATH, headers=tenancy.company_auth)).json()["data"]
    assert told["workspace"] in listed
    assert (told["workspace"]["name"], told["workspace"]["id"]) == ("Production", tenancy.workspace_id)
    usage = told["stats"].pop("latestUsage")
    assert told["stats"] == {"events": 3}
    assert usage["events"] == 3
    assert usage["periodStart"] < usage["periodEnd"]
    empty = (await api.get(f"{PATH}/{tenancy.other_workspace_id}", headers=tenancy.company_auth)).json()["stats"]
    assert (empty["events"], empty["latestUsage"]["events"]) == (0, 0)


async def test_another_companys_workspace_is_not_there(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    theirs = await open_tenancy(db)
    for workspace_id in (theirs.workspace_id, "x", identity.OPERATOR_WORKSPACE):
        answer = await api.get(f"{PATH}/{workspace_id}", headers=tenancy.company_auth)
        assert answer.status_code == 404


async def test_a_key_that_moved_keeps_its_labels_and_why_it_ended(db: Database, tenancy: Tenancy) -> None:
    company_id = tenancy.company_id
    async with db.begin() as tx:
        kept = await identity.issue_key(tx, OPERATOR, company_id, kind="company", name="k", labels=["ci"])
        await identity.revoke_key(tx, OPERATOR, company_id, kept.record.id, reason="leaked")
    await identity.move_company(Regions(db, {}), OPERATOR, company_id, "EU")
    moved = await identity.get_key(db, company_id, kept.record.id)
    assert (moved.labels, moved.revoked_reason) == (("ci",), "leaked")
