"""What operators change and see of limits at run time, and what a company sees of its own."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay.kernel.db import Database
from tests.conftest import SqlClock
from tests.limits.test_policies_held import USAGE, limited, member, statuses
from tests.tenancy import Tenancy, open_tenancy

OPERATOR = {"headers": {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}}
LIMITS, OWN = "/internal/limits", "/api/v1/company/rate-limits"


async def announced(db: Database) -> list[tuple[str, str | None, Any]]:
    """What was announced of limits, oldest first."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            """select name, company_id, data->>'policy' as policy from mainstay.announcements
                where name like 'limit.%' order by id"""
        )
    return [(row["name"], row["company_id"] and str(row["company_id"]), row["policy"]) for row in rows]


async def put(client: httpx.AsyncClient, path: str, status: int = 200, **body: Any) -> Any:
    """The answer's body to a change with that status."""
    answer = await client.put(path, json={"reason": "asked for", **body}, **OPERATOR)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_every_limit_is_listed_with_its_figures_and_who_set_them(db: Database) -> None:
    async with limited(db.dsn, RATE_LIMITS="invites=50/60,refund=none") as client:
        found = {one["name"]: one for one in (await client.get(LIMITS, **OPERATOR)).json()["data"]}
    assert found["credit_charge"] == {
        "name": "credit_charge", "documentedName": "CREDIT_CHARGE", "title": "charges of credit", "countedBy": "user",
        "allowance": 10, "windowSeconds": 60, "mode": "enforced", "setBy": "default", "of": "everybody", "until": None,
    }  # fmt: skip
    assert (found["invites"]["allowance"], found["invites"]["setBy"]) == (50, "setting")
    assert (found["refund"]["allowance"], found["refund"]["mode"]) == (None, "off")


async def test_a_company_has_figures_of_its_own_until_they_end(
    db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    now = await sql_clock.stop()
    ours = {"headers": await member(db, tenancy)}
    theirs = {"headers": await member(db, await open_tenancy(db), email="eve@example.com")}
    path = f"/internal/companies/{tenancy.company_id}/rate-limits/general"
    until = (now + timedelta(hours=1)).isoformat()
    async with limited(db.dsn, RATE_LIMITS="general=1/60") as client:
        shown = (await put(client, path, allowance=3, windowSeconds=30, until=until))["data"]
        assert (shown["allowance"], shown["windowSeconds"]) == (3, 30)
        assert (shown["setBy"], shown["of"]) == ("operator", "company")
        assert await statuses(client, "GET", USAGE, 4, **ours) == [200] * 3 + [429]
        told = (await client.get(USAGE, **ours)).json()
        assert (told["policy"]["setBy"], told["policy"]["of"]) == ("operator", "company")
        assert told["policy"]["until"] is not None
        assert "set by the operator for this company until" in told["detail"]
        assert await statuses(client, "GET", USAGE, 2, **theirs) == [200, 429]
        own = {one["name"]: one for one in (await client.get(OWN, **ours)).json()["data"]}
        assert (own["general"]["allowance"], own["general"]["refusedToday"]) == (3, 2)
        assert own["general"]["lastRefusedAt"] is not None
        assert set(own) >= {"general", "refund", "key_growth"}
        assert not {"key_free", "login_failures"} & set(own)
        await sql_clock.move(timedelta(hours=1))
        again = (await client.get(path.removesuffix("/general"), **OPERATOR)).json()["data"]
        assert next(one["allowance"] for one in again if one["name"] == "general") == 1
    assert await announced(db) == [("limit.changed", tenancy.company_id, "general")]


async def test_figures_for_everybody_and_back(db: Database, tenancy: Tenancy) -> None:
    async with limited(db.dsn) as client:
        shown = (await put(client, f"{LIMITS}/CREDIT_CHARGE/figures", allowance=20))["data"]
        assert (shown["name"], shown["allowance"], shown["windowSeconds"], shown["of"]) == (
            "credit_charge", 20, 60, "everybody",
        )  # fmt: skip
        own = f"/internal/companies/{tenancy.company_id}/rate-limits/credit_charge"
        assert (await put(client, own, allowance=30))["data"]["allowance"] == 30
        for path, left in ((own, 20), (f"{LIMITS}/credit_charge/figures", 10), (own, 10)):
            dropped = await client.delete(path, **OPERATOR)
            assert (dropped.status_code, dropped.json()["data"]["allowance"]) == (200, left)
    assert len(await announced(db)) == 4


async def test_shadow_lets_pass_and_reports_whom_it_would_refuse(db: Database, tenancy: Tenancy) -> None:
    ours = {"headers": await member(db, tenancy)}
    async with limited(db.dsn, RATE_LIMITS="general=2/60,key_growth=1/60") as client:
        assert (await put(client, f"{LIMITS}/general", mode="shadow"))["data"]["mode"] == "shadow"
        await put(client, f"{LIMITS}/key_growth", mode="shadow")
        answers = [await client.get(USAGE, **ours) for _ in range(5)]
        assert [one.status_code for one in answers] == [200] * 5
        assert not any("ratelimit" in one.headers for one in answers)
        assert await statuses(client, "GET", "/v1/key/workspace", 3, headers=tenancy.auth) == [200] * 3
        for policy, calls in (("general", 3), ("key_growth", 2)):
            report = (await client.get(f"{LIMITS}/{policy}/report", **OPERATOR)).json()
            assert (report["companies"], report["calls"]) == (1, calls)
            (row,) = report["data"]
            assert (row["companyId"], row["mode"], row["calls"]) == (tenancy.company_id, "shadow", calls)
            assert row["firstAt"] <= row["lastAt"]
        later = (await client.get(f"{LIMITS}/general/report", params={"since": "9000-01-01"}, **OPERATOR)).json()
        assert later["data"] == []
        own = {one["name"]: one for one in (await client.get(OWN, **ours)).json()["data"]}
        assert own["general"]["refusedToday"] == 0
    assert await announced(db) == [("limit.mode_changed", None, "general"), ("limit.mode_changed", None, "key_growth")]


async def test_a_mode_changes_on_another_node_within_a_second(db: Database, tenancy: Tenancy) -> None:
    ours = {"headers": await member(db, tenancy)}
    async with limited(db.dsn, RATE_LIMITS="general=1/60") as one, limited(db.dsn, RATE_LIMITS="general=1/60") as other:
        assert await statuses(one, "GET", USAGE, 1, **ours) == [200]
        assert await statuses(other, "GET", USAGE, 1, **ours) == [429]
        await put(one, f"{LIMITS}/general", mode="off")
        async with db.connection() as connection:
            await connection.execute("select pg_sleep(1.0)")
        assert await statuses(other, "GET", USAGE, 2, **ours) == [200, 200]
        assert (await one.delete(f"{LIMITS}/general", **OPERATOR)).json()["data"]["mode"] == "enforced"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"allowance": 0}, "#/allowance"),
        ({"allowance": 1_000_000_001}, "#/allowance"),
        ({"allowance": 1, "windowSeconds": 0}, "#/windowSeconds"),
        ({"allowance": 1, "windowSeconds": 86_401}, "#/windowSeconds"),
        ({"allowance": 1, "until": "2020-01-01T00:00:00Z"}, "#/until"),
        ({"allowance": 1, "until": "9999-12-31T23:59:59-12:00"}, "#/until"),
        ({"allowance": 1, "until": "2100-01-01T00:00:00"}, "#/until"),
        ({"allowance": 1, "reason": " "}, "#/reason"),
        ({"allowance": 1, "reason": "r" * 501}, "#/reason"),
        ({"allowance": 1, "reason": "two\nlines"}, "#/reason"),
        ({"allowance": "1"}, "#/allowance"),
    ],
)
async def test_what_cannot_hold_is_refused_with_a_pointer(
    api: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    refused = await put(api, f"{LIMITS}/refund/figures", 400, **change)
    assert [one["pointer"] for one in refused["errors"]] == [pointer]


async def test_limits_at_their_edges_hold_and_what_is_unknown_is_not_found(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    for allowance, seconds in ((1, 1), (1_000_000_000, 86_400)):
        await put(api, f"{LIMITS}/refund/figures", allowance=allowance, windowSeconds=seconds, reason="r" * 500)
    assert (await put(api, f"{LIMITS}/refund", 400, mode="on"))["errors"][0]["pointer"] == "#/mode"
    assert (await put(api, f"{LIMITS}/refunds", 404, mode="off"))["code"] == "limit-not-found"
    nobody = f"/internal/companies/{tenancy.key_id}/rate-limits/refund"
    assert (await put(api, nobody, 404, allowance=1))["code"] == "company-not-found"
    bad = await api.get(f"{LIMITS}/refund/report", params={"since": "yesterday"}, **OPERATOR)
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (400, "since")
    assert len(await announced(db)) == 2
