"""Each morning stored events are held against the templates that their workspaces have then."""

from datetime import UTC, datetime, time

import pytest

from mainstay import main, templates
from mainstay.kernel.work import Daily
from mainstay.templates import reports
from tests.conftest import SqlClock
from tests.templates.conftest import EVENTS, TEMPLATES, Ruled
from tests.tenancy import open_tenancy


@pytest.mark.contract("HL-T-08", "HL-J-07")
async def test_a_template_assigned_after_ingestion_reports_the_offending_events(company: Ruled) -> None:
    bad = [(await company.send()).json() for _ in range(7)]
    await company.send(actor={"email": "a@example.com"}, metadata={"requestId": "r"})
    before = (await company.api.get(EVENTS, headers=company.tenancy.auth)).text
    made = await company.ruled(requiredActorFields=["email"], requiredMetadataKeys=["requestId"])
    found = await company.check()
    assert {row["pointer"]: row["events"] for row in found} == {"#/actor/email": 7, "#/metadata/requestId": 7}
    for row in found:
        assert row["workspaceId"] == company.tenancy.workspace_id
        assert (row["templateId"], row["templateName"], row["templateVersion"]) == (made["id"], "t", 1)
        assert row["examples"] == [{"id": one["id"], "seq": one["seq"]} for one in bad[:5]]
    assert (await company.api.get(EVENTS, headers=company.tenancy.auth)).text == before
    (told,) = await company.announced("template.violated")
    assert told["workspaceId"] == company.tenancy.workspace_id
    assert {one["pointer"]: one["events"] for one in told["breaches"]} == {row["pointer"]: 7 for row in found}


@pytest.mark.contract("HL-T-08")
async def test_it_runs_each_day_at_six_in_utc() -> None:
    (schedule,) = templates.schedules()
    assert schedule.slots == Daily(time(6))
    assert schedule in main.schedules()


async def test_a_check_goes_on_where_the_last_one_ended(company: Ruled, sql_clock: SqlClock) -> None:
    await company.ruled("flag", projectRequired=True)
    await company.send()
    assert [row["events"] for row in await company.check()] == [1]
    assert [row["events"] for row in await company.check()] == [1]
    await company.send()
    assert [row["events"] for row in await company.check()] == [2]
    assert len(await company.announced("template.violated")) == 1
    await sql_clock.move(datetime(2026, 1, 2, tzinfo=UTC) - datetime(2026, 1, 1, tzinfo=UTC))
    await company.send()
    assert [row["events"] for row in await company.check()] == [1, 2]
    assert len(await company.announced("template.violated")) == 2


async def test_other_rules_and_another_template_begin_at_the_first_event(
    company: Ruled, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await company.ruled("flag", projectRequired=True)
    for _ in range(3):
        await company.send()
    await company.check()
    await company.call("PATCH", f"{TEMPLATES}/{made['id']}", json={"rules": {"requiredActorFields": ["id"]}})
    await company.assign(await company.template("later", "flag", requiredMetadataKeys=["k"]))
    await company.send(projectId="p")
    monkeypatch.setattr(reports, "STEPS_AT_ONCE", 1)
    found = {(row["templateVersion"], row["pointer"]): row["events"] for row in await company.check()}
    assert found == {(1, "#/projectId"): 3, (2, "#/actor/id"): 4, (1, "#/metadata/k"): 4}


async def test_templates_that_came_at_different_times_meet_and_count_each_event_once(company: Ruled) -> None:
    await company.ruled("flag", projectRequired=True)
    await company.send()
    await company.send()
    await company.check()
    await company.assign(await company.template("later", "flag", requiredMetadataKeys=["k"]))
    await company.send()
    found = {row["pointer"]: row["events"] for row in await company.check()}
    assert found == {"#/projectId": 3, "#/metadata/k": 3}


async def test_a_template_that_is_gone_keeps_its_reports(company: Ruled) -> None:
    made = await company.ruled("flag", projectRequired=True)
    await company.send()
    await company.check()
    await company.call("DELETE", f"{TEMPLATES}/{made['id']}")
    await company.send()
    assert [row["events"] for row in await company.check()] == [1]


async def test_reports_are_read_in_pages_by_their_own_company(company: Ruled) -> None:
    made = await company.ruled("flag", requiredMetadataKeys=["a", "b", "c"])
    await company.send()
    every = [row["id"] for row in await company.check()]
    assert len(every) == 3
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for left in (2, 1, 0):
        answer = (await company.call("GET", TEMPLATES + "/reports", params={"limit": 1, **cursor})).json()
        seen += [row["id"] for row in answer["data"]]
        assert answer["meta"]["hasMore"] is (left > 0)
        cursor = {"cursor": answer["meta"]["nextCursor"]}
    assert seen == every
    for name, value, count in (
        ("workspaceId", company.tenancy.workspace_id, 3),
        ("workspaceId", company.tenancy.other_workspace_id, 0),
        ("templateId", made["id"], 3),
    ):
        answer = await company.call("GET", TEMPLATES + "/reports", params={name: value})
        assert len(answer.json()["data"]) == count
    for wrong in ({"cursor": "x"}, {"limit": "0"}, {"limit": "201"}, {"templateId": "x"}, {"other": "1"}):
        assert (await company.call("GET", TEMPLATES + "/reports", params=wrong)).status_code == 400
    other = await open_tenancy(company.db)
    async with company.db.connection() as connection:
        await connection.execute("update mainstay.template_reports set company_id = $1", other.company_id)
    assert (await company.call("GET", TEMPLATES + "/reports")).json()["data"] == []


async def test_old_reports_are_removed(company: Ruled) -> None:
    await company.ruled("flag", projectRequired=True)
    await company.send()
    await company.check()
    async with company.db.connection() as connection:
        await connection.execute("update mainstay.template_reports set day = day - 400")
        assert len(await company.check()) == 1
        await connection.execute("update mainstay.template_reports set day = day - 1")
    assert await company.check() == []


async def test_flags_of_events_that_left_the_table_go_with_the_next_check(
    company: Ruled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "_FLAGS_AT_ONCE", 2)
    await company.ruled("flag", projectRequired=True)
    for _ in range(5):
        await company.send()
    async with company.db.connection() as connection:
        await connection.execute(
            "insert into mainstay.chain_starts (workspace_id, company_id, seq, hash) values ($1, $2, 4, '')",
            company.tenancy.workspace_id,
            company.tenancy.company_id,
        )
        await company.check()
        assert [row["seq"] for row in await connection.fetch("select seq from mainstay.event_flags")] == [5]
