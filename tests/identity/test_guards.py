"""Guards in signatures: who is let in, what the others are told, and that nothing of a refused call has run."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import pytest
import pytest_asyncio
from fastapi import Depends

from mainstay import identity, main
from mainstay.kernel.db import Database
from mainstay.web.callers import Caller, KeyGuard, May
from mainstay.web.front import Front
from tests.conftest import cut_database, drop_database
from tests.tenancy import OPERATOR, Tenancy, bearer, open_tenancy, test_settings

ROLES = ("owner", "manager", "staff")
pytestmark = pytest.mark.asyncio(loop_scope="module")
Headers = dict[str, str]


@dataclass
class World:
    """The whole application with some counting handlers beside its own, and people of two companies."""

    api: httpx.AsyncClient
    entered: Counter[str]
    ours: dict[str, Headers]
    theirs: dict[str, Headers]
    tenancy: Tenancy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(server_url: str, template_url: str) -> AsyncIterator[World]:
    url = await cut_database(server_url, template_url)
    db = Database(url, size=2)
    tenancy, other = await open_tenancy(db), await open_tenancy(db)
    sides = [await _people(db, one) for one in (tenancy, other)]
    front, entered = main.build_api(test_settings(url)), Counter[str]()
    _add_counting(front, entered)
    transport = httpx.ASGITransport(front, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as api:
        yield World(api, entered, sides[0], sides[1], tenancy)
    await db.close()
    await drop_database(server_url, url)


def _add_counting(front: Front, entered: Counter[str]) -> None:
    app: Any = front._app

    @app.get("/counted/anybody")
    async def anybody(_: Annotated[Caller, Depends(May("account.use"))]) -> None:
        entered["anybody"] += 1

    @app.get("/counted/managers")
    async def managers(_: Annotated[Caller, Depends(May("company.change"))]) -> None:
        entered["managers"] += 1

    @app.get("/counted/owners")
    async def owners(_: Annotated[Caller, Depends(May("erasures.change"))]) -> None:
        entered["owners"] += 1

    @app.get("/counted/fresh")
    async def fresh(_: Annotated[Caller, Depends(May("erasures.change", fresh=True))]) -> None:
        entered["fresh"] += 1

    @app.get("/counted/key")
    async def key(_: Annotated[Caller, Depends(KeyGuard("company_key"))]) -> None:
        entered["key"] += 1


async def _people(db: Database, tenancy: Tenancy) -> dict[str, Headers]:
    found: dict[str, Headers] = {}
    async with db.begin() as tx:
        for role in ROLES:
            person = await identity.add_person(
                tx, OPERATOR, tenancy.company_id, email=f"{role}-{tenancy.company_id}@example.com", name="P",
                password_hash="$argon2id$unused", role=role,  # type: ignore[arg-type]
            )  # fmt: skip
            found[role] = await bearer(tx, person.id, tenancy.company_id)
            found[f"{role} of an hour ago"] = await bearer(tx, person.id, tenancy.company_id, is_fresh=False)
    return found


@pytest.mark.contract("DR-A-02")
async def test_without_a_credential_authentication_is_required_and_with_one_the_person_is_known(world: World) -> None:
    for path, hint in (("/counted/anybody", "Authorization: Bearer"), ("/counted/key", "x-api-key")):
        answer = await world.api.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.json()["detail"].startswith("Authentication required")
        assert hint in answer.json()["detail"]
    assert (await world.api.get("/counted/anybody", headers=world.ours["staff"])).status_code == 200


@pytest.mark.contract("DR-A-04", "DR-A-05")
async def test_a_refused_call_never_enters_the_handler(world: World) -> None:
    allowed = {
        "anybody": {"owner", "manager", "staff"},
        "managers": {"owner", "manager"},
        "owners": {"owner"},
        "fresh": {"owner"},
    }
    for name, roles in allowed.items():
        for role in (*ROLES, *(f"{one} of an hour ago" for one in ROLES), "nobody"):
            before = world.entered[name]
            answer = await world.api.get(f"/counted/{name}", headers=world.ours.get(role, {}))
            known, _, late = role.partition(" of ")
            lets_in = known in roles and not (late and name == "fresh")
            assert answer.status_code == (200 if lets_in else 401 if role == "nobody" else 403), (name, role)
            assert world.entered[name] - before == lets_in
            if known in roles and not lets_in:
                assert answer.json()["code"] == "step-up-required"
    refused = await world.api.get("/counted/key", headers={"x-api-key": world.tenancy.key})
    assert (refused.status_code, world.entered["key"]) == (403, 0)


@pytest.mark.contract("DR-A-03")
async def test_an_owners_route_is_for_the_owner_of_that_company(world: World) -> None:
    api, path = world.api, "/api/v1/company/holds"
    made = await api.post(path, json={"actorId": "u-1", "reason": "case 1"}, headers=world.ours["owner"])
    assert made.status_code == 201, made.text
    lift = f"{path}/{made.json()['id']}/lift"
    for who, status in ((world.ours["staff"], 403), (world.ours["manager"], 403), (world.theirs["owner"], 404)):
        assert (await api.post(lift, headers=who)).status_code == status
    assert (await api.post(lift, headers=world.ours["owner"])).status_code == 200


@pytest.mark.contract("DR-A-07")
async def test_a_manager_changes_the_company_and_its_members_and_nothing_of_the_owner_alone(world: World) -> None:
    api, manager = world.api, world.ours["manager"]
    assert (await api.patch("/api/v1/company", json={"name": "Renamed"}, headers=manager)).status_code == 200
    members = (await api.get("/api/v1/members", headers=manager)).json()["data"]
    (staff,) = [one["id"] for one in members if one["role"] == "staff"]
    (owner,) = [one["id"] for one in members if one["role"] == "owner"]
    to_manager, features = {"role": "manager"}, {"features": ["events"]}
    changed = await api.put(f"/api/v1/members/{staff}/features", json=features, headers=manager)
    assert changed.status_code == 200, changed.text
    assert (await api.patch("/api/v1/company", json={"sessionIdleMinutes": 5}, headers=manager)).status_code == 403
    assert (await api.post(f"/api/v1/members/{owner}/role", json=to_manager, headers=manager)).status_code == 403
    assert (await api.get("/api/v1/company/erasures", headers=manager)).status_code == 403
