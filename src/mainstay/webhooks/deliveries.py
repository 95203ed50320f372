"""Deliveries: the log of an endpoint, tests and replays on request, and the search for those that were missed."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from mainstay.kernel import clock, ids, outbox, telemetry
from mainstay.kernel.clock import Clock
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.webhooks import catalogue, endpoints, operational, schemas, versions
from mainstay.webhooks.errors import DeliveryNotFound, EndpointInactive, MessageGone
from mainstay.webhooks.queries import deliveries as rows
from mainstay.webhooks.queries import endpoints as endpoint_rows
from mainstay.webhooks.queries import sending

TEST_TYPE: Final = "webhook.test"
OVERDUE_SECONDS: Final = 120.0
SWEPT_AT_MOST: Final = 500
LOOKED_THROUGH: Final = 50_000
UNFINISHED: Final = "no worker could finish a try"


@dataclass(frozen=True, slots=True)
class LogPage:
    """Deliveries newest first as their owner reads them, and the id to go on before (None at the end)."""

    deliveries: list[dict[str, Any]]
    next_before: str | None


async def read_log(
    connection: Connection,
    *,
    company_id: str,
    endpoint_id: str,
    before_id: str | None = None,
    status: str | None = None,
    limit: int = 50,
) -> LogPage:
    """One page of the deliveries of an endpoint, deleted ones included, with every try.

    With a status it looks through 50,000 deliveries at most, so a page may be short, or empty, and the next go on.
    """
    endpoint = await endpoints.get(connection, company_id=company_id, endpoint_id=endpoint_id, deleted_too=True)
    found = await rows.log_of(
        connection,
        company_id=company_id,
        endpoint_id=endpoint_id,
        before_id=before_id,
        endpoint_deleted=endpoint["deleted_at"] is not None,
        status=status,
        limit=limit + 1,
        look=limit + 1 if status is None else LOOKED_THROUGH,
    )
    page = found[:limit]
    next_before = str(page[-1]["id"]) if len(found) > limit else None
    if next_before is None and status is not None:
        next_before = await rows.looked_to(
            connection, company_id=company_id, endpoint_id=endpoint_id, before_id=before_id, look=LOOKED_THROUGH
        )
    tries: dict[str, list[Any]] = {str(row["id"]): [] for row in page}
    if tries:
        for attempt in await rows.attempts_of(connection, company_id=company_id, delivery_ids=list(tries)):
            tries[str(attempt["delivery_id"])].append(attempt)
    return LogPage(
        [schemas.show_delivery(row, tries[str(row["id"])]) for row in page],
        next_before,
    )


async def read_delivery(
    connection: Connection, *, company_id: str, endpoint_id: str, delivery_id: str
) -> dict[str, Any]:
    """The delivery with every try and, while it is kept, `payload`: the message's body as this endpoint gets it."""
    endpoint = await endpoints.get(connection, company_id=company_id, endpoint_id=endpoint_id)
    row = None
    if ids.is_uuid(delivery_id):
        row = await rows.find_delivery(
            connection, company_id=company_id, endpoint_id=str(endpoint["id"]), delivery_id=delivery_id
        )
    if row is None:
        raise DeliveryNotFound
    tries = await rows.attempts_of(connection, company_id=company_id, delivery_ids=[str(row["id"])])
    body = row["body"]
    return schemas.show_delivery(row, tries) | {
        "payload": None if body is None else versions.render(body.encode(), endpoint["payload_version"]).decode()
    }


async def send_test(tx: Tx, *, company_id: str, endpoint_id: str, now: Clock, kind: str | None = None) -> str:
    """A test message is on its way to this endpoint, whatever it subscribes to; the delivery's id.

    It is the example of a type of the catalogue, or a message of type `webhook.test`. Invalid without an example.
    """
    endpoint = await get_active(tx, company_id=company_id, endpoint_id=endpoint_id)
    if kind is None or kind == TEST_TYPE:
        kind, data = TEST_TYPE, {"webhookId": str(endpoint["id"]), "text": "A test message, sent on request."}
    else:
        kind, data = await catalogue.sample(tx, company_id=company_id, name=kind)
    message_id = ids.new_id()
    await rows.add_message(
        tx,
        company_id=company_id,
        message_id=message_id,
        workspace_id=endpoint["workspace_id"],
        kind=kind,
        body=orjson.dumps({"type": kind, "timestamp": clock.iso(now.now()), "data": data, "test": True}).decode(),
        trace_id=telemetry.current_trace().trace_id,
    )
    return await _deliver_later(tx, company_id, endpoint["id"], message_id, replay_of=None)


async def replay(tx: Tx, actor: Actor, *, company_id: str, endpoint_id: str, delivery_id: str) -> str:
    """The same message under the same `webhook-id` is on its way to the endpoint again; the new delivery's id."""
    endpoint = await get_active(tx, company_id=company_id, endpoint_id=endpoint_id)
    found = None
    if ids.is_uuid(delivery_id):
        found = await rows.message_of_delivery(
            tx, company_id=company_id, endpoint_id=endpoint_id, delivery_id=delivery_id
        )
    if found is None:
        raise DeliveryNotFound
    if found["trace_id"] is None:
        raise MessageGone
    made = await _deliver_later(tx, company_id, endpoint["id"], found["message_id"], replay_of=delivery_id)
    await outbox.announce(
        tx,
        "delivery.replayed",
        company_id=company_id,
        actor=actor,
        data={
            "endpointId": str(endpoint["id"]),
            "deliveryId": made,
            "replayOf": delivery_id.lower(),
            "messageId": found["message_id"],
            "eventType": found["type"],
        },
    )
    return made


async def sweep(tx: Tx) -> int:
    """Due deliveries whose job vanished have one again, and those whose job died have failed; how many were found.

    Takes up to 500 that were due over two minutes ago; expired old secrets are forgotten on the way.
    """
    await endpoint_rows.forget_previous_secrets_everywhere(tx)
    found = await sending.overdue_everywhere(tx, grace_seconds=OVERDUE_SECONDS, limit=SWEPT_AT_MOST)
    dead = [row for row in found if row["death"] is not None]
    if dead:
        reasons = [f"{UNFINISHED}: {row['death']}" for row in dead]
        failed = [row["id"] for row in dead]
        await sending.give_up_everywhere(tx, failed, reasons=reasons)
        await operational.tell_dead(tx, failed)
    missed = [row for row in found if row["death"] is None]
    if missed:
        await sending.requeue_everywhere(
            tx,
            [row["id"] for row in missed],
            lanes=[row["endpoint_id"] for row in missed],
            companies=[row["company_id"] for row in missed],
            traces=[row["trace_id"] or "" for row in missed],
        )
    return len(found)


async def get_active(connection: Connection, *, company_id: str, endpoint_id: str) -> Record:
    """The company's endpoint; EndpointInactive where it is switched off."""
    endpoint = await endpoints.get(connection, company_id=company_id, endpoint_id=endpoint_id)
    if not endpoint["is_active"]:
        raise EndpointInactive
    return endpoint


async def _deliver_later(tx: Tx, company_id: str, endpoint_id: Any, message_id: str, *, replay_of: str | None) -> str:
    delivery_id = ids.new_id()
    await rows.add_delivery(
        tx,
        company_id=company_id,
        endpoint_id=str(endpoint_id),
        delivery_id=delivery_id,
        message_id=message_id,
        replay_of=replay_of,
    )
    return delivery_id
