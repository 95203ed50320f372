"""Failed attempts: announced once each, sorted into classes, counted by kind."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from mainstay import jobs, reactions
from mainstay.jobs.failures import ErrorClass, class_of, shape_of, step_of
from mainstay.jobs.stats import Gauge, KindFigures, kind_figures, over_retried
from mainstay.kernel import outbox, telemetry
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbox import Announcement
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Discard, Hold, Job, Outcome, Retry, Snooze, Task
from tests.jobs.conftest import QUEUE, add, all_of, one, task, until, working

NOW = Backoff("fixed", timedelta(0))


@pytest.mark.parametrize(
    ("outcome", "error", "wanted"),
    [
        ("timeout", "timed out after 5 s", "timeout"),
        ("lost", "worker lost", "lost"),
        ("failed", "ReadTimeout: no answer", "timeout"),
        ("failed", "asyncio.exceptions.TimeoutError", "timeout"),
        ("failed", "the mail server timed out", "timeout"),
        ("failed", "status 504", "timeout"),
        ("failed", "ConnectionRefusedError: [Errno 111] Connection refused", "provider_error"),
        ("failed", "httpx.HTTPStatusError: Server error '503'", "provider_error"),
        ("failed", "SMTPServerDisconnected: please run connect() first", "provider_error"),
        ("failed", "the answer had status 502", "provider_error"),
        ("failed", "HTTP 429", "provider_error"),
        ("failed", "step 'charge': ProviderError: declined", "provider_error"),
        ("failed", "provider_error: the bank said no", "provider_error"),
        ("failed", "ValueError: no such currency", "bad_input"),
        ("failed", "pydantic_core.ValidationError: 1 validation error", "bad_input"),
        ("failed", "HTTP/1.1 422", "bad_input"),
        ("discarded", "the payload cannot be read: unexpected end", "bad_input"),
        ("failed", "DeadlockDetectedError: deadlock detected", "database"),
        ("failed", "ZeroDivisionError: division by zero", "internal"),
        ("discarded", "internal: the template is gone", "internal"),
        ("failed", "mailbox busy", "other"),
        ("failed", "", "other"),
    ],
)
def test_failures_are_sorted_into_classes(outcome: str, error: str, wanted: ErrorClass) -> None:
    assert class_of(outcome, error) == wanted


def test_the_shape_of_an_error_leaves_out_what_varies() -> None:
    first = shape_of("step 'charge': KeyError: 'a1' of 0190a1b2-0000-7000-8000-000000000001 after 3.5 s")
    assert first == shape_of("step 'charge': KeyError: 'b' of 0190a1b2-0000-7000-8000-00000000ffff after 10 s")
    assert first == "step 'charge': KeyError: # of # after # s"
    assert shape_of("ValueError: x") != shape_of("TypeError: x")
    assert (step_of("step 'pay' failed: E: m"), step_of("ValueError")) == ("pay", None)
    assert len(shape_of("é" * 5000)) == 120


def _failing(db: Database) -> list[Task]:
    async def run(job: Job) -> Outcome:
        match job.payload:
            case "timeout":
                await asyncio.Event().wait()
            case "provider":
                raise ConnectionResetError("the provider hung up")
            case "input":
                return Discard("this can never work")
            case "snooze" | "hold" if job.attempt == 1 and not snoozed:
                snoozed.append(job.id)
                return Snooze(timedelta(0)) if job.payload == "snooze" else Hold(timedelta(0))
        return None

    snoozed: list[int] = []
    return [
        task(run, kind=kind, backoff=NOW, attempts=2, timeout=timedelta(seconds=0.1))
        for kind in ("test.kind", "test.good")
    ]


@pytest.mark.contract("DR-Q-02", "DR-Q-04", "DR-Q-07")
async def test_each_failed_attempt_is_announced_once_sorted_and_counted_by_kind(db: Database) -> None:
    def counted(error_class: str) -> float:
        return telemetry.JOB_FAILURES.labels(QUEUE, error_class)._value.get()

    before = {each: counted(each) for each in ("timeout", "provider_error", "bad_input")}
    ids = {
        each: await add(db, "test.kind", each, attempts=2)
        for each in ("timeout", "provider", "input", "snooze", "hold")
    }
    for _ in range(6):
        await add(db, "test.good")
    async with db.begin() as tx:
        company = "0190a1b2-0000-7000-8000-000000000001"
        owned = (await jobs.enqueue(tx, "test.kind", "input", queue=QUEUE, company_id=company)).id
    async with working(db, _failing(db)):
        await until(lambda: _is_empty(db))
    failed = await all_of(
        db, "select job_id, attempt, outcome, error from mainstay.job_attempts order by job_id, attempt"
    )
    assert [(row["job_id"], row["attempt"]) for row in failed] == [
        *((ids[each], attempt) for each in ("timeout", "provider") for attempt in (1, 2)), (ids["input"], 1), (owned, 1)
    ]  # fmt: skip
    facts = await all_of(db, "select company_id::text as company, actor, data from mainstay.announcements where name = 'admin/job.failed' order by id")  # fmt: skip  # noqa: E501
    told = sorted(((fact := orjson.loads(row["data"]))["id"], fact["attempt"], fact["outcome"], fact["error"]) for row in facts)  # fmt: skip  # noqa: E501
    assert told == [(row["job_id"], row["attempt"], row["outcome"], row["error"]) for row in failed]
    assert [row["company"] for row in facts if orjson.loads(row["data"])["id"] == owned] == [company]
    assert {each: counted(each) - count for each, count in before.items()} == {
        "timeout": 2, "provider_error": 2, "bad_input": 2
    }  # fmt: skip
    good, bad = sorted(await kind_figures(db), key=lambda each: -each.completed)
    assert (good.kind, good.completed, good.success_ratio, good.failure_rate) == ("test.good", 6, 1.0, 0.0)
    assert (bad.completed, bad.retried, bad.dead) == (2, 2, 4)
    assert bad.failures == {"timeout": 2, "provider_error": 2, "bad_input": 2}
    assert bad.success_ratio == pytest.approx(2 / 6)
    assert bad.failure_rate == 0.75
    assert [each.kind for each in over_retried([good, bad], most=1)] == ["test.kind"]
    assert over_retried([good, bad], most=2) == []
    assert over_retried([], most=0) == []


async def _is_empty(db: Database) -> bool:
    return bool(await one(db, "select count(*) = 0 from mainstay.jobs"))


async def test_what_a_lost_worker_had_begun_is_announced_and_counted_as_lost(db: Database) -> None:
    again, last = await add(db, "test.kind", attempts=2), await add(db, "test.kind", attempts=1)
    await one(db, """with w as (insert into mainstay.workers (name, queues, started_at, heartbeat_at)
                       values ('gone', '{}', mainstay.now(), mainstay.now() - interval '1 hour') returning id)
                     update mainstay.jobs set state = 'active', attempt = 1, epoch = 1, started_at = mainstay.now(),
                            worker_id = (select id from w) returning id""")  # fmt: skip

    async def run(_: Job) -> None:
        return None

    async with working(db, [task(run)]):
        await until(lambda: _is_empty(db))
    facts = await all_of(db, "select data from mainstay.announcements where name = 'admin/job.failed' order by id")
    told = [orjson.loads(row["data"]) for row in facts]
    assert sorted((each["id"], each["outcome"], each["error"]) for each in told) == [
        (again, "lost", "worker lost"), (last, "lost", "worker lost")
    ]  # fmt: skip
    (figures,) = await kind_figures(db)
    assert figures == KindFigures(QUEUE, "test.kind", 1, 1, 1, {"lost": 2})


async def test_a_failed_attempt_reaches_reactions_and_is_no_event_of_the_audit_log(db: Database) -> None:
    heard: list[int] = []

    async def hear(_: Tx, fact: Announcement) -> None:
        heard.append(fact.data["id"])

    async def run(_: Job) -> Outcome:
        return Retry("not now")

    job_id = await add(db, "test.kind", attempts=2, backoff=NOW)
    async with working(db, [task(run)]):
        await until(lambda: _is_empty(db))
    relay = outbox.Relay(db, {"admin/job.failed": [hear]}, reactions.record)
    await until(lambda: _relayed(db, relay))
    assert heard == [job_id, job_id]
    types = await all_of(db, "select action from mainstay.events")
    assert [row["action"] for row in types] == ["job.died"]


async def test_however_many_failures_wait_to_be_told_they_are_not_counted_in_each_round(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await one(db, """with n as (insert into mainstay.announcements (id, name, actor, data, trace_id)
                       select mainstay.uuid7(), 'admin/job.failed', '{"kind": "job", "id": "1"}', '{}', ''
                       from generate_series(1, 500) returning 1) select count(*) from n""")  # fmt: skip
    monkeypatch.setattr("mainstay.kernel.outbox._TELL_SECONDS", 3600.0)
    counted, row = 0, db.row

    async def counting(*words: Any) -> Any:
        nonlocal counted
        counted += 1
        return await row(*words)

    monkeypatch.setattr(db, "row", counting)
    relay = outbox.Relay(db, {}, reactions.record)
    assert [await relay.run_once() for _ in range(6)] == [100] * 5 + [0]
    assert counted == 1


async def _relayed(db: Database, relay: outbox.Relay) -> bool:
    await relay.run_once()
    return bool(await one(db, "select count(*) = 0 from mainstay.announcements"))


@pytest.mark.contract("DR-Q-06")
async def test_depth_and_age_of_the_oldest_ready_job_are_in_the_metrics(db: Database) -> None:
    gauge = Gauge(db, SystemClock())
    await one(db, "insert into mainstay.queues values ('test:deep', 5) returning 1")
    for more, count in ((3, 3), (5, 8)):
        async with db.begin() as tx:
            await jobs.enqueue_many(tx, "test.kind", [None] * more, queue="test:deep")
        await gauge.tell()
        assert telemetry.QUEUE_DEPTH.labels("test:deep", "waiting")._value.get() == count
        assert telemetry.QUEUE_SIZE.labels("test:deep")._value.get() == count
    assert telemetry.QUEUE_OLDEST.labels("test:deep")._value.get() < 90
    await one(db, """with u as (update mainstay.jobs set enqueued_at = mainstay.now() - interval '90 s' returning 1)
                     select count(*) from u""")  # fmt: skip
    await gauge.tell()
    assert 90 <= telemetry.QUEUE_OLDEST.labels("test:deep")._value.get() < 150
