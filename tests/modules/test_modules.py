"""Modules of the team that runs Mainstay: what they bring runs beside our own, what cannot be used ends the start."""

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mainstay import functions, jobs, main, modules
from mainstay.functions import Event, Function
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.settings import SettingsError
from mainstay.kernel.work import Every, Job, Outcome, Schedule, Task
from tests.cli.running import called
from tests.conftest import running_app
from tests.jobs.conftest import add, all_of, one, until
from tests.jobs.test_routes import done, shown
from tests.modules import shop
from tests.tenancy import test_settings

MODULE = "tests.modules.shop"


async def run(_: Job) -> Outcome:
    """Nothing to do."""
    return None


def task(kind: str = "a.b", queue: str = "a:b") -> Task:
    """A task of a module."""
    return Task(kind=kind, queue=queue, run=run)


async def test_a_module_is_enqueued_to_from_python_http_and_sql_and_runs_in_the_worker(
    db: Database, fresh_url: str
) -> None:
    async with db.begin() as tx:
        await tx.connection.execute("create schema shop; create table shop.images (image text, kind text)")
    settings = test_settings(fresh_url, MODULES=MODULE)
    async with running_app(fresh_url, MODULES=MODULE) as api:
        (kind,) = (one for one in (await shown(api, "/internal/kinds"))["data"] if one["kind"] == "shop.resize")
        assert (kind["queue"], kind["priority"], kind["attempts"], kind["isPublic"]) == (shop.QUEUE, 3, 4, True)
        await done(api, f"/internal/queues/{shop.QUEUE}/jobs", {"kind": "shop.resize", "payload": {"image": 1}}, 201)
    async with db.begin() as tx:
        await jobs.enqueue(tx, "shop.resize", {"image": 2})
    await one(db, """select mainstay.enqueue('shop.resize', '{"image": 3}')""")
    async with db.begin() as tx:
        await functions.send(tx, [{"name": "shop/opened", "data": {}}])
    assert await one(db, "select count(*) from mainstay.jobs where queue = $1", shop.QUEUE) == 3
    stop = asyncio.Event()
    worker = asyncio.create_task(main.run_worker(settings, stop))
    try:
        await until(lambda: one(db, "select count(*) = 3 from shop.images"))
        await until(lambda: one(db, "select 1 from mainstay.function_runs where state = 'completed'"))
        known = "select array_agg(name) @> '{shop.tidy}' from mainstay.schedules"
        await until(lambda: one(db, known))
    finally:
        stop.set()
        await worker
    images = await all_of(db, "select image, kind from shop.images order by image")
    assert [tuple(row) for row in images] == [(str(n), "shop.resize") for n in (1, 2, 3)]
    ended = "select count(*) from mainstay.finished_jobs where queue = $1 and outcome = 'completed'"
    assert await one(db, ended, shop.QUEUE) == 3


def brought(**given: Any) -> modules.HostWork:
    """What a module with these attributes brings."""
    module = ModuleType("a_module")
    vars(module).update(given)
    sys.modules["a_module"] = module
    try:
        return modules.load(["a_module"])
    finally:
        del sys.modules["a_module"]


def test_what_a_module_brings_is_public_and_may_be_made_when_asked_for() -> None:
    hourly = Schedule(name="a.hourly", slots=Every(timedelta(hours=1)), kind="a.b")
    function = Function(id="a.f", run=run, triggers=[Event("a/b")])  # type: ignore[arg-type]
    work = brought(tasks=lambda: (task(), task("a.c", "a:c")), schedules=[hourly], functions=[function])
    assert [(one.kind, one.is_public) for one in work.tasks] == [("a.b", True), ("a.c", True)]
    assert (work.schedules, work.functions, work.queues) == ([hourly], [function], ["a:b", "a:c"])
    assert brought(tasks=[task()], functions=functions).functions == [], "our own room by that name is no list"
    assert not modules.load([]).tasks


def _broken() -> list[Task]:
    raise RuntimeError("no shop today")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "a_module has no tasks, schedules or functions"),
        ({"tasks": 7}, "a_module.tasks cannot be read"),
        ({"tasks": _broken}, "RuntimeError: no shop today"),
        ({"tasks": [run]}, "a_module.tasks holds function, which is no Task"),
        ({"tasks": [task(), task()]}, "two tasks of the kind a.b"),
        ({"tasks": [task("")]}, "cannot be a name"),
        ({"tasks": [task("k" * 201)]}, "cannot be a name"),
        ({"tasks": [task(queue="q" * 101)]}, "cannot be a name"),
        ({"tasks": [task("a\nb")]}, "cannot be a name"),
        ({"tasks": [replace(task(), priority=11)]}, "a priority is 0 to 10"),
        ({"tasks": [replace(task(), attempts=0)]}, "attempts are 1 to 1000"),
        ({"tasks": [replace(task(), attempts=1001)]}, "attempts are 1 to 1000"),
        ({"schedules": [Schedule(name="s", slots=Every(timedelta(hours=1)), kind="x.y")]}, "without a task: x.y"),
        ({"schedules": [Schedule(name="s", slots=Every(timedelta(hours=1)), kind="x.y")] * 2}, "two schedules named s"),
        ({"functions": [Function(id="f", run=run)] * 2}, "two functions"),  # type: ignore[arg-type]
    ],
)
def test_a_module_that_cannot_be_used_is_named_with_the_reason(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match="MODULES: .*" + told):
        brought(**given)


def test_a_module_that_leaves_while_it_is_imported_ends_the_start_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_that_leaves.py").write_text("import sys\n\nsys.exit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SettingsError, match="shop_that_leaves cannot be imported: SystemExit"):
        modules.load(["shop_that_leaves"])


def test_names_at_their_longest_are_taken_and_names_of_our_own_are_not() -> None:
    assert brought(tasks=[task("k" * 200, "q" * 100)]).queues == ["q" * 100]
    work = brought(
        tasks=[task("jobs.expire")],
        schedules=[Schedule(name="jobs.fold", slots=Every(timedelta(hours=1)), kind="jobs.expire")],
    )
    with pytest.raises(SettingsError, match=r"Mainstay's own: jobs\.expire, jobs\.fold"):
        modules.check_apart(work, ["jobs.expire"], ["jobs.fold"])


@pytest.mark.parametrize("command", [("api", "--port", "0"), ("worker",)])
def test_a_module_that_is_not_there_ends_the_start_with_a_message(command: tuple[str, ...]) -> None:
    settings = test_settings("postgresql://nobody@127.0.0.1/none")
    ran = called(
        *command,
        env={
            "DATABASE_URL": settings.database_url, "MAINSTAY_SECRET": settings.secret,
            "JWT_ACCESS_SECRET": settings.jwt_access_secret, "JWT_REFRESH_SECRET": settings.jwt_refresh_secret,
            "MODULES": "tests.modules.no_such_module",
        },
    )  # fmt: skip
    assert (ran.code, "no_such_module cannot be imported: ModuleNotFoundError" in ran.err) == (2, True), ran.err


async def test_an_upkeep_kind_is_not_handed_to_outsiders_by_a_module(db: Database) -> None:
    await jobs.desk.public.introduce(db, [task("jobs.own")])
    assert await one(db, "select is_public from mainstay.job_kinds where kind = 'jobs.own'") is False
    await jobs.desk.public.introduce(db, [task("jobs.own", "other:queue")])
    assert await one(db, "select queue from mainstay.job_kinds where kind = 'jobs.own'") == "a:b", (
        "the first word stands"
    )
    assert await add(db, "jobs.own", queue="a:b")
    assert await db.rows(Sql("t", "select from mainstay.queues where name in ('a:b', 'other:queue')"))
