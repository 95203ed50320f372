"""The live tail: one reader a process follows the chains of all workspaces that are tailed, each tail filters.

behind --read up to the reader--> live --its buffer is full--> behind
  |  either: the key ended, the row of the register is gone, an hour is over, the process stops --> told, and ended
"""

import asyncio
import random
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import orjson

from mainstay.events.errors import TooManyTails
from mainstay.events.filters import Filters
from mainstay.events.queries import tails as rows
from mainstay.events.tail import BUFFER_BYTES, FIRST_TIME, WHY, Event, Tail, scope_of
from mainstay.kernel import ids, telemetry
from mainstay.kernel.db import Connection, Database, Record
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.web.callers import Caller

_log = logger(__name__)
STALE_SECONDS: Final = 60.0
"""A tail without a write or heartbeat for so long is over (G-12)."""
MOST_OF_A_COMPANY: Final = 100
MOST_OF_A_PROCESS: Final = 2_000
_ROUND_EVENTS: Final = 1_000
_ROUND_BYTES: Final = 8 * 1024 * 1024
_PAGE_EVENTS: Final = 500
_READING_AT_ONCE: Final = 4
_REGISTERING_AT_ONCE: Final = 2
_LONGEST_PAUSE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often the reader reads, and sooner where there is more; how often tails are told and checked, and last."""

    read_seconds: float = 1.0
    read_on_seconds: float = 0.05
    heartbeat_seconds: float = 15.0
    check_seconds: float = 2.0
    longest_seconds: float = 3_600.0


@dataclass(slots=True)
class _Front:
    """How far the reader has read a workspace, and who listens there."""

    seq: int
    received_at: datetime
    tails: set[Tail] = field(default_factory=set)


@dataclass(slots=True)
class _Region:
    db: Database
    fronts: dict[str, _Front] = field(default_factory=dict)
    reading: asyncio.Task[None] | None = None


class Tails:
    """All tails of this process."""

    def __init__(self, regions: Regions, cursors: Cursors, timing: Timing | None = None) -> None:
        self._regions = regions
        self._cursors = cursors
        self._timing = timing or Timing()
        self._node_id = ids.new_id()
        self._found: dict[int, _Region] = {}
        self._tails: dict[str, Tail] = {}
        self._watching: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._catching_up = asyncio.Semaphore(_READING_AT_ONCE)
        self._registering = asyncio.Semaphore(_REGISTERING_AT_ONCE)
        self._opening = 0
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._tails)

    async def open(self, caller: Caller, filters: Filters, *, after: str | None) -> Tail:
        """A tail of the caller's workspace, from the cursor on, else from now on; it is in the register.

        TooManyTails past 100 of the company, Unavailable past 2,000 of the process, Invalid for a foreign cursor.
        """
        if self._is_closed or len(self._tails) + self._opening >= MOST_OF_A_PROCESS:
            raise Unavailable("This process follows no more streams; try again shortly.", retry_after_seconds=5)
        scope = scope_of(caller.company_id, caller.workspace_id)
        resumed = None if after is None else int(str(self._cursors.open(scope, after)[0]))
        region = self._region_of(caller)
        # Those opened together, after a restart say, do not all end together.
        lasts_seconds = self._timing.longest_seconds * random.uniform(0.9, 1.0)  # noqa: S311 - spreads load
        tail = Tail(caller, filters, asyncio.get_running_loop().time() + lasts_seconds)
        self._opening += 1
        try:
            head = await self._register(tail)
        finally:
            self._opening -= 1
        seq = head["seq"] or 0
        # A database brought back from a backup may stand before the cursor: then what comes from now on is new.
        tail.position = tail.offered = seq if resumed is None else min(resumed, seq)
        front = _Front(seq, head["received_at"] or FIRST_TIME)
        region.fronts.setdefault(caller.workspace_id, front).tails.add(tail)
        self._tails[tail.id] = tail
        if self._is_stopping():
            tail.over("stopping")
        self._settle(tail)
        self._start(region)
        return tail

    async def frames(self, tail: Tail) -> AsyncIterator[bytes]:
        """What the client reads: events, a heartbeat each 15 s, and the end with its reason. Ids say how far it is."""
        yield b"retry: 3000\n" + self._name(tail) + b"\n"
        pause = self._timing.read_seconds
        while tail.end is None:
            if chunk := tail.take():
                yield chunk
                continue
            wait = max(0.0, tail.written_at + self._timing.heartbeat_seconds - asyncio.get_running_loop().time())
            if wait == 0.0:
                yield b": still here\n" + self._name(tail) + b"\n"
            elif tail.is_behind:
                pause = await self._catch_up(tail, pause)
            else:
                # Not by wait_for, which loses a cancellation that meets the event.
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await tail.changed.wait()
                tail.changed.clear()
        data = orjson.dumps({"reason": tail.end, "detail": WHY[tail.end]})
        # Those who come again at once do not come at the same moment.
        retry = b"retry: %d\n" % random.randint(1_000, 5_000)  # noqa: S311 - spreads load, guards nothing
        yield b"event: end\n" + retry + self._name(tail) + b"data: " + data + b"\n\n"

    def leave(self, tail: Tail) -> None:
        """The tail is over here, and soon in the register."""
        if self._tails.pop(tail.id, None) is None:
            return
        tail.over("ended")
        fronts = self._region_of(tail.caller).fronts
        if (front := fronts.get(tail.caller.workspace_id)) is not None:
            front.tails.discard(tail)
            if not front.tails:
                del fronts[tail.caller.workspace_id]
        task = asyncio.create_task(self._unregister(tail))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def close(self) -> None:
        """Every tail is told to come again elsewhere, and no new one is opened."""
        self._is_closed = True
        for tail in self._tails.values():
            tail.over("stopping")

    async def settle(self) -> None:
        """What this process has in the register is taken out, and nothing runs on."""
        self.close()
        tasks = [region.reading for region in self._found.values()] + [self._watching]
        for task in tasks:
            if task is not None:
                task.cancel()
        for tail in list(self._tails.values()):
            self.leave(tail)
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _is_stopping(self) -> bool:
        return self._is_closed

    async def _register(self, tail: Tail) -> Record:
        """Many clients come at once after a restart: they wait here, not for connections that others need."""
        caller = tail.caller
        async with self._registering:
            row = await rows.open_tail(
                self._region_of(caller).db,
                caller.company_id,
                tail.id,
                workspace_id=caller.workspace_id,
                key_id=caller.id,
                node_id=self._node_id,
                most=MOST_OF_A_COMPANY,
                age=timedelta(seconds=STALE_SECONDS),
            )
        if not row["opened"]:
            raise TooManyTails(f"At most {MOST_OF_A_COMPANY} tails of a company may be open.")
        return row

    async def _unregister(self, tail: Tail) -> None:
        try:
            await rows.close_tail(self._region_of(tail.caller).db, tail.caller.company_id, tail.id)
        except Exception as error:
            _log.warning("a tail stays in the register until it is stale", error=type(error).__name__)

    def _region_of(self, caller: Caller) -> _Region:
        db = self._regions.of(caller.region)
        return self._found.setdefault(id(db), _Region(db))

    def _start(self, region: _Region) -> None:
        if region.reading is None or region.reading.done():
            region.reading = asyncio.create_task(self._read(region))
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def _name(self, tail: Tail) -> bytes:
        """The line that says how far the client is."""
        cursor = self._cursors.seal(scope_of(tail.caller.company_id, tail.caller.workspace_id), [tail.position])
        return b"id: " + cursor.encode() + b"\n"

    def _settle(self, tail: Tail) -> None:
        """The tail is live where it has all that the reader has."""
        front = self._region_of(tail.caller).fronts.get(tail.caller.workspace_id)
        tail.is_behind = front is not None and tail.offered < front.seq

    async def _catch_up(self, tail: Tail, pause: float) -> float:
        """The next page of what the tail missed waits in its buffer; how long to rest after the next failure."""
        try:
            async with self._catching_up:
                # What the reader has by now is seen below, unless it is not kept any more.
                front = self._region_of(tail.caller).fronts.get(tail.caller.workspace_id)
                reached = 0 if front is None else front.seq
                found = await rows.newer_everywhere(
                    self._region_of(tail.caller).db,
                    [tail.caller.workspace_id],
                    [tail.offered],
                    [tail.received_at],
                    limit=_PAGE_EVENTS,
                    most_bytes=BUFFER_BYTES,
                )
        except Exception as error:
            _log.warning("a tail waits for what it missed", error=type(error).__name__)
            await asyncio.sleep(min(pause, self._timing.heartbeat_seconds / 2))
            return min(pause * 2, _LONGEST_PAUSE_SECONDS)
        for row in found:
            tail.offer(Event(row, self._cursors))
        if not found:
            tail.offered = max(tail.offered, reached)
        self._settle(tail)
        return self._timing.read_seconds

    async def _read(self, region: _Region) -> None:
        pause = self._timing.read_seconds
        while region.fronts:
            try:
                has_more = await self._read_once(region)
                pause = self._timing.read_on_seconds if has_more else self._timing.read_seconds
            except Exception as error:
                telemetry.LOOP_ERRORS.labels("tails").inc()
                _log.warning("tails wait", exc_info=not isinstance(error, Unavailable))
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _read_once(self, region: _Region) -> bool:
        """Everything new of all workspaces is offered to their tails; whether there is more."""
        wanted = list(region.fronts.items())
        found = await rows.newer_everywhere(
            region.db,
            [workspace_id for workspace_id, _ in wanted],
            [front.seq for _, front in wanted],
            [front.received_at for _, front in wanted],
            limit=_ROUND_EVENTS,
            most_bytes=_ROUND_BYTES,
        )
        asked, is_cut = dict(wanted), False
        for row in found:
            workspace_id = str(row["workspace_id"])
            front = asked[workspace_id]
            is_cut = is_cut or row["number"] >= row["share"]
            # Another front of the same workspace was begun meanwhile, and stands elsewhere.
            if region.fronts.get(workspace_id) is front:
                front.seq, front.received_at = row["seq"], row["received_at"]
                _tell(front.tails, Event(row, self._cursors))
        return is_cut or (bool(found) and found[-1]["bytes_until"] >= _ROUND_BYTES)

    async def _watch(self) -> None:
        """Sees to it each 2 s that what may not go on is ended, and tells the register what lives."""
        loop, seen_due = asyncio.get_running_loop(), 0.0
        while self._tails:
            await asyncio.sleep(self._timing.check_seconds)
            try:
                await self._end_what_is_over()
                if loop.time() >= seen_due:
                    seen_due = loop.time() + self._timing.heartbeat_seconds
                    await self._see()
            except Exception as error:
                telemetry.LOOP_ERRORS.labels("tails").inc()
                _log.warning("tails are not checked", exc_info=not isinstance(error, Unavailable))

    async def _end_what_is_over(self) -> None:
        now = asyncio.get_running_loop().time()
        checked = list(self._tails.values())
        for tail in checked:
            if now > tail.ends_at:
                tail.over("age")
            if now - tail.written_at > STALE_SECONDS:
                tail.over("ended")
                self.leave(tail)
        for region in self._found.values():
            mine = [tail for tail in checked if self._region_of(tail.caller) is region]
            if mine:
                await self._end_what_was_ended(region, mine)

    async def _end_what_was_ended(self, region: _Region, tails: Collection[Tail]) -> None:
        try:
            standing = await rows.standing_everywhere(region.db, self._node_id)
        except Unavailable:
            return
        for tail in tails:
            if not standing.get(tail.id, False):
                tail.over("key" if tail.id in standing else "ended")

    async def _see(self) -> None:
        for region in self._found.values():
            mine = [tail.id for tail in self._tails.values() if self._region_of(tail.caller) is region]
            if mine:
                await rows.see_everywhere(region.db, self._node_id, mine)


def _tell(tails: Collection[Tail], event: Event) -> None:
    for tail in tails:
        if tail.is_behind:
            continue
        tail.offer(event)
        if tail.buffered > BUFFER_BYTES:
            tail.fall_behind()


async def clean(db: Connection) -> int:
    """Tails whose node has not seen them for 60 s are out of the register, and their node ends them; how many."""
    return await rows.clean_everywhere(db, timedelta(seconds=STALE_SECONDS))
