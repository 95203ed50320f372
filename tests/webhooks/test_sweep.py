"""The sweep: deliveries whose job vanished are found, those that are in hand are left alone."""

from datetime import timedelta

import pytest

from mainstay.kernel.db import Database
from mainstay.webhooks import schedules
from tests.conftest import SqlClock
from tests.receivers import Receiver
from tests.webhooks.conftest import Line, Tenant, count, publish

LATER = timedelta(seconds=121)


async def run(db: Database, statement: str) -> None:
    async with db.connection() as connection:
        await connection.execute(statement)


def test_the_sweep_comes_each_minute() -> None:
    (schedule,) = (one for one in schedules() if one.name == "webhooks.sweep")
    assert (schedule.kind, schedule.slots.period) == ("webhooks.sweep", timedelta(minutes=1))


@pytest.mark.contract("HL-J-11")
async def test_a_delivery_whose_job_vanished_goes_out_once(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        message = await publish(db, tenant, "task.created")
        await run(db, "delete from mainstay.jobs where queue = 'nova:webhook'")
        await line.sweep()
        assert await count(db, "jobs", "queue = 'nova:webhook'") == 0
        await sql_clock.move(LATER)
        await line.sweep()
        await sql_clock.move(LATER)
        await line.sweep()
        assert await count(db, "jobs", "queue = 'nova:webhook'") == 1
        await line.drain()
        await sql_clock.move(LATER)
        await line.sweep()
        await line.drain()
        assert [received.headers["webhook-id"] for received in receiver.requests] == [message.id]
        assert receiver.requests[0].headers["x-trace-id"] == message.trace_id
    assert [one["status"] for one in await tenant.log(webhook)] == ["DELIVERED"]


async def test_what_waits_in_line_or_for_its_rung_is_left_alone(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    await tenant.webhook("http://127.0.0.1:9/")
    await publish(db, tenant, "task.created")
    await line.drain()
    await publish(db, tenant, "task.created")
    await sql_clock.move(timedelta(seconds=61) + LATER)
    await line.sweep()
    assert await count(db, "jobs", "queue = 'nova:webhook'") == 2


async def test_a_delivery_whose_job_died_under_its_workers_has_failed(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    webhook = await tenant.webhook()
    hearer = await tenant.webhook("https://hooks.example.com/dead", "delivery.dead")
    await publish(db, tenant, "task.created")
    await run(
        db,
        """with gone as (delete from mainstay.jobs where queue = 'nova:webhook' returning *)
           insert into mainstay.dead_jobs (id, enqueued_at, epoch, priority, attempt, max_attempts, reason, queue, kind,
                                           lane, trace_id, error, payload)
           select id, enqueued_at, 3, priority, 3, 3, 'lost', queue, kind, lane, trace_id, 'the worker was lost',
                  payload from gone""",
    )
    await sql_clock.move(LATER)
    await line.sweep()
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["nextAttemptAt"]) == ("FAILED", None)
    assert delivery["lastError"] == "no worker could finish a try: the worker was lost"
    assert [one["eventType"] for one in await tenant.log(hearer)] == ["delivery.dead"]
    assert await count(db, "jobs", "queue = 'nova:webhook'") == 1
