"""One list of a company's events over all regions, and where its data are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from mainstay.kernel.db import Sql
from tests.conftest import running_app
from tests.regions.conftest import AWAY, Two
from tests.tenancy import Tenancy

GLOBAL = "/v1/key/company/events/global"
REGIONS = "/v1/key/company/regions"
# What a company that moved from the US to the EU, and wrote on in both by turns, would have left behind.
_SCATTER = Sql(
    "test.scatter",
    """insert into mainstay.events (workspace_id, seq, id, company_id, data_region, action, category, prev_hash, hash,
         trace_id, occurred_at, received_at)
       select $1::uuid, n, gen_random_uuid(), $2::uuid, $3, 'a.' || n % 3, 'c', '\\x00', '\\x00',
         repeat('0', 32), at, at
         from unnest($4::int[]) n, lateral (select $5::timestamptz + interval '1 second' * (n / 2) as at) moment""",
)
_HEAD = Sql(
    "test.head",
    """insert into mainstay.chain_heads (workspace_id, company_id, metered, seq) values ($1, $2, true, $3)
       on conflict (workspace_id) do update set seq = excluded.seq""",
)


@pytest.fixture
async def scattered(two: Two, eu_company: Tenancy) -> Tenancy:
    """A company with 60 events in the home database and 40 in that of the EU, two of each second."""
    began = await two.home.value(Sql("test.now", "select mainstay.now() - interval '2 minutes'"))
    at_home, in_eu = [n for n in range(100) if n % 5 < 3], [n for n in range(100) if n % 5 >= 3]
    for db, region, numbers in ((two.home, "US", at_home), (two.eu, "EU", in_eu)):
        await db.run(_SCATTER, eu_company.workspace_id, eu_company.company_id, region, numbers, began)
        await db.run(_HEAD, eu_company.workspace_id, eu_company.company_id, len(numbers))
    return eu_company


async def walk(api: httpx.AsyncClient, company: Tenancy, **query: Any) -> list[tuple[int, str]]:
    """The whole list page by page: (seq, region)."""
    found: list[tuple[int, str]] = []
    cursor: dict[str, str] = {}
    for _ in range(200):
        page = await ask(api, company, **query, **cursor)
        assert len(page["data"]) <= query.get("limit", 50)
        found += [(one["seq"], one["dataRegion"]) for one in page["data"]]
        if not page["meta"]["hasMore"]:
            assert page["meta"]["nextCursor"] is None
            return found
        cursor = {"cursor": page["meta"]["nextCursor"]}
    raise AssertionError("the list has no end")


async def ask(api: httpx.AsyncClient, company: Tenancy, **query: Any) -> dict[str, Any]:
    answer = await api.get(GLOBAL, params=query, headers=company.company_auth)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_tell_of_every_region_each_event_once_in_order(
    api: httpx.AsyncClient, scattered: Tenancy, order: str, limit: int
) -> None:
    found = await walk(api, scattered, order=order, limit=limit)
    assert [seq for seq, _ in found] == sorted(range(100), reverse=order == "desc")
    assert {region for _, region in found} == {"US", "EU"}


@pytest.mark.parametrize("query", [{"action": "a.1"}, {"text": "a.1"}, {"category": "c", "actorId": "nobody"}])
async def test_filters_hold_in_every_region(
    api: httpx.AsyncClient, scattered: Tenancy, query: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.events.reading.SCAN_WINDOW", 6)
    found = await walk(api, scattered, limit=4, **query)
    wanted = [] if "actorId" in query else [n for n in range(99, -1, -1) if n % 3 == 1]
    assert [seq for seq, _ in found] == wanted


@asynccontextmanager
async def without_eu(two: Two) -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(two.home_url, DATABASE_URL_EU=AWAY) as api:
        yield api


async def test_a_region_that_is_away_is_named_and_its_events_come_later(
    two: Two, api: httpx.AsyncClient, scattered: Tenancy
) -> None:
    # Its key must be found where the company's data were before, as that of the EU cannot be asked for it.
    await two.home.run(Sql("test.key", _KEY), *await _key_row(two, scattered))
    first = await ask(api, scattered, limit=10)
    seen = [one["seq"] for one in first["data"]]
    async with without_eu(two) as partial:
        page = await ask(partial, scattered, limit=100, cursor=first["meta"]["nextCursor"])
        assert page["meta"]["regions"] == [
            {"region": "US", "answered": True},
            {"region": "EU", "answered": False},
            {"region": "APAC", "answered": True},
        ]
        assert {one["dataRegion"] for one in page["data"]} == {"US"}
        assert (page["meta"]["hasMore"], page["meta"]["totalIsFloor"]) == (False, True)
        cursor = page["meta"]["nextCursor"]
        assert cursor is not None
        shown = (await partial.get(REGIONS, headers=scattered.company_auth)).json()["regions"]
        assert {one["region"]: one["events"] for one in shown} == {"US": 60, "EU": None, "APAC": 60}
    seen += [one["seq"] for one in page["data"]]
    rest = await ask(api, scattered, limit=100, cursor=cursor)
    assert {one["dataRegion"] for one in rest["data"]} == {"EU"}
    assert sorted([*seen, *(one["seq"] for one in rest["data"])]) == list(range(100))
    assert rest["meta"]["nextCursor"] is None


_KEY = """insert into mainstay.api_keys select (jsonb_populate_record(null::mainstay.api_keys, $1::jsonb)).*"""


async def _key_row(two: Two, company: Tenancy) -> tuple[str]:
    ask_row = Sql("test.row", "select to_jsonb(k)::text from mainstay.api_keys k where k.id = $1")
    return (await two.eu.value(ask_row, company.company_key_id),)


async def test_a_cursor_is_of_one_company_one_order_and_one_set_of_databases(
    two: Two, api: httpx.AsyncClient, scattered: Tenancy, us_company: Tenancy
) -> None:
    cursor = (await ask(api, scattered, limit=3))["meta"]["nextCursor"]
    async with running_app(two.home_url) as alone:
        for client, company, query in (
            (api, us_company, {"cursor": cursor}),
            (api, scattered, {"cursor": cursor, "order": "asc"}),
            (api, scattered, {"cursor": cursor[:-2] + "AA"}),
            (api, scattered, {"cursor": "x" * 2_049}),
            (api, scattered, {"page": "2"}),
        ):
            answer = await client.get(GLOBAL, params=query, headers=company.company_auth)
            assert answer.status_code == 400, answer.text
        await two.home.run(Sql("test.key", _KEY), *await _key_row(two, scattered))
        answer = await alone.get(GLOBAL, params={"cursor": cursor}, headers=scattered.company_auth)
        assert answer.status_code == 400, answer.text


async def test_nothing_of_another_company_is_told(
    api: httpx.AsyncClient, scattered: Tenancy, us_company: Tenancy
) -> None:
    assert (await ask(api, us_company))["data"] == []
    for auth, status in ((us_company.auth, 403), ({}, 401)):
        for path in (GLOBAL, REGIONS):
            assert (await api.get(path, headers=auth)).status_code == status


async def test_the_regions_tell_where_new_events_go_and_what_each_database_holds(
    api: httpx.AsyncClient, scattered: Tenancy
) -> None:
    answer = (await api.get(REGIONS, headers=scattered.company_auth)).json()
    assert answer["dataRegion"] == "EU"
    assert answer["regions"] == [
        {"region": "US", "isCurrent": False, "answered": True, "events": 60, "sharesDatabaseWith": ["APAC"]},
        {"region": "EU", "isCurrent": True, "answered": True, "events": 40, "sharesDatabaseWith": []},
        {"region": "APAC", "isCurrent": False, "answered": True, "events": 60, "sharesDatabaseWith": ["US"]},
    ]
