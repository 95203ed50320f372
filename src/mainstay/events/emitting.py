"""Events that transactions of others emitted in SQL take their places in the chains, by the way of every event."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mainstay import identity, plans, templates
from mainstay.events import ingest, intake
from mainstay.events.ingest import Result
from mainstay.events.intake import Place, Prepared
from mainstay.events.queries import chains
from mainstay.events.queries import emitting as rows
from mainstay.kernel import outbox, telemetry
from mainstay.kernel.db import GONE, RACED, Connection, Database, Record, Tx
from mainstay.kernel.errors import MainstayError, Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor

EMITTED = "mainstay:emitted"
"""What the notification of an emitted event says, in the place of a queue."""
COUNTED_TO = 100_000
MAX_LISTED = 1_000
_EVENTS_AT_ONCE, _WORKSPACES_AT_ONCE, _SHARE_AT_LEAST = 1_000, 100, 10
_BYTES_AT_ONCE = 16_777_216
_HELD_SECONDS, _FIGURES_SECONDS = 10.0, 10.0
_LARGE_BYTES, _YIELD_EVERY = 65_536, 50
_FIRST = "00000000-0000-0000-0000-000000000000"
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """An emitted event that was put aside: the event as it was emitted, why it was not stored, and since when."""

    id: int
    company_id: str
    workspace_id: str
    event_id: str
    event: str
    emitted_at: datetime
    refused_at: datetime
    reason: str
    detail: str


@dataclass(slots=True)
class _Round:
    """What becomes of the events of one round: stored (or there already), put aside, or left in line."""

    good: list[tuple[Record, Prepared]] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    aside: list[tuple[int, str, str]] = field(default_factory=list)

    def refuse(self, row: Record, error: MainstayError) -> None:
        """The event is put aside with what the intake says of it."""
        faults = (f"{fault.pointer}: {fault.detail}" for fault in error.faults)
        self.aside.append((row["id"], error.code, "; ".join([error.detail, *faults])[:2000].replace("\0", "")))

    def settle(self, row: Record, result: Result) -> None:
        """The event has its place, or is put aside."""
        if isinstance(result, MainstayError):
            self.refuse(row, result)
        else:
            self.done.append(row["id"])


class Emissions:
    """Takes what was emitted in one database to the chains there; any number of these may run, one works at a time.

    Every round serves the workspaces for which events wait in turn, each in the order of emission. Events leave the
    line in the transaction that stores them. What the intake refuses is put aside, and nobody waits for it; events of a
    company that is stopped at its limit keep their places and are tried again every ten seconds.
    """

    def __init__(
        self, home: Database, db: Database, regions: Sequence[str], after: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._home = home
        self._db = db
        self._regions = regions
        self._after = after
        self._checker = templates.Checker(db)
        self._cursor = _FIRST
        self._held: dict[str, float] = {}
        self._counted_at = float("-inf")

    async def run_once(self) -> int:
        """A round of waiting events has been dealt with; how many left the line."""
        await self._count()
        if not await rows.are_any_everywhere(self._db):
            return 0
        async with self._db.begin() as tx:
            if not await rows.lock_everywhere(tx):
                return 0
            taken = await self._take(tx)
            if not taken:
                return 0
            turn = _Round()
            await self._judge(tx, taken, turn)
            await self._store(tx, turn)
            await rows.settle_everywhere(tx, turn.done, turn.aside)
        if turn.aside:
            _log.warning("emitted events were put aside", events=len(turn.aside), reason=turn.aside[0][1])
        if turn.done and self._after is not None:
            await self._after()
        return len(turn.done) + len(turn.aside)

    async def _take(self, tx: Tx) -> list[Record]:
        now = time.monotonic()
        self._held = {company_id: until for company_id, until in self._held.items() if until > now}
        held = list(self._held)
        found = await rows.workspaces_everywhere(tx, self._cursor, held, _WORKSPACES_AT_ONCE)
        if not found and self._cursor != _FIRST:
            found = await rows.workspaces_everywhere(tx, _FIRST, held, _WORKSPACES_AT_ONCE)
        self._cursor = found[-1] if len(found) == _WORKSPACES_AT_ONCE else _FIRST
        if not found:
            return []
        share = max(_EVENTS_AT_ONCE // len(found), _SHARE_AT_LEAST)
        return await rows.take_everywhere(tx, found, share, _BYTES_AT_ONCE)

    async def _judge(self, tx: Connection, taken: Sequence[Record], turn: _Round) -> None:
        """Every event is prepared, or has its refusal; one whose key an earlier one of the round has waits."""
        regions = await self._regions_of({str(row["company_id"]) for row in taken})
        keys: set[tuple[str, bytes]] = set()
        for number, row in enumerate(taken, 1):
            region = regions.get(str(row["company_id"]))
            if region is None or region not in self._regions:
                turn.aside.append((row["id"], "moved", f"The data of its company live elsewhere ({region})."))
                continue
            try:
                event = await self._prepare(row, region)
            except MainstayError as error:
                turn.refuse(row, error)
            else:
                key = (event.row[0], event.idempotency) if event.idempotency is not None else None
                if key in keys:
                    continue
                if key is not None:
                    keys.add(key)
                if event.refusal is None:
                    turn.good.append((row, event))
                else:
                    turn.settle(row, await _earlier(tx, event))
            if number % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _prepare(self, row: Record, region: str) -> Prepared:
        place = Place(str(row["workspace_id"]), str(row["company_id"]), region, None)
        checks = await self._checker.checks_of(place.company_id, place.workspace_id)
        body, event_id = row["event"].encode(), str(row["event_id"])
        if len(body) <= _LARGE_BYTES:
            return intake.prepare(body, place, row["trace_id"], checks=checks, event_id=event_id)
        return await asyncio.to_thread(intake.prepare, body, place, row["trace_id"], checks=checks, event_id=event_id)

    async def _regions_of(self, companies: set[str]) -> Mapping[str, str]:
        found = await identity.system_workspaces(self._home, sorted(companies))
        return {one.company_id: one.region for one in found}

    async def _store(self, tx: Tx, turn: _Round) -> None:
        """What is good is in its chain: all at once, and one by one where one of them cannot be stored."""
        while turn.good:
            try:
                await _append(tx, turn.good, turn)
                return
            except (*RACED, *GONE, Unavailable):
                raise
            except Exception as error:
                full = plans.exhausted_of(error)
                if full is not None:
                    turn.good = await self._within(tx, turn.good, full)
                elif len(turn.good) == 1:
                    row = turn.good.pop()[0]
                    turn.aside.append((row["id"], "not-storable", f"{type(error).__name__}: {error}"[:2000]))
                else:
                    middle = len(turn.good) // 2
                    first, turn.good = turn.good[:middle], turn.good[middle:]
                    part = _Round(first)
                    await self._store(tx, part)
                    turn.done += part.done
                    turn.aside += part.aside

    async def _within(
        self, tx: Tx, good: Sequence[tuple[Record, Prepared]], full: plans.Exhausted
    ) -> list[tuple[Record, Prepared]]:
        """The events without those of the company that are too many; these stay in line, and show why."""
        self._held[full.company_id] = time.monotonic() + _HELD_SECONDS
        theirs = sorted(row["id"] for row, event in good if event.row[1] == full.company_id)
        # What did not fit as it was has at least one too many, whatever somebody else freed meanwhile.
        over = set(theirs[min(max(full.remaining, 0), len(theirs) - 1) :])
        await rows.hold_everywhere(tx, sorted(over), full.refusal().code)
        return [(row, event) for row, event in good if row["id"] not in over]

    async def _count(self) -> None:
        now = time.monotonic()
        if now - self._counted_at < _FIGURES_SECONDS:
            return
        self._counted_at = now
        found = await rows.figures_everywhere(self._db, COUNTED_TO)
        telemetry.EMITTED.labels("waiting").set(found["waiting"])
        telemetry.EMITTED.labels("refused").set(found["refused"])
        telemetry.EMITTED_LAG.set(max(found["lag_seconds"], 0.0))

    @staticmethod
    async def list_refused(db: Connection, *, after: int = 0, limit: int = 100) -> list[Refused]:
        """Up to `limit` (1,000 at most) events that were put aside, oldest first, behind that id."""
        return [
            Refused(
                row["id"],
                str(row["company_id"]),
                str(row["workspace_id"]),
                str(row["event_id"]),
                row["event"],
                row["emitted_at"],
                row["refused_at"],
                row["reason"],
                row["detail"],
            )
            for row in await rows.refused_everywhere(db, after, min(limit, MAX_LISTED))
        ]

    @staticmethod
    async def retry(tx: Tx, actor: Actor, ids: Sequence[int] | None = None) -> int:
        """Events that were put aside (all without `ids`) are in line again, by their old ids; how many.
        `emitted.retried` is announced to each company."""
        return await _told(tx, actor, "emitted.retried", await rows.again_everywhere(tx, ids))

    @staticmethod
    async def discard(tx: Tx, actor: Actor, ids: Sequence[int]) -> int:
        """Those that were put aside are gone for good; how many. `emitted.discarded` is announced to each company."""
        return await _told(tx, actor, "emitted.discarded", await rows.discard_everywhere(tx, ids))


async def _append(tx: Tx, good: Sequence[tuple[Record, Prepared]], turn: _Round) -> None:
    async with tx.savepoint():
        results = await ingest.store(tx, [event for _, event in good])
    for (row, _), result in zip(good, results, strict=True):
        turn.settle(row, result)


async def _earlier(tx: Connection, event: Prepared) -> Result:
    """The refusal of an event that breaks rules, or what its key stored within 24 hours."""
    found = None
    if event.idempotency is not None:
        stored = await chains.find_by_keys(tx, event.row[1], event.row[0], [event.idempotency])
        found = stored[0] if stored else None
    return ingest.earlier(event, found)


async def _told(tx: Tx, actor: Actor, name: str, changed: Sequence[Record]) -> int:
    by_company: dict[str, list[int]] = {}
    for row in changed:
        by_company.setdefault(str(row["company_id"]), []).append(row["id"])
    for company_id, ids in sorted(by_company.items()):
        data = {"events": len(ids), "ids": sorted(ids)[:100]}
        await outbox.announce(tx, name, company_id=company_id, actor=actor, data=data)
    return len(changed)
