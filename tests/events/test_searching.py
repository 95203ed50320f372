"""Which index leads a search, and how far it is followed."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay.events import reading, searching
from mainstay.events.filters import LEADS, Filters
from mainstay.kernel.db import Database
from tests.conftest import SqlClock
from tests.events.test_reading import read, send, walk
from tests.tenancy import Tenancy

NAMES = {"actorId": "actor_id", "action": "action", "category": "category"}
UNINDEXED = ("actorEmail", "targetId", "projectId")


def event_of(value: str) -> dict[str, Any]:
    actor = {"id": value, "email": value}
    return {"action": value, "category": value, "projectId": value, "actor": actor, "target": {"id": value}}


async def test_the_filter_with_the_fewest_events_leads(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    assert tuple(NAMES) == LEADS
    await send(api, tenancy.auth, [event_of("common")] * 4 + [event_of("rare")])
    for name, column in NAMES.items():
        filters = Filters(exact=dict.fromkeys(LEADS, "common") | {name: "rare"})
        scope = await searching.scope_of(db, tenancy.company_id, filters, tenancy.workspace_id)
        assert scope.lead == (column, "rare")
        alone = await searching.scope_of(db, tenancy.company_id, Filters(exact={name: "rare"}), tenancy.workspace_id)
        assert alone.lead == (column, "rare")
        of_others = Filters(exact=dict.fromkeys(UNINDEXED, "rare"))
        assert (await searching.scope_of(db, tenancy.company_id, of_others, tenancy.workspace_id)).lead is None
        of_company = await searching.scope_of(db, tenancy.company_id, filters, None)
        assert of_company.lead is None


async def test_fewer_events_are_looked_at_behind_a_lead(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "LED_WINDOW", 5)
    await send(api, tenancy.auth, [{"action": "z", "category": "c"}] * 10)
    kinds = [{"action": "a", "category": "c" if number % 2 else "d"} for number in range(12)]
    ids = await send(api, tenancy.auth, kinds)
    page = await read(api, tenancy.auth, action="a", category="c")
    assert [event["id"] for event in page["data"]] == [ids[11], ids[9], ids[7]]
    assert page["meta"]["totalIsFloor"] is True
    assert page["meta"]["nextCursor"]
    for order in ("asc", "desc"):
        found = await walk(api, tenancy.auth, action="a", category="c", order=order)
        assert found == ids[1::2][:: 1 if order == "asc" else -1]


PATHS = {
    "workspace": "/v1/key/workspace/events",
    "company": "/v1/key/company/events",
    "regions": "/v1/key/company/events/global",
}


@pytest.mark.parametrize("scope", PATHS)
async def test_a_list_that_searched_says_how_far_it_looked(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch, sql_clock: SqlClock, scope: str
) -> None:
    monkeypatch.setattr(reading, "SCAN_WINDOW", 5)
    await send(api, tenancy.auth, [{"action": "a", "payload": {"n": f"<{n}>"}} for n in range(8)])
    auth = tenancy.auth if scope == "workspace" else tenancy.company_auth
    path = PATHS[scope]
    times = [event["createdAt"] for event in (await read(api, auth, path))["data"]]

    def told(first: int, last: int) -> dict[str, Any]:
        return {"from": times[last], "to": times[first], "events": last - first + 1}

    full = (await read(api, auth, path, text="<7>", limit=1))["meta"]
    assert full["searched"] == told(0, 4)
    found = (await read(api, auth, path, text="<", limit=2))["meta"]
    assert found["searched"] == told(0, 1)
    short = await read(api, auth, path, text="<6>")
    assert [len(short["data"]), short["meta"]["searched"]] == [1, told(0, 4)]
    rest = await read(api, auth, path, text="<6>", cursor=short["meta"]["nextCursor"])
    assert [rest["data"], rest["meta"]["searched"]] == [[], told(5, 7)]
    await sql_clock.move(timedelta(seconds=2))  # oldest first, a company shows what has settled
    oldest = (await read(api, auth, path, text="<1>", limit=1, order="asc", to=times[0]))["meta"]
    assert oldest["searched"]["from"] == times[7]
    nothing = (await read(api, auth, path, text="<", to="2000-01-01"))["meta"]
    assert nothing["searched"] == {"from": None, "to": None, "events": 0}
    for plain in ({}, {"from": times[7]}, {"to": times[0]}):
        assert "searched" not in (await read(api, auth, path, **plain))["meta"]


async def test_a_search_behind_a_lead_or_for_text_says_what_it_passed(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "LED_WINDOW", 3)
    kinds = [{"action": "a" if n % 2 else "b", "category": "c", "payload": {"x": "y" * 1_000}} for n in range(10)]
    await send(api, tenancy.auth, kinds)
    times = [event["createdAt"] for event in (await read(api, tenancy.auth))["data"]]
    led = (await read(api, tenancy.auth, action="a", occurredFrom="2999-01-01"))["meta"]
    assert led["searched"] == {"from": times[4], "to": times[0], "events": 3}
    assert "searched" not in (await read(api, tenancy.auth, action="a"))["meta"]
    monkeypatch.setattr(reading, "SCAN_WINDOW_BYTES", 3_500)
    text = (await read(api, tenancy.auth, text="nowhere"))["meta"]
    assert text["searched"] == {"from": times[3], "to": times[0], "events": 4}


@pytest.mark.parametrize("name", [*NAMES, *UNINDEXED])
async def test_every_filter_finds_its_events_whatever_leads_to_them(
    api: httpx.AsyncClient, tenancy: Tenancy, name: str
) -> None:
    ids = await send(api, tenancy.auth, [event_of("common"), event_of("rare"), event_of("common")])
    page = await read(api, tenancy.auth, **{name: "common"})
    assert [event["id"] for event in page["data"]] == [ids[2], ids[0]]
    assert ("searched" in page["meta"]) is (name in UNINDEXED)
