"""Taking jobs: look for new lines, decide whose turn it is, claim in batches, and sweep up what a look cannot see."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter
from typing import Any, NamedTuple

from mainstay.jobs.lanes import NONE_PARKED, Horizon, LaneBook, Pace, Take
from mainstay.jobs.leases import Lease
from mainstay.jobs.queries import claims, lines, planning
from mainstay.jobs.queries import kinds as kind_rows
from mainstay.jobs.queues import QueueConfig
from mainstay.kernel.db import Database, Record, Tx

BATCH = 1_000
WIDE = 100
"""Slots from which on the end of a handler frees one, while its job waits to be acknowledged. In narrower queues that
takes a slot, too, so that nobody ever sees more active jobs there than slots."""
_LOOK_JOBS = 2_000
_LOOK_JOBS_MOST = 20_000
_PARK_JOBS = 2_000
_SWEEP_LINES = 1_000
_SWEEP_LEAST_SECONDS = 1.0
_SWEEP_SHARE = 20
_place, _priority, _line = itemgetter("pos"), itemgetter("priority"), itemgetter("priority", "lane")


class Claims(NamedTuple):
    """What a round brought, and the worker id under which it is held."""

    worker_id: int | None
    by_station: list[tuple["Station", list[Record]]]


@dataclass(slots=True)
class _Found:
    """What a claim in one queue brought: rows to start, rows set aside, and what was looked at ahead of them."""

    station: "Station"
    takes: list[Take]
    rows: list[Record]
    parked: list[Record] = field(default_factory=list)
    ahead: list[Record] | None = None


@dataclass(slots=True, eq=False)
class Station:
    """One queue in one worker: its slots, what is known of its lines, and where to look for more.

    `held` counts its jobs from claim to acknowledgement, `ended` those of them whose handler has ended, `acting` those
    that have a slot, which is while their handler runs. Where a wide queue has a `pace`, so many more jobs than slots
    are claimed as will soon have left, and who finds no slot waits in `parked`. Bound: at most as many jobs as slots
    are claimed ahead, as many act, as many wait to be acknowledged, and of a lane no more are held than its limit.
    `parked_to`: up to which place jobs of paused kinds were set aside. `tally`: attempts that ended here and are not in
    the figures yet, by kind, outcome and class of error.
    """

    config: QueueConfig
    book: LaneBook
    horizon: Horizon = field(default_factory=lambda: Horizon(0))
    held: int = 0
    ended: int = 0
    is_paused: bool = False
    look_jobs: int = _LOOK_JOBS
    sweep_due: float = 0.0
    turn: int = 0
    acting: int = 0
    parked: deque[Any] = field(default_factory=deque)
    pace: Pace | None = None
    ahead: int = 0
    was_full: bool = False
    parked_to: int = 0
    tally: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def free(self) -> int:
        """How many jobs may be claimed: for slots without one, and for slots that will soon have none."""
        slots = self.config.concurrency
        return min(slots - self.taken, 2 * slots - self.held) + self.ahead

    def look_ahead(self, now: float) -> None:
        """So many jobs more than slots may be claimed as leave in a moment."""
        if self.pace is not None:
            self.ahead = min(self.config.concurrency, self.pace.soon(now))

    @property
    def taken(self) -> int:
        """Slots with a job."""
        return self.held - self.ended if self.config.concurrency >= WIDE else self.held


class Claimer:
    """Fills the slots of one worker. Not safe to run twice at once; the sweep may run beside it."""

    def __init__(
        self,
        db: Database,
        stations: Sequence[Station],
        *,
        lease: Lease,
        held_ids: Callable[[], set[int]],
        total_slots: int | None = None,
    ) -> None:
        self._db = db
        self.stations = list(stations)
        self._lease = lease
        self._held_ids = held_ids
        self._total_slots = total_slots
        self._is_ready = False
        self._is_in_doubt = False
        self._round = 0
        self._kind_pauses: Decimal | None = None
        self._are_kinds_settled = True

    def forget(self) -> None:
        """Nothing is held any more; what is in line is looked up from the start."""
        for station in self.stations:
            station.book = LaneBook(station.book.lane_limit)
            station.held = station.ended = 0
            station.sweep_due = 0.0
        self._is_ready = False

    def total_free(self) -> int:
        """Slots that the worker as a whole has left."""
        taken = sum(station.taken for station in self.stations)
        return 1_000_000 if self._total_slots is None else self._total_slots - taken

    def can_claim_more(self) -> bool:
        """Whether a known line and a free slot meet."""
        return self.total_free() > 0 and any(
            station.free > 0 and station.book.has_turn and not station.is_paused for station in self.stations
        )

    def until_hold_ends(self) -> float:
        """Seconds until the first lane on hold may be claimed from again; 0 if one may since this was last asked."""
        now = time.monotonic()
        return min(station.book.end_holds(now) for station in self.stations)

    async def run_once(self) -> Claims:
        """Free slots have been filled as far as waiting jobs are known; the claimed rows by queue."""
        worker_id = self._lease.worker_id
        now, is_full = time.monotonic(), self.total_free() <= 0
        for station in self.stations:
            station.look_ahead(now)
            station.was_full = is_full or station.free <= 0
        if worker_id is None or all(station.was_full for station in self.stations):
            return Claims(worker_id, [])
        # A paced station that is full now will not be when it has been looked at.
        stations = [station for station in self.stations if station.pace is not None or not station.was_full]
        await self._make_ready(worker_id)
        found: list[_Found] = []
        self._is_in_doubt = True
        async with planning.begin_by_line(self._db) as tx:
            await self._look(tx, stations)
            unsettled = None if self._are_kinds_settled else await kind_rows.unsettled_everywhere(tx)
            for station, takes in self._plan(stations):
                if self._lease.worker_id != worker_id:
                    break
                found.append(await self._take(tx, worker_id, station, takes, unsettled))
        self._is_in_doubt = False
        if self._lease.id != worker_id:
            return Claims(worker_id, [])
        return Claims(worker_id, [(each.station, self._book(each)) for each in found])

    async def _take(
        self, tx: Tx, worker_id: int, station: Station, takes: list[Take], unsettled: Sequence[str] | None
    ) -> _Found:
        """Claims; while kinds are paused, what is met of them is set aside, and then what lies ahead in the queue."""
        name, columns = station.config.name, [list(column) for column in zip(*takes, strict=True)]
        if self._kind_pauses is None and unsettled is None:
            return _Found(station, takes, await lines.claim_everywhere(tx, name, worker_id, columns))
        rows = await lines.claim_by_kind_everywhere(tx, name, worker_id, columns, unsettled or [])
        found = _Found(station, takes, [row for row in rows if row["epoch"] is not None])
        found.parked = [row for row in rows if row["epoch"] is None]
        if found.parked and unsettled is None:
            found.ahead = await kind_rows.park_ahead_everywhere(tx, name, station.parked_to, _PARK_JOBS)
        return found

    async def clear_doubt(self, worker_id: int) -> None:
        """What a claim brought whose commit was not heard of is in line again, with its attempt back."""
        if not self._is_in_doubt:
            return
        held = self._held_ids()
        async with planning.begin_by_line(self._db) as tx:
            rows = await lines.active_of_everywhere(tx, worker_id)
            strays = [(row["id"], row["epoch"]) for row in rows if row["id"] not in held]
            if strays:
                await planning.plan_by_id(tx)
                await claims.hand_back_everywhere(tx, [job for job, _ in strays], [epoch for _, epoch in strays])
        self._is_in_doubt = False

    async def sweep_once(self) -> int:
        """Every line that had a waiting job is known again (late commits, other workers' leftovers); how many are new.

        Each queue at most once a second, and never for more than a twentieth of the time.
        """
        new = 0
        for station in self.stations:
            if time.monotonic() < station.sweep_due:
                continue
            started, known = time.monotonic(), len(station.book)
            priority, lane = -1, ""
            while True:
                async with planning.begin_by_line(self._db) as tx:
                    heads = await lines.sweep_everywhere(tx, station.config.name, priority, lane, _SWEEP_LINES)
                for priority, lane, pos in heads:
                    station.book.learn(priority, lane, pos)
                if len(heads) < _SWEEP_LINES:
                    break
            ended = time.monotonic()
            station.sweep_due = ended + max(_SWEEP_LEAST_SECONDS, _SWEEP_SHARE * (ended - started))
            new += max(len(station.book) - known, 0)
        return new

    async def _make_ready(self, worker_id: int) -> None:
        if not self._is_ready:
            head = await lines.head_everywhere(self._db)
            for station in self.stations:
                station.horizon = Horizon(head)
            self._is_ready = True
        await self.clear_doubt(worker_id)

    async def _look(self, tx: Tx, stations: Sequence[Station]) -> None:
        now = time.monotonic()
        starts = [station.horizon.start(now) for station in stations]
        names, counts = [station.config.name for station in stations], [station.look_jobs for station in stations]
        found: dict[str, list[Record]] = {name: [] for name in names}
        for row in await lines.look_everywhere(tx, names, starts, counts):
            found[row["queue"]].append(row)
        for station, start, count in zip(stations, starts, counts, strict=True):
            rows = found[station.config.name]
            heads = [row for row in rows if row["lane"] is not None]
            for row in heads:
                station.book.learn(row["priority"], row["lane"], row["first"])
            is_cut = sum(row["jobs"] for row in heads) >= count
            last = max(row["last"] for row in heads) if is_cut else None
            station.look_jobs = min(count * 2, _LOOK_JOBS_MOST) if is_cut else _LOOK_JOBS
            station.is_paused = rows[0]["is_paused"]
            seen = {name: rows[0][name] for name in ("head", "xmin", "xmax")}
            station.horizon.looked(start, last, now=now, **seen)
        self._learn_of_kinds(rows[0]["kind_pauses"], are_settled=rows[0]["are_kinds_settled"])

    def _learn_of_kinds(self, kind_pauses: Decimal | None, *, are_settled: bool) -> None:
        """Where pauses of kinds have changed all is looked at anew, and lines that a claim lost over it are found."""
        if kind_pauses != self._kind_pauses or are_settled != self._are_kinds_settled:
            for station in self.stations:
                station.parked_to, station.sweep_due = 0, 0.0
        self._kind_pauses, self._are_kinds_settled = kind_pauses, are_settled

    def _plan(self, stations: Sequence[Station]) -> list[tuple[Station, list[Take]]]:
        """Queues by priority; queues of one priority share what is left, the one served longest ago first."""
        self._round += 1
        left = self.total_free()
        ready = [station for station in stations if len(station.book) and not station.is_paused]
        ready.sort(key=lambda station: (station.config.priority, station.turn))
        plans = []
        for index, station in enumerate(ready):
            peers = sum(other.config.priority == station.config.priority for other in ready[index:])
            takes = station.book.plan(min(station.free, BATCH, -(-left // peers)), time.monotonic())
            if takes:
                left -= sum(take.jobs for take in takes)
                station.turn = self._round
                plans.append((station, takes))
        return plans

    @staticmethod
    def _book(found: _Found) -> list[Record]:
        station, rows = found.station, found.rows
        rows.sort(key=_place)
        taken = rows if not found.parked else sorted(rows + found.parked, key=_place)
        keys = [(row["priority"], row["lane"]) for row in taken]
        last = dict(zip(keys, map(_place, taken), strict=True))
        got = {key: (count, last[key]) for key, count in Counter(keys).items()}
        station.book.claimed(found.takes, got, Counter(map(_line, found.parked)) if found.parked else NONE_PARKED)
        station.held += len(rows)
        if found.ahead is not None:
            _pass_over(station, found.ahead)
        if any(priority != keys[0][0] for priority, _ in got):
            rows.sort(key=_priority)
        return rows


def _pass_over(station: Station, ahead: Sequence[Record]) -> None:
    """What was looked at ahead: of each line nothing waits before the first job that was let stand."""
    start, end = station.parked_to, max((row["last"] for row in ahead), default=station.parked_to)
    for row in ahead:
        station.book.pass_over(row["priority"], row["lane"], start, end + 1 if row["kept"] is None else row["kept"])
    station.parked_to = end
