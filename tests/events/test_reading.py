"""Reading events: filters, both kinds of paging, totals, and cursors that cannot be forged."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay.events import reading
from mainstay.events.queries import lists
from mainstay.kernel.db import Database
from tests.tenancy import Tenancy, open_tenancy

EVENTS = "/v1/key/workspace/events"
COMPANY = "/v1/key/company/events"
OLD = {"occurredAt": "2020-01-01T00:00:00Z"}
"""What no index finds."""


async def send(api: httpx.AsyncClient, headers: dict[str, str], events: list[dict[str, Any]]) -> list[str]:
    answer = await api.post(f"{EVENTS}/batch", json={"events": events}, headers=headers)
    assert answer.status_code == 200
    return [item["id"] for item in answer.json()["data"]]


async def read(api: httpx.AsyncClient, headers: dict[str, str], path: str = EVENTS, **params: Any) -> dict[str, Any]:
    answer = await api.get(path, headers=headers, params={k.rstrip("_"): v for k, v in params.items()})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def walk(api: httpx.AsyncClient, headers: dict[str, str], path: str = EVENTS, **params: Any) -> list[str]:
    seen: list[str] = []
    cursor = params.pop("cursor", None)
    while True:
        page = await read(api, headers, path, **params, **({"cursor": cursor} if cursor else {}))
        seen += [event["id"] for event in page["data"]]
        cursor = page["meta"]["nextCursor"]
        assert page["meta"]["hasMore"] is (cursor is not None)
        if cursor is None:
            return seen


async def test_an_empty_workspace_has_an_empty_page(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    page = await read(api, tenancy.auth)
    assert page == {
        "data": [],
        "meta": {"page": 1, "limit": 50, "total": 0, "totalIsFloor": False, "nextCursor": None, "hasMore": False},
    }


@pytest.mark.contract("NP-DB-07")
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_walks_by_cursor_and_by_page_give_every_event_once(
    api: httpx.AsyncClient, tenancy: Tenancy, order: str
) -> None:
    ids = await send(api, tenancy.auth, [{"action": f"a.{n % 3}"} for n in range(25)])
    expected = ids if order == "asc" else ids[::-1]
    assert await walk(api, tenancy.auth, limit=4, order=order) == expected
    paged: list[str] = []
    for page in range(1, 8):
        body = await read(api, tenancy.auth, limit=4, page=page, order=order)
        assert body["meta"]["total"] == 25
        assert body["meta"]["page"] == page
        paged += [event["id"] for event in body["data"]]
    assert paged == expected
    assert (
        await walk(api, tenancy.auth, limit=2, order=order, action="a.1")
        == [identifier for number, identifier in enumerate(ids) if number % 3 == 1][:: 1 if order == "asc" else -1]
    )


@pytest.mark.contract("NP-DB-07")
async def test_a_companys_walk_merges_its_workspaces(api: httpx.AsyncClient, tenancy: Tenancy, sql_clock: Any) -> None:
    other = {"authorization": f"Bearer {tenancy.other_key}"}
    ids: list[str] = []
    for number in range(12):
        ids += await send(api, other if number % 3 else tenancy.auth, [{"action": "own.act"}] * 2)
    await sql_clock.move(timedelta(seconds=2))
    for order in ("asc", "desc"):
        seen = await walk(api, tenancy.company_auth, COMPANY, limit=5, order=order, action="own.act")
        assert sorted(seen) == sorted(ids)
        assert len(seen) == len(ids)
    firsts = list(await walk(api, tenancy.company_auth, COMPANY, order="asc", action="own.act"))
    assert firsts[:2] == ids[:2]
    assert set(firsts[-2:]) == set(ids[-2:])


async def test_a_walk_under_writers_neither_repeats_nor_misses(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    ids = await send(api, tenancy.auth, [{"action": "old"}] * 30)
    seen: list[str] = []
    cursor = None
    while True:
        page = await read(api, tenancy.auth, limit=7, **({"cursor": cursor} if cursor else {}))
        seen += [event["id"] for event in page["data"]]
        await send(api, tenancy.auth, [{"action": "new"}] * 5)
        cursor = page["meta"]["nextCursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]


FILTERED = [
    {"action": "user.login", "category": "auth", "actor": {"id": "u1", "email": "a@x.io"}, "metadata": {"ip": "10.0.0.1"}},  # noqa: E501
    {"action": "user.login", "category": "auth", "actor": {"id": "u2", "email": "b@x.io", "name": "Bo 100%"}},
    {"action": "doc.shared", "category": "docs", "target": {"id": "d1", "type": "doc"}, "projectId": "p1"},
    {"action": "doc.shared", "category": "docs", "target": {"id": "d2", "type": "doc"}, "projectId": "p2",
     "payload": {"title": "Grüße an_alle"}, "occurredAt": "2020-05-01T00:00:00Z"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"action": "user.login"}, {0, 1}),
        ({"category": "docs"}, {2, 3}),
        ({"actorId": "u1"}, {0}),
        ({"actorEmail": "b@x.io"}, {1}),
        ({"targetId": "d2"}, {3}),
        ({"projectId": "p1"}, {2}),
        ({"action": "user.login", "actorId": "u2"}, {1}),
        ({"action": "doc.shared", "actorId": "u2"}, set()),
        ({"text": "grüße"}, {3}),
        ({"text": "10.0.0"}, {0}),
        ({"text": "100%"}, {1}),
        ({"text": "an_alle"}, {3}),
        ({"text": "a%e"}, set()),
        ({"text": "anXalle"}, set()),
        ({"occurredTo": "2021-01-01T00:00:00Z"}, {3}),
        ({"occurredFrom": "2021-01-01"}, {0, 1, 2}),
        ({"from": "2021-01-01T00:00:00Z"}, {0, 1, 2, 3}),
        ({"to": "2021-01-01T00:00:00Z"}, set()),
    ],
)
async def test_each_filter_finds_what_it_says(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, filters: dict[str, str], expected: set[int]
) -> None:
    stranger = await open_tenancy(db)
    await send(api, stranger.auth, FILTERED)
    ids = await send(api, tenancy.auth, FILTERED)
    for path, headers in ((EVENTS, tenancy.auth), (COMPANY, tenancy.company_auth)):
        extra = {} if path == EVENTS or set(filters) - {"from", "occurredFrom"} else {"action": "user.login"}
        wanted = expected if not extra else expected & {0, 1}
        body = await read(api, headers, path, **filters, **extra)
        assert {event["id"] for event in body["data"]} == {ids[n] for n in wanted}
        assert body["meta"]["total"] == len(wanted)


async def test_the_bounds_of_a_period_are_part_of_it(api: httpx.AsyncClient, tenancy: Tenancy, sql_clock: Any) -> None:
    created = []
    for _ in range(3):
        event = (await api.post(EVENTS, json={"action": "a"}, headers=tenancy.auth)).json()
        created.append(event["createdAt"])
        await sql_clock.move(timedelta(hours=1))
    page = await read(api, tenancy.auth, **{"from": created[1], "to": created[1]})
    assert [event["createdAt"] for event in page["data"]] == [created[1]]
    page = await read(api, tenancy.auth, **{"from": created[1]})
    assert [event["createdAt"] for event in page["data"]] == [created[2], created[1]]
    page = await read(api, tenancy.auth, to=created[1])
    assert [event["createdAt"] for event in page["data"]] == [created[1], created[0]]


async def test_a_search_goes_on_behind_its_window(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCAN_WINDOW", 10)
    kinds = [{"action": "a", **(OLD if n % 17 == 0 else {})} for n in range(40)]
    ids = await send(api, tenancy.auth, kinds)
    first = await read(api, tenancy.auth, occurredTo="2021-01-01", limit=5)
    assert len(first["data"]) < 3
    assert first["meta"]["nextCursor"]
    assert await walk(api, tenancy.auth, occurredTo="2021-01-01", limit=5) == [ids[34], ids[17], ids[0]]


async def test_pages_of_a_search_skip_nothing(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCAN_WINDOW", 20)
    kinds = [{"action": "a", **(OLD if n % 4 == 0 else {})} for n in range(40)]
    ids = await send(api, tenancy.auth, kinds)
    rare = [identifier for number, identifier in enumerate(ids) if number % 4 == 0][::-1]
    first = await read(api, tenancy.auth, occurredTo="2021-01-01", limit=3, page=1)
    second = await read(api, tenancy.auth, occurredTo="2021-01-01", limit=3, page=2)
    assert [event["id"] for event in first["data"] + second["data"]] == rare[:5]
    rest = await walk(api, tenancy.auth, occurredTo="2021-01-01", limit=3, cursor=second["meta"]["nextCursor"])
    assert rest == rare[5:]


async def test_a_companys_search_by_action_goes_on_behind_its_window(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCAN_WINDOW", 10)
    ids = await send(api, tenancy.auth, [{"action": "rare" if n == 0 else "common"} for n in range(30)])
    first = await read(api, tenancy.company_auth, COMPANY, action="rare")
    assert first["data"] == []
    assert first["meta"]["nextCursor"]
    assert await walk(api, tenancy.company_auth, COMPANY, action="rare") == ids[:1]


async def test_a_total_is_exact_to_ten_thousand_and_a_floor_beyond(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reading.TOTAL_EXACT_TO == 10_000
    monkeypatch.setattr(reading, "TOTAL_EXACT_TO", 10)
    await send(api, tenancy.auth, [{"action": "a"}] * 10)
    meta = (await read(api, tenancy.auth, limit=1))["meta"]
    assert [meta["total"], meta["totalIsFloor"]] == [10, False]
    await send(api, tenancy.auth, [{"action": "a"}])
    meta = (await read(api, tenancy.auth, limit=1))["meta"]
    assert [meta["total"], meta["totalIsFloor"]] == [10, True]


async def test_a_searchs_total_is_a_floor_beyond_its_window(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCAN_WINDOW", 20)
    kinds = [{"action": "a", **(OLD if n % 5 == 0 else {})} for n in range(19)]
    await send(api, tenancy.auth, kinds)
    meta = (await read(api, tenancy.auth, occurredTo="2021-01-01", limit=1))["meta"]
    assert [meta["total"], meta["totalIsFloor"]] == [4, False]
    await send(api, tenancy.auth, [{"action": "a"}] * 6)
    meta = (await read(api, tenancy.auth, occurredTo="2021-01-01", limit=1))["meta"]
    assert [meta["total"], meta["totalIsFloor"]] == [3, True]


async def test_other_filters_are_looked_for_among_the_events_that_an_index_leads_to(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCAN_WINDOW", 10)
    kinds = [{"action": "few" if n % 10 == 0 else "many", "actor": {"id": f"u{n % 20}"}} for n in range(100)]
    ids = await send(api, tenancy.auth, kinds)
    page = await read(api, tenancy.auth, action="few", actorId="u10")
    assert [event["id"] for event in page["data"]] == [ids[n] for n in (90, 70, 50, 30, 10)]
    assert page["meta"]["nextCursor"] is None
    page = await read(api, tenancy.auth, action="few", text="u10")
    assert [event["id"] for event in page["data"]] == [ids[n] for n in (90, 70, 50, 30, 10)]


async def test_a_search_for_text_is_bounded_by_bytes_and_goes_on(
    api: httpx.AsyncClient, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SCAN_WINDOW_BYTES", 5_000)
    kinds = [{"action": "a", "payload": {"t": "x" * 990 + ("needle" if n % 12 == 0 else "")}} for n in range(40)]
    ids = await send(api, tenancy.auth, kinds)
    first = await read(api, tenancy.auth, text="NEEDLE")
    assert [event["id"] for event in first["data"]] == [ids[36]]
    assert first["meta"]["nextCursor"]
    assert first["meta"]["totalIsFloor"]
    assert await walk(api, tenancy.auth, text="NEEDLE") == [ids[36], ids[24], ids[12], ids[0]]
    assert await walk(api, tenancy.auth, text="NEEDLE", order="asc") == [ids[0], ids[12], ids[24], ids[36]]


async def test_a_page_holds_eight_mebibytes_and_goes_on(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: Any
) -> None:
    assert reading.PAGE_BYTES == 8 * 1024 * 1024
    ids = await send(api, tenancy.auth, [{"action": "a", "payload": {"t": "x" * 1_000_000}} for _ in range(10)])
    await sql_clock.move(timedelta(seconds=2))
    for path, headers in ((EVENTS, tenancy.auth), (COMPANY, tenancy.company_auth)):
        first = await read(api, headers, path, limit=1000)
        assert [event["id"] for event in first["data"]] == ids[:1:-1]
        assert first["meta"]["nextCursor"]
        assert await walk(api, headers, path, limit=1000) == ids[::-1]
        for page, limit, status in (1, 9, 400), (1, 8, 200), (2, 8, 200):
            answer = await api.get(path, headers=headers, params={"page": page, "limit": limit})
            assert answer.status_code == status
            assert status == 200 or answer.json()["errors"][0]["pointer"] == "limit"
    assert await walk(api, tenancy.company_auth, COMPANY, limit=1000, order="asc") == ids
    wanted = lists.Slice(tenancy.company_id, tenancy.workspace_id, [], lambda _: [])
    loaded = await lists.list_events_everywhere(db, wanted, limit=1_001, most_bytes=reading.PAGE_BYTES)
    assert len(loaded) == 9, "the database gives what fits and the one that does not"


async def test_a_page_is_cut_exactly_where_it_is_full(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await send(api, tenancy.auth, [{"action": "a", "payload": {"t": "ü" * n}} for n in range(4)])
    wanted = lists.Slice(tenancy.company_id, tenancy.workspace_id, [], lambda _: [])
    sizes = [row["bytes"] for row in await lists.list_events_everywhere(db, wanted, limit=9, most_bytes=10**9)]
    assert sizes[0] - sizes[2] == 4, "bytes, not characters"
    for most, count in ((sum(sizes), 4), (sum(sizes) - 1, 3), (sum(sizes[:3]), 3), (sizes[0], 1), (1, 1)):
        monkeypatch.setattr(reading, "PAGE_BYTES", most)
        page = await read(api, tenancy.auth)
        assert [event["id"] for event in page["data"]] == ids[::-1][:count]
        assert page["meta"]["hasMore"] is (count < 4)
        assert await walk(api, tenancy.auth) == ids[::-1]


async def test_periods_of_a_workspace_are_found_wherever_they_lie(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: Any
) -> None:
    times: list[str] = []
    ids: list[str] = []
    for count in (3, 1, 5, 2):
        batch = [{"action": "a"} for _ in range(count)]
        answer = (await api.post(f"{EVENTS}/batch", json={"events": batch}, headers=tenancy.auth)).json()["data"]
        ids += [item["id"] for item in answer]
        times += [item["createdAt"] for item in answer]
        await send(api, {"authorization": f"Bearer {tenancy.other_key}"}, [{"action": "a"}])
        await sql_clock.move(timedelta(minutes=1))
    moments = sorted({*times, "2020-01-01T00:00:00Z", "2199-01-01T00:00:00Z"})
    for since in moments:
        for until in (one for one in moments if one >= since):
            page = await read(api, tenancy.auth, **{"from": since, "to": until, "order": "asc"})
            inside = [identifier for identifier, at in zip(ids, times, strict=True) if since <= at <= until]
            assert [event["id"] for event in page["data"]] == inside
            assert page["meta"]["total"] == len(inside)


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"page": 0}, "page"),
        ({"page": 11, "limit": 1000}, "page"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "x" * 1025}, "cursor"),
        ({"from": "abc"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
        ({"text": ""}, "text"),
        ({"action": "x" * 513}, "action"),
        ({"order": "sideways"}, "order"),
        ({"surprise": "1"}, "surprise"),
    ],
)
async def test_a_wrong_parameter_is_named(
    api: httpx.AsyncClient, tenancy: Tenancy, params: dict[str, Any], pointer: str
) -> None:
    for path, headers in ((EVENTS, tenancy.auth), (COMPANY, tenancy.company_auth)):
        answer = await api.get(path, headers=headers, params=params)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"][0]["pointer"] == pointer


async def test_a_cursor_serves_its_own_list_only(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> None:
    stranger = await open_tenancy(db)
    for headers in (tenancy.auth, stranger.auth):
        await send(api, headers, [{"action": "a"}] * 3)
    cursor = (await read(api, tenancy.auth, limit=1))["meta"]["nextCursor"]
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for headers, path, params in (
        (stranger.auth, EVENTS, {"cursor": cursor}),
        (tenancy.company_auth, COMPANY, {"cursor": cursor}),
        (tenancy.auth, EVENTS, {"cursor": cursor, "order": "asc"}),
        (tenancy.auth, EVENTS, {"cursor": changed}),
    ):
        assert (await api.get(path, headers=headers, params=params)).status_code == 400
    assert len((await read(api, tenancy.auth, cursor=cursor))["data"]) == 2
