"""What an owner sets on an endpoint is what goes out: signature, headers, trace, payload version, ladder."""

import json
import time
from datetime import timedelta

import pytest

from mainstay.kernel.db import Database
from mainstay.webhooks import signing
from mainstay.webhooks.ladder import PROFILES
from tests.conftest import SqlClock
from tests.receivers import Receiver, ok
from tests.webhooks.conftest import COMPANY_PATH, KEYRING, Line, Tenant, publish
from tests.webhooks.policy import configure, fetch
from tests.webhooks.test_versions import FLAT, NESTED


async def secrets_of(db: Database, webhook_id: str) -> list[str]:
    (row,) = await fetch(
        db, "select secret_sealed, previous_secret_sealed as old from mainstay.endpoints where id = $1", webhook_id
    )
    sealed = [one for one in row if one is not None]
    return [KEYRING.open(one, webhook_id.encode()).decode() for one in sealed]


async def test_an_ed25519_endpoint_gets_tokens_that_the_public_key_checks_through_a_rotation(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        await configure(db, webhook, signing="ed25519")
        await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/rotate-secret", json={"overlapSeconds": 60})
        new, old = [signing.public_key(secret) for secret in await secrets_of(db, webhook["id"])]
        await publish(db, tenant, "task.created")
        await line.drain()
        await sql_clock.move(timedelta(seconds=61))
        await publish(db, tenant, "task.created")
        await line.drain()
        during, after = receiver.requests
    now = time.time()
    for key in (new, old):
        signing.verify([key], during.headers, during.body, now_seconds=now)
    signing.verify([new], after.headers, after.body, now_seconds=now)
    with pytest.raises(signing.BadSignature):
        signing.verify([old], after.headers, after.body, now_seconds=now)
    with pytest.raises(signing.BadSignature):
        signing.verify([new], during.headers, during.body + b" ", now_seconds=now)
    assert [token.partition(",")[0] for token in during.headers["webhook-signature"].split()] == ["v1a", "v1a"]
    assert "x-novapulse-signature" not in during.headers
    assert during.headers["x-novapulse-event"] == "task.created"


async def test_custom_headers_go_out_with_each_try_and_never_replace_ours(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    given = {"Authorization": "Bearer secret", "X-Tenant": "7", "webhook-id": "forged"}
    async with Receiver(ok(500), ok()) as receiver:
        webhook, plain = await tenant.webhook(receiver.url()), await tenant.webhook(receiver.url("/plain"), "no.such")
        await configure(db, webhook, headers=given)
        message = await publish(db, tenant, "task.created")
        await line.drain()
        await sql_clock.move(timedelta(minutes=1))
        await line.drain()
        await tenant.key.post(f"{COMPANY_PATH}/{plain['id']}/test")
        await line.drain()
        *tries, bare = receiver.requests
    assert len(tries) == 2
    for received in tries:
        assert (received.headers["authorization"], received.headers["x-tenant"]) == ("Bearer secret", "7")
        assert received.headers["webhook-id"] == message.id
    assert "authorization" not in bare.headers


async def test_headers_that_cannot_be_opened_are_a_failed_try_that_says_so(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        await configure(db, webhook, headers_sealed=b"\0")
        await publish(db, tenant, "task.created")
        await line.drain()
        assert receiver.connections == 0
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attempts"][0]["outcome"]) == ("RETRYING", "unsendable")
    assert "headers cannot be opened" in delivery["lastError"]


async def test_a_trace_is_passed_on_begun_anew_or_kept_back(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        kept = {}
        for context in ("propagate", "restart", "off"):
            kept[context] = await tenant.webhook(receiver.url(f"/{context}"))
            await configure(db, kept[context], trace_context=context)
        message = await publish(db, tenant, "task.created")
        await line.drain()
        headers = {received.target.lstrip("/"): received.headers for received in receiver.requests}
    assert headers["propagate"]["x-trace-id"] == headers["propagate"]["traceparent"].split("-")[1] == message.trace_id
    (delivery,) = await tenant.log(kept["restart"])
    anew = headers["restart"]["x-trace-id"]
    assert (
        anew == headers["restart"]["traceparent"].split("-")[1] == delivery["id"].replace("-", "") != message.trace_id
    )
    assert message.trace_id not in str(headers["restart"])
    assert not {"x-trace-id", "traceparent"} & headers["off"].keys()


async def test_a_pinned_payload_is_what_is_signed_and_sent(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        one, two = await tenant.webhook(receiver.url("/1")), await tenant.webhook(receiver.url("/2"))
        await configure(db, two, payload_version=2)
        await publish(db, tenant, "invoice.paid", FLAT.decode())
        await line.drain()
        by_path = {received.target: received for received in receiver.requests}
    assert (by_path["/1"].body, by_path["/2"].body) == (FLAT, NESTED)
    for webhook, received in ((one, by_path["/1"]), (two, by_path["/2"])):
        signing.verify([webhook["secret"]], received.headers, received.body, now_seconds=time.time())
        expected = signing.documented_signature(webhook["secret"], received.body)
        assert received.headers["x-novapulse-signature"] == expected


@pytest.mark.contract("NP-Q-08")
async def test_the_three_days_ladder_is_climbed_to_its_end(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(ok(503)) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await configure(db, webhook, retry_profile="three_days", retries=10)
        await publish(db, tenant, "task.created")
        await line.drain()
        for number, gap in enumerate(PROFILES["three_days"], start=1):
            await sql_clock.move(gap - timedelta(seconds=30))
            await line.drain()
            assert len(receiver.requests) == number
            await sql_clock.move(timedelta(seconds=30))
            await line.drain()
            assert len(receiver.requests) == number + 1
        await sql_clock.move(timedelta(days=2))
        await line.drain()
        assert len(receiver.requests) == 11
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attemptCount"], delivery["maxAttempts"]) == ("FAILED", 11, 11)


async def test_an_ordered_endpoint_obeys_the_same_policy(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        await configure(
            db, webhook, is_fifo=True, signing="ed25519", headers={"X-Tenant": "7"}, payload_version=2,
            trace_context="off", rate_limit_per_second=20, concurrency=1,
        )  # fmt: skip
        for _ in range(6):
            await publish(db, tenant, "invoice.paid", FLAT.decode())
        async with line.working():
            await receiver.wait_for(6)
        times = [received.at_seconds for received in receiver.requests]
        (key,) = [signing.public_key(secret) for secret in await secrets_of(db, webhook["id"])]
        for received in receiver.requests:
            signing.verify([key], received.headers, received.body, now_seconds=time.time())
            assert received.headers["x-tenant"] == "7"
            assert "x-trace-id" not in received.headers
            assert json.loads(received.body)["data"]["target"] == {"id": "t1", "type": "invoice"}
    assert times[-1] - times[0] >= 5 * 0.05 - 0.1
