"""A company demands a second factor: who may say so, who would be locked out, and from when it holds."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import mfa
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database
from tests.mfa.conftest import People, announced

AT = "/api/v1/company/mfa"


async def put(api: httpx.AsyncClient, headers: dict[str, str], **body: Any) -> httpx.Response:
    """The answer to a demand."""
    return await api.put(AT, headers=headers, json=body)


async def test_an_owner_sees_who_would_be_locked_out_and_demands_it(
    api: httpx.AsyncClient, owners: People, db: Database
) -> None:
    one, staff = await owners.with_factor(), await owners.add("staff")
    waiting, away = await owners.begin(await owners.add("manager")), await owners.add("staff")
    async with db.begin() as tx:
        await tx.connection.execute(
            "update mainstay.memberships set suspended_at = mainstay.now() where person_id = $1", away.id
        )
    headers = await owners.headers(one)
    before = (await api.get(AT, headers=headers)).json()["data"]
    assert (before["required"], before["from"], before["members"], before["withoutFactor"]) == (False, None, 3, 2)
    assert {person["id"] for person in before["people"]} == {staff.id, waiting.id}

    on = await put(api, headers, required=True)
    assert on.status_code == 200, on.text
    data = on.json()["data"]
    assert (data["required"], data["from"], data["withoutFactor"]) == (True, iso(owners.now), 2)
    await owners.clock.move(timedelta(minutes=10))
    assert (await put(api, headers, required=True)).json()["data"]["from"] == iso(owners.now)
    off = (await put(api, headers, required=False)).json()["data"]
    assert (off["required"], off["from"]) == (False, None)
    told = [data for _, data in await announced(db, "company.secured")]
    assert [one["mfaRequired"] for one in told] == [True, True, False]
    assert told[0]["withoutFactor"] == 2


async def test_a_day_is_within_a_year_or_refused(api: httpx.AsyncClient, owners: People) -> None:
    headers, now = await owners.headers(await owners.with_factor()), owners.now
    edge = now + timedelta(days=366)
    day = (now + timedelta(days=30)).date().isoformat()
    for given, kept in (
        (day, f"{day}T00:00:00.000000Z"),
        (edge.isoformat(), iso(edge)),
        ("2020-01-01", iso(now)),
        ("2020-01-01T00:00:00+02:00", iso(now)),
    ):
        answer = await put(api, headers, required=True, **{"from": given})
        assert answer.json()["data"]["from"] == kept
    for wrong in (
        {"required": True, "from": (edge + timedelta(seconds=1)).isoformat()},
        {"required": True, "from": "9999-12-31T23:59:59-12:00"},
        {"required": True, "from": "tomorrow"},
        {"required": True, "from": "2027-01-01T00:00:00"},
        {"required": False, "from": day},
    ):
        refused = await api.put(AT, headers=headers, json=wrong)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "#/from")
    assert (await put(api, headers, required="yes")).status_code == 400


@pytest.mark.parametrize(("role", "is_fresh", "status"), [("manager", True, 403), ("owner", False, 403)])
async def test_others_and_stale_sessions_may_not(
    role: str, is_fresh: bool, status: int, api: httpx.AsyncClient, owners: People
) -> None:
    headers = await owners.headers(await owners.with_factor(role), is_fresh=is_fresh)
    assert (await put(api, headers, required=True)).status_code == status
    assert (await mfa.forecast(owners.db, owners.tenancy.company_id)).since is None


async def test_whoever_demands_it_has_it(api: httpx.AsyncClient, owners: People) -> None:
    headers = await owners.headers(await owners.begin(await owners.add()))
    refused = await put(api, headers, required=True)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:mainstay:problem:mfa-not-on")
    assert (await mfa.forecast(owners.db, owners.tenancy.company_id)).since is None
