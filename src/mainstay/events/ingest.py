"""One transaction for the events that arrive together: the coalescer, and what each request learns from it."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct

from mainstay import plans, templates
from mainstay.events import shape
from mainstay.events.errors import KeyUsedForAnotherEvent, SameKeyInFlight
from mainstay.events.intake import Prepared
from mainstay.events.queries import chains as queries
from mainstay.kernel import telemetry
from mainstay.kernel.clock import iso
from mainstay.kernel.db import GONE, RACED, Connection, Database, Record, Tx
from mainstay.kernel.errors import MainstayError, NotFound, Unauthenticated, Unavailable

MAX_FLUSH_EVENTS = 1_000
FLUSHES_AT_ONCE = 2
FULL_FLUSH_EVENTS = 64
MAX_FLUSH_BYTES = 16_777_216
MAX_WAITING_EVENTS = 50_000
MAX_WAITING_BYTES = 134_217_728
KNOWN_FULL_SECONDS = 5.0
KNOWN_FREE_SECONDS = 5.0
_KNOWN_FREE_AT_MOST = 10_000
_TRIES = 3

_STORED, _REPLAYED, _MISMATCH, _BAD_KEY, _NO_WORKSPACE = range(5)
_count_stored = telemetry.EVENTS.labels("stored")
_count_replayed = telemetry.EVENTS.labels("replayed")


class Stored(Struct, frozen=True):
    """An event that has its place in the chain; `replayed` where the same request had been stored before."""

    prepared: Prepared
    event_id: str
    seq: int
    prev_hash: bytes
    hash: bytes
    received_at: str
    replayed: bool = False

    @property
    def flat(self) -> str:
        """The stored event as JSON text (not for a replay, whose event must be read)."""
        placed = shape.placed_half(self.seq, self.prev_hash, self.hash, self.received_at)
        return self.prepared.flat_half + (shape.with_flags(placed, flags) if (flags := self.prepared.flags) else placed)


Result = Stored | MainstayError


class Free:
    """Companies that had no allowance when they were asked about within the last seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def hold(self, events: Sequence[Prepared]) -> bool:
        """Whether the companies of all these events are known to be such."""
        now, until = time.monotonic(), self._until
        return all(until.get(company_id, 0.0) > now for company_id in {event.row[1] for event in events})

    def add(self, events: Sequence[Prepared]) -> None:
        """Those of these events are."""
        if len(self._until) > _KNOWN_FREE_AT_MOST:
            self._until.clear()
        self._until.update(dict.fromkeys((event.row[1] for event in events), time.monotonic() + KNOWN_FREE_SECONDS))

    def forget(self) -> None:
        """Nothing is known of any."""
        self._until.clear()


class Ingestion:
    """Stores what requests prepared, many requests a transaction; safe with any number of processes.

    A request's events are in one transaction. What arrives while one runs waits together for the next; a second runs
    beside it only when `FULL_FLUSH_EVENTS` wait, because every transaction costs as much as ten events in it. A
    transaction of several requests that fails is run again request by request, so that nobody pays for another's data.
    A company whose allowance was found used up has its requests in transactions of their own for the next seconds, and
    what cannot fit and carries no idempotency key is refused without asking. Of a company that had no allowance none is
    locked for the next seconds: one that it gets meanwhile is kept all the same, and where that makes two transactions
    wait for each other, the one that is ended runs again.
    """

    def __init__(self, db: Database, after_flush: Callable[[], Awaitable[None]] | None = None) -> None:
        self._db = db
        self._after_flush = after_flush
        self._waiting: deque[tuple[list[Prepared], asyncio.Future[list[Result]]]] = deque()
        self._waiting_events = 0
        self._waiting_bytes = 0
        self._flushing = 0
        self._scheduled = False
        self._keys_in_flight: set[tuple[str, bytes]] = set()
        self._full: dict[str, tuple[plans.Exhausted, float]] = {}
        self._free = Free()
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, events: list[Prepared]) -> list[Result]:
        """One result per event in the order given, once they are durable; Unavailable where the database is away.

        QuotaReached where they would exceed the allowance of a company that is stopped there: none of them is stored.
        """
        if self._waiting_events >= MAX_WAITING_EVENTS or self._waiting_bytes >= MAX_WAITING_BYTES:
            raise Unavailable("Too many events are waiting for the database; nothing was stored.")
        if self._full:
            self._refuse_what_cannot_fit(events)
        keys = self._take_keys(events)
        future: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, future))
        self._waiting_events += len(events)
        self._waiting_bytes += _bytes_of(events)
        self._schedule()
        try:
            return await future
        finally:
            if keys:
                self._keys_in_flight.difference_update(keys)

    def _take_keys(self, events: list[Prepared]) -> list[tuple[str, bytes]]:
        keys = [(event.row[0], event.idempotency) for event in events if event.idempotency is not None]
        if not self._keys_in_flight.isdisjoint(keys):
            raise SameKeyInFlight
        self._keys_in_flight.update(keys)
        return keys

    def _schedule(self) -> None:
        if self._scheduled or not self._waiting:
            return
        if not self._flushing or (self._flushing < FLUSHES_AT_ONCE and self._waiting_events >= FULL_FLUSH_EVENTS):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        taken: list[tuple[list[Prepared], asyncio.Future[list[Result]]]] = []
        count = size = 0
        while self._waiting:
            group = self._waiting[0][0]
            more = _bytes_of(group)
            is_alone = bool(self._full) and self._find_full(group) is not None
            if taken and (is_alone or count + len(group) > MAX_FLUSH_EVENTS or size + more > MAX_FLUSH_BYTES):
                break
            taken.append(self._waiting.popleft())
            count += len(group)
            size += more
            if is_alone:
                break
        if not taken:
            return
        self._waiting_events -= count
        self._waiting_bytes -= size
        self._flushing += 1
        task = asyncio.get_running_loop().create_task(self._flush(taken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush(self, taken: list[tuple[list[Prepared], asyncio.Future[list[Result]]]]) -> None:
        try:
            events = [event for group, _ in taken for event in group]
            try:
                results = await self._store(events)
            except Exception as error:
                await self._one_by_one(taken, error)
            else:
                telemetry.EVENTS_PER_FLUSH.observe(len(events))
                at = 0
                for group, future in taken:
                    if not future.done():
                        future.set_result(results[at : at + len(group)])
                    at += len(group)
        finally:
            self._flushing -= 1
            self._schedule()
        if self._after_flush is not None:
            await self._after_flush()

    async def _one_by_one(
        self, taken: list[tuple[list[Prepared], asyncio.Future[list[Result]]]], error: Exception
    ) -> None:
        away = isinstance(error, (Unavailable, *GONE))
        for group, future in taken:
            if future.done():
                continue
            if away or len(taken) == 1:
                future.set_exception(self._told(error))
                continue
            try:
                future.set_result(await self._store(group))
            except Exception as own:
                future.set_exception(self._told(own))
                error, away = own, isinstance(own, (Unavailable, *GONE))

    async def _store(self, events: Sequence[Prepared]) -> list[Result]:
        """The events are stored with their flags, in one statement where none has any; what raced runs again, alike
        whichever of two transactions was ended."""
        for _ in range(_TRIES - 1):
            try:
                return await self._store_once(events)
            except RACED:
                self._free.forget()
        return await self._store_once(events)

    async def _store_once(self, events: Sequence[Prepared]) -> list[Result]:
        if all(event.flags is None for event in events):
            return await append(self._db, events, free=self._free)
        async with self._db.begin() as tx:
            return await store(tx, events, free=self._free)

    def _told(self, error: Exception) -> Exception:
        """The error as the request hears of it; where it is an allowance that is used up, that is remembered.

        Only asked of a request that failed alone: what is left is then exact.
        """
        full = plans.exhausted_of(error)
        if full is None:
            return error
        self._full[full.company_id] = (full, time.monotonic() + KNOWN_FULL_SECONDS)
        return full.refusal()

    def _find_full(self, events: Sequence[Prepared]) -> plans.Exhausted | None:
        company_id = events[0].row[1]
        full, until = self._full.get(company_id, (None, 0.0))
        if full is not None and time.monotonic() >= until:
            del self._full[company_id]
            return None
        return full

    def _refuse_what_cannot_fit(self, events: Sequence[Prepared]) -> None:
        """QuotaReached where more events than fit are all new: with a key, an event may be stored already."""
        full = self._find_full(events)
        if full is not None and len(events) > full.remaining and all(event.idempotency is None for event in events):
            raise full.refusal()

    async def drain(self) -> None:
        """Everything submitted so far has its result."""
        while self._tasks or self._waiting:
            self._schedule()
            await asyncio.sleep(0.005)


def earlier(event: Prepared, row: Record | None) -> Result:
    """What a refused event comes to: its refusal, or the event of the same content that its key stored before."""
    assert event.refusal is not None
    if row is None:
        return event.refusal
    if row["fingerprint"] != event.fingerprint:
        return KeyUsedForAnotherEvent()
    _count_replayed.inc()
    moment = iso(row["received_at"])
    return Stored(event, str(row["id"]), row["seq"], row["prev_hash"], row["hash"], moment, replayed=True)


def _bytes_of(events: Sequence[Prepared]) -> int:
    if len(events) == 1:
        return len(events[0].flat_half)
    return sum(len(event.flat_half) for event in events)


async def _keep_flags(tx: Tx, results: Sequence[Result]) -> None:
    flagged = [
        (one.prepared.row[0], one.seq, one.prepared.row[1], one.prepared.flags)
        for one in results
        if isinstance(one, Stored) and not one.replayed and one.prepared.flags
    ]
    if flagged:
        await templates.keep_flags(tx, flagged)


async def append(connection: Connection, events: Sequence[Prepared], *, free: Free | None = None) -> list[Result]:
    """The events are chained and stored in the caller's transaction (or one of their own); one result per event."""
    are_free = free is not None and free.hold(events)
    rows = await queries.append_everywhere(connection, [event.row for event in events], are_free=are_free)
    if free is not None and not are_free and not rows[0]["allowances"]:
        free.add(events)
    results: list[Any] = [None] * len(events)
    received: dict[Any, str] = {}
    for row in rows:
        place = row["n"] - 1
        results[place] = _result(events[place], row, received)
    stored = sum(1 for row in rows if row["outcome"] == _STORED)
    if stored:
        _count_stored.inc(stored)
    return results


async def store(tx: Tx, events: Sequence[Prepared], *, free: Free | None = None) -> list[Result]:
    """The same in the caller's transaction, and the events' flags are kept beside them."""
    results = await append(tx, events, free=free)
    await _keep_flags(tx, results)
    return results


def _result(event: Prepared, row: Record, received: dict[Any, str]) -> Result:
    outcome = row["outcome"]
    if outcome == _STORED or outcome == _REPLAYED:
        moment = row["received_at"]
        text = received.get(moment) or received.setdefault(moment, iso(moment))
        if outcome == _REPLAYED:
            _count_replayed.inc()
            return Stored(event, str(row["id"]), row["seq"], row["prev_hash"], row["hash"], text, replayed=True)
        return Stored(event, event.event_id, row["seq"], row["prev_hash"], row["hash"], text)
    if outcome == _MISMATCH:
        return KeyUsedForAnotherEvent()
    if outcome == _BAD_KEY:
        return Unauthenticated()
    return NotFound("There is no such workspace.")
