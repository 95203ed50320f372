"""How many runs start, when, and how many execute at once."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import orjson
import pytest

from mainstay import functions, jobs
from mainstay.functions import (
    BatchEvents,
    Concurrency,
    Cron,
    Debounce,
    Event,
    EventRefused,
    EventTooLarge,
    RateLimit,
    Received,
    Steps,
    Throttle,
    sending,
)
from mainstay.functions.limits import admit
from mainstay.functions.upkeep import keep
from mainstay.kernel.db import Database
from tests.conftest import SqlClock
from tests.functions.conftest import all_of, function, one, output, running, runs_in, send, waiting
from tests.jobs.conftest import until

DAY = timedelta(days=1)


async def _nothing(step: Steps, event: Received) -> Any:
    return [dict(each.data) for each in step.events]


async def _settled(db: Database) -> None:
    """Everything that was sent has been routed, and what it started has ended or waits."""
    text = "select count(*) = 0 from mainstay.jobs where state in ('waiting', 'active', 'retrying')"
    await until(lambda: one(db, text))


async def test_an_event_starts_a_function_once_and_each_function_that_wants_it(db: Database) -> None:
    given = [
        function("a.one", _nothing, "e"),
        function("a.two", _nothing, triggers=[Event("e", "event.data.n > 1"), Event("other", lambda e: e.user != {})]),
        function("a.bad", _nothing, triggers=[Event("e", lambda e: e.data["missing"])]),
    ]
    async with running(db, *given):
        first = await send(db, "e", {"n": 1}, id="e-1")
        assert await send(db, "e", {"n": 1}, id="e-1") == first
        await send(db, "e", {"n": 2})
        async with db.begin() as tx:
            await functions.send(tx, [{"name": "e", "data": {"n": 3}, "id": "e-2"}] * 2 + [{"name": "nobody"}])
        await _settled(db)
        # The same events once more, as a job that is begun again would have them.
        async with db.begin() as tx:
            again = [orjson.loads(body) for body in await _payloads(db)]
            await jobs.enqueue_many(tx, "functions.route", again, queue=jobs.FUNCTIONS)
        await _settled(db)
        ended = await runs_in(db, "completed", 5)
    assert Counter(run["function_id"] for run in ended) == {"a.one": 3, "a.two": 2}
    skipped = await all_of(
        db, "select distinct function_id, reason from mainstay.function_runs where state = 'skipped'"
    )
    assert [tuple(row) for row in skipped] == [("a.bad", "a condition or key failed: KeyError: 'missing'")]


async def _payloads(db: Database) -> list[str]:
    rows = await all_of(db, "select payload from mainstay.finished_jobs where kind = 'functions.route'")
    return [row["payload"] for row in rows]


async def test_an_id_and_an_idempotency_key_hold_for_a_day(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    async with running(db, function("a.f", _nothing, idempotency="event.data.order")):
        for _ in range(2):
            for key, order in (("k1", 1), ("k1", 2), ("k2", 1), (None, 1)):
                await send(db, "a.f", {"order": order}, id=key)
            await _settled(db)
            await sql_clock.move(DAY)
        await keep(db)
        await runs_in(db, "completed", 2)
        skipped = await runs_in(db, "skipped", 4)
    assert {run["reason"].partition(":")[0] for run in skipped} == {"idempotency"}
    assert await one(db, "select count(*) from mainstay.function_keys") == 0


async def test_no_more_runs_of_a_key_execute_than_may_on_any_number_of_workers(db: Database) -> None:
    active: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def run(step: Steps, event: Received) -> None:
        key = event.data["key"]
        for name in ("before", "after"):
            active[key] += 1
            most[key] = max(most[key], active[key])
            most["all"] = max(most["all"], active.total())
            await step.run(name, asyncio.sleep, 0.005)
            active[key] -= 1
            if name == "before":
                await step.sleep("nap", timedelta(milliseconds=1))

    limited = function("a.f", run, concurrency=[Concurrency(2, "event.data.key"), Concurrency(3, scope="env")])
    other = Database(db.dsn, size=8)
    async with running(db, limited), running(other, limited):
        async with db.begin() as tx:
            events = [{"name": "a.f", "data": {"key": f"k{n % 2}"}} for n in range(24)]
            await functions.send(tx, events)
        await runs_in(db, "completed", 24)
    await other.close()
    assert most["all"] == 3
    assert max(most["k0"], most["k1"]) == 2
    assert await one(db, "select count(*) from mainstay.function_holds") == 0


async def test_a_run_that_sleeps_leaves_its_place_to_others(db: Database) -> None:
    async def run(step: Steps, event: Received) -> None:
        if event.data["first"]:
            await step.sleep("nap", DAY)

    async with running(db, function("a.f", run, concurrency=[Concurrency(1)])):
        await send(db, "a.f", {"first": True})
        await waiting(db)
        await send(db, "a.f", {"first": False})
        await runs_in(db, "completed")


async def test_who_stands_in_line_goes_on_when_the_one_before_is_cancelled(db: Database) -> None:
    started, is_let = [], asyncio.Event()

    async def run(step: Steps, event: Received) -> None:
        started.append(event.data["n"])
        await step.run("hang", is_let.wait)

    cancelled = function(
        "a.f", run, concurrency=[Concurrency(1)], cancel_on=[functions.CancelOn("stop", match="data.n")]
    )
    async with running(db, cancelled):
        for number in (1, 2, 3):
            await send(db, "a.f", {"n": number})
            await until(lambda: one(db, "select count(*) = 0 from mainstay.jobs where kind = 'functions.route'"))
        await until(lambda: one(db, "select count(*) = 2 from mainstay.function_holds where not is_held"))
        await send(db, "stop", {"n": 2})
        await runs_in(db, "cancelled")
        is_let.set()
        await runs_in(db, "completed", 2)
    assert started == [1, 3]


@pytest.mark.parametrize(
    ("wanting", "held", "admitted"),
    [
        ([("a", [("k", 1)]), ("b", [("k", 1)])], {}, ["a"]),
        ([("a", [("k", 2)]), ("b", [("k", 2)])], {"k": 1}, ["a"]),
        ([("a", [("k", 1), ("l", 1)]), ("b", [("l", 1)])], {"k": 1}, ["b"]),
        ([("a", [("k", 1), ("l", 2)]), ("b", [("l", 2)]), ("c", [("l", 2)])], {}, ["a", "b"]),
        ([], {"k": 1}, []),
    ],
)
def test_who_is_let_in(wanting: Any, held: dict[str, int], admitted: list[str]) -> None:
    assert admit(wanting, held)[0] == admitted


async def test_a_throttle_spaces_starts_and_a_rate_limit_skips_them(db: Database, sql_clock: SqlClock) -> None:
    now = await sql_clock.stop()
    minute = timedelta(minutes=1)
    given = [
        function("a.spaced", _nothing, "e", throttle=Throttle(2, minute, burst=2, key="event.data.k")),
        function("a.limited", _nothing, "e", rate_limit=RateLimit(2, minute, key=lambda e: e.data["k"])),
    ]
    async with running(db, *given):
        async with db.begin() as tx:
            await functions.send(tx, [{"name": "e", "data": {"k": "a"}}] * 5 + [{"name": "e", "data": {"k": "b"}}])
        await runs_in(db, "completed", 3, of="a.spaced")
        await runs_in(db, "skipped", 3, of="a.limited")
        due = await all_of(db, "select due_at from mainstay.jobs where kind = 'functions.run' order by due_at")
        assert [row["due_at"] - now for row in due] == [minute / 2, minute, minute * 1.5]
        await sql_clock.move(minute)
        await runs_in(db, "completed", 5, of="a.spaced")
        await send(db, "e", {"k": "a"})
        await runs_in(db, "completed", 4, of="a.limited")


async def test_a_debounce_runs_the_last_event_and_a_batch_runs_many(db: Database, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    second = timedelta(seconds=1)
    given = [
        function("a.last", _nothing, "e", debounce=Debounce(second, "event.data.k", timeout=2 * second)),
        function("a.many", _nothing, "e", batch=BatchEvents(3, 10 * second, "event.data.k")),
    ]
    async with running(db, *given):
        for number in range(4):
            await send(db, "e", {"k": "a", "n": number})
            await _settled(db)
            await sql_clock.move(second * 0.6)
        (last,) = await runs_in(db, "completed", of="a.last")
        assert output(last) == [{"k": "a", "n": 3}]
        (many,) = await runs_in(db, "completed", of="a.many")
        assert [each["n"] for each in output(many)] == [0, 1, 2]
        await sql_clock.move(10 * second)
        _, rest = await runs_in(db, "completed", 2, of="a.many")
        assert output(rest) == [{"k": "a", "n": 3}]
    assert await one(db, "select count(*) from mainstay.function_gathers") == 0


@pytest.mark.contract("DR-Q-08")
async def test_many_items_are_handled_in_few_runs(db: Database) -> None:
    async def check(step: Steps, _: Received) -> Any:
        return await step.run("check", lambda: [event.data["link"] for event in step.events])

    async with running(db, function("kb.verify.links", check, "kb/link", batch=BatchEvents(100, timedelta(seconds=1)))):
        async with db.begin() as tx:
            await functions.send(tx, [{"name": "kb/link", "data": {"link": number}} for number in range(250)])
        ended = await runs_in(db, "completed", 3)
    links = [output(run) for run in ended]
    assert sorted(link for part in links for link in part) == list(range(250))
    assert max(len(part) for part in links) <= 100


_SENDS_AT_ONCE = """
  create function mainstay.send_at_once() returns trigger language plpgsql as $$ begin
    insert into mainstay.jobs (queue, kind, payload) values ('mainstay:functions', 'functions.route',
      jsonb_build_object('n', nextval('mainstay.function_events_seq'), 'events', jsonb_build_array(
        jsonb_build_object('name', new.event_name, 'data', jsonb_build_object('run', new.match_value::int),
          'user', '{}'::jsonb, 'id', 'x', 'ts', 1, 'v', null, 'key', gen_random_uuid()))));
    return null; end $$;
  create trigger send_at_once after insert on mainstay.function_steps for each row when (new.kind = 'wait')
    execute function mainstay.send_at_once()"""


async def test_no_event_slips_between_a_wait_and_the_end_of_its_invocation(db: Database) -> None:
    """The transaction that makes the wait also sends its event: none can come sooner after the wait began."""

    async def run(step: Steps, _: Received) -> Any:
        found = await step.wait_for_event("it", "it", match="data.run", timeout=DAY)
        return found is not None and found.data["run"]

    async with db.connection() as connection:
        await connection.execute(_SENDS_AT_ONCE)
    async with running(db, function("a.f", run)):
        async with db.begin() as tx:
            await functions.send(tx, [{"name": "a.f", "data": {"run": number}} for number in range(40)])
        ended = await runs_in(db, "completed", 40)
    assert sorted(output(run) for run in ended) == list(range(40))


async def test_the_clock_starts_functions_and_a_wrong_declaration_is_refused(db: Database) -> None:
    registry = functions.Registry([function("credit.reminders.daily", _nothing, triggers=[Cron("0 9 * * *")])])
    (cron, _) = functions.schedules(registry)
    assert (cron.name, cron.kind) == ("credit.reminders.daily", "functions.cron")
    assert [one.id for one in registry.groups()["credit"]] == ["credit.reminders.daily"]
    with pytest.raises(functions.FunctionNotFound):
        registry.get("credit.unknown")
    async with running(db, function("credit.reminders.daily", _nothing, triggers=[Cron("0 9 * * *")])):
        async with db.begin() as tx:
            await jobs.enqueue(tx, cron.kind, cron.payload, queue=jobs.FUNCTIONS)
        (ended,) = await runs_in(db, "completed")
    assert orjson.loads(ended["input"])[0]["name"] == "inngest/scheduled.timer"
    for wrong in (
        {"id": "no spaces"},
        {"idempotency": "event.data.size()"},
        {"concurrency": [Concurrency(1)] * 3},
        {"attempts": 0},
        {"batch": BatchEvents(1, timedelta(seconds=1)), "debounce": Debounce(timedelta(seconds=1))},
    ):
        with pytest.raises(functions.FunctionError):
            functions.Function(**{"id": "a.f", "run": _nothing, **wrong})  # type: ignore[arg-type]
    with pytest.raises(functions.FunctionError):
        functions.Registry([function("a.f", _nothing)] * 2)


async def test_a_slot_of_a_function_that_nobody_knows_waits_an_hour_for_somebody(
    db: Database, sql_clock: SqlClock
) -> None:
    async def put_in_line() -> None:
        async with db.begin() as tx:
            payload = {"function": "of.another.release", "cron": "0 9 * * *"}
            await jobs.enqueue(tx, "functions.cron", payload, queue=jobs.FUNCTIONS)

    def told(state: str, attempt: int) -> Any:
        text = "select count(*) = 1 from mainstay.jobs where kind = 'functions.cron' and state = $1 and attempt = $2"
        return lambda: one(db, text, state, attempt)

    async with running(db):
        await put_in_line()
        await until(told("delayed", 0))
        await sql_clock.move(timedelta(minutes=61))
        await until(lambda: one(db, "select count(*) = 0 from mainstay.jobs where kind = 'functions.cron'"))
    assert await one(db, "select count(*) from mainstay.function_runs") == 0
    assert await one(db, "select count(*) from mainstay.finished_jobs where outcome = 'dead'") == 0


async def test_a_run_whose_function_was_taken_away_waits_a_week_and_fails(db: Database, sql_clock: SqlClock) -> None:
    async def sleeps(step: Steps, event: Received) -> Any:
        await step.sleep("long", timedelta(minutes=50))

    async def waits(least: timedelta, most: timedelta) -> bool:
        text = """select due_at - mainstay.now() as left from mainstay.jobs
                  where kind = 'functions.run' and state = 'delayed'"""
        found = await all_of(db, text)
        return len(found) == 1 and least < found[0]["left"] <= most

    async with running(db, function("a.gone", sleeps, "e")):
        await send(db, "e")
        await until(lambda: waits(timedelta(minutes=30), timedelta(hours=1)))
    async with running(db):
        await sql_clock.move(timedelta(hours=1))
        await until(lambda: waits(timedelta(0), timedelta(seconds=30)))
        await sql_clock.move(DAY)
        await until(lambda: waits(timedelta(minutes=30), timedelta(hours=1)))
        await sql_clock.move(7 * DAY)
        (failed,) = await runs_in(db, "failed")
    assert orjson.loads(failed["error"])["name"] == "FunctionNotFound"


async def test_events_are_refused_with_what_is_wrong_in_them(db: Database) -> None:
    wrong: list[Any] = [
        {"data": {}},
        {"name": "x", "data": []},
        {"name": "x", "id": 5, "ts": "now"},
        "event",
        {"name": "x", "data": {"a": "\0"}},
    ]
    async with db.begin() as tx:
        with pytest.raises(EventRefused) as refused:
            await functions.send(tx, wrong)
        pointers = [fault.pointer for fault in refused.value.faults]
        assert pointers == ["#/0/name", "#/1/data", "#/2/id", "#/2/ts", "#/3", "#/4"]
        empty = len(orjson.dumps(sending.check([{"name": "x", "data": {"a": ""}, "id": "i"}])[0].body))
        room = sending.MAX_EVENT_BYTES - empty
        await functions.send(tx, [{"name": "x", "data": {"a": "a" * room}, "id": "i", "ts": 1_700_000_000_000}])
        with pytest.raises(EventTooLarge):
            await functions.send(
                tx, [{"name": "x", "data": {"a": "a" * (room + 1)}, "ts": 1_700_000_000_000, "id": "j"}]
            )
