"""What staff see of the console: areas, figures and buttons that were assigned to them."""

import re

import pytest

from mainstay.kernel.db import Database, Sql
from tests.console.audit import Console

_AREAS = re.compile(r'<li><a href="(/console[^"]*)"')


async def assign(db: Database, *features: str) -> None:
    sql = "update mainstay.memberships set features = $1 where role = 'staff' returning 1"
    await db.value(Sql("test.assign", sql), list(features))


@pytest.mark.contract("DR-A-08")
async def test_staff_see_and_open_what_is_assigned_to_them(console: Console, db: Database) -> None:
    events, webhooks = "/console/events", "/console/webhooks"
    await assign(db)
    bare = (await console.get("/console", "staff")).text
    assert set(_AREAS.findall(bare)) == {"/console"}
    assert "Nothing is assigned to you yet" in bare
    assert (await console.get(webhooks, "staff")).status_code == 403
    await assign(db, "webhooks")
    home = (await console.get("/console", "staff")).text
    assert set(_AREAS.findall(home)) == {"/console", webhooks}
    assert ('id="chart-delivered' in home, 'id="chart-events' in home) == (True, False)
    assert "New webhook" not in home
    page = await console.get(webhooks, "staff")
    assert page.status_code == 200
    assert "New webhook" not in page.text
    refused = await console.get(events, "staff")
    assert (refused.status_code, "search, follow and export events" in refused.text) == (403, True)
    await assign(db, "events")
    assert (await console.get(events, "staff")).status_code == 200
    assert (await console.get(webhooks, "staff")).status_code == 403


async def test_the_palette_offers_what_may_be_done(console: Console) -> None:
    for role, is_there in (("owner", True), ("manager", True), ("staff", False)):
        home = (await console.get("/console", role)).text
        assert ('data-href="/console/webhooks/new"' in home) is is_there
        assert 'data-href="/console/webhooks/types"' in home
        assert ('data-href="/console/erasures/new"' in home) is (role == "owner")
