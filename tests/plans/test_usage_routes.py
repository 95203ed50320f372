"""Usage over HTTP: what keys and people are told, what people choose, what operators set."""

import secrets
from typing import Any

import httpx
import pytest

from mainstay import identity, plans
from mainstay.kernel.db import Database, Sql
from mainstay.plans import alerts, periods
from tests.conftest import SqlClock
from tests.plans.conftest import Send, go_to_next_month, this_month
from tests.plans.test_thresholds import BOOK
from tests.tenancy import OPERATOR, Tenancy, bearer, open_tenancy

INTERNAL = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
SOFT = {"kind": "soft", "unit": "absolute", "amount": 1}
EVENT = {"action": "user.signed_in"}
USAGE, THRESHOLDS = "/api/v1/company/usage", "/api/v1/company/thresholds"


@pytest.fixture
async def owner(db: Database, tenancy: Tenancy) -> dict[str, str]:
    """The headers of the company's owner."""
    async with db.begin() as tx:
        person = await identity.add_person(
            tx, OPERATOR, tenancy.company_id, email=f"{secrets.token_hex(6)}@example.com", name="P",
            password_hash="$argon2id$unused", role="owner",
        )  # fmt: skip
    return await bearer(db, person.id, tenancy.company_id)


async def told(api: httpx.AsyncClient, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """The data of an answer."""
    answer = await api.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_a_company_key_reads_what_its_company_used(
    api: httpx.AsyncClient, db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    before = await this_month(db)
    await send(3)
    month = await go_to_next_month(db, sql_clock)
    await periods.roll_over(db)
    await send(40)
    await send(10, workspace_id=tenancy.other_workspace_id)
    usage = await told(api, "/v1/key/company/usage", tenancy.company_auth)
    (events,) = usage["meters"]
    assert (usage["companyId"], usage["plan"], usage["addOns"]) == (tenancy.company_id, "growth", [])
    assert usage["period"]["start"] == f"{month}T00:00:00.000000Z"
    assert usage["period"]["end"] > usage["period"]["start"]
    assert 0.002 < usage["period"]["elapsedShare"] < 0.004
    assert (events["quantity"], events["quota"], events["percent"], events["remaining"]) == (
        50,
        1_000_000,
        0.01,
        999_950,
    )
    assert 28 * 12 * 50 <= events["projected"] + 100 <= 31 * 12 * 50 + 200
    assert events["workspaceCount"] == 2
    assert events["workspaces"] == [
        {"workspaceId": tenancy.workspace_id, "quantity": 40},
        {"workspaceId": tenancy.other_workspace_id, "quantity": 10},
    ]
    (old,) = usage["history"]
    assert (old["meter"], old["periodStart"], old["periodEnd"], old["quantity"]) == (
        "events",
        str(before),
        str(month),
        3,
    )
    assert usage["limits"] == {"exportRows": 250_000, "retentionDays": 90, "eventQuota": 1_000_000, "own": []}
    assert (usage["blocksAtLimit"], usage["allowance"], usage["thresholds"]) == (False, None, [])


async def test_a_workspace_key_reads_its_own_workspace_alone(
    api: httpx.AsyncClient, tenancy: Tenancy, send: Send
) -> None:
    await send(4)
    await send(9, workspace_id=tenancy.other_workspace_id)
    usage = await told(api, "/v1/key/workspace/usage", tenancy.auth)
    (events,) = usage["meters"]
    assert usage["workspaceId"] == tenancy.workspace_id
    assert (events["quantity"], events["quota"]) == (4, 1_000_000)
    assert [one["workspaceId"] for one in events["workspaces"]] == [tenancy.workspace_id]
    assert "thresholds" not in usage


async def test_figures_of_a_company_at_a_glance(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    from mainstay.events import minutes

    for key in (tenancy.key, tenancy.key, tenancy.other_key):
        assert (await api.post("/v1/key/workspace/events", json=EVENT, headers={"x-api-key": key})).status_code == 201
    async with db.begin() as tx:
        await minutes.sample(tx)
    stats = await told(api, "/v1/key/company/stats", tenancy.company_auth)
    assert stats["events"]["today"] == stats["events"]["last24h"] == stats["events"]["thisMonth"] == 3
    assert [one["quantity"] for one in stats["events"]["byWorkspace"]] == [2, 1]
    assert stats["webhooks"] == {"attempts24h": 0, "delivered24h": 0, "failed24h": 0}


async def test_a_threshold_from_its_making_to_its_alert(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, owner: dict[str, str], send: Send
) -> None:
    body = {
        "kind": "soft", "unit": "absolute", "amount": 5,
        "targets": [
            {"kind": "email", "to": "ops@acme.example"}, {"kind": "webhook", "to": "http://127.0.0.1:9/x?token=s3cret"},
        ],
    }  # fmt: skip
    made = await api.post(THRESHOLDS, json=body, headers=owner)
    assert made.status_code == 201, made.text
    threshold = made.json()["data"]
    assert threshold["targets"][1].pop("secret").startswith("whsec_")
    listed = (await api.get(THRESHOLDS, headers=owner)).json()["data"]
    assert listed == [threshold]
    assert threshold["targets"][1]["to"] == "http://127.0.0.1/…"
    assert (threshold["state"], threshold["limit"], threshold["alert"]) == ("below", 5, None)
    await send(6)
    await alerts.check(db, db, BOOK)
    (shown,) = (await told(api, "/v1/key/company/usage", tenancy.company_auth))["thresholds"]
    assert (shown["state"], shown["alert"]["quantity"], shown["targets"]) == ("crossed", 6, None)
    (alert,) = (await api.get("/api/v1/company/alerts", headers=owner)).json()["data"]
    assert (alert["thresholdId"], alert["limit"], alert["quantity"]) == (threshold["id"], 5, 6)
    assert [(one["kind"], one["outcome"]) for one in alert["sends"]] == [("email", None), ("webhook", None)]
    path = f"{THRESHOLDS}/{threshold['id']}"
    assert (await api.delete(path, headers=owner)).status_code == 204
    assert (await api.delete(path, headers=owner)).json()["code"] == "threshold-not-found"
    assert (await api.get(THRESHOLDS, headers=owner)).json()["data"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#"),
        ({"kind": "loud", "unit": "absolute", "amount": 1}, "#/kind"),
        ({"kind": "soft", "unit": "absolute", "amount": 0}, "#/amount"),
        ({"kind": "soft", "unit": "absolute", "amount": 10**12 + 1}, "#/amount"),
        ({"kind": "soft", "unit": "absolute", "amount": "1"}, "#/amount"),
        ({**SOFT, "more": 1}, "#"),
        ({**SOFT, "targets": [{"kind": "sms", "to": "123"}]}, "#/targets/0/kind"),
        ({**SOFT, "targets": [{"kind": "email", "to": "a@b.c"}] * 11}, "#/targets"),
        ({**SOFT, "meter": "x"}, "#/meter"),
    ],
)  # fmt: skip
async def test_bad_thresholds_are_told_what_is_wrong_and_where(
    body: dict[str, Any], pointer: str, api: httpx.AsyncClient, owner: dict[str, str]
) -> None:
    answer = await api.post(THRESHOLDS, json=body, headers=owner)
    assert answer.status_code == 400, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert (await api.get(THRESHOLDS, headers=owner)).json()["data"] == []


async def test_a_company_chooses_to_be_stopped_and_is_told_when_it_may_go_on(
    api: httpx.AsyncClient, tenancy: Tenancy, owner: dict[str, str]
) -> None:
    limit = f"/internal/companies/{tenancy.company_id}/limits/eventQuota"
    assert (await api.put(limit, json={"amount": 2}, headers=INTERNAL)).status_code == 200
    chosen = await api.patch(USAGE, json={"blocksAtLimit": True}, headers=owner)
    assert (chosen.status_code, chosen.json()["data"]["allowance"]) == (200, 2)

    async def post(path: str = "", body: Any = EVENT, **headers: str) -> httpx.Response:
        return await api.post(f"/v1/key/workspace/events{path}", json=body, headers={**tenancy.auth, **headers})

    assert (await post()).status_code == 201
    refused = await post("/batch", {"events": [EVENT] * 2})
    kept = await post(**{"idempotency-key": "k"})
    assert (refused.status_code, kept.status_code) == (429, 201)
    problem = (await post()).json()
    assert (problem["status"], problem["code"], problem["type"]) == (
        429,
        "quota-reached",
        "urn:mainstay:problem:quota-reached",
    )
    assert (problem["meter"], problem["allowance"], problem["used"]) == ("events", 2, 2)
    assert problem["resetsAt"].endswith("-01T00:00:00.000000Z")
    assert refused.headers["content-type"] == "application/problem+json"
    assert int(refused.headers["retry-after"]) >= 1
    again = await post(**{"idempotency-key": "k"})
    assert (again.status_code, again.json()["id"]) == (201, kept.json()["id"])
    usage = await told(api, USAGE, owner)
    assert (usage["meters"][0]["quantity"], usage["meters"][0]["remaining"]) == (2, 0)
    freed = await api.patch(USAGE, json={"blocksAtLimit": False}, headers=owner)
    assert freed.json()["data"]["allowance"] is None


@pytest.mark.contract("HL-P-02")
async def test_operators_grant_and_remove_what_the_company_sees(
    api: httpx.AsyncClient, tenancy: Tenancy, owner: dict[str, str]
) -> None:
    add_on = f"/internal/companies/{tenancy.company_id}/add-ons/RETENTION_S3_ARCHIVE"
    for _ in range(2):
        assert (await api.put(add_on, headers=INTERNAL)).json()["data"]["addOns"] == ["RETENTION_S3_ARCHIVE"]
    held = (await api.get("/api/v1/company/add-ons", headers=owner)).json()["data"]
    assert [one["code"] for one in held] == ["RETENTION_S3_ARCHIVE"]
    for _ in range(2):
        assert (await api.delete(add_on, headers=INTERNAL)).json()["data"]["addOns"] == []
    assert (await api.get("/api/v1/company/add-ons", headers=owner)).json()["data"] == []
    unknown = await api.put(f"/internal/companies/{tenancy.company_id}/add-ons/retention_plus", headers=INTERNAL)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "add-on-not-found")


async def test_operators_set_the_plan_and_limits(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    company = f"/internal/companies/{tenancy.company_id}"
    standing = (await api.put(f"{company}/plan", json={"plan": "starter"}, headers=INTERNAL)).json()["data"]
    assert (standing["plan"], standing["limits"]["exportRows"]) == ("starter", 50_000)
    own = (await api.put(f"{company}/limits/exportRows", json={"amount": None}, headers=INTERNAL)).json()["data"]
    assert own["limits"] == {"exportRows": None, "retentionDays": 30, "eventQuota": 100_000, "own": ["export_rows"]}
    dropped = (await api.delete(f"{company}/limits/exportRows", headers=INTERNAL)).json()["data"]
    assert (dropped["limits"]["exportRows"], dropped["limits"]["own"]) == (50_000, [])
    assert (await api.get(f"{company}/plan", headers=INTERNAL)).json()["data"] == dropped
    for path, body in (
        ("plan", {"plan": "gold"}),
        ("limits/other", {"amount": 1}),
        ("limits/exportRows", {"amount": 0}),
    ):
        refused = await api.put(f"{company}/{path}", json=body, headers=INTERNAL)
        assert refused.status_code == 400, refused.text
    assert (await plans.Book().standing(db, tenancy.company_id)).plan == "starter"
    actors = await db.rows(
        Sql("t", "select actor->>'kind' as k from mainstay.announcements where name ~ '^(plan|limit)'")
    )
    assert {row["k"] for row in actors} == {"operator"}


async def test_a_company_of_another_is_not_touched(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    other = await open_tenancy(db)
    await api.put(f"/internal/companies/{tenancy.company_id}/limits/eventQuota", json={"amount": 1}, headers=INTERNAL)
    usage = await told(api, "/v1/key/company/usage", other.company_auth)
    assert usage["limits"]["eventQuota"] == 1_000_000
