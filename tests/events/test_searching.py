"""Which index leads a search, and how far it is followed."""

from typing import Any

import httpx
import pytest

from mainstay.events import searching
from mainstay.events.filters import LEADS, Filters
from mainstay.kernel.db import Database
from tests.events.test_reading import read, send, walk
from tests.tenancy import Tenancy

NAMES = {
    "targetId": "target_id",
    "actorId": "actor_id",
    "actorEmail": "actor_email",
    "projectId": "project_id",
    "action": "action",
    "category": "category",
}


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
