"""Deliveries end to end: what is sent, when it is sent again, and what the log tells."""

import hashlib
import hmac
import itertools
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks

from mainstay import webhooks
from mainstay.kernel.db import Database
from mainstay.kernel.outbound import Outbound
from tests.conftest import SqlClock
from tests.figures import figure
from tests.receivers import Received, Receiver, ok, redirect, slow_down
from tests.webhooks.conftest import COMPANY_PATH, KEYRING, Line, Tenant, announced, count, make_settings, publish

MINUTE = timedelta(minutes=1)


def check_signature(secret: str, received: Received) -> None:
    """Both signatures hold over the received bytes, by libraries that no one here wrote."""
    expected = hmac.new(secret.encode(), received.body, hashlib.sha256).hexdigest()
    assert received.headers["x-novapulse-signature"] == "sha256=" + expected
    standardwebhooks.Webhook(secret).verify(received.body, received.headers)


@pytest.mark.contract("NP-W-05", "NP-W-06", "NP-W-08", "NP-W-09", "NP-W-10", "HL-W-05")
async def test_a_delivery_carries_its_exact_body_both_signatures_and_its_trace(
    tenant: Tenant, db: Database, line: Line
) -> None:
    body = '{"type":"task.created","data":{"title":"Größe ✓ \\u0001 </script>","n":1.5,"b":[],"a":{}}}'
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url("/hook?tenant=7"), "task.created")
        message = await publish(db, tenant, "task.created", body)
        await line.drain()
        (received,) = receiver.requests
    assert (received.method, received.target, received.body) == ("POST", "/hook?tenant=7", body.encode())
    assert received.headers["content-type"] == "application/json"
    check_signature(webhook["secret"], received)
    digest = received.headers["x-novapulse-signature"].removeprefix("sha256=")
    assert len(digest) == 64
    assert digest == digest.lower()
    assert received.headers["x-novapulse-event"] == "task.created"
    assert received.headers["x-novapulse-webhook-id"] == webhook["id"]
    assert received.headers["webhook-id"] == message.id
    assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 10
    assert received.headers["x-trace-id"] == message.trace_id
    version, trace_id, span_id, _ = received.headers["traceparent"].split("-")
    assert (version, trace_id) == ("00", message.trace_id)
    assert len(span_id) == 16
    changed = received.body.replace(b"1.5", b"1.6")
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(webhook["secret"]).verify(changed, received.headers)
    assert hmac.new(webhook["secret"].encode(), changed, hashlib.sha256).hexdigest() != digest


@pytest.mark.contract("NP-W-06", "NP-W-08", "NP-W-09")
async def test_the_brand_names_the_documented_headers(tenant: Tenant, db: Database) -> None:
    settings = make_settings(brand="Acme")
    outbound = Outbound(allow=settings.outbound_allow)
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await Line(db, webhooks.tasks(db, outbound, KEYRING, settings)).drain()
        (received,) = receiver.requests
    await outbound.close()
    expected = hmac.new(webhook["secret"].encode(), received.body, hashlib.sha256).hexdigest()
    assert received.headers["x-acme-signature"] == "sha256=" + expected
    assert received.headers["x-acme-event"] == "task.created"
    assert received.headers["x-acme-webhook-id"] == webhook["id"]
    assert not any("novapulse" in name for name in received.headers)


@pytest.mark.contract("HL-W-01", "HL-W-02", "HL-W-03", "NP-W-13", "NP-W-14")
async def test_tries_come_at_their_rungs_and_end_failed_after_five(
    tenant: Tenant, stranger: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(ok(500, b"broken", {"X-Why": "testing"})) as receiver:
        webhook = await tenant.webhook(receiver.url())
        message = await publish(db, tenant, "task.created")
        assert [one["status"] for one in await tenant.log(webhook)] == ["PENDING"]
        await line.drain()
        assert [one["status"] for one in await tenant.log(webhook)] == ["RETRYING"]
        for number, gap_seconds in enumerate((60, 300, 1_800, 21_600), start=1):
            await sql_clock.move(timedelta(seconds=gap_seconds - 10))
            await line.drain()
            assert len(receiver.requests) == number
            await sql_clock.move(timedelta(seconds=10))
            await line.drain()
            assert len(receiver.requests) == number + 1
        await sql_clock.move(timedelta(days=2))
        await line.drain()
        assert len(receiver.requests) == 5
    assert {received.headers["webhook-id"] for received in receiver.requests} == {message.id}
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attemptCount"], delivery["maxAttempts"]) == ("FAILED", 5, 5)
    assert (delivery["lastStatusCode"], delivery["nextAttemptAt"], delivery["deliveredAt"]) == (500, None, None)
    assert "500" in delivery["lastError"]
    assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2, 3, 4, 5]
    started = [datetime.fromisoformat(attempt["startedAt"]) for attempt in delivery["attempts"]]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(started)]
    assert gaps == pytest.approx([60, 300, 1_800, 21_600], abs=8)
    for attempt in delivery["attempts"]:
        assert (attempt["outcome"], attempt["statusCode"], attempt["responseBody"]) == ("status", 500, "broken")
        assert attempt["responseHeaders"]["x-why"] == "testing"
        assert attempt["durationMs"] >= 0
        assert attempt["address"] == "127.0.0.1"
    async with db.connection() as connection:
        dead = await connection.fetch("select queue, payload, error from mainstay.dead_jobs")
    assert [(row["queue"], json.loads(row["payload"])) for row in dead] == [("nova:webhook", delivery["id"])]
    assert "500" in dead[0]["error"]
    assert (await stranger.key.get(f"{COMPANY_PATH}/{webhook['id']}/logs")).status_code == 404


@pytest.mark.contract("NP-W-04")
@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (1, 2), (3, 4), (4, 5)])
async def test_retries_is_the_number_of_tries_after_the_first(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock, retries: int, tries: int
) -> None:
    async with Receiver(ok(503)) as receiver:
        webhook = await tenant.webhook(receiver.url(), retries=retries)
        await publish(db, tenant, "task.created")
        for _ in range(7):
            await line.drain()
            await sql_clock.move(timedelta(hours=7))
        assert len(receiver.requests) == tries
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], len(delivery["attempts"]), delivery["maxAttempts"]) == ("FAILED", tries, tries)


@pytest.mark.contract("NP-W-12", "HL-W-01", "NP-W-14")
async def test_the_third_try_delivers_after_two_failures(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(ok(500), ok(502), ok(204)) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        for gap in (MINUTE, 5 * MINUTE, timedelta(days=1)):
            await line.drain()
            await sql_clock.move(gap)
        await line.drain()
        assert len(receiver.requests) == 3
    for received in receiver.requests:
        check_signature(webhook["secret"], received)
    (delivery,) = await tenant.log(webhook)
    assert [attempt["statusCode"] for attempt in delivery["attempts"]] == [500, 502, 204]
    assert (delivery["status"], delivery["lastError"], delivery["nextAttemptAt"]) == ("DELIVERED", None, None)
    assert delivery["deliveredAt"] is not None
    assert await count(db, "dead_jobs") == 0


async def test_gone_fails_the_delivery_and_switches_the_webhook_off(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver(ok(410)) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await line.drain()
        await publish(db, tenant, "task.created")
        await line.drain()
        assert len(receiver.requests) == 1
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attempts"][0]["outcome"]) == ("FAILED", "gone")
    shown = (await tenant.key.get(f"{COMPANY_PATH}/{webhook['id']}")).json()
    assert (shown["isActive"], shown["disabledReason"]) == (False, "the receiver answered 410 Gone")
    assert shown["disabledAt"] is not None
    (fact,) = await announced(db, "endpoint.disabled")
    assert (fact["endpointId"], fact["reason"]) == (webhook["id"], "the receiver answered 410 Gone")
    assert fact["actor"]["kind"] == "rule"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_retry_after_is_honoured_in_both_forms(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock, form: str, status: int
) -> None:
    asked: Any = 600 if form == "seconds" else datetime.now(UTC) + timedelta(seconds=600)
    async with Receiver(slow_down(asked, status), ok()) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await line.drain()
        await sql_clock.move(timedelta(seconds=590))
        await line.drain()
        assert len(receiver.requests) == 1
        await sql_clock.move(timedelta(seconds=12))
        await line.drain()
        assert len(receiver.requests) == 2
    assert (await tenant.log(webhook))[0]["status"] == "DELIVERED"


async def test_a_redirect_is_a_failed_try_and_is_not_followed(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as elsewhere, Receiver(redirect(elsewhere.url("/other"))) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await line.drain()
        assert (len(receiver.requests), elsewhere.connections) == (1, 0)
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attempts"][0]["outcome"]) == ("RETRYING", "redirect")
    assert "redirects are not followed" in delivery["lastError"]


@pytest.mark.parametrize("act", ["delete", "switch off"])
async def test_what_is_pending_is_discarded_when_its_webhook_is_off_or_gone(
    tenant: Tenant, db: Database, line: Line, act: str
) -> None:
    async with Receiver() as receiver:
        webhook, kept = await tenant.webhook(receiver.url("/off")), await tenant.webhook(receiver.url("/kept"))
        await publish(db, tenant, "task.created")
        path = f"{COMPANY_PATH}/{webhook['id']}"
        if act == "delete":
            await tenant.key.delete(path)
            assert [one["status"] for one in await tenant.log(webhook)] == ["DISCARDED"]
        else:
            await tenant.key.patch(path, json={"isActive": False})
        await line.drain()
        assert [received.target for received in receiver.requests] == ["/kept"]
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attempts"]) == ("DISCARDED", [])
    assert "switched off or deleted" in delivery["lastError"]
    assert [one["status"] for one in await tenant.log(kept)] == ["DELIVERED"]
    assert await count(db, "jobs") == await count(db, "dead_jobs") == 0


async def test_both_secrets_sign_during_the_overlap_and_only_the_new_one_after(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        answer = await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/rotate-secret", json={"overlapSeconds": 3_600})
        old, new = webhook["secret"], answer.json()["secret"]
        assert answer.json()["previousSecretUntil"] is not None
        assert new.startswith("whsec_")
        assert new != old
        await publish(db, tenant, "task.created")
        await line.drain()
        during = receiver.requests[0]
        await sql_clock.move(timedelta(seconds=3_601))
        await publish(db, tenant, "task.created")
        await line.drain()
        after = receiver.requests[1]
        await line.sweep()
    for secret in (new, old):
        standardwebhooks.Webhook(secret).verify(during.body, during.headers)
    check_signature(new, during)
    check_signature(new, after)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(old).verify(after.body, after.headers)
    assert await count(db, "endpoints", "previous_secret_sealed is null and previous_secret_until is null") == 1


async def test_without_an_overlap_the_old_secret_is_out_at_once(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        rotated = await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/rotate-secret", json={"overlapSeconds": 0})
        await publish(db, tenant, "task.created")
        await line.drain()
        (received,) = receiver.requests
    check_signature(rotated.json()["secret"], received)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(webhook["secret"]).verify(received.body, received.headers)


async def test_a_test_message_takes_the_ordinary_path_to_one_webhook(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url("/one"), "task.created")
        await tenant.webhook(receiver.url("/other"))
        path = f"{COMPANY_PATH}/{webhook['id']}"
        sent = await tenant.key.post(path + "/test")
        await line.drain()
        (received,) = receiver.requests
        assert received.target == "/one"
        await tenant.key.patch(path, json={"isActive": False})
        assert (await tenant.key.post(path + "/test")).status_code == 409
    check_signature(webhook["secret"], received)
    assert received.headers["x-novapulse-event"] == json.loads(received.body)["type"] == "webhook.test"
    (delivery,) = await tenant.log(webhook)
    assert (delivery["id"], delivery["status"]) == (sent.json()["deliveryId"], "DELIVERED")
    assert delivery["eventType"] == "webhook.test"


async def test_a_replay_sends_the_same_message_under_the_same_id(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    async with Receiver(ok(500), ok()) as receiver:
        webhook = await tenant.webhook(receiver.url(), retries=0)
        message = await publish(db, tenant, "task.created")
        await line.drain()
        (failed,) = await tenant.log(webhook)
        path = f"{COMPANY_PATH}/{webhook['id']}"
        answer = await tenant.key.post(f"{path}/deliveries/{failed['id']}/replay")
        assert answer.status_code == 202
        await line.drain()
        first, second = receiver.requests
        for wrong in (str(uuid.uuid4()), "nonsense"):
            assert (await tenant.key.post(f"{path}/deliveries/{wrong}/replay")).status_code == 404
        await tenant.key.patch(path, json={"isActive": False})
        assert (await tenant.key.post(f"{path}/deliveries/{failed['id']}/replay")).status_code == 409
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    newest, oldest = await tenant.log(webhook)
    assert (oldest["status"], newest["status"], newest["replayOf"]) == ("FAILED", "DELIVERED", failed["id"])
    assert newest["messageId"] == oldest["messageId"] == message.id
    assert answer.json() == {"deliveryId": newest["id"], "replayOf": failed["id"]}
    (fact,) = await announced(db, "delivery.replayed")
    assert (fact["deliveryId"], fact["replayOf"], fact["messageId"]) == (newest["id"], failed["id"], message.id)


async def test_a_message_that_is_no_longer_kept_cannot_be_replayed(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await line.drain()
    async with db.connection() as connection:
        await connection.execute("delete from mainstay.messages")
    (delivery,) = await tenant.log(webhook)
    assert (delivery["eventType"], delivery["traceId"]) == (None, None)
    answer = await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/deliveries/{delivery['id']}/replay")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "message-gone")


async def test_the_log_is_paged_newest_first_and_filtered_by_status(
    tenant: Tenant, stranger: Tenant, db: Database, line: Line
) -> None:
    async with Receiver(ok(500), ok()) as receiver:
        webhook = await tenant.webhook(receiver.url(), retries=0)
        for _ in range(5):
            await publish(db, tenant, "task.created")
            await line.drain()
    path = f"{COMPANY_PATH}/{webhook['id']}/logs"
    seen, query = [], {"limit": 2}
    while True:
        answer = (await tenant.key.get(path, params=query)).json()
        seen += [one["id"] for one in answer["data"]]
        if answer["meta"]["nextCursor"] is None:
            break
        query["cursor"] = answer["meta"]["nextCursor"]
    assert len(seen) == len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)
    assert [one["id"] for one in await tenant.log(webhook, status="FAILED")] == [seen[-1]]
    assert [one["id"] for one in await tenant.log(webhook, status="DELIVERED")] == seen[:-1]
    theirs = await stranger.webhook()
    stolen = await stranger.key.get(f"{COMPANY_PATH}/{theirs['id']}/logs", params={"cursor": query["cursor"]})
    assert stolen.status_code == 400
    for wrong in ({"limit": 101}, {"limit": 0}, {"status": "pending"}, {"cursor": "x"}, {"q": "x"}):
        assert (await tenant.key.get(path, params=wrong)).status_code == 400


async def test_a_rare_status_is_looked_for_in_steps(
    tenant: Tenant, db: Database, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.webhooks.deliveries.LOOKED_THROUGH", 3)
    async with Receiver(ok(500), *[ok()] * 4, ok(500), *[ok()] * 2) as receiver:
        webhook = await tenant.webhook(receiver.url(), retries=0)
        for _ in range(8):
            await publish(db, tenant, "task.created")
            await line.drain()
    path, query, pages = f"{COMPANY_PATH}/{webhook['id']}/logs", {"status": "FAILED"}, []
    while True:
        answer = (await tenant.key.get(path, params=query)).json()
        pages.append([one["status"] for one in answer["data"]])
        if answer["meta"]["nextCursor"] is None:
            break
        query["cursor"] = answer["meta"]["nextCursor"]
    assert pages == [["FAILED"], [], ["FAILED"]]


async def test_what_is_kept_of_an_answer_is_cut(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver(ok(500, b"\x00\xff" + b"x" * 10_000)) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await line.drain()
    ((attempt,),) = [one["attempts"] for one in await tenant.log(webhook)]
    assert attempt["responseBody"] == "\ufffd\ufffd" + "x" * 4_094


@pytest.mark.contract("HL-W-06", "HL-J-11")
async def test_nothing_goes_out_without_a_worker_and_each_once_with_one(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        for _ in range(20):
            await publish(db, tenant, "task.created")
        assert [one["status"] for one in await tenant.log(webhook)] == ["PENDING"] * 20
        assert receiver.connections == 0
        await line.drain()
        assert len(receiver.requests) == len({received.headers["webhook-id"] for received in receiver.requests}) == 20
    assert [one["status"] for one in await tenant.log(webhook)] == ["DELIVERED"] * 20


async def test_a_redriven_job_makes_one_more_try(tenant: Tenant, db: Database, line: Line) -> None:
    async with Receiver(ok(500), ok()) as receiver:
        webhook = await tenant.webhook(receiver.url(), retries=0)
        await publish(db, tenant, "task.created")
        await line.drain()
        assert (await tenant.log(webhook))[0]["status"] == "FAILED"
        await line.redrive()
        await line.drain()
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], [one["statusCode"] for one in delivery["attempts"]]) == ("DELIVERED", [500, 200])


async def test_a_secret_that_cannot_be_opened_is_a_failed_try_that_says_so(
    tenant: Tenant, db: Database, line: Line
) -> None:
    async with Receiver() as receiver:
        webhook = await tenant.webhook(receiver.url())
        async with db.connection() as connection:
            await connection.execute("update mainstay.endpoints set secret_sealed = '\\x00'")
        await publish(db, tenant, "task.created")
        await line.drain()
        assert receiver.connections == 0
    (delivery,) = await tenant.log(webhook)
    assert (delivery["status"], delivery["attempts"][0]["outcome"]) == ("RETRYING", "unsendable")
    assert "secret cannot be opened" in delivery["lastError"]


async def test_tries_and_the_wait_for_the_first_are_counted(
    tenant: Tenant, db: Database, line: Line, sql_clock: SqlClock
) -> None:
    def read(name: str, **labels: str) -> float:
        return figure(name, labels) or 0.0

    def figures() -> tuple[float, ...]:
        return (
            read("webhook_attempts_total", outcome="status"),
            read("webhook_attempts_total", outcome="delivered"),
            read("webhook_first_attempt_seconds_count"),
        )

    before, waited = figures(), read("webhook_first_attempt_seconds_sum")
    async with Receiver(ok(500), ok()) as receiver:
        webhook = await tenant.webhook(receiver.url())
        await publish(db, tenant, "task.created")
        await sql_clock.move(timedelta(seconds=3))
        await line.drain()
        await sql_clock.move(MINUTE)
        await line.drain()
        (delivery,) = await tenant.log(webhook)
        await tenant.key.post(f"{COMPANY_PATH}/{webhook['id']}/deliveries/{delivery['id']}/replay")
        await line.drain()
    gained = [now - then for now, then in zip(figures(), before, strict=True)]
    assert gained == [1, 2, 1]
    assert 3 <= read("webhook_first_attempt_seconds_sum") - waited < 8
