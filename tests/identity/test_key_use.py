"""How often keys are used: the five-minute figure, concurrent writers, failures and old counts."""

import asyncio
from datetime import timedelta

import pytest

from mainstay import identity
from mainstay.identity.key_use import KeyUse, usage_5m
from mainstay.kernel import ids
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.work import Job
from tests.conftest import SqlClock
from tests.identity.conftest import Client, KeyMaker


@pytest.mark.contract("HL-A-05")
async def test_three_calls_raise_the_five_minute_figure_by_three(
    db: Database, client: Client, callers: identity.Identity, sql_clock: SqlClock, workspace_key: KeyMaker
) -> None:
    await sql_clock.stop()
    key = await workspace_key()
    company_id = key.record.company_id
    async with client(key.secret) as caller:
        first = (await caller.get("/v1/key/workspace")).json()["key"]
        assert (first["uses5m"], first["lastUsedAt"]) == (0, None)
        await callers.key_use.flush_once(db)
        before = await usage_5m(db, company_id, key.record.id)
        for _ in range(3):
            assert (await caller.get("/v1/key/workspace")).status_code == 200
        assert await callers.key_use.flush_once(db) == 3
        assert await usage_5m(db, company_id, key.record.id) == before + 3
        used_at = (await identity.get_key(db, company_id, key.record.id)).last_used_at
        assert used_at is not None
        shown = (await caller.get("/v1/key/workspace")).json()["key"]
        assert shown["uses5m"] == 4
        assert shown["lastUsedAt"] is not None
        await sql_clock.move(timedelta(minutes=5) - timedelta(seconds=1))
        assert await usage_5m(db, company_id, key.record.id) == 4
        await sql_clock.move(timedelta(minutes=1, seconds=1))
        assert await usage_5m(db, company_id, key.record.id) == 0
        assert (await identity.get_key(db, company_id, key.record.id)).last_used_at == used_at


async def test_refused_calls_are_no_use(
    db: Database, client: Client, callers: identity.Identity, workspace_key: KeyMaker
) -> None:
    key = await workspace_key(allow_list=["192.0.2.1"])
    async with client(key.secret) as caller:
        assert (await caller.get("/v1/key/workspace")).status_code == 403
    assert await callers.key_use.flush_once(db) == 0


async def test_processes_that_count_at_the_same_moment_lose_nothing(db: Database, workspace_key: KeyMaker) -> None:
    keys = [(await workspace_key()).record for _ in range(5)]
    processes = [KeyUse() for _ in range(6)]
    for number, process in enumerate(processes):
        for key in keys if number % 2 else reversed(keys):
            for _ in range(7):
                process.count(key.id)
    await asyncio.gather(*(process.flush_once(db) for process in processes))
    for key in keys:
        assert await usage_5m(db, key.company_id, key.id) == 42
        assert await usage_5m(db, identity.OPERATOR_COMPANY, key.id) == 0


async def test_counts_wait_for_a_database_that_is_away(db: Database, workspace_key: KeyMaker) -> None:
    key = (await workspace_key()).record
    use = KeyUse()
    use.count(key.id)
    gone = Database("postgresql://nobody@127.0.0.1:1/nothing", acquire_seconds=0.5)
    with pytest.raises(Unavailable):
        await use.flush_once(gone)
    use.count(key.id)
    use.count(ids.new_id())
    await use.flush_once(db)
    assert await usage_5m(db, key.company_id, key.id) == 2


async def test_the_loop_writes_what_is_left_when_it_is_stopped(db: Database, workspace_key: KeyMaker) -> None:
    key = (await workspace_key()).record
    use, stopping = KeyUse(), asyncio.Event()
    running = asyncio.create_task(use.run(db, stopping))
    await asyncio.sleep(0)
    use.count(key.id)
    stopping.set()
    await asyncio.wait_for(running, 60)
    assert await usage_5m(db, key.company_id, key.id) == 1


async def test_old_counts_go_and_the_last_use_stays(
    db: Database, callers: identity.Identity, sql_clock: SqlClock, workspace_key: KeyMaker
) -> None:
    busy, idle = (await workspace_key()).record, (await workspace_key()).record
    for key_id in (busy.id, idle.id, busy.id):
        callers.key_use.count(key_id)
        await callers.key_use.flush_once(db)
        await sql_clock.move(timedelta(minutes=2))
    last_use = (await identity.get_key(db, idle.company_id, idle.id)).last_used_at
    await sql_clock.move(timedelta(days=30))
    task, schedule = identity.tasks(db)[0], identity.schedules()[0]
    assert schedule.kind == task.kind
    assert task.run is not None
    await task.run(Job(1, task.queue, task.kind, None, 1, 1, 1, "", None, ids.new_trace_id(), SystemClock().now()))
    assert (await identity.get_key(db, idle.company_id, idle.id)).last_used_at == last_use
    async with db.connection() as connection:
        left = await connection.fetch("select key_id::text from mainstay.api_key_uses order by 1")
    assert [row[0] for row in left] == sorted([busy.id, idle.id])
    assert await identity.key_use.prune_key_uses(db) == 0
