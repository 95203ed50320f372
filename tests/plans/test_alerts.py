"""The trigger: each alert goes out once to each of its targets, by mail, Slack or a URL of the company's own."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from mainstay import plans
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.outbound import Outbound
from mainstay.plans import alerts, thresholds
from mainstay.plans.schemas import NewTarget, NewThreshold
from mainstay.plans.senders import Delivered, Letter, Recorder
from tests import receivers
from tests.conftest import SqlClock
from tests.plans.conftest import KEYRING, LOOPBACK
from tests.plans.test_thresholds import BOOK, add, use
from tests.receivers import Receiver
from tests.tenancy import OPERATOR, Tenancy

_SENDS = Sql(
    "test.sends",
    "select target_kind, attempts, outcome, last_error, ended_at from mainstay.alert_sends order by id",
)
_SETTLED = Sql("test.settled", "select settled_at from mainstay.threshold_alerts order by id")
_TOLD = Sql("test.told", "select name, data::text from mainstay.announcements where name like 'alert.%' order by id")
MAIL = NewTarget(kind="email", to="ops@acme.example")


async def raise_alert(db: Database, tenancy: Tenancy, *targets: NewTarget) -> None:
    """The company has crossed a threshold of ten events with these targets."""
    await add(db, tenancy, *targets, amount=10)
    await use(db, tenancy, 12)
    assert await alerts.check(db, db, BOOK) == 1


def trigger(db: Database, outbound: Outbound | None = None, **senders: Any) -> alerts.Trigger:
    """The trigger with the real senders where there is a client, and those given."""
    real = {} if outbound is None else plans.senders_of(outbound)
    return alerts.Trigger(db, KEYRING, {**real, **senders})


@pytest.mark.contract("HL-P-10", "HL-P-13", "HL-J-08")
async def test_checking_sends_nothing_and_the_trigger_hands_one_message_to_the_email_sender(
    db: Database, tenancy: Tenancy
) -> None:
    email = Recorder()
    await raise_alert(db, tenancy, MAIL)
    assert list(email.letters) == []
    assert [row["settled_at"] for row in await db.rows(_SETTLED)] == [None]
    assert await trigger(db, email=email).run() == 1
    (letter,) = email.letters
    assert letter.to == "ops@acme.example"
    assert letter.company_id == tenancy.company_id
    assert "12 events used" in letter.subject
    assert "The soft threshold of 10 events was reached" in letter.text
    assert (letter.data["quantity"], letter.data["limit"], letter.data["kind"]) == (12, 10, "soft")
    assert [row["settled_at"] is not None for row in await db.rows(_SETTLED)] == [True]
    assert await trigger(db, email=email).run() == 0
    assert await alerts.check(db, db, BOOK) == 0
    assert await trigger(db, email=email).run() == 0
    assert len(email.letters) == 1
    ((name, data),) = [tuple(row) for row in await db.rows(_TOLD)]
    assert name == "alert.sent"
    assert [one["outcome"] for one in orjson.loads(data)["sends"]] == ["recorded"]


@pytest.mark.contract("HL-P-11")
async def test_slack_gets_one_message(db: Database, tenancy: Tenancy) -> None:
    outbound = Outbound(allow=LOOPBACK)
    async with Receiver(receivers.ok()) as slack:
        await raise_alert(db, tenancy, NewTarget(kind="slack", to=f"http://127.0.0.1:{slack.port}/services/T/B/x"))
        assert await trigger(db, outbound).run() == 1
        assert await trigger(db, outbound).run() == 0
        (request,) = slack.requests
    await outbound.close()
    assert request.target == "/services/T/B/x"
    assert "12 events used" in orjson.loads(request.body)["text"]
    assert request.headers["idempotency-key"]
    assert [row["outcome"] for row in await db.rows(_SENDS)] == ["sent"]


@pytest.mark.contract("HL-P-12")
async def test_a_custom_webhook_is_posted_once_and_signed(db: Database, tenancy: Tenancy) -> None:
    outbound = Outbound(allow=LOOPBACK)
    async with Receiver(receivers.ok()) as peer:
        new = NewThreshold(
            kind="hard", unit="absolute", amount=10,
            targets=[NewTarget(kind="webhook", to=f"http://127.0.0.1:{peer.port}/usage")],
        )  # fmt: skip
        async with db.begin() as tx:
            threshold_id, targets = await thresholds.add_threshold(
                tx, OPERATOR, tenancy.company_id, new=new, keyring=KEYRING, allow=LOOPBACK
            )
        await use(db, tenancy, 10)
        await alerts.check(db, db, BOOK)
        assert await trigger(db, outbound).run() == 1
        assert await trigger(db, outbound).run() == 0
        (request,) = peer.requests
    await outbound.close()
    told = Webhook(targets[0]["secret"]).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(targets[0]["secret"]).verify(request.body + b" ", request.headers)
    assert (request.target, told["type"]) == ("/usage", "usage.threshold")
    assert told["data"]["thresholdId"] == threshold_id
    assert told["data"]["companyId"] == tenancy.company_id
    assert request.headers["idempotency-key"] == request.headers["webhook-id"] == told["id"]


async def test_a_target_that_fails_is_tried_again_alone_under_the_same_id(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy
) -> None:
    outbound, email = Outbound(allow=LOOPBACK), Recorder()
    async with Receiver(receivers.ok(500), receivers.ok()) as peer:
        await raise_alert(db, tenancy, MAIL, NewTarget(kind="webhook", to=f"http://127.0.0.1:{peer.port}/"))
        assert await trigger(db, outbound, email=email).run() == 2
        assert await trigger(db, outbound, email=email).run() == 0
        assert [row["settled_at"] for row in await db.rows(_SETTLED)] == [None]
        await sql_clock.move(alerts.FIRST_WAIT + timedelta(seconds=1))
        assert await trigger(db, outbound, email=email).run() == 1
        assert len({request.headers["idempotency-key"] for request in peer.requests}) == 1
        assert len(peer.requests) == 2
    await outbound.close()
    assert len(email.letters) == 1
    ended = sorted((row["outcome"], row["attempts"]) for row in await db.rows(_SENDS))
    assert ended == [("recorded", 1), ("sent", 2)]
    assert [row["name"] for row in await db.rows(_TOLD)] == ["alert.sent"]


async def test_after_eight_tries_or_410_it_is_given_up_and_told(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy
) -> None:
    outbound = Outbound(allow=LOOPBACK)
    async with Receiver(receivers.ok(503)) as down, Receiver(receivers.ok(410)) as gone:
        targets = [NewTarget(kind="webhook", to=f"http://127.0.0.1:{peer.port}/") for peer in (down, gone)]
        await raise_alert(db, tenancy, *targets)
        for _ in range(alerts.TRIES_AT_MOST + 2):
            await trigger(db, outbound).run()
            await sql_clock.move(timedelta(hours=12))
        assert (len(down.requests), len(gone.requests)) == (alerts.TRIES_AT_MOST, 1)
    await outbound.close()
    assert sorted((row["outcome"], row["last_error"]) for row in await db.rows(_SENDS)) == [
        ("failed", "answered 410"),
        ("failed", "answered 503"),
    ]
    assert [row["name"] for row in await db.rows(_TOLD)] == ["alert.failed"]


async def test_two_triggers_at_once_send_each_alert_once(db: Database, tenancy: Tenancy) -> None:
    email = Recorder()
    await raise_alert(db, tenancy, *[NewTarget(kind="email", to=f"a{n}@acme.example") for n in range(10)])
    async with asyncio.timeout(60):
        tried = await asyncio.gather(*(trigger(db, email=email).run() for _ in range(4)))
    assert sum(tried) == 10
    assert len({letter.id for letter in email.letters}) == len(email.letters) == 10


class _Dies(BaseException):
    """A process that ends in the middle of a send."""


async def test_a_worker_that_dies_while_it_sends_leaves_the_send_to_the_next(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy
) -> None:
    """The letter may arrive twice, under one id."""
    sent: list[str] = []

    class Mortal:
        async def send(self, letter: Letter) -> Delivered:
            sent.append(letter.id)
            if len(sent) == 1:
                raise _Dies
            return "sent"

    await raise_alert(db, tenancy, MAIL)
    with pytest.raises(_Dies):
        await trigger(db, email=Mortal()).run()
    assert await trigger(db, email=Mortal()).run() == 0
    await sql_clock.move(alerts.LEASE + timedelta(seconds=1))
    assert await trigger(db, email=Mortal()).run() == 1
    assert sent == [sent[0]] * 2
    assert [(row["outcome"], row["attempts"]) for row in await db.rows(_SENDS)] == [("sent", 2)]


async def test_an_alert_without_targets_is_settled(db: Database, tenancy: Tenancy) -> None:
    await raise_alert(db, tenancy)
    assert await trigger(db).run() == 0
    assert [row["settled_at"] is not None for row in await db.rows(_SETTLED)] == [True]


async def test_a_threshold_that_is_deleted_first_sends_nothing(db: Database, tenancy: Tenancy) -> None:
    email = Recorder()
    await raise_alert(db, tenancy, MAIL)
    threshold_id = await db.value(Sql("t", "select id::text from mainstay.thresholds"))
    async with db.begin() as tx:
        await thresholds.delete_threshold(tx, OPERATOR, tenancy.company_id, threshold_id)
    await trigger(db, email=email).run()
    assert list(email.letters) == []
    (row,) = await db.rows(_SENDS)
    assert (row["outcome"], row["last_error"]) == ("failed", "the threshold was deleted before this could be sent")
