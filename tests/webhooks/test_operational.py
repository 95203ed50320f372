"""Word to owners: warnings and the end of an endpoint that only fails, dead deliveries, and no message about itself."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from mainstay.kernel.db import Database
from tests.conftest import SqlClock
from tests.receivers import Receiver, answer, ok, says
from tests.webhooks.conftest import COMPANY_PATH, Line, Tenant, announced, count, publish
from tests.webhooks.policy import configure, fetch

DAY = timedelta(days=1)


async def fail(db: Database, tenant: Tenant, line: Line, clock: SqlClock, times: int = 1) -> None:
    """So many deliveries were tried, each late enough for the probe of an open breaker."""
    for _ in range(times):
        await clock.move(timedelta(minutes=6))
        await publish(db, tenant, "task.created", json.dumps({"type": "task.created", "data": {"x": "é" * 3_000}}))
        await line.drain()


async def test_an_endpoint_that_only_fails_is_warned_of_twice_and_then_disabled(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(ok(503, b"no " * 1_000)) as receiver:
        webhook = await tenant.webhook(receiver.url(), "task.*", retries=0)
        await fail(db, tenant, line, sql_clock, 8)
        await sql_clock.move(2.4 * DAY)
        await fail(db, tenant, line, sql_clock)
        assert await announced(db, "endpoint.failing") == []
        await sql_clock.move(0.2 * DAY)
        await fail(db, tenant, line, sql_clock, 5)
        (half,) = await announced(db, "endpoint.failing")
        await sql_clock.move(1.2 * DAY)
        await fail(db, tenant, line, sql_clock, 5)
        _, most = await announced(db, "endpoint.failing")
        await sql_clock.move(1.3 * DAY)
        assert await announced(db, "endpoint.disabled") == []
        await fail(db, tenant, line, sql_clock)
        await fail(db, tenant, line, sql_clock)
        assert len(receiver.requests) == 20
        assert len(await announced(db, "endpoint.failing")) == 2
    (end,) = await announced(db, "endpoint.disabled")
    assert [(fact.get("share"), fact["failures"]) for fact in (half, most, end)] == [(50, 10), (75, 15), (None, 20)]
    for fact in (half, most, end):
        assert fact["actor"]["kind"] == "rule"
        assert (fact["endpointId"], fact["url"]) == (webhook["id"], receiver.url())
        assert (fact["lastStatusCode"], fact["eventType"]) == (503, "task.created")
        assert "503" in fact["lastError"]
        assert fact["payload"].startswith('{"type": "task.created"')
        assert len(fact["payload"].encode()) <= 4_096
        assert fact["responseBody"] == ("no " * 1_000)[:1_024]
        assert datetime.fromisoformat(fact["failingSince"]).tzinfo is not None
    way = datetime.fromisoformat(half["disablesAt"]) - datetime.fromisoformat(half["failingSince"])
    assert way == 5 * DAY
    log = await tenant.log(webhook, limit=100)
    assert end["deliveryId"] == log[0]["id"]
    shown = (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()
    assert (shown["isActive"], shown["disabledReason"]) == (False, end["reason"])
    assert end["reason"].startswith("no try succeeded for 5 days (20 tries failed in a row)")


async def test_a_bad_hour_disables_nobody_and_one_success_starts_anew(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(*[ok(500)] * 30, ok(), ok(500)) as receiver:
        webhook = await tenant.webhook(receiver.url(), retries=0)
        await fail(db, tenant, line, sql_clock, 30)
        assert await announced(db, "endpoint.failing") == await announced(db, "endpoint.disabled") == []
        await fail(db, tenant, line, sql_clock)
        assert await count(db, "endpoint_health") == 0
        await sql_clock.move(6 * DAY)
        await fail(db, tenant, line, sql_clock, 2)
        assert await announced(db, "endpoint.disabled") == []
        (health,) = await fetch(db, "select failures, warned, trips from mainstay.endpoint_health")
        assert tuple(health) == (2, 0, 0)
    shown = (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()
    assert shown["isActive"] is True


async def test_a_bad_hour_long_after_a_lone_failure_disables_nobody(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(ok(500)) as receiver:
        await tenant.webhook(receiver.url(), retries=0)
        await fail(db, tenant, line, sql_clock)
        await sql_clock.move(6 * DAY)
        await fail(db, tenant, line, sql_clock, 25)
        assert await announced(db, "endpoint.disabled") == []
        assert [fact["share"] for fact in await announced(db, "endpoint.failing")] == [50]
        await sql_clock.move(0.8 * DAY)
        await fail(db, tenant, line, sql_clock)
        assert await announced(db, "endpoint.disabled") == []
        await sql_clock.move(0.1 * DAY)
        await fail(db, tenant, line, sql_clock)
        assert len(await announced(db, "endpoint.disabled")) == 1


async def test_a_try_that_we_could_not_sign_is_not_held_against_the_endpoint(
    tenant: Tenant, db: Database, line: Line
) -> None:
    webhook = await tenant.webhook()
    await configure(db, webhook, secret_sealed=b"\0")
    await publish(db, tenant, "task.created")
    await line.drain()
    assert await count(db, "attempts", "outcome = 'unsendable'") == 1
    assert await count(db, "endpoint_health") == 0


@pytest.mark.parametrize(
    ("status", "word", "standing", "is_active", "requests"),
    [
        (200, "disable", "DELIVERED", False, 1),
        (500, "disable", "FAILED", False, 1),
        (500, "abort-message", "FAILED", True, 1),
        (200, "abort-message", "DELIVERED", True, 1),
        (500, "whatever", "RETRYING", True, 1),
    ],
)
async def test_the_receivers_word_is_obeyed(
    tenant: Tenant, db: Database, line: Line, status: int, word: str, standing: str, is_active: bool, requests: int
) -> None:
    async with Receiver(says(answer(status, headers={"Webhook-Delivery": word}))) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await line.drain()
        assert len(receiver.requests) == requests
    (delivery,) = await tenant.log(webhook)
    assert delivery["status"] == standing
    shown = (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()
    assert shown["isActive"] is is_active
    facts = await announced(db, "endpoint.disabled")
    assert [fact["reason"] for fact in facts] == (
        [] if is_active else ["the receiver answered with webhook-delivery: disable"]
    )


async def dead_letters(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(r.body) for r in receiver.requests if r.headers["x-novapulse-event"] == "delivery.dead"]


async def test_a_dead_delivery_is_told_to_who_asks_for_it_and_to_nobody_else(
    tenant: Tenant, stranger: Tenant, db: Database, line: Line
) -> None:
    async with Receiver(ok(500, b"broken")) as bad, Receiver() as good, Receiver() as other:
        failing = await tenant.webhook(bad.url(), "task.*", "delivery.*", retries=0)
        hearer = await tenant.webhook(good.url("/exact"), "delivery.dead")
        await tenant.webhook(good.url("/prefix"), "delivery.*")
        for url, events, more in (
            ("/star", ["*"], {}),
            ("/here", ["delivery.dead"], {"workspaceId": tenant.workspace_id}),
            ("/off", ["delivery.dead"], {"isActive": False}),
        ):
            await tenant.webhook(other.url(url), *events, **more)
        await stranger.webhook(other.url("/stranger"), "delivery.dead")
        message = await publish(db, tenant, "task.created")
        await line.drain()
        told = await dead_letters(good)
        assert sorted(r.target for r in good.requests) == ["/exact", "/prefix"]
        assert {r.target for r in other.requests} == {"/star"}
        assert await dead_letters(other) == []
        assert len(bad.requests) == 1
    assert told[0] == told[1]
    (delivery,) = await tenant.log(failing)
    assert (told[0]["type"], told[0]["data"]) == (
        "delivery.dead",
        {
            "endpointId": failing["id"],
            "deliveryId": delivery["id"],
            "messageId": message.id,
            "eventType": "task.created",
            "attempts": 1,
            "lastStatusCode": 500,
            "lastError": delivery["lastError"],
            "traceId": message.trace_id,
        },
    )
    assert [one["status"] for one in await tenant.log(hearer)] == ["DELIVERED"]


async def test_a_receiver_that_fails_its_own_news_of_the_dead_ends(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver(ok(500)) as bad:
        for path in ("/one", "/two"):
            await tenant.webhook(bad.url(path), "task.*", "delivery.dead", retries=0)
        await publish(db, tenant, "task.created")
        await line.drain()
        await asyncio.sleep(0.1)
        await line.drain()
        events = sorted((r.target, r.headers["x-novapulse-event"]) for r in bad.requests)
    assert events == [
        ("/one", "delivery.dead"), ("/one", "task.created"), ("/two", "delivery.dead"), ("/two", "task.created"),
    ]  # fmt: skip
    assert await count(db, "deliveries", "status = 'FAILED'") == 4
    assert await count(db, "jobs", "queue = 'nova:webhook'") == 0


async def test_news_of_the_dead_go_the_way_of_the_hearer_and_pass_its_filter(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver(ok(500)) as bad, Receiver() as good:
        await tenant.webhook(bad.url(), "task.*", retries=0)
        ordered, pulling, picky, deaf = [await tenant.webhook(good.url(f"/{n}"), "delivery.dead") for n in range(4)]
        await configure(db, ordered, is_fifo=True)
        await configure(db, pulling, kind="pull", url=None)
        await configure(db, picky, filter="{}", filter_path='exists($.data.eventType ? (@ == "task.created"))')
        await configure(db, deaf, filter="{}", filter_path='exists($.data.eventType ? (@ == "user.updated"))')
        await publish(db, tenant, "task.created")
        await line.drain()
        await line.drain()
        assert sorted(r.target for r in good.requests) == ["/0", "/2"]
    assert [str(r["endpoint_id"]) for r in await fetch(db, "select endpoint_id from mainstay.pull_items")] == [
        pulling["id"]
    ]


async def test_without_hearers_a_death_leaves_no_message(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver(ok(500)) as bad:
        await tenant.webhook(bad.url(), "*", retries=0)
        await publish(db, tenant, "task.created")
        await line.drain()
    assert await count(db, "messages") == 1
