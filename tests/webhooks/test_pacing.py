"""Limits of an endpoint are kept over any number of workers: the rate, the tries at once, and the breaker's probe."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from mainstay import webhooks
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from mainstay.webhooks.pacing import LANE_LIMIT, LATE_AT_MOST_SECONDS, ORDINARY, Policy, Turn, policy_of, turn_of
from tests.conftest import SqlClock
from tests.receivers import Line as Wire
from tests.receivers import Receiver, answer, ok
from tests.webhooks.conftest import KEYRING, Line, Tenant, count, make_settings, publish
from tests.webhooks.policy import configure, fetch


class Timed(Outbound):
    """The client, with a list of when each request was begun."""

    def __init__(self, starts: list[tuple[str, float]], **more: Any) -> None:
        super().__init__(**more)
        self._starts = starts

    async def post(self, url: str, *given: Any, **more: Any) -> Any:
        self._starts.append((url, time.monotonic()))
        return await super().post(url, *given, **more)


@asynccontextmanager
async def workers(db: Database, number: int, starts: list[tuple[str, float]] | None = None) -> AsyncIterator[Line]:
    """That many workers on one database work inside the block."""
    settings = make_settings()
    async with AsyncExitStack() as stack:
        for _ in range(number):
            outbound = Timed([] if starts is None else starts, allow=settings.outbound_allow, timeout_seconds=30.0)
            stack.push_async_callback(outbound.close)
            line = Line(db, webhooks.tasks(db, outbound, KEYRING, settings))
            await stack.enter_async_context(line.working())
        yield line


async def publish_many(db: Database, tenant: Tenant, number: int) -> None:
    for _ in range(number):
        await publish(db, tenant, "a.b")


@pytest.mark.parametrize(
    ("policy", "limit"),
    [
        (Policy(), LANE_LIMIT), (Policy(concurrency=3), 3), (Policy(concurrency=10), 10), (Policy(rate=1), 1),
        (Policy(rate=10), 1), (Policy(rate=11), 2), (Policy(rate=1_000), 10), (Policy(rate=50, concurrency=2), 2),
        (Policy(rate=20, concurrency=8), 2),
    ],
)  # fmt: skip
def test_a_worker_takes_on_no_more_than_it_can_soon_start(policy: Policy, limit: int) -> None:
    assert policy.lane_limit == limit


def test_a_policy_is_read_and_no_policy_is_the_ordinary_one() -> None:
    assert policy_of(None) is ORDINARY
    assert policy_of('{"rate": 5, "trace": "off", "concurrency": null}') == Policy(rate=5, trace="off")


def test_a_turn_holds_whenever_the_database_read_its_clock() -> None:
    assert turn_of(0.5, asked=10.0, answered=10.02, is_paced=True) == Turn(10.52, 10.5 + LATE_AT_MOST_SECONDS)
    assert turn_of(0.0, asked=10.0, answered=10.02, is_paced=False) == Turn(10.02, float("inf"))


JITTER_SECONDS = 0.3
"""What may lie between a start and its arrival here on a busy machine, the connection's making included."""
SIGNING_SECONDS = 0.005
"""What may lie between the check of the clock and the start."""


@pytest.mark.parametrize("rate", [5, 25])
async def test_no_second_sees_more_starts_than_the_rate_over_two_workers(
    tenant: Tenant, db: Database, rate: int
) -> None:
    starts: list[tuple[str, float]] = []
    async with Receiver(ok()) as receiver:
        limited = await tenant.webhook(receiver.url("/limited"))
        free = await tenant.webhook(receiver.url("/free"), "a.b")
        await configure(db, limited, rate_limit_per_second=rate)
        wanted = rate * 3
        await publish_many(db, tenant, 5)
        for _ in range(wanted - 5):
            await publish(db, tenant, "a.c")
        async with workers(db, 2, starts) as line:
            await line.until(lambda: sum(r.target == "/free" for r in receiver.requests) == 5)
            assert sum(r.target == "/limited" for r in receiver.requests) < wanted
            await line.until(lambda: sum(r.target == "/limited" for r in receiver.requests) == wanted, 60)
        arrived = sorted(r.at_seconds for r in receiver.requests if r.target == "/limited")
        started = sorted(at for url, at in starts if url == receiver.url("/limited"))
    assert len(started) == len(arrived) == wanted
    for times, tolerance in ((started, SIGNING_SECONDS), (arrived, JITTER_SECONDS)):
        closest = min(later - earlier for earlier, later in zip(times, times[rate:], strict=False))
        assert closest >= 1.0 - tolerance
    assert {one["status"] for one in await tenant.log(limited, limit=100)} == {"DELIVERED"}
    assert {len(one["attempts"]) for one in await tenant.log(free, limit=100)} == {1}


async def test_admission_gives_each_place_once_however_many_ask(tenant: Tenant, db: Database) -> None:
    webhook = await tenant.webhook()
    await configure(db, webhook, rate_limit_per_second=100)

    async def ask(number: int) -> list[Any]:
        return await fetch(
            db, "select * from mainstay.admit($1, $2)", [webhook["id"]] * 3, [3 * number + n for n in range(3)]
        )

    answers = [row for rows in await asyncio.gather(*(ask(n) for n in range(20))) for row in rows]
    admitted = [row for row in answers if row["is_admitted"]]
    assert 9 <= len(admitted) <= 60
    (row,) = await fetch(db, "select extract(epoch from p.next_at - now()) as ahead from mainstay.endpoint_paces p")
    assert float(row["ahead"]) < 0.15
    assert all(0 <= row["wait_seconds"] <= 0.1 for row in admitted)
    assert all(row["wait_seconds"] > 0 for row in answers if not row["is_admitted"])


@pytest.mark.parametrize("limit", [1, 3])
async def test_no_more_tries_at_once_than_the_limit_over_three_workers(
    tenant: Tenant, db: Database, limit: int
) -> None:
    in_flight, most = 0, 0
    is_full = asyncio.Event()

    async def slowly(wire: Wire) -> None:
        nonlocal in_flight, most
        await wire.read_request()
        in_flight += 1
        most = max(most, in_flight)
        if most >= limit:
            is_full.set()
        await is_full.wait()
        await asyncio.sleep(0.03)
        in_flight -= 1
        await wire.send(answer(200))

    async with Receiver(slowly) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await configure(db, webhook, concurrency=limit)
        await publish_many(db, tenant, 24)
        async with workers(db, 3) as line:
            await line.until(lambda: len(receiver.requests) >= 24)
            await asyncio.sleep(0.2)
    assert most == limit
    assert await count(db, "endpoint_slots") == 0
    assert {one["status"] for one in await tenant.log(webhook, limit=100)} == {"DELIVERED"}


async def test_a_slot_that_nobody_gave_back_runs_out(
    tenant: Tenant, db: Database, sql_clock: SqlClock, line: Line
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        await configure(db, webhook, concurrency=1)
        (lost,) = await fetch(db, "select * from mainstay.admit($1, $2)", [webhook["id"]], [-1])
        assert lost["is_admitted"]
        await publish_many(db, tenant, 1)
        async with line.working():
            await asyncio.sleep(0.5)
            assert receiver.connections == 0
            await sql_clock.move(timedelta(seconds=35))
            await receiver.wait_for(1)
        await line.sweep()
    assert await count(db, "endpoint_slots") == 0


async def test_ten_failures_in_a_row_open_the_breaker_and_one_probe_at_a_time_goes_through(
    tenant: Tenant, db: Database, sql_clock: SqlClock
) -> None:
    in_flight, most = 0, 0
    status = 500

    async def slowly(wire: Wire) -> None:
        nonlocal in_flight, most
        await wire.read_request()
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.05)
        in_flight -= 1
        await wire.send(answer(status))

    async with Receiver(slowly) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await sql_clock.stop()
        await publish_many(db, tenant, 10)
        async with workers(db, 2):
            await health_of(db, failures=10, trips=1)
            await publish_many(db, tenant, 5)
            await asyncio.sleep(0.5)
        assert len(receiver.requests) == 10
        most = 0
        left_seconds = 30
        for failures, open_seconds in ((11, 60), (12, 120)):
            await sql_clock.move(timedelta(seconds=left_seconds - 3))
            async with workers(db, 2):
                await asyncio.sleep(0.3)
            assert len(receiver.requests) == failures - 1
            await sql_clock.move(timedelta(seconds=4))
            async with workers(db, 3):
                row = await health_of(db, failures=failures)
                await asyncio.sleep(0.3)
            assert len(receiver.requests) == failures
            assert row["left_seconds"] == open_seconds
            left_seconds = open_seconds
        assert most == 1
        untried = [one for one in await tenant.log(webhook, limit=100) if not one["attempts"]]
        assert [one["status"] for one in untried] in (["PENDING"] * 3, ["PENDING"] * 4)
        status = 200
        await sql_clock.move(timedelta(seconds=500))
        async with workers(db, 1) as line:
            await line.until(lambda: len(receiver.requests) == 27)
    assert await count(db, "endpoint_health") == await count(db, "endpoint_slots") == 0
    assert {one["status"] for one in await tenant.log(webhook, limit=100)} == {"DELIVERED"}


async def health_of(db: Database, **values: int) -> Any:
    """The row of health of the only endpoint that fails, once it has these values."""
    async with asyncio.timeout(30):
        while True:
            rows = await fetch(
                db,
                """select h.*, extract(epoch from h.open_until - mainstay.now())::int as left_seconds
                     from mainstay.endpoint_health h""",
            )
            if rows and all(rows[0][name] == value for name, value in values.items()):
                return rows[0]
            await asyncio.sleep(0.01)


async def test_a_success_closes_the_breaker_and_one_between_failures_keeps_it_closed(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver(*[ok(500)] * 9, ok(), *[ok(500)] * 9, ok()) as receiver:
        await tenant.webhook(receiver.url(), retries=0)
        for n in range(20):
            await publish_many(db, tenant, 1)
            await line.drain()
            assert len(receiver.requests) == n + 1
        assert await count(db, "endpoint_health") == 0


async def test_healthy_endpoints_leave_no_trace(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        await tenant.webhook(receiver.url())
        await publish_many(db, tenant, 30)
        await line.drain()
    for table in ("endpoint_health", "endpoint_paces", "endpoint_slots"):
        assert await count(db, table) == 0
    batches = await fetch(db, "select cardinality(endpoint_ids) as n, codes from mainstay.attempt_batches")
    assert sum(row["n"] for row in batches) == 30
    assert {code for row in batches for code in row["codes"]} == {200}
