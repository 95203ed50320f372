"""What must not keep a run open, or stop what others wait for: events that cross, and values that cannot be kept."""

import asyncio
import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from mainstay import functions
from mainstay.functions import BatchEvents, Concurrency, Debounce, Event, Received, Registry, Steps, Throttle
from mainstay.functions.ending import ACTOR
from mainstay.functions.errors import EventRefused, FunctionError
from mainstay.functions.expressions import NotAnExpression, parse
from mainstay.functions.gathering import start_overdue
from mainstay.functions.sending import check
from mainstay.kernel.db import Database
from tests.conftest import SqlClock
from tests.functions.conftest import all_of, function, one, output, running, runs_in, send, waiting
from tests.jobs.conftest import until

DAY = timedelta(days=1)


async def test_an_event_that_comes_while_another_step_of_its_run_is_under_way_is_not_slept_over(db: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def long() -> None:
        begun.set()
        await go_on.wait()

    async def first(step: Steps) -> None:
        await step.wait_for_event("early", "t/early", timeout=DAY)
        await step.run("long", long)

    async def crossing(step: Steps, _: Received) -> Any:
        _none, late = await asyncio.gather(first(step), step.wait_for_event("late", "t/late", timeout=DAY))
        return late is not None

    async def is_late_there() -> bool:
        text = "select count(*) = 1 from mainstay.function_steps where step_id = 'late' and state = 'done'"
        return bool(await one(db, text))

    async with running(db, function("t.cross", crossing)):
        await send(db, "t.cross")
        await waiting(db, 2)
        await send(db, "t/early")
        await asyncio.wait_for(begun.wait(), 30)
        await send(db, "t/late")
        await until(is_late_there)
        go_on.set()
        (run,) = await runs_in(db, "completed")
    assert output(run) is True


async def _failing(*_: Any) -> None:
    raise RuntimeError("no")


async def test_a_run_ends_whatever_its_handler_waits_for_or_invokes(db: Database) -> None:
    long = os.urandom(5_000).hex()

    async def long_name(step: Steps, _: Received) -> None:
        await step.wait_for_event("w", long, timeout=DAY)

    async def nul_in_condition(step: Steps, _: Received) -> None:
        await step.wait_for_event("w", "x", timeout=DAY, if_="async.data.x == '\0'")

    async def for_ever(step: Steps, _: Received) -> None:
        await step.sleep_until("s", datetime.max.replace(tzinfo=UTC))

    async def no_json(step: Steps, _: Received) -> None:
        await step.invoke("c", "t.child", {"a": {1, 2}})

    async def nul(step: Steps, _: Received) -> None:
        await step.invoke("c", "t.child", {"a": "\0"})

    async def no_key(step: Steps, _: Received) -> None:
        await step.invoke("c", "t.keyed", {})

    handlers = (long_name, nul_in_condition, for_ever, no_json, nul, no_key)
    parents = [function(f"t.{one.__name__}", one, "t.go", attempts=1) for one in handlers]
    keyed = Concurrency(5, lambda event: event.data["customer"])
    children = [
        function("t.child", _failing, attempts=1),
        function("t.keyed", _failing, attempts=1, concurrency=[keyed]),
    ]
    async with running(db, *parents, *children):
        await send(db, "t.go")
        found = {run["function_id"]: run["error"] for run in await runs_in(db, "failed", len(parents))}
    names = ("FunctionError", "NotAnExpression", "FunctionError", "EventRefused", "EventRefused", "KeyError")
    for parent, name in zip(parents, names, strict=True):
        assert f'"name":"{name}"' in found[parent.id], parent.id


async def test_a_wait_matches_by_a_value_of_any_length(db: Database) -> None:
    async def waits(step: Steps, _: Received) -> bool:
        return await step.wait_for_event("w", "t/answer", timeout=DAY, match="data.text") is not None

    text = os.urandom(5_000).hex()
    async with running(db, function("t.long", waits)):
        await send(db, "t.long", {"text": text})
        await waiting(db)
        await send(db, "t/answer", {"text": text + "0"})
        await send(db, "t/answer", {"text": text})
        (run,) = await runs_in(db, "completed")
    assert output(run) is True
    (step,) = await all_of(db, "select output->'data'->>'text' as text from mainstay.function_steps")
    assert step["text"] == text


async def test_a_condition_that_cannot_be_told_does_not_stop_events_of_others(db: Database) -> None:
    async def waits(step: Steps, _: Received) -> None:
        huge = "1" + "0" * 400
        await step.wait_for_event(
            "w", "t/x", timeout=DAY, if_=f"async.data.l['²'] == 1 || async.data.l[0] + 1.5 + {huge} == 1"
        )

    async def fine(*_: Any) -> int:
        return 1

    async with running(db, function("t.waits", waits), function("t.other", fine, "t/x")):
        await send(db, "t.waits")
        await waiting(db)
        await send(db, "t/x", {"l": [1]})
        await runs_in(db, "completed", of="t.other")


async def test_the_deepest_event_that_is_taken_can_fail_its_run(db: Database) -> None:
    def nested(levels: int) -> dict[str, Any]:
        found: Any = 1
        for _ in range(levels):
            found = [found]
        return {"x": found}

    def is_taken(levels: int) -> bool:
        try:
            check([{"name": "t.deep", "data": nested(levels)}])
        except EventRefused:
            return False
        return True

    most = next(levels for levels in range(300, 0, -1) if is_taken(levels))
    assert most > 150
    async with running(db, function("t.deep", _failing, attempts=1)):
        await send(db, "t.deep", nested(most))
        await runs_in(db, "failed")
    with pytest.raises(EventRefused):
        await send(db, "t.deep", nested(most + 1))


def test_limits_that_no_column_holds_and_conditions_without_an_end_are_refused() -> None:
    for limit in (0, 1_000_001, 1.5, "5"):
        with pytest.raises(FunctionError):
            Concurrency(limit)  # type: ignore[arg-type]
        with pytest.raises(FunctionError):
            Throttle(1, timedelta(seconds=1), burst=limit)  # type: ignore[arg-type]
    assert Concurrency(1_000_000).limit == 1_000_000
    with pytest.raises(FunctionError):
        Event("a", 5)  # type: ignore[arg-type]
    for text in ("!" * 900 + "a", "'\0'", "'\ud800'"):
        with pytest.raises(NotAnExpression):
            parse(text)
    assert parse("!" * 28 + "a")({"a": True}) is True


async def test_what_one_company_sends_does_not_swallow_the_event_of_another(db: Database) -> None:
    async def fine(*_: Any) -> None:
        return None

    companies = [str(uuid.uuid4()), str(uuid.uuid4())]
    async with running(db, function("t.once", fine, idempotency="event.data.payment")):
        for company_id in (*companies, companies[0]):
            async with db.begin() as tx:
                event = {"name": "t.once", "data": {"payment": 1}, "id": "due-1"}
                await functions.send(tx, [event], company_id=company_id)
        found = await runs_in(db, "completed", 2)
    assert {str(run["company_id"]) for run in found} == set(companies)


async def test_an_event_starts_a_function_once_however_many_of_its_triggers_it_meets(db: Database) -> None:
    def raises(_: Received) -> bool:
        raise KeyError("n")

    async def fine(step: Steps, _: Received) -> int:
        return len(step.events)

    triggers = [Event("t/x", raises), Event("t/x"), Event("t/x", "event.data.n == 1")]
    batch = BatchEvents(2, timedelta(seconds=60))
    async with running(db, function("t.twice", fine, triggers=triggers, batch=batch)):
        await send(db, "t/x", {"n": 1})
        await send(db, "t/x", {"n": 1})
        (run,) = await runs_in(db, "completed")
    assert output(run) == 2
    first, second = (event["id"] for event in orjson.loads(run["input"]))
    assert first != second


async def test_a_rerun_of_a_skipped_run_keeps_to_the_limits_of_its_function(db: Database) -> None:
    async def fine(*_: Any) -> None:
        return None

    limited = {"idempotency": "event.name", "concurrency": [Concurrency(1)]}
    async with running(db, function("t.limited", fine, **limited)):
        await send(db, "t.limited")
        await send(db, "t.limited")
        (skipped,) = await runs_in(db, "skipped")
    async with db.begin() as tx:
        await functions.rerun(tx, ACTOR, str(skipped["id"]))
    again = await all_of(db, "select limits from mainstay.function_runs where rerun_of is not null")
    assert [orjson.loads(row["limits"])["places"] for row in again] == [[["fn:t.limited:0:", 1]]]


async def test_what_was_gathered_starts_though_its_job_is_gone(db: Database, sql_clock: SqlClock) -> None:
    async def fine(*_: Any) -> None:
        return None

    debounced = function("t.burst", fine, debounce=Debounce(timedelta(minutes=1)))
    async with running(db, debounced):
        await send(db, "t.burst")
        await until(lambda: one(db, "select count(*) from mainstay.function_gathers"))
    await all_of(db, "delete from mainstay.jobs where kind = 'functions.gather'")
    await sql_clock.move(timedelta(minutes=7))
    async with db.begin() as tx:
        await start_overdue(tx, Registry([]))
        await start_overdue(tx, Registry([debounced]))
        await start_overdue(tx, Registry([debounced]))
    assert await one(db, "select count(*) from mainstay.jobs where kind = 'functions.gather'") == 1
    async with running(db, debounced):
        await runs_in(db, "completed")
    assert await one(db, "select count(*) from mainstay.function_gathers") == 0
