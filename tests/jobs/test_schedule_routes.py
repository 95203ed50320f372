"""Schedules over HTTP and on the command line, as operators meet them."""

import asyncio
import json

import httpx
import pytest
from typer.testing import CliRunner

from mainstay import cli
from mainstay.jobs.scheduling import Scheduler
from mainstay.kernel.db import Database
from tests.conftest import SqlClock
from tests.jobs.conftest import one
from tests.jobs.test_recurring import HOUR, START, go_to, scheduler_of
from tests.observability.test_health import TOKEN

AUTH = {"x-internal-token": TOKEN}
AT = "/internal/schedules"


async def _some_runs(db: Database, clock: SqlClock) -> Scheduler:
    """Three slots ran, and the last of them waits."""
    await go_to(db, clock, START)
    scheduler = scheduler_of(db)
    await scheduler.run_once()
    for _ in range(3):
        await one(db, "delete from mainstay.jobs returning 1")
        await clock.move(HOUR)
        await scheduler.run_once()
    return scheduler


async def test_schedules_are_listed_shown_and_run_over_http(
    api: httpx.AsyncClient, db: Database, sql_clock: SqlClock
) -> None:
    await _some_runs(db, sql_clock)
    (listed,) = (await api.get(AT, headers=AUTH)).json()["data"]
    assert (await api.get(AT, headers=AUTH, params={"family": "other"})).json() == {"data": []}
    shown = (await api.get(f"{AT}/s.hourly", headers=AUTH)).json()["data"]
    assert shown == listed
    assert (shown["family"], shown["slots"], shown["cron"], shown["missed"]) == (
        "s",
        "every hour",
        "0 * * * *",
        "latest",
    )
    assert shown["lastRun"]["state"] == "waiting"
    first = (await api.get(f"{AT}/s.hourly/runs", headers=AUTH, params={"limit": 2})).json()
    assert (len(first["data"]), first["meta"]["hasMore"]) == (2, True)
    rest = (await api.get(f"{AT}/s.hourly/runs", headers=AUTH, params={"cursor": first["meta"]["nextCursor"]})).json()
    assert (len(rest["data"]), rest["meta"]["nextCursor"]) == (1, None)
    asked = await api.post(f"{AT}/s.hourly/runs", headers=AUTH)
    assert (asked.status_code, asked.json()) == (202, {"jobId": shown["lastRun"]["jobId"], "isNew": False})
    await one(db, "delete from mainstay.jobs returning 1")
    asked = await api.post(f"{AT}/s.hourly/runs", headers=AUTH)
    assert asked.json()["isNew"]
    newest = (await api.get(f"{AT}/s.hourly/runs", headers=AUTH)).json()["data"][0]
    assert (newest["jobId"], newest["dueAt"]) == (asked.json()["jobId"], None)


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/nobody", {}, 404),
        ("/nobody/runs", {}, 404),
        ("/s.hourly/runs", {"limit": "0"}, 400),
        ("/s.hourly/runs", {"limit": "x"}, 400),
        ("/s.hourly/runs", {"limit": "1001"}, 400),
        ("/s.hourly/runs", {"cursor": "x"}, 400),
        ("", {"region": "moon"}, 400),
        ("", {"nonsense": "1"}, 400),
    ],
)
async def test_what_is_asked_wrongly_is_named(
    api: httpx.AsyncClient, db: Database, path: str, query: dict[str, str], status: int
) -> None:
    await scheduler_of(db).run_once()
    answer = await api.get(AT + path, headers=AUTH, params=query)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert status == 404 or answer.json()["errors"]


async def test_schedules_on_the_command_line(
    db: Database, sql_clock: SqlClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", db.dsn)
    await _some_runs(db, sql_clock)

    async def call(*words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, cli.app, ["schedules", *words])
        assert done.exit_code == code, done.output
        return done.output

    assert "every hour" in await call("list")
    listed = json.loads(await call("list", "--json"))
    assert (listed["name"], listed["lastRun"]["state"]) == ("s.hourly", "waiting")
    shown = json.loads(await call("show", "s.hourly", "--limit", "2", "--json"))
    assert [len(shown["runs"]), shown["nextAt"] > shown["lastSlotAt"]] == [2, True]
    assert "waiting" in await call("show", "s.hourly")
    assert "stands for it" in await call("run", "s.hourly")
    await one(db, "delete from mainstay.jobs returning 1")
    assert json.loads(await call("run", "s.hourly", "--json"))["isNew"]
    assert "no schedule" in await call("show", "nobody", code=1)
    await sql_clock.move(10 * HOUR)
    assert "missing" in await call("list", code=1)
