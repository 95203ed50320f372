"""Thresholds: amounts of a meter at which a company wants to be told, and where."""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import orjson

from mainstay.kernel import ids, outbox
from mainstay.kernel.addresses import AllowList, RefusedAddress, check_url
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.plans.catalogue import METERS
from mainstay.plans.errors import ThresholdNotFound, TooManyThresholds
from mainstay.plans.queries import alerting as queries
from mainstay.plans.schemas import NewTarget, NewThreshold

THRESHOLDS_AT_MOST: Final = 20
TARGETS_AT_MOST: Final = 10
PERCENT_AT_MOST: Final = 1_000
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how secrets of the Standard Webhooks begin
_SECRET_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Alert:
    """That a threshold was crossed: what was used then; `settled_at` is when nothing was left to send."""

    id: str
    quantity: int
    raised_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold; `targets` are shown as far as they are no secret, `alert` is of the period asked for."""

    id: str
    meter: str
    kind: str
    unit: str
    amount: int
    targets: Sequence[dict[str, str]]
    created_at: datetime
    alert: Alert | None


async def add_threshold(
    tx: Tx, actor: Actor, company_id: str, *, new: NewThreshold, keyring: Keyring, allow: AllowList
) -> tuple[str, list[dict[str, str]]]:
    """The threshold exists in the company's region, `threshold.added` is announced; its id, and its targets.

    A webhook target comes with its signing secret, which is not shown again. Invalid; TooManyThresholds beyond 20.
    """
    _check(new, allow)
    if await queries.count_thresholds(tx, company_id) >= THRESHOLDS_AT_MOST:
        raise TooManyThresholds(f"A company may have {THRESHOLDS_AT_MOST} thresholds.")
    threshold_id = ids.new_id()
    await queries.add_threshold(
        tx, company_id, threshold_id, meter=new.meter, kind=new.kind, unit=new.unit, amount=new.amount
    )
    told = []
    for target in new.targets:
        target_id, shown = ids.new_id(), shown_of(target, allow)
        sealed: dict[str, Any] = {"to": target.to}
        told.append({"kind": target.kind, "to": shown})
        if target.kind == "webhook":
            sealed["secret"] = told[-1]["secret"] = _new_secret()
        await queries.add_target(
            tx,
            company_id,
            target_id,
            threshold_id=threshold_id,
            kind=target.kind,
            shown=shown,
            sealed=keyring.seal(orjson.dumps(sealed), target_id.encode()),
        )
    data = {
        "thresholdId": threshold_id,
        "meter": new.meter,
        "kind": new.kind,
        "unit": new.unit,
        "amount": new.amount,
        "targets": [{"kind": one["kind"], "to": one["to"]} for one in told],
    }
    await outbox.announce(tx, "threshold.added", company_id=company_id, actor=actor, data=data)
    return threshold_id, told


async def delete_threshold(tx: Tx, actor: Actor, company_id: str, threshold_id: str) -> None:
    """The threshold is gone, its alerts stay; `threshold.deleted` is announced. ThresholdNotFound."""
    row = await queries.delete_threshold(tx, company_id, threshold_id) if ids.is_uuid(threshold_id) else None
    if row is None:
        raise ThresholdNotFound
    data = {"thresholdId": threshold_id, **dict(row)}
    await outbox.announce(tx, "threshold.deleted", company_id=company_id, actor=actor, data=data)


async def list_thresholds(db: Connection, company_id: str, *, period: date) -> list[Threshold]:
    """The company's thresholds, oldest first, each with its alert of that period."""
    return [
        Threshold(
            id=str(row["id"]),
            meter=row["meter"],
            kind=row["kind"],
            unit=row["unit"],
            amount=row["amount"],
            targets=orjson.loads(row["targets"]),
            created_at=row["created_at"],
            alert=None
            if row["alert_id"] is None
            else Alert(str(row["alert_id"]), row["alert_quantity"], row["raised_at"], row["settled_at"]),
        )
        for row in await queries.thresholds(db, company_id, period=period)
    ]


def shown_of(target: NewTarget, allow: AllowList) -> str:
    """The target without what is secret in it: an email address whole, a URL without its path."""
    if target.kind == "email":
        return target.to
    checked = check_url(target.to, allow)
    return f"{checked.scheme}://{checked.host}/…"


def _new_secret() -> str:
    return _SECRET_PREFIX + base64.b64encode(os.urandom(_SECRET_BYTES)).decode()


def _check(new: NewThreshold, allow: AllowList) -> None:
    faults = []
    if new.meter not in METERS:
        faults.append(Fault(f"must be one of {', '.join(METERS)}", "#/meter"))
    if new.unit == "percentage" and new.amount > PERCENT_AT_MOST:
        faults.append(Fault(f"a percentage is from 1 to {PERCENT_AT_MOST}", "#/amount"))
    for index, target in enumerate(new.targets):
        wrong = _what_is_wrong(target, allow)
        if wrong is not None:
            faults.append(Fault(wrong, f"#/targets/{index}/to"))
    if faults:
        raise Invalid(faults=faults)


def _what_is_wrong(target: NewTarget, allow: AllowList) -> str | None:
    if target.kind == "email":
        local, at, domain = target.to.rpartition("@")
        plain = target.to.isprintable() and not any(sign in target.to for sign in " ,;<>()\"'\\")
        return None if at and local and "@" not in local and "." in domain and plain else "must be an email address"
    try:
        check_url(target.to, allow)
    except RefusedAddress as refusal:
        return refusal.reason
    return None
