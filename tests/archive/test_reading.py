"""Archived events come back from the store, and whatever is missing is said."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mainstay import archive
from mainstay.archive.reading import Range
from mainstay.kernel import ids
from mainstay.kernel.db import Sql
from tests.archive.conftest import EVENTS, EXPORT, Site
from tests.tenancy import Tenancy


async def export(site: Site, tenancy: Tenancy, **query: str) -> list[dict[str, Any]]:
    answer = await site.api.get(EXPORT, params=query, headers=tenancy.company_auth)
    assert answer.status_code == 200, answer.text
    told = json.loads(answer.content)
    assert told["meta"] == {"rows": len(told["data"]), "incomplete": []}
    found: list[dict[str, Any]] = told["data"]
    return found


def of(found: list[dict[str, Any]], *workspaces: str) -> list[tuple[str, str]]:
    return [(one["workspaceId"], one["action"]) for one in found if one["workspaceId"] in workspaces]


@pytest.mark.contract("HL-R-01")
async def test_archived_events_come_back_and_live_ones_do_not(any_site: Site) -> None:
    site = any_site
    tenancy, other = await site.company(), await site.company()
    assert await export(site, tenancy) == []
    await site.send(other, 2)
    before = (await site.api.get(EVENTS, params={"include": "proof"}, headers=tenancy.auth)).json()["data"]
    assert before == []
    await site.aged(tenancy, 3)
    listed = await site.api.get(EVENTS, params={"include": "proof", "order": "asc"}, headers=tenancy.auth)
    await site.run()
    await site.send(tenancy, 2, name="live")
    found = [one for one in await export(site, tenancy) if one["workspaceId"] == tenancy.workspace_id]
    assert of(found, tenancy.workspace_id) == [(tenancy.workspace_id, f"a.n{n}") for n in range(3)]
    for one, stored in zip(found, listed.json()["data"], strict=True):
        notes = {"before", "checkpoint"}
        one["proof"] = {name: value for name, value in one["proof"].items() if name not in notes}
        assert one == {**stored, "archived": True, "archivalCandidate": True}
    assert not of(await export(site, tenancy), other.workspace_id)


async def test_archives_are_chosen_by_time_and_workspace(site: Site) -> None:
    tenancy = await site.company()
    await site.send(tenancy, 1, name="other", key=tenancy.other_key)
    days = [await site.aged(tenancy, 1, name="one")]
    await site.send(tenancy, 1, name="two")
    await site.clock.move(timedelta(minutes=1))
    days.append(await site.aged(tenancy, 1, name="three"))
    await site.run()
    both = (tenancy.workspace_id, tenancy.other_workspace_id)
    rows = await site.rows(tenancy)

    async def actions(**query: str) -> list[str]:
        return [action for _, action in of(await export(site, tenancy, **query), *both)]

    assert sorted(await actions()) == ["one.n0", "other.n0", "three.n0", "two.n0"]
    assert await actions(workspaceId=tenancy.workspace_id) == ["one.n0", "two.n0", "three.n0"]
    since = {"from": days[1].day.isoformat()}
    assert await actions(workspaceId=tenancy.workspace_id, **since) == ["two.n0", "three.n0"]
    exactly = rows[1]["received_at"].isoformat().replace("+00:00", "Z")
    assert await actions(**{"from": exactly, "to": exactly}) == ["two.n0"]
    assert await actions(to=days[0].day.isoformat()) == []


@pytest.mark.contract("HL-R-02")
async def test_only_company_keys_read_archives(site: Site) -> None:
    tenancy = await site.company()
    refused = await site.api.get(EXPORT, headers=tenancy.auth)
    assert refused.status_code == 403
    assert (await site.api.get(EXPORT)).status_code == 401
    twin = EXPORT.replace("/company/", "/workspace/")
    assert [(await site.api.get(twin, headers=one)).status_code for one in (tenancy.auth, tenancy.company_auth)] == [
        404,
        404,
    ]


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ({"from": "yesterday"}, 400, "from"),
        ({"to": "2026-13-01"}, 400, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, 400, "from"),
        ({"action": "a.b"}, 400, "action"),
        ({"from": "x" * 10_000}, 400, "from"),
        ({"workspaceId": "x"}, 404, None),
        ({"workspaceId": ids.new_id()}, 404, None),
    ],
)
async def test_bad_questions_are_refused(site: Site, query: dict[str, str], status: int, pointer: str | None) -> None:
    tenancy = await site.company()
    answer = await site.api.get(EXPORT, params=query, headers=tenancy.company_auth)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer


async def test_another_companys_workspace_is_not_there(site: Site) -> None:
    tenancy, other = await site.company(), await site.company()
    query = {"workspaceId": other.workspace_id}
    assert (await site.api.get(EXPORT, params=query, headers=tenancy.company_auth)).status_code == 404


async def test_what_cannot_be_given_whole_is_named_and_the_rest_is_given(site: Site) -> None:
    tenancy = await site.company()
    days = [await site.aged(tenancy, 2, name=name) for name in ("one", "two", "three")]
    await site.run()
    await site.objects.delete(days[0].name)
    whole = await site.raw(days[1])
    await site.objects.put(days[1].name, whole[:-9])
    query = {"workspaceId": tenancy.workspace_id}
    found = (await site.api.get(EXPORT, params=query, headers=tenancy.company_auth)).json()
    assert [one["action"] for one in found["data"]][-2:] == ["three.n0", "three.n1"]
    incomplete = found["meta"]["incomplete"]
    assert [one["object"] for one in incomplete] == [days[0].name, days[1].name]
    assert all(one["detail"] for one in incomplete)


async def test_a_store_that_is_away_is_told_before_the_first_byte(site: Site, directory: Path) -> None:
    tenancy = await site.company()
    await site.aged(tenancy)
    await site.run()
    assert len(await export(site, tenancy)) >= 3
    directory.rename(directory.with_name("away"))
    answer = await site.api.get(EXPORT, headers=tenancy.company_auth)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


async def test_a_reader_is_given_only_what_it_takes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tenancy = await site.company()
    for _ in range(3):
        await site.aged(tenancy, 2)
    await site.run()
    asked: list[str] = []
    store = site.ground.stores.get("US")
    whole = type(store).get

    def counted(self: Any, name: str, **more: Any) -> Any:
        asked.append(name)
        return whole(self, name, **more)

    monkeypatch.setattr(type(store), "get", counted)
    wanted = Range(company_id=tenancy.company_id, workspace_id=tenancy.workspace_id)
    pieces = archive.export(site.db, site.ground.stores, wanted)
    await anext(pieces)
    assert len(asked) == 1
    await anext(pieces)
    assert len(asked) == 2
    await pieces.aclose()  # type: ignore[attr-defined]


async def test_days_are_listed_with_their_state_page_by_page(site: Site) -> None:
    tenancy, other = await site.company(), await site.company()
    days = [await site.aged(tenancy, 2) for _ in range(3)]
    await site.run()
    path = "/v1/key/company/archive/days"
    query: dict[str, str] = {"workspaceId": tenancy.workspace_id, "limit": "2"}
    first = (await site.api.get(path, params=query, headers=tenancy.company_auth)).json()
    cursor = first["meta"]["nextCursor"]
    rest = (await site.api.get(path, params={**query, "cursor": cursor}, headers=tenancy.company_auth)).json()
    shown = first["data"] + rest["data"]
    assert [one["day"] for one in shown] == [day.day.isoformat() for day in reversed(days)]
    assert {(one["state"], one["events"], one["archivedEvents"]) for one in shown} == {("archived", 2, 2)}
    assert rest["meta"] == {"limit": 2, "nextCursor": None, "hasMore": False}
    stolen = await site.api.get(path, params={"limit": "2", "cursor": cursor}, headers=other.company_auth)
    assert stolen.status_code == 400
    for limit in ("0", "1001"):
        bad = await site.api.get(path, params={"limit": limit}, headers=tenancy.company_auth)
        assert bad.status_code == 400


async def test_a_company_sets_its_grace(site: Site) -> None:
    tenancy = await site.company(archived=False)
    path = "/v1/key/company/retention"
    shown = (await site.api.get(path, headers=tenancy.company_auth)).json()
    assert shown == {"retentionDays": 7, "graceDays": 30, "isArchived": False, "isDeleted": False}
    for days, status in ((0, 200), (3650, 200), (-1, 400), (3651, 400), ("7", 400)):
        answer = await site.api.patch(path, json={"graceDays": days}, headers=tenancy.company_auth)
        assert answer.status_code == status
    assert (await site.api.get(path, headers=tenancy.company_auth)).json()["graceDays"] == 3650
    assert [one["graceDays"] for one in await site.told("retention.grace_set")] == [0, 3650]


async def test_operators_start_steps_and_see_what_waits(site: Site) -> None:
    tenancy = await site.company()
    await site.aged(tenancy)
    await archive.mark(site.ground)
    operator = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}
    [shown] = (await site.api.get("/internal/archive", headers=operator)).json()["databases"]
    assert shown["daysWaiting"] >= 1
    assert shown["oldestCandidateSeconds"] >= 8 * 86_400
    for step in ("mark", "archive", "verify", "cut"):
        answer = await site.api.post("/internal/archive/runs", json={"step": step}, headers=operator)
        assert answer.status_code == 202
    kinds = [row["kind"] for row in await site.db.rows(Sql("t", "select kind from mainstay.jobs order by id"))]
    assert kinds[-4:] == ["archive.mark", "archive.run", "archive.verify", "archive.cut"]
    bad = await site.api.post("/internal/archive/runs", json={"step": "all"}, headers=operator)
    assert bad.status_code == 400
    assert isinstance(bad, httpx.Response)
