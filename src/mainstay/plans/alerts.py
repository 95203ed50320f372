"""Alerts: raised once for each crossing and period by one job, sent once by another.

(threshold, period) --checker: used >= limit--> raised --trigger--> claimed by target, 10 min --> sent | recorded
                                                              ^-- failed: 5 min, doubling, 8 tries --> failed
raised, and no send is left --> settled
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from prometheus_client import Counter

from mainstay.kernel import ids, outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor
from mainstay.kernel.telemetry import REGISTRY
from mainstay.plans import calendar, caps
from mainstay.plans.queries import alerting as queries
from mainstay.plans.queries import metering
from mainstay.plans.senders import Letter, Sender, SendFailed
from mainstay.plans.standing import Book, Standing

CHECKER: Final = Actor(kind="job", id="plans.check_thresholds")
TRIGGER: Final = Actor(kind="job", id="plans.send_alerts")
RAISED = Counter("usage_alerts_total", "Thresholds that were crossed", ["kind"], registry=REGISTRY)
SENDS = Counter("usage_alert_sends_total", "Sends of alerts that ended", ["target", "outcome"], registry=REGISTRY)
THRESHOLDS_A_STEP: Final = 500
SENDS_A_ROUND: Final = 20
ROUNDS_AT_MOST: Final = 50
TRIES_AT_MOST: Final = 8
LEASE: Final = timedelta(minutes=10)
FIRST_WAIT: Final = timedelta(minutes=5)
_log = logger(__name__)


async def check(home: Database, regional: Database, book: Book) -> int:
    """Every threshold that is reached in an open period has its alert of that period; how many are new.

    Each is announced as `threshold.crossed`; nothing is sent by this. The month before is looked at until it is closed.
    """
    after, raised = str(UUID(int=0)), 0
    while True:
        async with regional.begin() as tx:
            since = calendar.preceding((await metering.period_everywhere(tx))["start"].date())
            rows = await queries.uncrossed_everywhere(tx, after=after, since=since, limit=THRESHOLDS_A_STEP)
            used = [row for row in rows if row["quantity"] is not None]
            seen: Connection = tx if home is regional else home
            standings = await book.standings(seen, sorted({str(row["company_id"]) for row in used})) if used else {}
            raised += sum([await _raise(tx, row, standings.get(str(row["company_id"]))) for row in used])
        if len({row["id"] for row in rows}) < THRESHOLDS_A_STEP:
            return raised
        after = str(rows[-1]["id"])


async def _raise(tx: Tx, row: Record, standing: Standing | None) -> bool:
    company_id, quantity = str(row["company_id"]), row["quantity"]
    quota = None if standing is None else standing.quota_of(row["meter"])
    limit = caps.limit_of(row["unit"], row["amount"], quota)
    if limit is None or quantity < limit:
        return False
    alert_id, threshold_id = ids.new_id(), str(row["id"])
    is_new = await queries.raise_alert(
        tx,
        company_id,
        alert_id,
        threshold_id=threshold_id,
        period=row["period_start"],
        limit_quantity=limit,
        quantity=quantity,
    )
    if not is_new:
        return False
    data = {"alertId": alert_id, "thresholdId": threshold_id, **_told(row), "limit": limit, "quantity": quantity}
    await outbox.announce(tx, "threshold.crossed", company_id=company_id, actor=CHECKER, data=data)
    RAISED.labels(row["kind"]).inc()
    return True


@dataclass(frozen=True, slots=True)
class Trigger:
    """Sends what alerts have to tell, by the sender of each kind of target."""

    db: Database
    keyring: Keyring
    senders: Mapping[str, Sender]

    async def run(self) -> int:
        """What is due has been tried, and alerts with nothing left to send are settled; how many tries."""
        tried = 0
        for _ in range(ROUNDS_AT_MOST):
            async with self.db.begin() as tx:
                claimed = await queries.claim_sends_everywhere(tx, limit=SENDS_A_ROUND, lease=LEASE)
            await asyncio.gather(*(self._try(row) for row in claimed))
            tried += len(claimed)
            if len(claimed) < SENDS_A_ROUND:
                break
        while await self._settle():
            continue
        return tried

    async def _try(self, row: Record) -> None:
        """One try, with no connection held; what became of it is recorded unless the claim was lost meanwhile."""
        company_id, send_id, kind = str(row["company_id"]), str(row["id"]), row["target_kind"]
        outcome, error, final = "failed", "", False
        try:
            outcome = await self.senders[kind].send(self._letter(row))
        except SendFailed as failure:
            error, final = str(failure)[:300], failure.final
        except Exception as failure:
            _log.exception("a sender failed", kind=kind, send_id=send_id)
            error = type(failure).__name__
        async with self.db.begin() as tx:
            if outcome == "failed" and not final and row["attempts"] < TRIES_AT_MOST:
                wait = FIRST_WAIT * 2 ** (row["attempts"] - 1)
                await queries.put_off_send(tx, company_id, send_id, attempts=row["attempts"], wait=wait, error=error)
                return
            await queries.end_send(
                tx, company_id, send_id, attempts=row["attempts"], outcome=outcome, error=error or None
            )
        SENDS.labels(kind, outcome).inc()

    def _letter(self, row: Record) -> Letter:
        if row["sealed"] is None:
            raise SendFailed("the threshold was deleted before this could be sent", final=True)
        try:
            target: dict[str, Any] = orjson.loads(self.keyring.open(row["sealed"], str(row["target_id"]).encode()))
        except Unsealable as error:
            raise SendFailed("the target cannot be opened with the master secrets at hand") from error
        subject, text = words_of(row)
        data = {
            "alertId": str(row["alert_id"]),
            "companyId": str(row["company_id"]),
            "thresholdId": str(row["threshold_id"]),
            **_told(row),
            "limit": row["limit_quantity"],
            "quantity": row["quantity"],
            "raisedAt": iso(row["raised_at"]),
        }
        return Letter(str(row["id"]), str(row["company_id"]), target["to"], subject, text, data, target.get("secret"))

    async def _settle(self) -> bool:
        async with self.db.begin() as tx:
            settled = await queries.settle_everywhere(tx, limit=SENDS_A_ROUND)
            for row in settled:
                sends: Sequence[dict[str, Any]] = orjson.loads(row["sends"])
                outcomes = Tally(one["outcome"] for one in sends)
                name = "alert.failed" if outcomes["failed"] else "alert.sent"
                data = {
                    "alertId": str(row["id"]),
                    "thresholdId": str(row["threshold_id"]),
                    "meter": row["meter"],
                    "kind": row["kind"],
                    "sends": sends,
                }
                await outbox.announce(tx, name, company_id=str(row["company_id"]), actor=TRIGGER, data=data)
        return bool(settled)


def words_of(row: Mapping[str, Any] | Record) -> tuple[str, str]:
    """The subject and the text with which people are told."""
    month = row["period_start"].strftime("%B %Y")
    share = f" ({row['amount']} % of the quota)" if row["unit"] == "percentage" else ""
    subject = f"{row['quantity']:,} {row['meter']} used in {month}: {row['kind']} threshold reached"
    text = f"The {row['kind']} threshold of {row['limit_quantity']:,} {row['meter']}{share} was reached in {month}."
    return subject, text


def _told(row: Record) -> dict[str, Any]:
    return {
        "meter": row["meter"],
        "kind": row["kind"],
        "unit": row["unit"],
        "amount": row["amount"],
        "periodStart": iso(calendar.start_of(row["period_start"])),
    }
