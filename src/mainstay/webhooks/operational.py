"""What follows from a try: for its delivery, for its endpoint (breaker, warnings, the end), and word to the owner."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import orjson

from mainstay.kernel import clock, ids, outbox
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.outbound import Answer
from mainstay.kernel.outbox import Actor
from mainstay.kernel.telemetry import WEBHOOK_ATTEMPTS
from mainstay.kernel.work import Discard, Outcome, Snooze
from mainstay.webhooks import ladder, standing
from mainstay.webhooks.pacing import Parcel
from mainstay.webhooks.queries import operational as rows
from mainstay.webhooks.queries import sending
from mainstay.webhooks.standing import Health

BODY_BYTES_KEPT: Final = 4_096
GONE: Final = "the receiver answered 410 Gone"
ASKED: Final = "the receiver answered with webhook-delivery: disable"

DEAD_TYPE: Final = "delivery.dead"
DEAD_PATTERNS: Final = ("delivery.dead", "delivery.*")
"""Who subscribes to one of these hears of dead deliveries; `*` does not suffice."""

OPERATIONAL_TYPES: Final = (DEAD_TYPE, "endpoint.failing", "endpoint.disabled")
"""A delivery of one of these dies in silence, so that no message is about itself."""

PAYLOAD_BYTES_TOLD: Final = 4_096
ANSWER_BYTES_TOLD: Final = 1_024

_counters: dict[ladder.Outcome, Any] = {}
_GONE: Final = Actor(kind="rule", id="webhooks.gone", name="The receiver's word")
_FAILING: Final = Actor(kind="rule", id="webhooks.failing", name="Endpoints that only fail")


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try, and where it leaves its delivery; up to `endpoint_id` in the order in which it is recorded.

    `started` is monotonic. `stop` says why the endpoint is to get nothing more; `slot` is the job that holds one.
    """

    delivery_id: str
    number: int
    started: float
    duration_ms: int
    outcome: ladder.Outcome
    status_code: int | None
    error: str | None
    headers: str
    body: str
    address: str
    standing: str
    wait_seconds: float | None
    endpoint_id: str
    stop: str | None
    slot: int | None


HEALTH: Final = ("failures", "failing_since", "days", "warned", "trips", "open_until")

RECORDED: Final = 13
"""How many columns of an attempt are recorded as they are."""


def judge(
    parcel: Parcel, answer: Answer, outcome: ladder.Outcome, *, started: float, now: datetime, slot: int | None
) -> tuple[Outcome, Attempt]:
    """What becomes of the job of a delivery that was tried, and the try as it is recorded; `started` is monotonic."""
    number = parcel.attempts_made + 1
    verdict = ladder.after(
        outcome,
        status=answer.status,
        attempts_made=number,
        gaps=ladder.gaps_of(parcel.policy.profile, parcel.retries),
        headers=answer.headers,
        now=now,
    )
    error = _explain(outcome, answer)
    ending: Outcome = None
    standing, wait_seconds = "FAILED", None
    if isinstance(verdict, ladder.Delivered):
        standing = "DELIVERED"
    elif isinstance(verdict, ladder.RetryAfter):
        standing, wait_seconds = "RETRYING", verdict.wait.total_seconds()
        ending = Snooze(verdict.wait, error or "")
    else:
        ending = Discard(error or "")
    _count(outcome)
    return ending, Attempt(
        parcel.delivery_id,
        number,
        started,
        round(answer.duration_seconds * 1_000),
        outcome,
        answer.status,
        error,
        orjson.dumps(answer.headers).decode().replace("\\u0000", "\\ufffd"),
        answer.body[:BODY_BYTES_KEPT].decode("utf-8", "replace").replace("\0", "\ufffd"),
        answer.address,
        standing,
        wait_seconds,
        parcel.endpoint_id,
        _stop(outcome, answer),
        slot,
    )


def _stop(outcome: ladder.Outcome, answer: Answer) -> str | None:
    """Why the endpoint is to get nothing more, by the receiver's own word."""
    if outcome == "gone":
        return GONE
    return ASKED if ladder.word_of(answer.headers) == "disable" else None


def _explain(outcome: ladder.Outcome, answer: Answer) -> str | None:
    """Why the try failed, in words; None where it did not."""
    if outcome == "delivered":
        return None
    if outcome in ("status", "gone"):
        return f"the receiver answered {answer.status} {answer.reason}".rstrip()
    if outcome == "redirect":
        return f"the receiver answered {answer.status}: redirects are not followed"
    return f"{outcome}: {answer.error_detail}"


def _count(outcome: ladder.Outcome) -> None:
    counter = _counters.get(outcome)
    if counter is None:
        counter = _counters[outcome] = WEBHOOK_ATTEMPTS.labels(outcome)
    counter.inc()


async def follow_up(tx: Tx, tries: Sequence[Attempt], failing: Sequence[Record]) -> None:
    """Endpoints that asked for it or failed too long are off, the failing are spared and warned of, deaths are told."""
    asked = {one.endpoint_id: one for one in tries if one.stop is not None}
    last = {one.endpoint_id: one for one in tries if one.error is not None}
    if asked:
        reasons = {endpoint_id: str(one.stop) for endpoint_id, one in asked.items()}
        await _disable(tx, asked, reasons, {}, by=_GONE)
    if failing:
        await _judge(tx, last, failing)
    dead = [one.delivery_id for one in tries if one.standing == "FAILED"]
    if dead:
        await tell_dead(tx, dead)


async def _judge(tx: Tx, last: Mapping[str, Attempt], failing: Sequence[Record]) -> None:
    """Each failing endpoint has taken the step that its failures ask for."""
    steps = {}
    healths = {}
    for row in failing:
        health = Health(*(row[name] for name in HEALTH))
        step = standing.after_failure(health, row["now"])
        if step != standing.NO_STEP:
            steps[row["endpoint_id"]], healths[row["endpoint_id"]] = step, health
    ended = {endpoint_id: last[endpoint_id] for endpoint_id, step in steps.items() if step.disables}
    if ended:
        reasons = {endpoint_id: _why_ended(healths[endpoint_id], one) for endpoint_id, one in ended.items()}
        await _disable(tx, ended, reasons, healths, by=_FAILING)
    marked = [(endpoint_id, step) for endpoint_id, step in sorted(steps.items()) if not step.disables]
    if marked:
        await sending.mark_health_everywhere(
            tx,
            [endpoint_id for endpoint_id, _ in marked],
            warned=[step.warning or 0 for _, step in marked],
            open_seconds=[None if s.open_for is None else s.open_for.total_seconds() for _, s in marked],
        )
    warned = {endpoint_id: last[endpoint_id] for endpoint_id, step in marked if step.warning is not None}
    for endpoint_id, data in (await _stories(tx, warned, healths)).items():
        health, share = healths[endpoint_id], steps[endpoint_id].warning
        more = {
            "share": share,
            "reason": _why_warned(health, share or 0),
            "disablesAt": clock.iso(standing.disables_at(health)),
        }
        await _announce(tx, "endpoint.failing", data, more, by=_FAILING)


async def _disable(
    tx: Tx, tries: Mapping[str, Attempt], reasons: Mapping[str, str], healths: Mapping[str, Health], *, by: Actor
) -> None:
    order = sorted(tries)
    stopped = await sending.disable_endpoints_everywhere(tx, order, reasons=[reasons[one] for one in order])
    for endpoint_id, data in (
        await _stories(tx, {one: tries[one] for one in order if one in stopped}, healths)
    ).items():
        await _announce(tx, "endpoint.disabled", data, {"reason": reasons[endpoint_id]}, by=by)


async def _stories(tx: Tx, tries: Mapping[str, Attempt], healths: Mapping[str, Health]) -> dict[str, dict[str, Any]]:
    """What its owner should know of each endpoint's last try: what was sent, and what came back."""
    if not tries:
        return {}
    found = await rows.stories_everywhere(tx, [one.delivery_id for one in tries.values()], PAYLOAD_BYTES_TOLD)
    stories = {}
    for row in found:
        endpoint_id = row["endpoint_id"]
        one, health = tries[endpoint_id], healths.get(endpoint_id)
        stories[endpoint_id] = {
            "companyId": row["company_id"],
            "endpointId": endpoint_id,
            "url": row["url"],
            "failingSince": None if health is None else clock.iso(health.failing_since),
            "failures": None if health is None else health.failures,
            "lastStatusCode": one.status_code,
            "lastError": one.error,
            "deliveryId": one.delivery_id,
            "eventType": row["type"],
            "payload": _cut(row["payload"], PAYLOAD_BYTES_TOLD),
            "responseBody": _cut(one.body, ANSWER_BYTES_TOLD),
        }
    return stories


async def _announce(tx: Tx, name: str, data: dict[str, Any], more: Mapping[str, Any], *, by: Actor) -> None:
    company_id = data.pop("companyId")
    await outbox.announce(tx, name, company_id=company_id, actor=by, data={**data, **more})


async def tell_dead(tx: Tx, delivery_ids: Sequence[str]) -> int:
    """Company-wide endpoints that ask for `delivery.dead` hear of those that failed for good; how many deliveries."""
    found = await rows.dead_everywhere(tx, delivery_ids, patterns=DEAD_PATTERNS, silent=OPERATIONAL_TYPES)
    if not found:
        return 0
    told = [
        (ids.new_id(), row["company_id"], _body_of(row), row["trace_id"] or ids.new_trace_id(), row["hearers"])
        for row in found
    ]
    messages, companies, bodies, traces, _ = (list(column) for column in zip(*told, strict=True))
    await rows.add_messages_everywhere(tx, DEAD_TYPE, messages, companies, bodies, traces)
    pairs = [(message_id, hearer) for message_id, _, _, _, hearers in told for hearer in hearers]
    return await rows.deliver_everywhere(tx, [one for one, _ in pairs], [hearer for _, hearer in pairs])


def _body_of(row: Record) -> str:
    moment: datetime = row["now"]
    data = {
        "endpointId": row["endpoint_id"],
        "deliveryId": row["id"],
        "messageId": row["message_id"],
        "eventType": row["type"],
        "attempts": row["attempts"],
        "lastStatusCode": row["last_status_code"],
        "lastError": row["last_error"],
        "traceId": row["trace_id"],
    }
    return orjson.dumps({"type": DEAD_TYPE, "timestamp": clock.iso(moment), "data": data}).decode()


def _why_ended(health: Health, last: Attempt) -> str:
    return (
        f"no try succeeded for {standing.DISABLE_AFTER.days} days ({health.failures:,} tries failed in a row); "
        f"the last one: {last.error}"
    )


def _why_warned(health: Health, share: int) -> str:
    return (
        f"{health.failures:,} tries failed in a row and none succeeded since {clock.iso(health.failing_since)}: "
        f"that is {share} % of the way to being disabled, which takes {standing.DISABLE_AFTER.days} days and "
        f"{standing.DISABLE_FAILURES} failed tries on {standing.DISABLE_DAYS} days or more"
    )


def _cut(text: str | None, size: int) -> str | None:
    """The text's first bytes, without a character that the cut went through."""
    return None if text is None else text.encode()[:size].decode("utf-8", "ignore")
