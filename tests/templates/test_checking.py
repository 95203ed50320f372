"""Events are held against the rules of their workspace as they arrive."""

from typing import Any

import httpx
import pytest

from mainstay.events import verify_workspace
from tests.templates.conftest import EVENTS, TEMPLATES, Ruled, faults
from tests.tenancy import open_tenancy

GOOD = {
    "actor": {"id": "u-1", "email": "ada@example.com"},
    "metadata": {"requestId": "r-1"},
    "projectId": "p-1",
}
RULES: dict[str, Any] = {
    "requiredActorFields": ["id", "email"],
    "requiredMetadataKeys": ["requestId"],
    "projectRequired": True,
}


@pytest.mark.contract("HL-E-08", "HL-T-02")
async def test_a_bad_event_is_refused_with_every_reason_and_a_good_one_passes(company: Ruled) -> None:
    await company.ruled(**RULES)
    refused = await company.send(actor={"name": "Ada"}, metadata={"other": 1})
    assert refused.json()["type"].endswith("rules-broken")
    assert set(faults(refused)) == {"#/actor/id", "#/actor/email", "#/metadata/requestId", "#/projectId"}
    assert await company.stored() == 0
    assert (await company.send(**GOOD)).status_code == 201
    assert await company.stored() == 1
    unassigned = await company.send(key=company.tenancy.other_key)
    assert unassigned.status_code == 201


@pytest.mark.contract("HL-E-08", "HL-T-02")
async def test_a_template_that_flags_stores_the_event_with_its_flags(company: Ruled) -> None:
    made = await company.ruled("flag", **RULES)
    answer = await company.send(**{**GOOD, "actor": {"id": "u-1"}})
    assert answer.status_code == 201
    flags = answer.json()["flags"]
    assert flags == [
        {
            "rule": "requiredActorFields",
            "pointer": "#/actor/email",
            "detail": "the actor's email is required",
            "templateId": made["id"],
        }
    ]
    good = (await company.send(**GOOD)).json()
    assert "flags" not in good
    headers = company.tenancy.auth
    read = (await company.api.get(f"{EVENTS}/{answer.json()['id']}", headers=headers)).json()
    assert read["flags"] == flags
    assert "flags" not in (await company.api.get(f"{EVENTS}/{good['id']}", headers=headers)).json()
    listed = (await company.api.get(EVENTS, headers=headers)).json()["data"]
    assert ["flags" in one for one in listed] == [False, False]
    listed = (await company.api.get(EVENTS, params={"include": "flags"}, headers=headers)).json()["data"]
    assert [one.get("flags") for one in listed] == [None, flags]
    ours = (company.tenancy.company_id, company.tenancy.workspace_id)
    assert (await verify_workspace(company.db, *ours, public_keys={})).ok


@pytest.mark.contract("HL-T-03")
@pytest.mark.parametrize("name", ["id", "email", "name"])
async def test_a_required_actor_field_is_named_where_it_is_missing(company: Ruled, name: str) -> None:
    await company.ruled(requiredActorFields=[name])
    whole = {"id": "u-1", "email": "ada@example.com", "name": "Ada"}
    rest = {key: value for key, value in whole.items() if key != name}
    for event in ({"actor": rest}, {}):
        told = faults(await company.send(**event))
        assert list(told) == [f"#/actor/{name}"]
        assert name in told[f"#/actor/{name}"]
    assert (await company.send(actor=whole)).status_code == 201


@pytest.mark.contract("HL-T-04")
async def test_a_required_metadata_key_is_named_where_it_is_missing(company: Ruled) -> None:
    await company.ruled(requiredMetadataKeys=["requestId", "a/b~c"])
    assert set(faults(await company.send())) == {"#/metadata/requestId", "#/metadata/a~1b~0c"}
    assert set(faults(await company.send(metadata={"requestId": None, "a/b~c": 0}))) == {"#/metadata/requestId"}
    assert (await company.send(metadata={"requestId": "", "a/b~c": False})).status_code == 201


@pytest.mark.contract("HL-T-05")
async def test_an_event_without_a_category_gets_the_default_of_the_closest_pattern(company: Ruled) -> None:
    await company.ruled(defaultCategories={"*": "other", "user.*": "people", "user.signed_in": "access"})
    for action, category in (("user.signed_in", "access"), ("user.left.early", "people"), ("invoice.paid", "other")):
        assert (await company.send(action=action)).json()["category"] == category
    assert (await company.send(category="own")).json()["category"] == "own"
    assert (await company.send(key=company.tenancy.other_key)).json()["category"] == "general"


@pytest.mark.contract("HL-T-07")
async def test_an_event_without_a_project_is_refused_where_one_is_required(company: Ruled) -> None:
    await company.ruled(projectRequired=True)
    assert list(faults(await company.send())) == ["#/projectId"]
    assert (await company.send(projectId="p")).status_code == 201


async def test_each_event_of_a_batch_is_judged_alone(company: Ruled) -> None:
    await company.ruled(requiredActorFields=["email"])
    await company.assign(await company.template("flags", "flag", projectRequired=True))
    good = {"action": "a", "actor": {"email": "a@example.com"}}
    batch = [good, {"action": "b"}, {**good, "projectId": "p"}]
    answer = await company.api.post(f"{EVENTS}/batch", json={"events": batch}, headers=company.tenancy.auth)
    assert answer.status_code == 200
    one, two, three = answer.json()["data"]
    assert (one["status"], two["status"], three["status"]) == (201, 422, 201)
    assert [flag["pointer"] for flag in one["flags"]] == ["#/projectId"]
    assert "flags" not in three
    assert two["error"]["code"] == "rules-broken"
    assert [fault["pointer"] for fault in two["error"]["errors"]] == ["#/events/1/actor/email"]
    assert answer.json()["meta"] == {"received": 3, "stored": 2, "replayed": 0, "refused": 1}


async def test_what_a_key_stored_before_the_rules_is_answered_again(company: Ruled) -> None:
    before = await company.send(idempotency="k")
    batch = {"events": [{"action": "a", "idempotencyKey": "b"}, {"action": "a", "idempotencyKey": "new"}]}
    path, headers = f"{EVENTS}/batch", company.tenancy.auth
    first = await company.api.post(path, json={"events": batch["events"][:1]}, headers=headers)
    await company.ruled(projectRequired=True)
    again = await company.send(idempotency="k")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json()["id"] == before.json()["id"]
    assert list(faults(await company.send(idempotency="fresh"))) == ["#/projectId"]
    assert (await company.send(idempotency="k", action="other")).json()["type"].endswith("rules-broken") is False
    one, two = (await company.api.post(path, json=batch, headers=headers)).json()["data"]
    assert (one["status"], one["replayed"], one["id"]) == (201, True, first.json()["data"][0]["id"])
    assert two["status"] == 422


async def test_a_change_holds_and_so_does_the_end_of_an_assignment(company: Ruled) -> None:
    made = await company.ruled(projectRequired=True)
    assert (await company.send()).status_code == 422
    await company.call("PATCH", f"{TEMPLATES}/{made['id']}", json={"mode": "flag"})
    assert (await company.send()).json()["flags"]
    await company.call("DELETE", f"{TEMPLATES}/{made['id']}/assignments/{company.tenancy.workspace_id}")
    assert "flags" not in (await company.send()).json()


async def test_rules_are_asked_for_once_a_second_and_never_for_a_company_without(
    company: Ruled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.templates.checking.FRESH_SECONDS", 3_600.0)
    asked: list[str] = []
    real = company.db.__class__.rows

    async def counted(self: Any, sql: Any, *args: Any) -> Any:
        asked.append(sql.name)
        return await real(self, sql, *args)

    monkeypatch.setattr(company.db.__class__, "rows", counted)
    other = await open_tenancy(company.db)
    for _ in range(5):
        assert (await company.send(key=other.key)).status_code == 201
    assert asked.count("templates.marks") == 1
    assert [name for name in asked if name.startswith("templates.") and name != "templates.marks"] == []
    await company.ruled(projectRequired=True)
    assert (await company.send()).status_code == 201, "within the time that rules are remembered"


async def test_flags_follow_an_event_only_where_it_is_stored(company: Ruled) -> None:
    await company.ruled("flag", projectRequired=True)
    first = await company.send(idempotency="k")
    again = await company.send(idempotency="k")
    assert again.json()["id"] == first.json()["id"]
    async with company.db.connection() as connection:
        assert await connection.fetchval("select count(*) from mainstay.event_flags") == 1


async def test_flags_stay_within_a_company(company: Ruled, api: httpx.AsyncClient) -> None:
    await company.ruled("flag", projectRequired=True)
    event = (await company.send()).json()
    path = f"/v1/key/company/events/{event['id']}"
    shown = await api.get(path, headers=company.tenancy.company_auth)
    assert shown.json()["flags"]
    other = await open_tenancy(company.db)
    assert (await api.get(path, headers=other.company_auth)).status_code == 404
