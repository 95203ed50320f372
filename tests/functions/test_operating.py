"""Operators: functions, runs with their timeline, cancel, run again; limits of a run; upkeep."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from mainstay import functions, reactions
from mainstay.functions import (
    CancelOn,
    Concurrency,
    Cron,
    Event,
    Received,
    Registry,
    RunEnded,
    RunNotFound,
    Steps,
    stepping,
)
from mainstay.functions.upkeep import hand_on_places, keep
from mainstay.kernel import ids, outbox, telemetry
from mainstay.kernel.db import Database
from mainstay.kernel.regions import Regions
from tests.cli.running import called
from tests.conftest import SqlClock
from tests.functions.conftest import all_of, function, one, output, running, runs_in, send, waiting
from tests.jobs.conftest import until
from tests.tenancy import OPERATOR, Tenancy

TOKEN = {"x-internal-token": "a-test-token-of-forty-characters-or-more-3"}


async def _three(step: Steps, event: Received) -> Any:
    await step.run("first", lambda: {"a": 1})
    await step.sleep("nap", timedelta(milliseconds=1))
    found = await step.wait_for_event("answer", "shop/answer", match="data.id", timeout=timedelta(days=1))
    return found and found.data


async def _asking(db: Database, count: int) -> None:
    """So many runs wait for their answer."""
    text = "select count(*) = $1 from mainstay.function_steps where step_id = 'answer' and state = 'waiting'"
    await until(lambda: one(db, text, count))


async def test_runs_are_listed_shown_cancelled_and_run_again(db: Database, api: httpx.AsyncClient) -> None:
    async with running(db, function("shop.ask", _three, cancel_on=[CancelOn("x", "async.data.a == 1")])):
        for number in (1, 2, 3):
            await send(db, "shop.ask", {"id": number})
        await _asking(db, 3)
        listed = await api.get("/internal/function-runs?state=waiting&functionId=shop.ask&limit=2", headers=TOKEN)
        page = listed.json()
        assert [run["state"] for run in page["data"]] == ["waiting"] * 2
        cursor = page["meta"]["nextCursor"]
        rest = await api.get(
            f"/internal/function-runs?state=waiting&functionId=shop.ask&limit=2&cursor={cursor}", headers=TOKEN
        )
        assert not rest.json()["meta"]["hasMore"]
        newest, second, oldest = [run["id"] for run in (*page["data"], *rest.json()["data"])]
        assert newest > second > oldest
        shown = (await api.get(f"/internal/function-runs/{newest}", headers=TOKEN)).json()
        assert [(step["id"], step["kind"], step["state"], step["output"]) for step in shown["steps"]] == [
            ("first", "run", "done", {"a": 1}),
            ("nap", "sleep", "done", None),
            ("answer", "wait", "waiting", None),
        ]
        assert shown["events"][0]["data"] == {"id": 3}
        assert (await api.post(f"/internal/function-runs/{newest}/cancel", headers=TOKEN)).status_code == 204
        again = await api.post(f"/internal/function-runs/{newest}/cancel", headers=TOKEN)
        assert (again.status_code, again.json()["code"]) == (409, "run-ended")
        sent = await api.post(
            "/internal/function-events", json={"name": "shop/answer", "data": {"id": 1, "ok": True}}, headers=TOKEN
        )
        assert sent.json()["status"] == 200
        (ended,) = await runs_in(db, "completed")
        assert output(ended) == {"id": 1, "ok": True}
        rerun = (await api.post(f"/internal/function-runs/{oldest}/rerun", headers=TOKEN)).json()
        await _asking(db, 2)
        shown = (await api.get(f"/internal/function-runs/{rerun['id']}", headers=TOKEN)).json()
        assert (shown["rerunOf"], shown["state"]) == (oldest, "waiting")
    names = await all_of(db, "select name from mainstay.announcements order by at, id")
    assert [row["name"] for row in names] == [
        "function_run.cancelled", "function_event.sent_by_hand", "function_run.rerun",
    ]  # fmt: skip
    with pytest.raises(RunNotFound):
        await functions.get_run(db, ids.new_id())
    for path in ("?state=none", "?region=XX", "?cursor=x", "?limit=0"):
        assert (await api.get(f"/internal/function-runs{path}", headers=TOKEN)).status_code == 400


async def test_functions_are_listed_with_what_steers_them_and_their_runs(db: Database) -> None:
    async def nothing(step: Steps, event: Received) -> None: ...

    given = function(
        "kb.verify.links", nothing, triggers=[Event("kb/check", "event.data.ok"), Cron("0 0 * * 0")],
        concurrency=[Concurrency(2, "event.data.k")], idempotency=lambda event: event.id,
    )  # fmt: skip
    async with running(db, given):
        await send(db, "kb/check", {"ok": True})
        await runs_in(db, "completed")
        async with db.begin() as tx:
            with pytest.raises(RunEnded):
                await functions.cancel_run(tx, OPERATOR, str(await one(db, "select id from mainstay.function_runs")))
    (listed,) = await functions.list_functions(db, Registry([given]))
    assert (listed.group, listed.triggers) == ("kb", ["event kb/check if event.data.ok", "cron 0 0 * * 0"])
    assert listed.controls == {
        "idempotency": "by code", "concurrency": "limit 2, key event.data.k, scope fn",
    }  # fmt: skip
    assert {state: count for state, count in listed.runs.items() if count} == {"completed": 1}


async def test_an_announcement_starts_functions_once_for_its_company(db: Database, tenancy: Tenancy) -> None:
    async def note(step: Steps, event: Received) -> Any:
        return [event.name, event.data["x"], event.company_id]

    registry = Registry([function("admin.note", note, "key.revoked")])
    async with db.begin() as tx:
        await outbox.announce(tx, "key.revoked", company_id=tenancy.company_id, actor=OPERATOR, data={"x": 1})
    relay = reactions.relay_of(Regions(db, {}), db, registry)
    while await relay.run_once():
        pass
    async with running(db, *registry):
        (ended,) = await runs_in(db, "completed")
    assert output(ended) == ["key.revoked", 1, tenancy.company_id]


@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ([stepping.MAX_STEP_BYTES - 2], None),
        ([stepping.MAX_STEP_BYTES - 1], "StepTooLarge"),
        ([0] * (stepping.MAX_STEPS + 1), "TooManySteps"),
    ],
    ids=["a large step", "too large a step", "too many steps"],
)
async def test_the_bounds_of_a_run(db: Database, sizes: list[int], error: str | None) -> None:
    async def run(step: Steps, _: Received) -> int:
        for start in range(0, len(sizes), 100):
            async with asyncio.TaskGroup() as group:
                for size in sizes[start : start + 100]:
                    group.create_task(step.run("s", lambda size=size: "x" * size))
        return len(sizes)

    async with running(db, function("a.f", run)):
        await send(db, "a.f")
        (ended,) = await runs_in(db, "completed" if error is None else "failed")
    assert error is None or orjson.loads(ended["error"])["name"] == error
    done = await one(db, "select count(*) from mainstay.function_steps where state = 'done'")
    assert done == {None: 1, "StepTooLarge": 0}.get(error, stepping.MAX_STEPS)


async def test_a_run_may_keep_32_megabytes(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "MAX_RUN_BYTES", 1_000)

    async def run(step: Steps, event: Received) -> None:
        await step.run("a", lambda: "x" * (event.data["size"] - 2))
        await step.run("b", lambda: None)

    async with running(db, function("a.f", run)):
        await send(db, "a.f", {"size": 1_000})
        await runs_in(db, "completed")
        await send(db, "a.f", {"size": 1_001})
        (ended,) = await runs_in(db, "failed")
    assert orjson.loads(ended["error"])["name"] == "RunTooLarge"


async def test_what_ended_a_month_ago_is_gone_and_places_that_nobody_gave_up_are_given(
    db: Database, sql_clock: SqlClock
) -> None:
    async def run(step: Steps, event: Received) -> None:
        if event.data.get("long"):
            await step.sleep("nap", timedelta(days=90))
        else:
            await step.run("a", lambda: None)

    async with running(db, function("a.f", run, concurrency=[Concurrency(1)])):
        await send(db, "a.f", {"long": True})
        await send(db, "a.f")
        await runs_in(db, "completed")
        await waiting(db)
        stranger = ids.new_id()
        await all_of(
            db,
            """with run as (insert into mainstay.function_runs (id, function_id, event_name, input, state, ended_at)
                            values ($1, 'a.f', 'e', '[]', 'cancelled', mainstay.now()) returning id)
               insert into mainstay.function_holds select 'fn:a.f:0:', id, 1, true from run returning run_id""",
            stranger,
        )
        await send(db, "a.f")
        await runs_in(db, "completed", 1)
        await one(db, "delete from mainstay.function_holds where run_id = $1 returning 1", stranger)
        await hand_on_places(db)
        await runs_in(db, "completed", 2)
        await keep(db)
        assert telemetry.FUNCTION_OPEN.labels("waiting")._value.get() == 1
        await sql_clock.move(timedelta(days=31))
        await keep(db)
    rest = await all_of(db, "select state from mainstay.function_runs")
    assert [row["state"] for row in rest] == ["open"]


async def test_the_command_line_lists_shows_steers_and_sends(db: Database) -> None:
    async def run(step: Steps, event: Received) -> Any:
        return await step.run("double", lambda: event.data["n"] * 2)

    async def say(*arguments: str, code: int = 0) -> str:
        ran = await asyncio.to_thread(called, "functions", *arguments, env={"DATABASE_URL": db.dsn})
        assert ran.code == code, (ran.out, ran.err)
        return ran.out

    assert (await say("send", "shop/double", '{"n": 21}')).startswith("event ")
    await say("send", "shop/double", "{", code=2)
    async with running(db, function("shop.double", run, "shop/double")):
        (ended,) = await runs_in(db, "completed")
        run_id = str(ended["id"])
        assert "shop.double" in await say("list")
        (listed,) = [orjson.loads(line) for line in (await say("runs", "shop.double", "--json")).splitlines()]
        assert (listed["id"], listed["state"]) == (run_id, "completed")
        assert "double" in await say("show", run_id)
        assert orjson.loads(await say("show", run_id, "--json"))["steps"][0]["output"] == 42
        await say("cancel", run_id, code=1)
        await say("runs", "--state", "none", code=2)
        await say("rerun", run_id)
        await runs_in(db, "completed", 2)
