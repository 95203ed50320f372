"""A legal hold wins over erasure and over retention, says so, and both are on record."""

from datetime import timedelta
from typing import Any

import pytest

from mainstay import archive
from mainstay.erasure import erasing
from mainstay.kernel.db import Sql
from tests.erasure.conftest import ADA, BOB, ERASURES, HOLDS, Erasing
from tests.tenancy import Tenancy, open_tenancy

ASKED = {"actorId": ADA["id"], "reason": "asked"}


async def _hold(erasing_site: Erasing, tenancy: Tenancy, **more: Any) -> dict[str, Any]:
    body = {"reason": "case 11", **more}
    answer = await erasing_site.site.api.post(HOLDS, json=body, headers=tenancy.company_auth)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_each_kind_of_hold_refuses_an_erasure_and_says_which_it_is(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy = await site.company()
    for scope, more in (
        ("company", {}),
        ("workspace", {"workspaceId": tenancy.workspace_id}),
        ("subject", {"actorId": ADA["id"]}),
    ):
        hold = await _hold(erasing_site, tenancy, **more)
        assert (hold["scope"], hold["liftedAt"]) == (scope, None)
        refused = await site.api.post(ERASURES, json=ASKED, headers=tenancy.company_auth)
        assert (refused.status_code, refused.json()["holdId"]) == (409, hold["id"])
        counted = await site.api.post(ERASURES, json={**ASKED, "dryRun": True}, headers=tenancy.company_auth)
        assert counted.status_code == 202
        lifted = await site.api.post(f"{HOLDS}/{hold['id']}/lift", headers=tenancy.company_auth)
        assert (lifted.status_code, lifted.json()["actorId"]) == (200, None)
        assert lifted.json()["liftedBy"]["id"] == tenancy.company_key_id
    assert (await site.api.post(ERASURES, json=ASKED, headers=tenancy.company_auth)).status_code == 202
    told = [await site.told(name) for name in ("hold.set", "hold.lifted")]
    assert [[one["scope"] for one in some] for some in told] == [["company", "workspace", "subject"]] * 2
    listed = (await site.api.get(HOLDS, headers=tenancy.company_auth)).json()["data"]
    assert [one["scope"] for one in listed] == ["subject", "workspace", "company"]


async def test_a_hold_on_one_person_lets_others_be_erased_up_to_what_they_share(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    alone = {"action": "a", "actor": ADA}
    shared = {"action": "b", "actor": BOB, "payload": {"with": ADA["email"]}}
    await erasing_site.send(tenancy, [alone])
    await _hold(erasing_site, tenancy, actorEmail=BOB["email"])
    assert (await erasing_site.erase(tenancy))["state"] == "completed"
    await erasing_site.send(tenancy, [shared])
    held = await erasing_site.erase(tenancy)
    assert held["state"] == "held"
    assert held["holdId"]
    row = (await erasing_site.site.rows(tenancy))[1]
    assert ADA["email"] in row["payload"]


async def test_a_hold_that_is_set_during_a_run_stops_the_rest(
    erasing_site: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = erasing_site.site
    tenancy = await site.company()
    monkeypatch.setattr(erasing, "STEP", 2)
    await erasing_site.send(tenancy, [{"action": f"n{n}", "actor": ADA} for n in range(6)])
    asked = await erasing_site.ask(tenancy)
    real, steps = erasing._erase_stored, 0

    async def one_step_then_a_hold(*given: Any) -> None:
        nonlocal steps
        if steps == 1:
            await _hold(erasing_site, tenancy)
        steps += 1
        await real(*given)

    monkeypatch.setattr(erasing, "_erase_stored", one_step_then_a_hold)
    assert await erasing_site.run(tenancy, asked["id"]) is None
    held = await erasing_site.read(tenancy, asked["id"])
    assert (held["state"], held["found"]["events"], held["progress"]["eventsLookedAt"]) == ("held", 2, 2)
    assert [row["actor_id"] for row in await site.rows(tenancy)] == [None] * 2 + [ADA["id"]] * 4
    assert (await erasing_site.verdict(tenancy)).ok
    assert [one["holdId"] for one in await site.told("erasure.held")] == [held["holdId"]]

    resume = f"{ERASURES}/{asked['id']}/resume"
    refused = await site.api.post(resume, headers=tenancy.company_auth)
    assert (refused.status_code, refused.json()["holdId"]) == (409, held["holdId"])
    await site.api.post(f"{HOLDS}/{held['holdId']}/lift", headers=tenancy.company_auth)
    assert (await site.api.post(resume, headers=tenancy.company_auth)).status_code == 202
    monkeypatch.setattr(erasing, "_erase_stored", real)
    await erasing_site.run(tenancy, asked["id"])
    done = await erasing_site.read(tenancy, asked["id"])
    assert (done["state"], done["found"]["events"]) == ("completed", 6)
    assert (await site.api.post(resume, headers=tenancy.company_auth)).status_code == 409


@pytest.mark.parametrize("scope", ["company", "workspace", "subject", "other workspace"])
async def test_retention_deletes_and_cuts_nothing_under_a_hold(erasing_site: Erasing, scope: str) -> None:
    site = erasing_site.site.allowing(deletes=True)
    tenancy = await site.company(archived=False, plan="free")
    await erasing_site.send(tenancy, [{"action": "a", "actor": ADA}])
    given = {
        "company": {},
        "workspace": {"workspaceId": tenancy.workspace_id},
        "subject": {"actorId": BOB["id"]},
        "other workspace": {"workspaceId": tenancy.other_workspace_id},
    }[scope]
    hold = await _hold(erasing_site, tenancy, **given)
    await site.clock.move(timedelta(days=8))
    await archive.mark(site.ground)
    await site.clock.move(timedelta(days=31))
    await archive.cut(site.ground)
    if scope == "other workspace":
        assert await site.rows(tenancy) == []
        return
    assert len(await site.rows(tenancy)) == 1
    await site.api.post(f"{HOLDS}/{hold['id']}/lift", headers=tenancy.company_auth)
    await archive.cut(site.ground)
    assert await site.rows(tenancy) == []


async def test_operators_hold_and_lift_and_strangers_see_nothing(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy, stranger = await site.company(), await open_tenancy(erasing_site.db)
    token = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
    path = f"/internal/companies/{tenancy.company_id}/holds"
    hold = (await site.api.post(path, json={"reason": "order of a court"}, headers=token)).json()
    assert hold["setBy"]["kind"] == "operator"
    assert (await site.api.get(HOLDS, headers=stranger.company_auth)).json()["data"] == []
    foreign = await site.api.post(f"{HOLDS}/{hold['id']}/lift", headers=stranger.company_auth)
    assert foreign.status_code == 404
    assert (await site.api.post(f"{path}/{hold['id']}/lift", headers=token)).status_code == 200
    for wrong in ("nobody", stranger.workspace_id):
        answer = await site.api.post(f"/internal/companies/{wrong}/holds", json={"reason": "order"}, headers=token)
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"reason": "x"}, 400),
        ({"reason": "case", "workspaceId": "nowhere"}, 404),
        ({"reason": "case", "workspaceId": "01a1fe2d-4ec4-7b04-9378-5cd107be3f19"}, 404),
        ({"reason": "case", "workspaceId": "w", "actorId": "a"}, 400),
        ({"reason": "case of u-9", "actorId": "u-9"}, 400),
    ],
)
async def test_bad_holds_are_refused(api: Any, tenancy: Tenancy, body: dict[str, Any], status: int) -> None:
    answer = await api.post(HOLDS, json=body, headers=tenancy.company_auth)
    assert answer.status_code == status, answer.text
    assert (await api.get(HOLDS, headers=tenancy.company_auth)).json()["data"] == []


async def test_whom_a_hold_is_on_is_sealed_and_forgotten_when_it_is_lifted(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    hold = await _hold(erasing_site, tenancy, actorEmail="Eve@example.com")
    assert hold["actorEmail"] == "Eve@example.com"
    assert await erasing_site.places_of(("eve@example.com",)) == []
    await erasing_site.site.api.post(f"{HOLDS}/{hold['id']}/lift", headers=tenancy.company_auth)
    statement = Sql("t", "select subject_sealed from mainstay.legal_holds")
    assert await erasing_site.db.value(statement) is None
