"""Ordered endpoints: the order is kept, one try is in flight, the head blocks, and no line stands without a job."""

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import pytest

from mainstay import jobs, webhooks
from mainstay.kernel import ids
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from mainstay.webhooks import line as lines
from mainstay.webhooks.queries import sending
from tests.conftest import SqlClock
from tests.receivers import Line as Wire
from tests.receivers import Receiver, answer, ok
from tests.webhooks.conftest import COMPANY_PATH, KEYRING, Line, Tenant, count, make_settings, publish
from tests.webhooks.policy import configure, fetch


async def ordered(db: Database, tenant: Tenant, url: str, **more: Any) -> dict[str, Any]:
    webhook = await tenant.webhook(url, **more)
    await configure(db, webhook, is_fifo=True)
    return webhook


async def publish_numbered(db: Database, tenant: Tenant, numbers: range) -> list[str]:
    return [(await publish(db, tenant, "a.b", json.dumps({"n": n}))).id for n in numbers]


def numbers_of(receiver: Receiver) -> list[int]:
    """The numbers received; what somebody else still sends to a port that was theirs has none."""
    bodies = [json.loads(received.body) for received in receiver.requests]
    return [body["n"] for body in bodies if "n" in body]


async def bury(db: Database) -> None:
    """Every job is dead, as if its last worker had been lost."""
    await fetch(
        db,
        """with gone as (delete from mainstay.jobs returning *)
           insert into mainstay.dead_jobs (id, enqueued_at, epoch, priority, attempt, max_attempts, reason, queue, kind,
                                           lane, trace_id, dedupe_key, error, payload)
           select id, enqueued_at, 3, priority, 3, 3, 'lost', queue, kind, lane, trace_id, dedupe_key,
                  'the worker was lost', payload from gone""",
    )


async def test_messages_arrive_in_order_one_at_a_time_over_two_workers(tenant: Tenant, db: Database) -> None:
    in_flight, most = 0, 0

    async def slowly(wire: Wire) -> None:
        nonlocal in_flight, most
        await wire.read_request()
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(random.uniform(0, 0.01))
        in_flight -= 1
        await wire.send(answer(200))

    settings = make_settings()
    async with Receiver(slowly) as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        outbounds = [Outbound(allow=settings.outbound_allow) for _ in range(2)]
        one, two = [Line(db, webhooks.tasks(db, outbound, KEYRING, settings)) for outbound in outbounds]
        async with one.working(), two.working():
            for start in range(0, 60, 10):
                await publish_numbered(db, tenant, range(start, start + 10))
            await one.until(lambda: len(receiver.requests) >= 60)
        for outbound in outbounds:
            await outbound.close()
    assert numbers_of(receiver) == list(range(60))
    assert most == 1
    assert {one["status"] for one in await tenant.log(webhook, limit=100)} == {"DELIVERED"}
    assert await count(db, "fifo_lines") == 0


async def test_the_head_blocks_until_its_ladder_lets_it_pass_and_says_so(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(ok(500), ok(500), ok()) as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(3))
        await line.drain()
        assert numbers_of(receiver) == [0]
        head = (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()["line"]
        (tried,) = [one for one in await tenant.log(webhook) if one["attempts"]]
        assert (head["headDeliveryId"], head["attempts"], head["waiting"]) == (tried["id"], 1, 3)
        assert head["nextAttemptAt"] is not None
        assert tried["status"] == "RETRYING"
        await sql_clock.move(timedelta(seconds=50))
        await line.sweep()
        await line.drain()
        assert numbers_of(receiver) == [0]
        await sql_clock.move(timedelta(seconds=15))
        await line.drain()
        assert numbers_of(receiver) == [0, 0]
        await sql_clock.move(timedelta(minutes=6))
        await line.sweep()
        await line.drain()
        assert numbers_of(receiver) == [0, 0, 0, 1, 2]
    assert [one["status"] for one in await tenant.log(webhook)] == ["DELIVERED"] * 3
    assert (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()["line"]["waiting"] == 0
    assert await count(db, "jobs", "queue = 'nova:webhook'") == 0


async def test_a_head_that_fails_for_good_lets_the_next_one_go(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver(ok(500), ok()) as receiver:
        webhook = await ordered(db, tenant, receiver.url(), retries=0)
        await publish_numbered(db, tenant, range(3))
        await line.drain()
        assert numbers_of(receiver) == [0, 1, 2]
    assert sorted(one["status"] for one in await tenant.log(webhook)) == ["DELIVERED", "DELIVERED", "FAILED"]


async def test_a_line_that_is_off_stands_still_and_goes_on_where_it_stood(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver() as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(2))
        await configure(db, webhook, is_active=False)
        await line.drain()
        assert await count(db, "jobs") == 0
        assert await count(db, "fifo_lines") == 2
        await line.sweep()
        assert await count(db, "jobs") == 0
        await configure(db, webhook, is_active=True)
        async with db.begin() as tx:
            await sending.forget_health(tx, company_id=tenant.company_id, endpoint_id=webhook["id"])
        assert await count(db, "jobs") == 1
        await publish_numbered(db, tenant, range(2, 4))
        await line.drain()
        assert numbers_of(receiver) == [0, 1, 2, 3]


async def test_the_sweep_serves_a_line_that_lost_its_job(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(2))
        await fetch(db, "delete from mainstay.jobs")
        await line.sweep()
        await line.sweep()
        assert await count(db, "jobs") == 1
        await line.drain()
        assert numbers_of(receiver) == [0, 1]


async def test_a_head_over_which_the_job_died_fails_and_the_rest_goes_on(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver() as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(2))
        await bury(db)
        await line.sweep()
        await line.drain()
        assert numbers_of(receiver) == [1]
    delivered, failed = sorted(await tenant.log(webhook), key=lambda one: one["status"])
    assert (delivered["status"], failed["status"]) == ("DELIVERED", "FAILED")
    assert failed["lastError"] == "no worker could finish a try: the worker was lost"


async def test_one_death_fails_one_head_however_often_the_sweep_looks(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver() as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(3))
        await bury(db)
        await line.sweep()
        await sql_clock.move(timedelta(seconds=60))
        await line.sweep()
        await configure(db, webhook, is_active=False)
        await line.drain()
        await configure(db, webhook, is_active=True)
        await sql_clock.move(timedelta(seconds=60))
        await line.sweep()
        await line.drain()
        assert numbers_of(receiver) == [1, 2]


async def test_a_head_that_a_later_job_delivered_leaves_the_next_one_alone(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver() as receiver:
        await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(3))
        await bury(db)
        await publish_numbered(db, tenant, range(3, 4))
        await fetch(db, "delete from mainstay.fifo_lines where pos = (select min(pos) from mainstay.fifo_lines)")
        await line.sweep()
        await line.drain()
        assert numbers_of(receiver) == [1, 2, 3]


async def test_a_deleted_endpoints_line_is_discarded(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(3))
        await tenant.key.delete(f"{COMPANY_PATH}/{webhook['id']}")
        await line.drain()
        assert receiver.connections == 0
    assert await count(db, "deliveries", "status = 'DISCARDED'") == 3
    assert await count(db, "fifo_lines") == await count(db, "jobs") == 0


async def test_a_job_that_had_given_its_key_back_gives_way(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(1))
        await fetch(db, "update mainstay.jobs set dedupe_key = null")
        await publish_numbered(db, tenant, range(1, 3))
        assert await count(db, "jobs") == 2
        await line.drain()
        assert numbers_of(receiver) == [0, 1, 2]
    assert await count(db, "jobs") == await count(db, "fifo_lines") == 0


async def test_a_run_hands_over_after_its_share(
    tenant: Tenant, db: Database, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "DELIVERIES_PER_RUN", 3)
    async with Receiver() as receiver:
        await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(10))
        await line.drain()
        assert numbers_of(receiver) == list(range(10))


async def test_no_message_is_left_in_a_line_without_a_job_however_its_end_and_an_arrival_meet(
    tenant: Tenant, db: Database
) -> None:
    """Many rounds of an arrival at the moment at which the job finds the line empty; no sweep helps."""
    settings = make_settings()
    outbound = Outbound(allow=settings.outbound_allow)
    async with Receiver() as receiver:
        for _ in range(4):
            await ordered(db, tenant, receiver.url())
        line = Line(db, webhooks.tasks(db, outbound, KEYRING, settings, clock=SystemClock()))
        rounds = 120
        async with line.working():
            for n in range(rounds):
                await publish(db, tenant, "a.b", json.dumps({"n": n}))
                await receiver.wait_for(4 * n)
                await asyncio.sleep(random.uniform(0, 0.02))
            await receiver.wait_for(4 * rounds)
        by_endpoint: dict[str, list[int]] = {}
        for received in receiver.requests:
            by_endpoint.setdefault(received.headers["x-novapulse-webhook-id"], []).append(
                json.loads(received.body)["n"]
            )
    await outbound.close()
    assert list(by_endpoint.values()) == [list(range(rounds))] * 4
    assert await count(db, "fifo_lines") == 0


async def test_the_end_of_a_line_waits_for_who_is_adding_to_it(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(1))
        message = webhooks.Message(
            id=ids.new_id(), company_id=tenant.company_id, workspace_id=None, type="a.b", body='{"n":1}',
            trace_id=ids.new_trace_id(),
        )  # fmt: skip
        async with line.working():
            async with db.begin() as tx:
                await webhooks.publish(tx, [message])
                await receiver.wait_for(1)
                await asyncio.sleep(0.3)
                assert await count(db, "jobs", "dedupe_key is not null") == 1
            await receiver.wait_for(2)
        assert numbers_of(receiver) == [0, 1]
    assert [one["status"] for one in await tenant.log(webhook)] == ["DELIVERED"] * 2


async def test_the_receivers_word_ends_a_line_where_it_stands(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver(ok(), ok(410)) as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(4))
        await line.drain()
        assert numbers_of(receiver) == [0, 1]
    assert sorted(one["status"] for one in await tenant.log(webhook)) == ["DELIVERED", "FAILED", "PENDING", "PENDING"]
    assert await count(db, "jobs", "queue = 'nova:webhook'") == 0


async def test_workers_that_are_killed_over_and_over_neither_lose_nor_reorder(tenant: Tenant, db: Database) -> None:
    """More kills than the job has starts: what counts is whether a try was recorded since."""
    settings = make_settings()
    outbound = Outbound(allow=settings.outbound_allow)

    async def slowly(wire: Wire) -> None:
        await wire.read_request()
        await asyncio.sleep(0.02)
        await wire.send(answer(200))

    async with Receiver(slowly) as receiver:
        webhook = await ordered(db, tenant, receiver.url())
        await publish_numbered(db, tenant, range(150))
        for _ in range(14):
            before = len(receiver.requests)
            worker = jobs.Worker(
                db,
                webhooks.tasks(db, outbound, KEYRING, settings),
                queues=[jobs.QueueConfig(webhooks.QUEUE, 200)],
                timing=jobs.Timing(promote=0.01, poll_deaf=0.02, heartbeat=0.1, lease=0.3, reap=0.02),
            )
            running = asyncio.create_task(worker.run(asyncio.Event()))
            await receiver.wait_for(min(before + 4, 150))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        async with Line(db, webhooks.tasks(db, outbound, KEYRING, settings)).working():
            while await count(db, "fifo_lines"):
                await asyncio.sleep(0.05)
    await outbound.close()
    numbers = numbers_of(receiver)
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(150))
    assert await count(db, "deliveries", "status = 'DELIVERED'") == 150
    assert await count(db, "dead_jobs") == 0
    assert webhook["id"]
