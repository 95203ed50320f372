"""Acts on many jobs: counted, done at once or in steps that a crash does not repeat, cancelled, announced."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest

from mainstay import jobs
from mainstay.jobs import bulk
from mainstay.jobs.tasks import tasks
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job, Outcome, Retry, Task
from tests.conftest import SqlClock
from tests.jobs.conftest import OPERATOR, QUEUE, QUICK, all_of, one, until, working
from tests.jobs.test_routes import TOKEN, done, refused, shown

_KNOWN = "insert into mainstay.queues (name, priority) values ($1, 5) on conflict do nothing"
_DEAD = """insert into mainstay.dead_jobs (id, queue, kind, lane, company_id, died_at, error, priority, attempt,
    max_attempts, epoch, reason, trace_id, enqueued_at, payload, dedupe_key)
  select nextval('mainstay.jobs_id_seq'), $1, 'k' || n % 2, 'l' || n % 3,
         case when n % 4 = 0 then '00000000-0000-7000-8000-00000000000a'::uuid end,
         mainstay.now() - n * interval '1 minute',
         case when n % 5 = 0 then 'timeout' else 'no such address' end, 5, 3, 3, 3, 'failed', 't',
         mainstay.now() - interval '1 day', '1', $3
  from generate_series(1, $2) n returning 1"""
_FILL = """insert into mainstay.jobs (queue, kind, lane, payload, state, due_at, enqueued_at)
  select $1, 'k' || n % 2, 'l' || n % 3, '1', $2, mainstay.now() + interval '1 day',
         mainstay.now() - interval '1 second'
  from generate_series(1, $3) n returning 1"""


@pytest.fixture(autouse=True)
async def known(db: Database) -> None:
    async with db.begin() as tx:
        await tx.connection.execute(_KNOWN, QUEUE)


async def count(db: Database, table: str, queue: str = QUEUE, state: str | None = None) -> int:
    """How many rows the queue has there."""
    more = "" if state is None else f" and state = '{state}'"
    return int(await one(db, f"select count(*) from mainstay.{table} where queue = $1{more}", queue))


async def told(db: Database) -> list[tuple[str, str, int, int]]:
    """Every announcement of a bulk act: name, state, counted, done."""
    rows = await all_of(db, "select name, data from mainstay.announcements where name like 'jobs.%' order by id")
    found = [(row["name"], orjson.loads(row["data"])) for row in rows]
    return [(name, data["state"], data["counted"], data["done"]) for name, data in found]


_FILTERS: list[tuple[dict[str, str], int]] = [
    ({}, 20), ({"kind": "k0"}, 10), ({"lane": "l1"}, 7), ({"companyId": "00000000-0000-7000-8000-00000000000a"}, 5),
    ({"error": "timeout"}, 4), ({"error": "%"}, 0), ({"kind": "k0", "error": "address"}, 8), ({"kind": "none"}, 0),
]  # fmt: skip


async def test_a_filter_counts_what_the_act_then_does(api: httpx.AsyncClient, db: Database) -> None:
    path = f"/internal/queues/{QUEUE}/redrive"
    for given, matched in _FILTERS:
        await one(db, _DEAD, QUEUE, 20, None)
        acts = await one(db, "select count(*) from mainstay.bulk_acts")
        counted = await done(api, path, {"filter": given, "dryRun": True})
        assert counted == {"dryRun": True, "matched": matched, "isFloor": False}, given
        assert await count(db, "dead_jobs") == 20
        assert await one(db, "select count(*) from mainstay.bulk_acts") == acts
        act = await done(api, path, {"filter": given})
        assert (act["state"], act["counted"], act["done"], act["filter"]) == ("done", matched, matched, given)
        assert await count(db, "dead_jobs") == 20 - matched
        assert await count(db, "jobs", state="waiting") == matched
        assert (await told(db))[-1] == ("jobs.redriven", "done", matched, matched)
        async with db.begin() as tx:
            await tx.connection.execute("delete from mainstay.dead_jobs; delete from mainstay.jobs")


async def test_when_jobs_died_is_part_of_a_filter(api: httpx.AsyncClient, db: Database) -> None:
    await one(db, _DEAD, QUEUE, 20, None)
    now = await one(db, "select mainstay.now()")
    (old,) = await all_of(db, "select $1::timestamptz - interval '600 seconds 500 ms' as at", now)
    for given, matched in (({"diedSince": old["at"]}, 10), ({"diedUntil": old["at"]}, 10)):
        body = {"filter": {name: at.isoformat() for name, at in given.items()}, "dryRun": True}
        assert (await done(api, f"/internal/queues/{QUEUE}/clear", body))["matched"] == matched
    await done(api, f"/internal/queues/{QUEUE}/clear", {"filter": body["filter"], "confirm": QUEUE})
    assert await one(db, "select min(died_at) > $1 from mainstay.dead_jobs", old["at"])


@pytest.mark.contract("NP-Q-30")
async def test_clearing_a_set_empties_that_set_alone_and_asks_for_the_queue(
    api: httpx.AsyncClient, db: Database
) -> None:
    for queue in (jobs.EMAIL, jobs.WEBHOOK):
        await one(db, _DEAD, queue, 5, None)
        await one(db, _FILL, queue, "waiting", 3)
    path = "/internal/queues/nova:email:failed/clear"
    for body in ({}, {"confirm": ""}, {"confirm": "nova:email:failed"}, {"confirm": jobs.WEBHOOK}):
        await refused(await api.post(path, headers=TOKEN, json=body), 400, "#/confirm")
    assert (await done(api, path, {"confirm": jobs.EMAIL}))["done"] == 5
    assert (await count(db, "dead_jobs", jobs.EMAIL), await count(db, "dead_jobs", jobs.WEBHOOK)) == (0, 5)
    assert [await count(db, "jobs", queue, "waiting") for queue in (jobs.EMAIL, jobs.WEBHOOK)] == [3, 3]
    assert await told(db) == [("jobs.cleared", "done", 5, 5)]


async def test_jobs_that_have_not_begun_are_cancelled_or_put_in_line(api: httpx.AsyncClient, db: Database) -> None:
    for state in ("waiting", "delayed", "retrying", "parked", "active"):
        await one(db, _FILL, QUEUE, state, 12)
    promoted = await done(api, f"/internal/queues/{QUEUE}/promote", {"filter": {"kind": "k0"}})
    assert (promoted["state"], promoted["done"]) == ("done", 12)
    assert [await count(db, "jobs", state=state) for state in ("waiting", "delayed", "retrying")] == [24, 6, 6]
    body = {"filter": {"lane": "l1"}}
    assert (await done(api, f"/internal/queues/{QUEUE}/cancel", {**body, "dryRun": True}))["matched"] == 16
    assert (await done(api, f"/internal/queues/{QUEUE}/cancel", body))["done"] == 16
    assert (await done(api, f"/internal/queues/{QUEUE}/cancel", {}))["done"] == 32
    assert (await count(db, "jobs"), await count(db, "jobs", state="active")) == (12, 12)
    assert await one(db, "select count(*) from mainstay.finished_jobs where outcome = 'cancelled'") == 48
    assert [name for name, *_ in await told(db)] == ["jobs.promoted", "jobs.cancelled", "jobs.cancelled"]


async def test_what_a_bulk_act_refuses(api: httpx.AsyncClient) -> None:
    path = f"/internal/queues/{QUEUE}/"
    long = "x" * 200
    for act, given, pointer in (
        ("cancel", {"error": "x"}, "error"), ("promote", {"diedSince": "2026-01-01T00:00:00Z"}, "diedSince"),
        ("redrive", {"companyId": "x"}, "companyId"), ("redrive", {"kind": "\0"}, "kind"),
        ("clear", {"error": ""}, "error"),
        ("redrive", {"diedUntil": "now"}, "diedUntil"), ("redrive", {"error": long + "x"}, "error"),
        ("redrive", {"other": 1}, ""), ("redrive", {"lane": long + "x"}, "lane"), ("clear", {"error": "\0"}, "error"),
    ):  # fmt: skip
        at = f"#/filter/{pointer}".removesuffix("/")
        await refused(await api.post(path + act, headers=TOKEN, json={"filter": given}), 400, at)
    assert (await done(api, path + "redrive", {"filter": {"error": long, "kind": long, "lane": long}}))["done"] == 0
    for queue in ("no:queue", "%00", "no:queue:failed"):
        for act in bulk.ACTS:
            assert (await api.post(f"/internal/queues/{queue}/{act}", headers=TOKEN, json={})).status_code == 404


async def test_a_large_act_is_a_job_with_progress_that_is_announced_at_both_ends(
    api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST_AT_ONCE", 50)
    monkeypatch.setattr(bulk, "COUNTED_TO", 100)
    await one(db, _DEAD, QUEUE, 50, None)
    assert (await done(api, f"/internal/queues/{QUEUE}/redrive", {"filter": {}}))["state"] == "done"
    await one(db, _DEAD, QUEUE, 101, None)
    monkeypatch.setattr(bulk, "_STEP", 30)
    act = await done(api, f"/internal/queues/{QUEUE}/redrive", {}, 202)
    assert (act["state"], act["counted"], act["isFloor"], act["done"], act["startedAt"]) == (
        "waiting",
        100,
        True,
        0,
        None,
    )
    path = f"/internal/bulk-acts/{act['id']}"
    async with _upkeep(db):
        await until(lambda: _is(api, path, "done"))
    ended = await shown(api, path)
    assert (ended["done"], ended["error"], ended["askedBy"]["kind"]) == (101, None, "operator")
    assert ended["createdAt"] <= ended["startedAt"] <= ended["finishedAt"]
    assert await count(db, "jobs", state="waiting") == 151
    assert (await shown(api, "/internal/bulk-acts"))["data"][0]["id"] == act["id"]
    large = [("jobs.redriven", "waiting", 100, 0), ("jobs.redriven", "done", 100, 101)]
    assert (await told(db))[1:] == large
    for unknown in ("00000000-0000-7000-8000-00000000dead", "x", "%00"):
        assert (await api.get(f"/internal/bulk-acts/{unknown}", headers=TOKEN)).status_code == 404
    over = await api.post(f"{path}/cancel", headers=TOKEN)
    assert (over.status_code, over.json()["code"]) == (409, "bulk-act-over")


def _upkeep(db: Database, **more: Any) -> Any:
    """A worker that carries bulk acts out."""
    return working(db, _tasks(db), queues=[jobs.QueueConfig(jobs.UPKEEP, 2)], **more)


def _tasks(db: Database) -> list[Task]:
    return [one for one in tasks(db, []) if one.kind == bulk.KIND]


async def _is(api: httpx.AsyncClient, path: str, state: str) -> bool:
    return bool((await shown(api, path))["state"] == state)


async def test_a_claim_that_no_longer_holds_does_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_AT_ONCE", 5)
    await one(db, _DEAD, QUEUE, 6, None)
    async with db.begin() as tx:
        act = await bulk.begin(tx, OPERATOR, "clear", jobs.Match(QUEUE))
    held = "update mainstay.jobs set state = 'active', epoch = 2, attempt = 2 where kind = 'jobs.bulk' returning id"
    job = Job(await one(db, held), jobs.UPKEEP, bulk.KIND, act["id"], 1, 20, 1, "", None, "t", datetime.now(UTC))
    with pytest.raises(jobs.LeaseLost):
        await bulk.work(db, job)
    assert await count(db, "dead_jobs") == 6


async def test_a_crash_in_the_middle_repeats_no_step(
    db: Database, other_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker stops dead within its third step; another takes over."""
    monkeypatch.setattr(bulk, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(bulk, "_STEP", 10)
    await one(db, _DEAD, QUEUE, 60, None)
    async with db.begin() as tx:
        act = await bulk.begin(tx, OPERATOR, "redrive", jobs.Match(QUEUE))
    real, steps, is_stuck, is_free = bulk._step, 0, asyncio.Event(), asyncio.Event()

    async def stuck(tx: Any, act_id: str, most: int) -> bool:
        nonlocal steps
        steps += 1
        if steps == 3:
            is_stuck.set()
            await is_free.wait()
        return await real(tx, act_id, most)

    monkeypatch.setattr(bulk, "_step", stuck)
    engine = Database(db.dsn, size=6)
    first = jobs.Worker(
        db, _tasks(db), queues=[jobs.QueueConfig(jobs.UPKEEP, 1)], engine_db=engine, timing=QUICK, shutdown_seconds=5.0
    )
    running = asyncio.create_task(first.run(asyncio.Event()))
    await until(is_stuck.is_set)
    assert await count(db, "dead_jobs") == 40
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with _upkeep(other_db):
        await until(lambda: one(db, "select 1 from mainstay.bulk_acts where state = 'done'"))
    is_free.set()
    await engine.close()
    (row,) = await all_of(db, "select state, done from mainstay.bulk_acts")
    assert tuple(row) == ("done", 60)
    assert (await count(db, "jobs", state="waiting"), await count(db, "dead_jobs")) == (60, 0)
    assert [state for _, state, *_ in await told(db)] == ["waiting", "done"]
    assert (await bulk.get(db, act["id"]))["done"] == 60


async def test_an_act_that_is_cancelled_goes_no_further(
    api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST_AT_ONCE", 10)
    await one(db, _DEAD, QUEUE, 20, None)
    act = await done(api, f"/internal/queues/{QUEUE}/clear", {"confirm": QUEUE}, 202)
    cancelled = await done(api, f"/internal/bulk-acts/{act['id']}/cancel")
    assert (cancelled["state"], cancelled["done"]) == ("cancelled", 0)
    async with _upkeep(db):
        await until(lambda: one(db, "select 1 from mainstay.finished_jobs where kind = 'jobs.bulk'"))
    assert await count(db, "dead_jobs") == 20
    assert [state for _, state, *_ in await told(db)] == ["waiting", "cancelled"]


async def test_an_act_whose_job_died_is_told_as_failed_and_goes_on_once_that_is_redriven(
    api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(bulk, "ATTEMPTS", 1)
    await one(db, _DEAD, QUEUE, 20, None)
    act = await done(api, f"/internal/queues/{QUEUE}/clear", {"confirm": QUEUE}, 202)

    async def fail(_: Job) -> Outcome:
        return Retry("the disk is full")

    async with working(
        db, [Task(kind=bulk.KIND, queue=jobs.UPKEEP, run=fail)], queues=[jobs.QueueConfig(jobs.UPKEEP, 1)]
    ):
        await until(lambda: _is(api, f"/internal/bulk-acts/{act['id']}", "failed"))
    assert (await shown(api, f"/internal/bulk-acts/{act['id']}"))["error"] == "the disk is full"
    async with db.begin() as tx:
        assert await jobs.redrive_matching(tx, jobs.Match(jobs.UPKEEP)) == 1
    async with _upkeep(db):
        await until(lambda: _is(api, f"/internal/bulk-acts/{act['id']}", "done"))
    assert await count(db, "dead_jobs") == 0


async def test_what_dies_again_or_joins_after_the_asking_is_left_alone(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST_AT_ONCE", 5)
    await one(db, _DEAD, QUEUE, 6, None)
    for state in ("waiting", "retrying"):
        await one(db, _FILL, QUEUE, state, 6)
    async with db.begin() as tx:
        acts = [
            (await bulk.begin(tx, OPERATOR, act, jobs.Match(QUEUE)))["id"] for act in ("redrive", "promote", "cancel")
        ]
    later = "mainstay.now() + interval '1 second'"
    async with db.begin() as tx:
        await one(tx, _DEAD.replace("mainstay.now() - n * interval '1 minute'", later), QUEUE, 4, None)
        for state in ("waiting", "retrying"):
            await one(tx, _FILL.replace("mainstay.now() - interval '1 second'", later), QUEUE, state, 4)
    async with _upkeep(db):
        await until(lambda: one(db, "select count(*) = 3 from mainstay.bulk_acts where state = 'done'"))
    assert await count(db, "dead_jobs") == 4
    found = {act: await bulk.get(db, act) for act in acts}
    assert found[acts[0]]["done"] == 6
    assert found[acts[1]]["done"] <= 6, "those that were cancelled first are not promoted"
    left = {state: await count(db, "jobs", state=state) for state in ("waiting", "retrying")}
    assert left["retrying"] == 4
    assert left["waiting"] - 4 in (0, 6), (
        "redriven jobs were enqueued long before: cancelled if they were in line by then"
    )


async def test_acts_runs_by_hand_and_requests_are_forgotten_in_time(db: Database, sql_clock: SqlClock) -> None:
    (expire,) = (one.run for one in tasks(db, []) if one.kind == "jobs.expire")
    assert expire is not None
    await one(db, _DEAD, QUEUE, 1, None)
    async with db.begin() as tx:
        await bulk.begin(tx, OPERATOR, "clear", jobs.Match(QUEUE))
        await tx.connection.execute("insert into mainstay.test_runs (job_id, kind, asked_by) values (1, 'k', '{}')")
        await tx.connection.execute(
            "insert into mainstay.enqueue_requests (id, job_ids) values (gen_random_uuid(), '{1}')"
        )
    tables = ("enqueue_requests", "bulk_acts", "test_runs")
    for hours, left in ((24, (1, 1, 1)), (2, (0, 1, 1)), (24 * 30, (0, 0, 0))):
        await sql_clock.move(timedelta(hours=hours))
        await expire(Job(1, QUEUE, "k", None, 1, 1, 1, "", None, "t", datetime.now(UTC)))
        assert tuple([await one(db, f"select count(*) from mainstay.{name}") for name in tables]) == left


async def test_a_dedupe_key_that_is_taken_keeps_its_job_dead_and_ends_the_act(db: Database) -> None:
    await one(db, _DEAD, QUEUE, 3, "key")
    async with db.begin() as tx:
        act = await bulk.begin(tx, OPERATOR, "redrive", jobs.Match(QUEUE))
    assert (act["state"], act["counted"], act["done"]) == ("done", 3, 2), "one of each kind"
    assert await count(db, "dead_jobs") == 1
