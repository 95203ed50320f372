"""Receivers that misbehave: each ends as a failed try that says why, and slows nobody else."""

import ssl
from pathlib import Path

import pytest

from mainstay import webhooks
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from tests import receivers as wire
from tests.receivers import (
    Behaviour,
    Receiver,
    answer,
    close_after_reading,
    close_at_once,
    close_within_body,
    closed_port,
    drip_body,
    drip_head,
    endless,
    garbage,
    hang,
    huge_body,
    huge_headers,
    interim,
    ok,
    redirect,
    reset_at_once,
    says,
    tls_pair,
)
from tests.webhooks.conftest import KEYRING, Line, Tenant, make_settings, publish

HOSTILE: dict[str, tuple[Behaviour, str]] = {
    "hangs": (hang(), "timeout"),
    "drips its head": (drip_head(0.2), "timeout"),
    "drips its body": (drip_body(0.2), "timeout"),
    "closes at once": (close_at_once(), "closed"),
    "resets at once": (reset_at_once(), "closed"),
    "closes after reading": (close_after_reading(), "closed"),
    "closes within its body": (close_within_body(), "closed"),
    "talks garbage": (garbage(), "protocol"),
    "sends one huge header": (huge_headers(), "too_large_headers"),
    "sends headers for ever": (endless(b"X-More: 1\r\n", b"HTTP/1.1 200 OK\r\n"), "too_large_headers"),
    "redirects": (redirect("http://127.0.0.1:9/"), "redirect"),
    "redirects inwards": (redirect("http://169.254.169.254/", 307), "redirect"),
    "refuses": (ok(403), "status"),
    "answers 1xx only": (interim(100, 103, then=hang()), "timeout"),
    "switches protocols": (says(answer(101, headers={"Upgrade": "x", "Connection": "upgrade"})), "status"),
    "is gone": (ok(410), "gone"),
    "fails with a huge body": (huge_body(8 * 1024 * 1024, 500), "status"),
}


@pytest.mark.parametrize(
    ("name", "deadline_seconds"),
    [(name, 1.0 if outcome == "timeout" else 30.0) for name, (_, outcome) in HOSTILE.items()],
)
async def test_a_hostile_receiver_is_a_failed_try_that_says_why(
    tenant: Tenant, db: Database, line: Line, name: str
) -> None:
    behaviour, outcome = HOSTILE[name]
    async with Receiver(behaviour) as hostile, Receiver() as fair:
        bad = await tenant.webhook(hostile.url(), retries=1)
        good = await tenant.webhook(fair.url())
        await publish(db, tenant, "task.created")
        await line.drain()
        assert len(fair.requests) == 1
    (delivery,) = await tenant.log(bad)
    (attempt,) = delivery["attempts"]
    assert attempt["outcome"] == outcome, attempt
    assert attempt["error"] == delivery["lastError"]
    assert attempt["error"]
    assert len(attempt["responseBody"].encode()) <= 4_096
    assert attempt["durationMs"] < 20_000
    assert delivery["status"] == ("FAILED" if outcome == "gone" else "RETRYING")
    assert [one["status"] for one in await tenant.log(good)] == ["DELIVERED"]


@pytest.mark.parametrize("behaviour", [huge_body(8 * 1024 * 1024), interim(100, 102, 103), ok(204), ok(299, b"")])
async def test_an_odd_success_is_a_success(tenant: Tenant, db: Database, line: Line, behaviour: Behaviour) -> None:
    async with Receiver(behaviour) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await line.drain()
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attempts"][0]["outcome"]) == ("DELIVERED", "delivered")


async def test_nobody_listening_is_a_failed_try(tenant: Tenant, db: Database, line: Line) -> None:
    async with closed_port() as port:
        webhook = await tenant.webhook(f"http://127.0.0.1:{port}/")
        await publish(db, tenant, "task.created")
        await line.drain()
    ((attempt,),) = [one["attempts"] for one in await tenant.log(webhook)]
    assert (attempt["outcome"], attempt["statusCode"]) == ("connect", None)


async def talks_first(line: wire.Line) -> None:
    """A server without TLS that answers before it is asked."""
    await line.send(answer(400))


talks_first.at_connect = True  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrong", ["untrusted", "expired", "another name", "plain"])
async def test_wrong_tls_is_a_failed_try(tenant: Tenant, db: Database, tmp_path: Path, wrong: str) -> None:
    name = "other.test" if wrong == "another name" else "127.0.0.1"
    server, client = tls_pair(tmp_path, name, expired=wrong == "expired")
    context = ssl.create_default_context() if wrong == "untrusted" else client
    settings = make_settings()
    outbound = Outbound(allow=settings.outbound_allow, timeout_seconds=30.0, ssl_context=context)
    plain = wrong == "plain"
    async with Receiver(*[talks_first] * plain, tls=None if plain else server) as receiver:
        webhook = await tenant.webhook(receiver.url(scheme="https"))
        await publish(db, tenant, "task.created")
        await Line(db, webhooks.tasks(db, outbound, KEYRING, settings)).drain()
        assert receiver.requests == []
    await outbound.close()
    ((attempt,),) = [one["attempts"] for one in await tenant.log(webhook)]
    assert attempt["outcome"] == "tls", attempt


async def test_an_address_that_became_private_is_a_failed_try(tenant: Tenant, db: Database) -> None:
    settings = make_settings()
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        strict = Outbound(allow=AllowList(), timeout_seconds=30.0)
        await Line(db, webhooks.tasks(db, strict, KEYRING, settings)).drain()
        await strict.close()
        assert receiver.connections == 0
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attempts"][0]["outcome"]) == ("RETRYING", "refused_address")
    assert "loopback" in delivery["lastError"]


async def test_nineteen_hanging_webhooks_take_no_place_that_another_needs(tenant: Tenant, db: Database) -> None:
    settings = make_settings()
    outbound = Outbound(allow=settings.outbound_allow, timeout_seconds=100.0)
    async with Receiver() as receiver:
        receiver.at("/hang", hang())
        for _ in range(19):
            await tenant.webhook(receiver.url("/hang"), "slow.thing")
        fair = await tenant.webhook(receiver.url("/fair"), "quick.thing")
        for _ in range(30):
            await publish(db, tenant, "slow.thing")
        line = Line(db, webhooks.tasks(db, outbound, KEYRING, settings))
        async with line.working():
            await line.until(lambda: sum(received.target == "/hang" for received in receiver.requests) == 190)
            for _ in range(20):
                await publish(db, tenant, "quick.thing")
            await line.until(lambda: sum(received.target == "/fair" for received in receiver.requests) == 20)
            assert sum(received.target == "/hang" for received in receiver.requests) == 190
        await receiver.hang_up()
    await outbound.close()
    assert len(await tenant.log(fair)) == 20
