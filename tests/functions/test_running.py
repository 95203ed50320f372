"""Runs from their event to their end: steps done once, attempts, sleeps, waits, failures."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson

from mainstay import functions, jobs
from mainstay.functions import Received, StepError, Steps
from mainstay.kernel.db import Database
from mainstay.kernel.work import Discard, Retry
from tests.conftest import SqlClock
from tests.functions.conftest import all_of, function, one, output, running, runs_in, send, waiting
from tests.jobs.conftest import until


async def test_three_steps_and_an_output(db: Database) -> None:
    done = []

    async def run(step: Steps, event: Received) -> Any:
        first = await step.run("a", lambda: {"n": 1})
        second = await step.run("b", asyncio.sleep, 0, 2)
        third = await step.run("a", done.append, "again")
        return {"sum": first["n"] + second + event.data["n"], "third": third}

    async with running(db, function("shop.sum", run)):
        await send(db, "shop.sum", {"n": 4})
        (ended,) = await runs_in(db, "completed")
    assert output(ended) == {"sum": 7, "third": None}
    assert done == ["again"]
    steps = await all_of(db, "select step_id, state, attempt from mainstay.function_steps order by place")
    assert [tuple(step) for step in steps] == [("a", "done", 1), ("b", "done", 1), ("a:1", "done", 1)]
    assert await one(db, "select count(*) from mainstay.jobs") == 0


async def test_what_is_done_is_not_done_again_when_a_later_step_fails(db: Database) -> None:
    calls = []

    def third() -> str:
        calls.append("third")
        if calls.count("third") < 3:
            raise OSError("not yet")
        return "at last"

    async def run(step: Steps, _: Received) -> Any:
        await step.run("first", calls.append, "first")
        await step.run("second", calls.append, "second")
        return await step.run("third", third)

    async with running(db, function("credit.charge", run)):
        await send(db, "credit.charge")
        (ended,) = await runs_in(db, "completed")
    assert calls == ["first", "second", "third", "third", "third"]
    assert output(ended) == "at last"
    errors = await all_of(db, "select error from mainstay.job_attempts order by attempt")
    assert [row["error"] for row in errors] == ["step 'third': OSError: not yet"] * 2


async def test_after_its_last_attempt_a_step_fails_the_run_and_what_is_for_failures_runs(db: Database) -> None:
    calls, told = [], []

    def broken() -> None:
        calls.append(1)
        raise ValueError("never")

    async def run(step: Steps, _: Received) -> None:
        await step.run("before", lambda: None)
        await step.run("broken", broken)

    async def failed(step: Steps, event: Received) -> None:
        told.append(event.data)

    async def listener(step: Steps, event: Received) -> None:
        told.append(event.name)

    given = [
        function("shop.f", run, on_failure=failed),
        function("shop.l", listener, "inngest/function.failed"),
    ]
    async with running(db, *given):
        await send(db, "shop.f", {"order": 7})
        (ended,) = await runs_in(db, "failed")
        await runs_in(db, "completed", 2)
        assert len(calls) == 3
        assert orjson.loads(ended["error"])["message"] == "step 'broken' failed: ValueError: never"
        told.sort(key=str)
        assert told[0] == "function.failed"
        assert (told[1]["run_id"], told[1]["function_id"]) == (str(ended["id"]), "shop.f")
        assert told[1]["event"]["data"] == {"order": 7}
        async with db.begin() as tx:
            (dead,) = await jobs.list_dead(tx, jobs.Match(jobs.WORKFLOW))
            await jobs.redrive(tx, dead.id)
        await until(lambda: len(calls) == 6)
        await runs_in(db, "completed", 4)
    assert await one(db, "select count(*) from mainstay.announcements where name = 'function_run.failed'") == 2


async def test_a_handler_may_catch_a_failed_step_and_say_when_to_try_again(db: Database) -> None:
    calls = []

    def refused() -> None:
        calls.append("refused")
        raise Discard("no such account")

    def later() -> int:
        calls.append("later")
        if calls.count("later") == 1:
            raise Retry("busy", after=timedelta(0))
        return calls.count("later")

    async def run(step: Steps, _: Received) -> Any:
        try:
            await step.run("refused", refused)
        except StepError as error:
            return [error.message, await step.run("later", later)]

    async with running(db, function("shop.f", run)):
        await send(db, "shop.f")
        (ended,) = await runs_in(db, "completed")
    assert output(ended) == ["no such account", 2]
    assert calls == ["refused", "later", "later"]


async def test_what_fails_outside_steps_has_attempts_too(db: Database) -> None:
    calls = []

    async def run(step: Steps, _: Received) -> Any:
        await step.run("a", calls.append, "a")
        calls.append("outside")
        raise KeyError("x")

    async with running(db, function("shop.f", run, attempts=2)):
        await send(db, "shop.f")
        (ended,) = await runs_in(db, "failed")
    assert calls == ["a", "outside", "outside"]
    assert orjson.loads(ended["error"])["name"] == "KeyError"


async def test_a_sleeping_run_holds_nothing_and_goes_on_when_its_time_has_come(
    db: Database, sql_clock: SqlClock
) -> None:
    calls = []

    async def run(step: Steps, _: Received) -> Any:
        await step.run("a", calls.append, "a")
        await step.sleep("nap", timedelta(days=2))
        await step.run("b", calls.append, "b")

    async with running(db, function("shop.f", run), slots=1) as worker:
        await send(db, "shop.f")
        await waiting(db)
        assert not worker.runner.running
        await sql_clock.move(timedelta(days=2, seconds=1))
        await runs_in(db, "completed")
    assert calls == ["a", "b"]
    assert await one(db, "select count(*) from mainstay.job_attempts") == 0


async def test_a_wait_has_the_first_matching_event_sent_after_it_began(db: Database) -> None:
    async def run(step: Steps, _: Received) -> Any:
        found = await step.wait_for_event("paid", "order/paid", match="data.id", timeout=timedelta(days=1))
        return found and found.data

    async with running(db, function("shop.f", run)):
        await send(db, "order/paid", {"id": 1, "when": "before"})
        await send(db, "shop.f", {"id": 1})
        await waiting(db)
        await send(db, "order/paid", {"id": 2})
        await send(db, "order/paid", {"when": "no id"})
        async with db.begin() as tx:
            # Sent before the wait began, and routed only now.
            late = {"name": "order/paid", "data": {"id": 1, "when": "late"}, "user": {}, "id": "l", "ts": 1, "key": "l"}
            await jobs.enqueue(tx, "functions.route", {"n": 1, "events": [late]}, queue=jobs.FUNCTIONS)
        await until(lambda: one(db, "select count(*) = 0 from mainstay.jobs where kind = 'functions.route'"))
        await send(db, "order/paid", {"id": 1, "when": "after"})
        (ended,) = await runs_in(db, "completed")
    assert output(ended) == {"id": 1, "when": "after"}


async def test_a_wait_is_nothing_when_its_time_is_over(db: Database, sql_clock: SqlClock) -> None:
    async def run(step: Steps, _: Received) -> Any:
        found = await step.wait_for_event(
            "paid", "order/paid", if_="async.data.total > event.data.total", timeout=timedelta(hours=1)
        )
        return found is None

    async with running(db, function("shop.f", run)):
        await send(db, "shop.f", {"total": 10})
        await waiting(db)
        await send(db, "order/paid", {"total": 9})
        await until(lambda: _is_routed(db))
        await waiting(db)
        await sql_clock.move(timedelta(hours=1, seconds=1))
        (ended,) = await runs_in(db, "completed")
    assert output(ended) is True


async def _is_routed(db: Database) -> bool:
    return await one(db, "select count(*) = 0 from mainstay.jobs where kind = 'functions.route'")


async def test_steps_side_by_side_wait_and_are_tried_again_each_for_itself(db: Database) -> None:
    calls: list[str] = []

    async def slow(name: str) -> str:
        await asyncio.sleep(0.02)
        calls.append(name)
        if name == "bad" and calls.count("bad") < 2:
            raise OSError(name)
        return name

    async def branch(step: Steps) -> Any:
        await step.run("one", slow, "one")
        return await step.run("two", slow, "two")

    async def run(step: Steps, _: Received) -> Any:
        return await asyncio.gather(
            step.sleep("nap", timedelta(milliseconds=1)), branch(step), step.run("bad", slow, "bad")
        )

    async with running(db, function("shop.f", run)):
        await send(db, "shop.f")
        (ended,) = await runs_in(db, "completed")
    assert output(ended) == [None, "two", "bad"]
    assert sorted(calls) == ["bad", "bad", "one", "two"]


async def test_events_sent_in_a_step_and_functions_invoked(db: Database) -> None:
    got = []

    async def child(step: Steps, event: Received) -> Any:
        if event.data.get("fail"):
            raise Discard("as asked")
        return await step.run("double", lambda: event.data["n"] * 2)

    async def listener(step: Steps, event: Received) -> None:
        got.append(event.data["n"])

    async def run(step: Steps, _: Received) -> Any:
        await step.send_event("tell", [{"name": "told", "data": {"n": n}} for n in (1, 2)])
        doubled = await step.invoke("child", "shop.child", {"n": 21})
        try:
            await step.invoke("child", "shop.child", {"fail": True})
        except StepError as error:
            return [doubled, error.message]

    async with running(db, function("shop.f", run), function("shop.child", child), function("told", listener)):
        await send(db, "shop.f")
        (ended,) = await runs_in(db, "completed", of="shop.f")
        await until(lambda: sorted(got) == [1, 2])
    assert output(ended) == [42, "as asked"]


async def test_a_run_that_is_cancelled_does_no_further_step(db: Database) -> None:
    calls: list[str] = []

    async def run(step: Steps, _: Received) -> None:
        await step.run("a", calls.append, "a")
        await step.wait_for_event("never", "never", timeout=timedelta(days=1))
        calls.append("on")

    cancel = functions.CancelOn("order/cancelled", match="data.id")
    async with running(db, function("shop.f", run, cancel_on=[cancel])):
        await send(db, "shop.f", {"id": 1})
        await send(db, "shop.f", {"id": 2})
        await waiting(db, 2)
        await send(db, "order/cancelled", {"id": 2})
        (ended,) = await runs_in(db, "cancelled")
        await until(lambda: _jobs(db, 1))
    assert orjson.loads(ended["input"])[0]["data"] == {"id": 2}
    assert calls == ["a", "a"]


async def _jobs(db: Database, count: int) -> bool:
    return await one(db, "select count(*) = $1 from mainstay.jobs", count)


async def test_a_handler_of_many_layers_goes_on_beside_a_step_that_waits(db: Database) -> None:
    """What a branch does next is seen through any number of tasks that stand between."""
    calls: list[str] = []

    async def deep(step: Steps, layers: int) -> None:
        if layers:
            await asyncio.gather(deep(step, layers - 1))
            await step.run("after", calls.append, "after")
        else:
            await step.run("inner", asyncio.sleep, 0)

    async def run(step: Steps, _: Received) -> None:
        await asyncio.gather(step.sleep("nap", timedelta(days=1)), deep(step, 8))

    async with running(db, function("shop.f", run)):
        await send(db, "shop.f")
        await waiting(db)
    assert calls == ["after"] * 8
