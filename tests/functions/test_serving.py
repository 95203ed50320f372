"""An application with Inngest's own SDK registers its functions, and they run: steps, retries, sleeps, waits."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import inngest
import orjson
import pytest
import uvicorn
from fastapi import FastAPI

from mainstay import functions, jobs, main
from mainstay.functions import Registry, protocol
from mainstay.functions.calling import Caller
from mainstay.functions.serving import Serving, register
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Answer, Outbound
from tests.conftest import SqlClock, running_app
from tests.functions.conftest import all_of, one, output, running, runs_in, send
from tests.functions.test_events import KEY, SIGNING, close_client
from tests.functions.test_operating import TOKEN
from tests.jobs.conftest import QUICK, until
from tests.tenancy import test_settings

with warnings.catch_warnings():
    # The SDK's own models are declared in a way that its library warns of.
    warnings.simplefilter("ignore")
    from inngest import fast_api


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """The address of an application on loopback."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def serving_worker(db: Database) -> AsyncIterator[Registry]:
    """A worker that calls applications on loopback."""
    registry = Registry()
    serving = Serving(registry, SIGNING, parse_allow_list("127.0.0.0/8"))
    engine = Database(db.dsn, size=6)
    queues = [jobs.QueueConfig(jobs.WORKFLOW, 10), jobs.QueueConfig(jobs.FUNCTIONS, 200)]
    worker = jobs.Worker(
        db, functions.tasks(db, registry, serving), queues=queues, engine_db=engine, timing=QUICK, shutdown_seconds=5.0
    )
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        yield registry
    finally:
        stop.set()
        await running
        await serving.close()
        await engine.close()


async def test_functions_of_an_application_run_as_its_sdk_expects(fresh_url: str, db: Database) -> None:
    calls: list[str] = []
    settings = test_settings(fresh_url, INNGEST_EVENT_KEY=KEY, INNGEST_SIGNING_KEY=SIGNING)
    app = FastAPI()
    async with listening(main.build_api(settings)) as ours, listening(app) as theirs, serving_worker(db):
        client = inngest.Inngest(
            app_id="shop", event_key=KEY, signing_key=SIGNING, api_base_url=ours, event_api_base_url=ours,
            is_production=True,
        )  # fmt: skip

        async def note(name: str) -> str:
            calls.append(name)
            if name == "third" and calls.count(name) < 3:
                raise inngest.RetryAfterError("not yet", timedelta(seconds=0))
            return name

        async def failed(ctx: inngest.Context) -> Any:
            return [ctx.event.name, ctx.event.data["function_id"]]

        @client.create_function(
            fn_id="order", trigger=inngest.TriggerEvent(event="shop/order"), retries=3,
            concurrency=[inngest.Concurrency(limit=2, key="event.data.id")],
        )  # fmt: skip
        async def order(ctx: inngest.Context) -> Any:
            done = [await ctx.step.run(name, note, name) for name in ("first", "second", "third")]
            await ctx.step.sleep("nap", timedelta(seconds=1))
            both = await ctx.group.parallel(
                (lambda: ctx.step.run("a", note, "a"), lambda: ctx.step.run("b", note, "b"))
            )
            paid = await ctx.step.wait_for_event(
                "paid", event="shop/paid", if_exp="event.data.id == async.data.id", timeout=timedelta(hours=1)
            )
            return [*done, *both, paid and paid.data["how"], ctx.event.data["id"]]

        @client.create_function(
            fn_id="bad", trigger=inngest.TriggerEvent(event="shop/bad"), on_failure=failed, retries=0
        )
        async def bad(ctx: inngest.Context) -> None:
            raise inngest.NonRetriableError("never")

        fast_api.serve(app, client, [order, bad])
        async with httpx.AsyncClient() as http:
            registered = await http.put(f"{theirs}/api/inngest")
            assert registered.status_code == 200, registered.text
        await send(db, "shop/order", {"id": 7})
        await send(db, "shop/bad")
        waits = "select count(*) from mainstay.function_steps where kind = 'wait' and state = 'waiting'"
        await until(lambda: one(db, waits))
        await client.send(inngest.Event(name="shop/paid", data={"id": 8, "how": "late"}))
        await client.send(inngest.Event(name="shop/paid", data={"id": 7, "how": "cash"}))
        (ended,) = await runs_in(db, "completed", of="shop-order")
        (told,) = await runs_in(db, "completed", of="shop-bad-failure")
        (broken,) = await runs_in(db, "failed")
        await close_client(client)
    assert output(ended) == ["first", "second", "third", "a", "b", "cash", 7]
    assert sorted(calls) == ["a", "b", "first", "second", "third", "third", "third"]
    assert orjson.loads(broken["error"])["message"] == "never"
    assert output(told) == ["inngest/function.failed", "shop-bad"]
    names = await all_of(db, "select step_id, kind from mainstay.function_steps order by place, started_at")
    assert {row["step_id"].partition(" ")[0] for row in names} == {
        "first", "second", "third", "nap", "a", "b", "paid",
    }  # fmt: skip


def _described(**more: Any) -> dict[str, Any]:
    function = {"id": "shop-f", "triggers": [{"event": "shop/f"}], "steps": {}, **more}
    return {"appname": "shop", "url": "http://127.0.0.1:9/api/inngest", "sdk": "py:v1", "functions": [function]}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (_described(id="other-f"), "#/functions/0"),
        (_described(triggers=[{"event": "e", "expression": "event.data.x.size() > 1"}]), "#/functions/0"),
        (_described(triggers=[{"cron": "* * *"}]), "#/functions/0"),
        (_described(singleton={"mode": "skip"}), "#/functions/0"),
        (_described(throttle={"limit": 1, "period": "soon"}), "#/functions/0"),
        (_described(concurrency=[{"limit": 1, "scope": "galaxy"}]), "#/functions/0"),
        ({**_described(), "url": "ftp://x"}, "#/url"),
        ({**_described(), "functions": []}, "#/functions"),
        ({**_described(), "appname": ""}, "#/appname"),
    ],
)
async def test_what_cannot_be_served_is_refused_by_name(db: Database, body: dict[str, Any], pointer: str) -> None:
    async with db.begin() as tx:
        with pytest.raises(functions.AppRefused) as refused:
            await register(tx, Registry(), body)
    assert [fault.pointer for fault in refused.value.faults] == [pointer]


@pytest.mark.contract("DR-C-02")
async def test_applications_register_under_the_hashed_key_and_the_clock_starts_what_they_serve(
    fresh_url: str, db: Database, sql_clock: SqlClock
) -> None:
    body = _described(triggers=[{"cron": "* * * * *"}], retries={"attempts": 0})
    async with running_app(fresh_url, INNGEST_SIGNING_KEY=SIGNING) as api:
        for headers in ({}, {"authorization": "Bearer " + "0" * 64}, {"authorization": f"Bearer {SIGNING}"}):
            answer = await api.post("/fn/register", json=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "signing-key-refused")
        right = {"authorization": f"Bearer {protocol.hashed_key(SIGNING)}"}
        assert (await api.post("/fn/register", content=b"{", headers=right)).status_code == 400
        for is_new in (True, False):
            answer = await api.post("/fn/register", json=body, headers=right)
            assert answer.json() == {"ok": True, "modified": is_new}
        listed = await api.get("/internal/functions", headers=TOKEN)
        assert [one["id"] for one in listed.json()["data"]] == ["shop-f"]
    serving = Serving(Registry(), SIGNING, parse_allow_list(""))
    for _ in range(3):
        async with db.begin() as tx:
            await serving.start_by_clock(tx)
        await sql_clock.move(timedelta(minutes=1))
    assert await one(db, "select count(*) from mainstay.function_runs where function_id = 'shop-f'") == 3
    body = _described(id="shop-g")
    async with db.begin() as tx:
        assert await register(tx, serving.registry, body)
        await serving.refresh(tx)
    assert [one.id for one in serving.registry] == ["shop-g"]
    await serving.close()


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1h30m", 5_400), ("7d", 604_800), ("2w", 1_209_600), ("500ms", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert protocol.duration_of(text) == timedelta(seconds=seconds)
    for wrong in ("", "1", "1y", "1h ", "-1s", "1h" * 40, "9" * 40 + "w"):
        with pytest.raises(ValueError, match=r"no duration|longer than"):
            protocol.duration_of(wrong)


@pytest.mark.contract("DR-C-02")
@pytest.mark.parametrize(
    ("sdk", "key", "name"),
    [
        ("py", SIGNING, None),
        ("py", None, None),
        ("py", SIGNING + "0", "BadSignature"),
        (None, SIGNING, "ProtocolError"),
    ],
)
def test_an_answer_with_a_bad_signature_is_a_failed_attempt(sdk: str | None, key: str | None, name: str | None) -> None:
    headers = {} if sdk is None else {"x-inngest-sdk": sdk}
    if key is not None:
        headers["x-inngest-signature"] = protocol.sign(key, b"[1]", is_canonical=True)
    caller = Caller(Outbound(allow=parse_allow_list("")), SIGNING, "http://127.0.0.1:9", "shop-f")
    answer = Answer(200, "OK", headers, b"[1]", False, 0.1, "127.0.0.1", None, "")
    if name is None:
        assert caller._read(answer) == ([1],)
        return
    with pytest.raises(functions.AppError) as refused:
        caller._read(answer)
    assert refused.value.name == name


async def test_an_id_is_served_by_one_application_and_one_that_cannot_be_served_does_not_stop_others(
    db: Database,
) -> None:
    clash = {**_described(id="shop-a-x"), "appname": "shop"}
    async with db.begin() as tx:
        assert await register(tx, Registry(), clash)
    twice = {**_described(), "functions": [*_described()["functions"], *_described()["functions"]]}
    for body in ({**clash, "appname": "shop-a"}, twice):
        with pytest.raises(functions.AppRefused):
            async with db.begin() as tx:
                await register(tx, Registry(), body)
    text = """insert into mainstay.function_apps (id, url, sdk, functions)
              select 'broken', url, sdk, functions from mainstay.function_apps"""
    await all_of(db, text)
    serving = Serving(Registry(), SIGNING, parse_allow_list(""))
    async with db.begin() as tx:
        await register(tx, Registry(), {**_described(id="later-f"), "appname": "later"})
        await serving.refresh(tx)
    assert sorted(one.id for one in serving.registry) == ["later-f", "shop-a-x"]
    await serving.close()


async def test_registrations_are_seen_in_the_order_of_their_commits(db: Database) -> None:
    serving = Serving(Registry(), SIGNING, parse_allow_list(""))

    async def second() -> None:
        async with db.begin() as tx:
            await register(tx, Registry(), {**_described(id="b-f"), "appname": "b"})

    async with db.begin() as first:
        await register(first, Registry(), {**_described(id="a-f"), "appname": "a"})
        other = asyncio.create_task(second())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(other), 0.2)
        await serving.refresh(db)
    await other
    await serving.refresh(db)
    assert sorted(one.id for one in serving.registry) == ["a-f", "b-f"]
    await serving.close()


async def test_events_that_were_gathered_wait_for_a_worker_that_knows_their_function(
    db: Database, sql_clock: SqlClock
) -> None:
    body = _described(id="shop-f", debounce={"period": "60s"})
    async with db.begin() as tx:
        await register(tx, Registry(), body)
    async with serving_worker(db):
        await send(db, "shop/f")
        await until(lambda: one(db, "select count(*) from mainstay.jobs where kind = 'functions.gather'"))
    await sql_clock.move(timedelta(minutes=2))
    async with serving_worker(db):
        await until(lambda: one(db, "select count(*) from mainstay.function_runs where function_id = 'shop-f'"))
    await all_of(db, "delete from mainstay.function_runs")
    async with serving_worker(db):
        await send(db, "shop/f")
        await until(lambda: one(db, "select count(*) from mainstay.jobs where kind = 'functions.gather'"))
    await sql_clock.move(timedelta(minutes=2))
    snoozed = "select count(*) from mainstay.jobs where kind = 'functions.gather' and due_at > mainstay.now()"
    async with running(db):
        await until(lambda: one(db, snoozed))
    assert await one(db, "select count(*) from mainstay.function_gathers") == 1
