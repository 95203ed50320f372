"""Cutting: what may leave the table leaves from the beginning of its chain, by partition where all of one may go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any, Literal

import asyncpg

from mainstay import events
from mainstay.archive import queries
from mainstay.archive.archiving import Day
from mainstay.archive.ground import ARCHIVIST, Ground, Rule
from mainstay.kernel import outbox, partitions
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.objects import ObjectNotFound

_log = logger(__name__)
_HEADS = 500
_DAYS = 10_000
_BATCH = 5_000
VERIFIED_WITHIN = timedelta(days=8)
"""Archived events leave only while the last verification of their object is no older than one missed week."""

Why = Literal["deleted", "archived"]
_TOLD: Mapping[Why, str] = {"deleted": "retention.deleted", "archived": "archive.cut"}


@dataclass(frozen=True, slots=True)
class Due:
    """The days of one workspace that may leave, from the beginning of its stored chain, and up to which seq."""

    company_id: str
    workspace_id: str
    seq: int
    days: list[tuple[Record, Why]]


@dataclass(slots=True)
class CutReport:
    """What left the table: days by batches, and partitions."""

    days: int = 0
    partitions: list[str] = field(default_factory=list)


async def cut(ground: Ground) -> CutReport:
    """What may leave the table has left it, each leaving audited in the transaction that decided it.

    RETENTION_DELETE: events without archive, a grace period after they were marked. ARCHIVE_CUT: archived events, a
    grace period after that, while their object is verified; by whole months.
    """
    report = CutReport()
    await ground.retirement.end_cuts(batch=_BATCH)
    if not (ground.deletes or ground.cuts):
        return report
    now = await queries.now_everywhere(ground.db)
    due = await _due(ground, now)
    for partition in await ground.retirement.partitions():
        if _end_of(partition) < now - timedelta(days=1) and await _drop(ground, due, partition):
            report.partitions.append(partition)
    for one in due.values():
        report.days += await _cut_days(ground, one, now)
    return report


def days_due(days: Sequence[Mapping[str, Any]], rule: Rule, now: datetime, *, deletes: bool, cuts: bool) -> list[Why]:
    """Why each of the first days may leave, as far as one after the other may."""
    found: list[Why] = []
    for day in days:
        why = _why(day, rule, now, deletes=deletes, cuts=cuts)
        if why is None:
            return found
        found.append(why)
    return found


def _why(day: Mapping[str, Any], rule: Rule, now: datetime, *, deletes: bool, cuts: bool) -> Why | None:
    grace = timedelta(days=rule.grace_days)
    start = datetime.combine(day["day"], datetime.min.time(), tzinfo=UTC)
    if day["flagged_seq"] >= day["last_seq"]:
        is_proven = day["outcome"] == "sound" and day["verified_at"] > now - VERIFIED_WITHIN
        return "archived" if cuts and is_proven and day["archived_at"] <= now - grace else None
    if not deletes or rule.is_archived or rule.window_days is None:
        return None
    end = start + timedelta(days=1)
    is_over = day["marked_at"] <= now - grace and end <= now - grace - timedelta(days=rule.window_days)
    return "deleted" if is_over else None


async def _due(ground: Ground, now: datetime) -> dict[str, Due]:
    found = {}
    after: str | None = None
    while heads := await ground.retirement.heads(after=after, limit=_HEADS):
        rules = await ground.rules_of(heads)
        for head in heads:
            company_id, workspace_id = str(head["company_id"]), str(head["workspace_id"])
            if not head["may_leave"] or workspace_id not in rules:
                continue
            days = await queries.uncut_days(ground.db, company_id, workspace_id, limit=_DAYS)
            whys = days_due(days, rules[workspace_id], now, deletes=ground.deletes, cuts=ground.cuts)
            due = list(zip(days[: len(whys)], whys, strict=True))
            for place, (day, why) in enumerate(due):
                if why == "archived" and not await _is_there(ground, day):
                    due = due[:place]
                    break
            if due:
                found[workspace_id] = Due(company_id, workspace_id, due[-1][0]["last_seq"], due)
        after = str(heads[-1]["workspace_id"])
    return found


async def _is_there(ground: Ground, day: Record) -> bool:
    name = Day(str(day["company_id"]), str(day["workspace_id"]), day["day"]).name
    try:
        stored = await ground.stores.get(day["data_region"]).head(name)
    except ObjectNotFound:
        return False
    except Unavailable as error:
        _log.warning("archived events stay: their store is out of reach", object=name, error=type(error).__name__)
        return False
    return bool(stored.bytes == day["bytes"])


async def _drop(ground: Ground, due: Mapping[str, Due], partition: str) -> bool:
    seqs = {workspace_id: one.seq for workspace_id, one in due.items()}
    tops = await ground.retirement.droppable(seqs, partition)
    if tops is None or not tops:
        return False
    await ground.retirement.sign_ends(tops)
    try:
        async with ground.db.begin() as tx:
            dropped = await ground.retirement.drop(tx, seqs, partition)
            if dropped is None:
                return False
            for top in dropped:
                one = due[str(top["workspace_id"])]
                leaving = [(day, why) for day, why in one.days if day["last_seq"] <= top["seq"]]
                await _tell(tx, one, leaving, by="partition")
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        _log.warning("a partition of events waits to be dropped: it is in use", partition=partition)
        return False
    for top in dropped:
        one = due[str(top["workspace_id"])]
        one.days[:] = [(day, why) for day, why in one.days if day["last_seq"] > top["seq"]]
    return True


async def _cut_days(ground: Ground, due: Due, now: datetime) -> int:
    whole = await _whole_months(ground, due, now)
    leaving = list(takewhile(lambda one: one[1] == "deleted" or one[0]["day"].replace(day=1) in whole, due.days))
    if not leaving:
        return 0

    async def told(tx: Tx) -> None:
        await _tell(tx, due, leaving, by="batch")

    last: int = leaving[-1][0]["last_seq"]
    stretch = events.Stretch(due.company_id, due.workspace_id, leaving[0][0]["first_seq"], last)
    return len(leaving) if await ground.retirement.cut(stretch, batch=_BATCH, told=told) else 0


async def _whole_months(ground: Ground, due: Due, now: datetime) -> set[date]:
    """The months, by their first days, of which every stored event may leave."""
    if not due.days:
        return set()
    behind = await ground.retirement.day_of(due.company_id, due.workspace_id, due.seq + 1) or now.date()
    return {day["day"].replace(day=1) for day, _ in due.days if day["day"].replace(day=1) < behind.replace(day=1)}


async def _tell(tx: Tx, due: Due, leaving: Sequence[tuple[Record, Why]], *, by: str) -> None:
    if not leaving:
        return
    await queries.record_cut(tx, due.company_id, due.workspace_id, seq=leaving[-1][0]["last_seq"])
    for why, name in _TOLD.items():
        days = [day for day, one in leaving if one == why]
        if not days:
            continue
        data = {
            "workspaceId": due.workspace_id,
            "events": sum(day["last_seq"] - day["first_seq"] + 1 for day in days),
            "from": days[0]["day"].isoformat(),
            "to": days[-1]["day"].isoformat(),
            "firstSeq": days[0]["first_seq"],
            "lastSeq": days[-1]["last_seq"],
            "by": by,
        }
        await outbox.announce(tx, name, company_id=due.company_id, actor=ARCHIVIST, data=data)


def _end_of(partition: str) -> datetime:
    spec = events.PARTITIONED[0]
    return partitions.bounds(spec.width, partitions.start_of(spec, partition))[1]
