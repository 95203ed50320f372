"""Verification: every archived object against its digest, its count, each row's chain link, and what was signed."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from prometheus_client import Counter

from mainstay import events
from mainstay.archive import forms, queries
from mainstay.archive.archiving import Day
from mainstay.archive.errors import Damaged
from mainstay.archive.ground import ARCHIVIST, Ground
from mainstay.kernel import outbox
from mainstay.kernel.db import Record
from mainstay.kernel.logs import logger
from mainstay.kernel.objects import ObjectChanged, ObjectNotFound
from mainstay.kernel.telemetry import REGISTRY

DAMAGED = Counter("archive_damaged_total", "Verifications that found an object damaged or missing", registry=REGISTRY)
_log = logger(__name__)
_PAGE = 100
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found of one object; `finding` names the first bad row by line, seq and kind."""

    day: Day
    outcome: Literal["sound", "damaged", "missing"]
    finding: dict[str, Any] | None
    checked: int


async def verify_day(ground: Ground, day: Day) -> Verified | None:
    """The day's object was read to its end or its first bad row, and the outcome is kept; None where there is none.

    A damaged or missing object is announced as `archive.damaged`. Unavailable where the store does not answer.
    """
    for _ in range(_TRIES):
        row = await queries.find_day(ground.db, day.company_id, day.workspace_id, day.day)
        if row is None or not row["archived_seq"]:
            return None
        try:
            verified = await _verify(ground, day, row)
        except ObjectChanged:
            continue
        if await _keep(ground, row, verified):
            return verified
    return None


async def verify_workspace(ground: Ground, company_id: str, workspace_id: str, *, before: datetime) -> list[Verified]:
    """Every archived day that was last verified before that moment was verified; one that is bad stops no other."""
    found: list[Verified] = []
    after = date.min
    while days := await queries.days_to_verify(
        ground.db, company_id, workspace_id, before=before, after=after, limit=_PAGE
    ):
        for day in days:
            verified = await verify_day(ground, Day(company_id, workspace_id, day))
            if verified is not None:
                found.append(verified)
        after = days[-1]
    return found


async def verify_all(ground: Ground, *, company_id: str | None = None) -> list[Verified]:
    """Every archived day of the database, or of one company, was verified just now."""
    now = await queries.now_everywhere(ground.db)
    workspaces = await queries.archived_workspaces_everywhere(ground.db)
    return [
        verified
        for row in workspaces
        if company_id is None or str(row["company_id"]) == company_id
        for verified in await verify_workspace(ground, str(row["company_id"]), str(row["workspace_id"]), before=now)
    ]


async def _verify(ground: Ground, day: Day, row: Record) -> Verified:
    store = ground.stores.get(row["data_region"])
    stretch = events.Stretch(day.company_id, day.workspace_id, row["first_seq"], row["archived_seq"])
    proof = await ground.retirement.proof_of(stretch)
    digest = hashlib.sha256()

    async def seen() -> AsyncIterator[bytes]:
        async for piece in store.get(day.name):
            digest.update(piece)
            yield piece

    finding = None
    try:
        async for lines in forms.unpacked(seen()):
            if (finding := await asyncio.to_thread(proof.take, lines)) is not None:
                break
        else:
            finding = proof.end()
    except ObjectNotFound:
        return Verified(day, "missing", {"kind": "missing", "detail": "there is no object of this name"}, 0)
    except Damaged as damage:
        told = {"line": damage.line, "seq": proof.head[0] + 1, "id": None, "kind": "malformed", "detail": damage.detail}
        return Verified(day, "damaged", told, proof.checked)
    if finding is not None:
        line = finding.line + forms.FIRST_LINE - 1
        told = {
            "line": line,
            "seq": finding.seq,
            "id": finding.id,
            "kind": finding.kind,
            "detail": finding.detail,
        }
        return Verified(day, "damaged", told, proof.checked)
    if digest.digest() != bytes(row["sha256"]):
        detail = "every event is proven, but the bytes are not those that were archived"
        return Verified(day, "damaged", {"kind": "changed", "detail": detail}, proof.checked)
    return Verified(day, "sound", None, proof.checked)


async def _keep(ground: Ground, row: Record, verified: Verified) -> bool:
    day = verified.day
    async with ground.db.begin() as tx:
        is_kept = await queries.record_verified(
            tx,
            day.company_id,
            day.workspace_id,
            day.day,
            sha256=bytes(row["sha256"]),
            outcome=verified.outcome,
            finding=verified.finding,
        )
        if is_kept and verified.outcome != "sound":
            data = {
                "object": day.name,
                "workspaceId": day.workspace_id,
                "day": day.day.isoformat(),
                "outcome": verified.outcome,
                "finding": verified.finding,
            }
            await outbox.announce(tx, "archive.damaged", company_id=day.company_id, actor=ARCHIVIST, data=data)
    if is_kept and verified.outcome != "sound":
        DAMAGED.inc()
        _log.error("an archive is not sound", object=day.name, outcome=verified.outcome, finding=verified.finding)
    return is_kept
