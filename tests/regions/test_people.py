"""People of a company of the EU: at home themselves, and their company's webhooks and events where its region is."""

import re
from typing import Any, get_args

import httpx
import pytest

from mainstay import identity
from mainstay.kernel.db import Sql
from mainstay.kernel.regions import REGIONS, Region
from mainstay.web.callers import Caller
from tests.regions.conftest import Two, open_company
from tests.tenancy import OPERATOR, Tenancy

PASSWORD = "correct horse battery staple"
_ENDPOINTS = Sql("test.endpoints", "select count(*) from mainstay.endpoints where company_id = $1")


@pytest.fixture
async def owner(two: Two, eu_company: Tenancy) -> str:
    """The email of the company's owner."""
    passwords = identity.Passwords(memory_kib=19 * 1024, passes=2)
    password_hash = await passwords.hash(PASSWORD)
    passwords.close()
    email = "ada@company.example"
    async with two.home.begin() as tx:
        await identity.add_person(
            tx, OPERATOR, eu_company.company_id, email=email, name="Ada", password_hash=password_hash, role="owner"
        )
    return email


async def test_a_token_reaches_the_webhooks_of_the_region(
    two: Two, api: httpx.AsyncClient, eu_company: Tenancy, owner: str
) -> None:
    login = await api.post("/api/v1/auth/login", json={"email": owner, "password": PASSWORD})
    headers = {"authorization": f"Bearer {login.json()['accessToken']}"}
    body: dict[str, Any] = {"url": "http://127.0.0.1:9/", "events": ["*"], "workspaceId": eu_company.workspace_id}
    made = await api.post("/api/v1/webhooks", json=body, headers=headers)
    assert made.status_code == 201, made.text
    path = f"/api/v1/webhooks/{made.json()['id']}"
    for step in ("", "/stats", "/logs"):
        assert (await api.get(path + step, headers=headers)).status_code == 200
    assert (await api.post(path + "/test", headers=headers)).status_code == 202
    counts = [await db.value(_ENDPOINTS, eu_company.company_id) for db in (two.home, two.eu)]
    assert counts == [0, 1]
    pull = await api.post("/api/v1/webhooks", json={"kind": "pull", "events": ["*"]}, headers=headers)
    own = {"authorization": f"Bearer {pull.json()['secret']}"}
    assert (await api.get(f"/v1/pull/{pull.json()['id']}", headers=own)).status_code == 200
    own = {"authorization": "Bearer whpull_other"}
    assert (await api.get(f"/v1/pull/{pull.json()['id']}", headers=own)).status_code == 401


async def test_the_console_shows_what_the_region_holds(api: httpx.AsyncClient, eu_company: Tenancy, owner: str) -> None:
    stored = await api.post("/v1/key/workspace/events", json={"action": "eu.only"}, headers=eu_company.auth)
    assert stored.status_code == 201
    page = await api.get("/console/sign-in")
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    form = {"csrf": token[1], "email": owner, "password": PASSWORD}
    origin = {"origin": str(api.base_url)}
    signed_in = await api.post("/console/sign-in", data=form, headers=origin)
    assert signed_in.status_code == 303, signed_in.text
    assert "eu.only" in (await api.get("/console/events")).text
    one = await api.get(f"/console/events/{stored.json()['id']}")
    assert (one.status_code, "eu.only" in one.text) == (200, True)
    for area in ("/console", "/console/webhooks"):
        assert (await api.get(area)).status_code == 200


@pytest.mark.contract("HL-RG-02")
async def test_a_company_is_of_one_of_three_regions_and_no_other(two: Two) -> None:
    assert REGIONS == get_args(Region) == ("US", "EU", "APAC")
    for region in REGIONS:
        company = await open_company(two.regions, region)
        found = await identity.get_company(two.home, company.company_id)
        assert found.data_region == region
    for wrong in ("UK", "eu", "", "US "):
        with pytest.raises(Exception, match="data_region"):
            await two.home.run(
                Sql(
                    "test.wrong",
                    "insert into mainstay.companies (id, name, slug, data_region) values ($1, 'n', 's', $2)",
                ),
                "00000000-0000-7000-8000-0000000000ff",
                wrong,
            )
        with pytest.raises(KeyError):
            two.regions.of(wrong)
    assert Caller(kind="operator", id="o", name="o", company_id="").region == "US"
