"""Exports: every event up to one moment, in short steps along an index, at the pace of whoever reads.

An export begins with where the chains stand at one moment. It holds what had been stored by then, and nothing later:
a workspace's seq is the order of commits; over a company, time orders what had certainly been stored, and the rest is
told apart by the heads of that moment. So no snapshot is held. A step is read whole, then its connection is given back;
the next one is read while the client takes this one, and waits for it with nothing but its bytes.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from mainstay.events import export_forms, export_walks
from mainstay.events.errors import EmptyChain
from mainstay.events.export_forms import End
from mainstay.events.export_walks import Step, Walk
from mainstay.events.filters import Filters
from mainstay.events.queries import exporting as rows
from mainstay.events.queries.exporting import Form
from mainstay.events.sealing import Sealer
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.outbox import Actor, announce

MOST_AT_ONCE: Final = 32
"""Exports that one process sends at once; each holds up to two steps in memory, three where there are few."""
STEPS_AT_ONCE: Final = 2
"""Connections that all exports of a process use together, a database."""
STEP_BYTES: Final = 8 * 1024 * 1024
"""A step that grows larger is read again in smaller ones, down to a single event."""
_CHUNK_BYTES: Final = 128 * 1024
"""The database sends some kilobytes at a time; so many together are looked after at once."""
_FIRST_WIDTH: Final = 500
_TRIES: Final = 5
_PAUSE_SECONDS: Final = 0.25
_PASSED_OVER: Final = 8
_STEP_TIMEOUT = "set local statement_timeout = '30s'"
_PROBE_TIMEOUT = "set local statement_timeout = '500ms'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an export is asked for: the scope, the filters and the form; `cap` is the most rows, None for no limit."""

    company_id: str
    workspace_id: str | None
    filters: Filters
    form: Form
    cap: int | None
    with_proof: bool = False
    with_end: bool = False


class Exports:
    """The exports of one process over one database."""

    def __init__(self, db: Database, sealer: Sealer) -> None:
        self.db = db
        self.sealer = sealer
        self.steps = asyncio.Semaphore(STEPS_AT_ONCE)
        self.open = 0

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """One more is being sent; Unavailable where that would be too many."""
        if self.open >= MOST_AT_ONCE:
            raise Unavailable(
                f"{MOST_AT_ONCE} exports are being sent already; try again later.", retry_after_seconds=10
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def begin(self, wanted: Wanted) -> "Export":
        """The export as of this moment, before its first row is read."""
        note = await self._note(wanted)
        walk = await export_walks.begin(self.db, wanted.company_id, wanted.filters, wanted.workspace_id)
        return Export(self, wanted, walk, is_cut=await self._is_cut(wanted, walk), note=note)

    async def tell(self, export: "Export", actor: Actor, *, is_whole: bool) -> None:
        """The company's log will have the export that ended: who, of what, and how many rows; once, as first told."""
        if export.is_told:
            return
        wanted = export.wanted
        data = {
            "workspaceId": wanted.workspace_id,
            "form": wanted.form,
            "filters": wanted.filters.told(),
            "withProof": wanted.with_proof,
            "rows": export.rows,
            "cap": wanted.cap,
            "whole": is_whole,
        }
        async with self.db.begin() as tx:
            await announce(tx, "events.exported", company_id=wanted.company_id, actor=actor, data=data)
        export.is_told = True

    async def _note(self, wanted: Wanted) -> str | None:
        """A signed checkpoint, taken before the walk's end is fixed, so that the events surely reach it."""
        if not wanted.with_proof or wanted.workspace_id is None or wanted.filters != Filters():
            return None
        with suppress(EmptyChain):
            async with self.db.begin() as tx:
                return await self.sealer.seal(tx, wanted.company_id, wanted.workspace_id)
        return None

    async def _is_cut(self, wanted: Wanted, walk: Walk) -> bool | None:
        """Whether the cap will cut it; None where finding out takes too long."""
        if wanted.cap is None or walk.at_most <= wanted.cap:
            return False
        try:
            async with self.db.begin(readonly=True) as tx:
                await tx.connection.execute(_PROBE_TIMEOUT)
                return await rows.has_more_than_everywhere(tx, walk.whole, wanted.cap)
        except asyncpg.QueryCanceledError:
            return None


class Export:
    """One export under way: what was wanted, and the rows read so far.

    `is_cut` says whether the cap cuts it, None where that shows only at its end.
    """

    def __init__(self, exports: Exports, wanted: Wanted, walk: Walk, *, is_cut: bool | None, note: str | None) -> None:
        self._exports = exports
        self.wanted = wanted
        self._walk = walk
        self._note = note
        self._width = _FIRST_WIDTH
        self._planning = asyncio.Lock()
        self.rows = 0
        self.is_cut = is_cut
        self.is_told = False

    async def pieces(self, before_end: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[bytes | bytearray]:
        """The bytes of the export; raises where the database stays away, so that no end is ever sent too early.

        `before_end` is awaited when all rows were given; where it raises, the end is not.
        """
        wanted = self.wanted
        yield export_forms.beginning(wanted.form)
        coming: deque[asyncio.Task[_Taken]] = deque()
        is_first = True
        try:
            while (taken := await self._next(coming)) is not None:
                are_plain = taken.marks in (0, taken.rows)
                while taken.chunks:
                    yield export_forms.on_the_way(wanted.form, taken.chunks.popleft(), first=is_first, plain=are_plain)
                    is_first = False
        finally:
            await _drop(coming)
        is_cut = await self._was_cut()
        if before_end is not None:
            await before_end()
        end = End(self.rows, wanted.cap, is_cut)
        told = wanted.with_end or (is_cut and self.is_cut is None)
        yield export_forms.ending(wanted.form, end, note=None if is_cut else self._note, told=told)

    async def _next(self, coming: "deque[asyncio.Task[_Taken]]") -> "_Taken | None":
        """What the next step gave that has rows, with those behind it on their way; None behind the last."""
        while True:
            self._look_ahead(coming)
            if not coming:
                return None
            try:
                taken = await coming[0]
            except _TooMuch as found:
                if found.width == 1:
                    raise
                await _drop(coming)
                self._walk.place = found.place
                self._width = max(1, found.width // 8)
                continue
            coming.popleft()
            self.rows += taken.rows
            if taken.rows:
                self._look_ahead(coming)
                return taken

    def _look_ahead(self, coming: "deque[asyncio.Task[_Taken]]") -> None:
        """Steps are under way: one, or two at once where few exports are sent and no cap can fall between them."""
        many = 2 if self.is_cut is False and self._exports.open <= STEPS_AT_ONCE else 1
        while len(coming) < many and not self._walk.is_over and self.rows != self.wanted.cap:
            coming.append(asyncio.create_task(self._step()))

    async def _step(self) -> "_Taken":
        """The next events, read whole. Steps are planned one after another, each from where the one before ends."""
        await self._planning.acquire()
        step: Step | None = None
        place, width = self._walk.place, self._width
        tries = 0
        try:
            while True:
                taken = _Taken(STEP_BYTES if width > 1 else None, self.wanted.form)
                try:
                    async with self._exports.steps, self._exports.db.begin(readonly=True) as tx:
                        started = time.perf_counter()
                        await tx.connection.execute(_STEP_TIMEOUT)
                        if step is None:
                            if self._walk.is_over:
                                return taken
                            step = await self._walk.next(tx, width)
                            self._walk.pass_on(step)
                            self._planning.release()
                        await self._read(tx, step, taken)
                        seconds = time.perf_counter() - started
                except Unavailable:
                    tries += 1
                    if tries == _TRIES and not taken.is_too_much:
                        raise
                    if not taken.is_too_much:
                        await asyncio.sleep(_PAUSE_SECONDS * 2**tries)
                        continue
                except asyncpg.QueryCanceledError as error:
                    raise _TooMuch(place, width) from error
                if taken.is_too_much:
                    raise _TooMuch(place, width)
                self._width = export_forms.next_width(width, taken.size, seconds, most=self._walk.widest)
                return taken
        finally:
            if step is None:
                self._planning.release()

    async def _read(self, tx: Tx, step: Step, taken: "_Taken") -> None:
        """The rows of the step have been taken; nothing of them counts unless that is all of them."""
        wanted = self.wanted
        taken.give_up = tx.connection.terminate
        most_rows = None if wanted.cap is None or self.is_cut is False else wanted.cap - self.rows
        taken.rows = await rows.copy_rows_everywhere(
            tx, step.slice, wanted.form, taken.add, with_proof=wanted.with_proof, most_rows=most_rows
        )

    async def _was_cut(self) -> bool:
        """Whether events are left behind the cap, as far as can be found out in time."""
        if self.rows != self.wanted.cap:
            return False
        if self.is_cut is not None:
            return self.is_cut
        try:
            return await self._is_left()
        except asyncpg.QueryCanceledError:
            return True

    async def _is_left(self) -> bool:
        async with self._exports.steps, self._exports.db.begin(readonly=True) as tx:
            await tx.connection.execute(_STEP_TIMEOUT)
            return await rows.has_more_than_everywhere(tx, self._walk.whole, self.rows)


async def _drop(coming: "deque[asyncio.Task[_Taken]]") -> None:
    """Nothing is under way any more."""
    for step in coming:
        step.cancel()
    await asyncio.gather(*coming, return_exceptions=True)
    coming.clear()


class _TooMuch(Exception):
    """The step from that place, so wide, is more than may be held, or takes too long."""

    def __init__(self, place: Any, width: int) -> None:
        super().__init__(f"{width} events are too much for one step")
        self.place = place
        self.width = width


@dataclass(slots=True)
class _Taken:
    """What a step gave; of one too large nothing is kept, and one that goes on and on loses its connection."""

    most_bytes: int | None
    form: Form
    chunks: deque[bytearray] = field(default_factory=deque)
    size: int = 0
    rows: int = 0
    marks: int = 0
    give_up: Callable[[], None] = lambda: None

    @property
    def is_too_much(self) -> bool:
        return self.most_bytes is not None and self.size > self.most_bytes

    async def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        # Counted as they come in, while the database writes the next.
        self.marks += export_forms.marks_in(self.form, chunk)
        if not self.is_too_much:
            if not self.chunks or len(self.chunks[-1]) > _CHUNK_BYTES:
                self.chunks.append(bytearray())
            self.chunks[-1] += chunk
            return
        self.chunks.clear()
        if self.size > (self.most_bytes or 0) * _PASSED_OVER:
            self.give_up()
            raise Unavailable
