"""One worker: the loops that claim, act, acknowledge, keep its lease and do its share for all."""

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from mainstay.jobs.claiming import WIDE, Claimer, Claims, Station
from mainstay.jobs.finishing import Finisher
from mainstay.jobs.held import Held, count_failed
from mainstay.jobs.lanes import LaneBook, LaneLimit, Pace
from mainstay.jobs.leases import HEARTBEAT_SECONDS, LEASE_SECONDS, Lease, Promoter, Reaper
from mainstay.jobs.listening import Listener
from mainstay.jobs.queries import claims, planning
from mainstay.jobs.queues import QueueConfig
from mainstay.jobs.running import Runner
from mainstay.jobs.runs import RunBook
from mainstay.jobs.scheduling import Scheduler
from mainstay.jobs.stats import Gauge
from mainstay.kernel import telemetry
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.work import Hold, Job, Schedule, Task

_log = logger(__name__)
_LAST_ACTS_SECONDS = 5.0
_LAST_CLAIM_SECONDS = 2.0
_FIRST_GAP_SECONDS = 0.05
_ENGINE_CONNECTIONS = 5
_START_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The periods of a worker's loops in seconds. Polling alone is enough: notifications only shorten the wait."""

    poll_busy: float = 0.01
    poll_idle: float = 0.25
    poll_deaf: float = 0.1
    busy_for: float = 1.0
    heartbeat: float = HEARTBEAT_SECONDS
    lease: float = LEASE_SECONDS
    reap: float = 1.0
    promote: float = 0.1
    schedule: float = 1.0
    watch: float = 0.1
    gauge: float = 5.0
    gap_most: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat * 2 <= self.lease:
            raise ValueError("a lease needs at least two heartbeats")
        if min(self.poll_busy, self.poll_idle, self.poll_deaf, self.reap, self.promote, self.schedule) <= 0:
            raise ValueError("periods are over zero")


class Worker:
    """Runs the jobs of its queues until it is told to stop.

    `engine_db` is a pool that handlers do not use; without one, five connections of `db` are kept from `run_in_tx`.
    `total_slots` bounds all queues together: then a queue of lower priority waits while a higher one has work.
    `heard` is told of every queue for which work was announced ('' when the worker begins to listen).
    """

    def __init__(
        self,
        db: Database,
        tasks: Sequence[Task],
        *,
        queues: Sequence[QueueConfig],
        schedules: Sequence[Schedule] = (),
        engine_db: Database | None = None,
        clock: Clock | None = None,
        listen_url: str | None = None,
        name: str | None = None,
        shutdown_seconds: float = 20.0,
        total_slots: int | None = None,
        timing: Timing | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> None:
        by_kind = {task.kind: task for task in tasks}
        if len(by_kind) != len(tasks) or len({queue.name for queue in queues}) != len(queues) or not queues:
            raise ValueError("a worker needs queues, and each queue and each kind once")
        if total_slots is not None and total_slots < 1:
            raise ValueError("a worker needs at least one slot")
        engine = engine_db or db
        self._db = engine
        self._clock = clock or SystemClock()
        self._timing = timing or Timing()
        self._shutdown_seconds = shutdown_seconds
        self._queues, self._tasks = list(queues), list(tasks)
        self.lease = Lease(
            engine, name or f"{socket.gethostname()}:{os.getpid()}", queues, tasks, lease_seconds=self._timing.lease
        )
        self.finisher = Finisher(
            engine, worker_id=lambda: self.lease.id, release=self._release, note=RunBook(schedules).note
        )
        self.runner = Runner(
            db,
            by_kind,
            ended=self._end,
            settle=self.finisher.settle,
            release=self._release,
            connections=db.size if engine_db is not None else max(1, db.size - _ENGINE_CONNECTIONS),
        )
        self._held: dict[int, Held] = {}
        self.claimer = Claimer(
            engine,
            [Station(queue, LaneBook(_lane_limit(queue.name, tasks)), pace=_pace(queue, tasks)) for queue in queues],
            lease=self.lease,
            held_ids=lambda: set(self._held),
            total_slots=total_slots,
        )
        self.reaper = Reaper(engine, self.lease, lost=self._count_lost)
        self.promoter = Promoter(engine)
        self.scheduler = Scheduler(engine, schedules, by_kind)
        self.gauge = Gauge(engine, self._clock, self.claimer.stations)
        self.listener = Listener(listen_url, self._hear)
        self._heard = heard
        self._wake = asyncio.Event()
        self._found_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; then running jobs get `shutdown_seconds` to end and the rest is handed back.

        Handing back and signing off have 5 s more, whether the database answers or not. A cancelled run lets go at
        once, as a killed process would. A loop that ends by itself ends the run, too.
        """
        stopping, ending = asyncio.Event(), asyncio.Event()
        timing = self._timing
        front = [
            self._loop("promote", self._promote, timing.promote, stopping),
            self._loop("reap", self.reaper.run_once, timing.reap, stopping),
            self._loop("sweep", self._sweep, timing.promote, stopping),
            self._loop("schedule", lambda: self.scheduler.run_when_due(timing.schedule), 0, stopping),
            self._loop("gauge", self.gauge.run_once, timing.gauge, stopping),
            self.listener.run(),
        ]
        back = [
            self._loop("heartbeat", self._beat, timing.heartbeat, ending),
            self._loop("watch", self.runner.watch_once, timing.watch, ending),
            self._finish(ending),
            self._finish(ending),
        ]
        front_tasks = [asyncio.create_task(loop) for loop in front]
        back_tasks = [asyncio.create_task(loop) for loop in back]
        claiming = asyncio.create_task(self._claim(stopping))
        try:
            broken = await self._until(stop, [claiming, *front_tasks[:-1], *back_tasks])
            deadline = time.monotonic() + self._shutdown_seconds
            stopping.set()
            self._wake.set()
            await asyncio.wait([claiming], timeout=_LAST_CLAIM_SECONDS)
            await _cancel([claiming, *front_tasks])
            await self._wind_down(deadline)
        finally:
            stopping.set()
            ending.set()
            await _cancel([claiming, *front_tasks, *back_tasks])
            await self.runner.abandon()
        if broken is not None:
            raise broken

    async def _wind_down(self, deadline: float) -> None:
        await _until(lambda: not self.runner.running, deadline)
        left = [held.job for held in await self.runner.abandon()]
        until = time.monotonic() + _LAST_ACTS_SECONDS
        try:
            async with asyncio.timeout(_LAST_ACTS_SECONDS):
                while left:
                    left = await self._hand_back(left)
                if self.lease.id is not None:
                    await self.claimer.clear_doubt(self.lease.id)
                await _until(lambda: self.finisher.is_idle, until - 1.0)
                await self.gauge.write_tallies()
                await self.lease.leave()
        except (Unavailable, TimeoutError):
            _log.warning("could not sign off; the lease will run out")

    async def _hand_back(self, left: list[Job]) -> list[Job]:
        try:
            async with planning.begin_by_id(self._db) as tx:
                await claims.hand_back_everywhere(tx, [job.id for job in left], [job.epoch for job in left])
        except Unavailable:
            await asyncio.sleep(0.2)
            return left
        return []

    async def _claim(self, stopping: asyncio.Event) -> None:
        """Claims go on in the database while the jobs of the claim before are being started here."""
        gap = _FIRST_GAP_SECONDS
        upcoming: asyncio.Task[Claims] | None = None
        try:
            while upcoming is not None or not stopping.is_set():
                self._wake.clear()
                try:
                    claimed = await (self.claimer.run_once() if upcoming is None else upcoming)
                except Exception as error:
                    upcoming = None
                    self._failed("claim", error)
                    await asyncio.sleep(gap)
                    gap = min(gap * 2, self._timing.gap_most)
                    continue
                gap = _FIRST_GAP_SECONDS
                upcoming = None
                self._ended("claim")
                if claimed.by_station and self.claimer.can_claim_more() and not stopping.is_set():
                    upcoming = asyncio.create_task(self.claimer.run_once())
                await self._start(claimed)
                if upcoming is None and not stopping.is_set():
                    await self._doze()
        finally:
            if upcoming is not None:
                upcoming.cancel()

    @staticmethod
    async def _until(stop: asyncio.Event, loops: Sequence[asyncio.Task[None]]) -> BaseException | None:
        """The stop was asked for, or a loop that should never end has ended: then why."""
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopped, *loops], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for ended in done.intersection(loops):
            _log.critical("a loop of the worker ended, so the worker stops", exc_info=ended.exception())
            return ended.exception() or RuntimeError("a loop of the worker ended")
        return None

    async def _start(self, claimed: Claims) -> None:
        for station, rows in claimed.by_station:
            for start in range(0, len(rows), _START_BATCH):
                if self.lease.id != claimed.worker_id:
                    return
                self._found_at = time.monotonic()
                for held in self.runner.start(station, rows[start : start + _START_BATCH]):
                    self._held[held.job.id] = held
                await asyncio.sleep(0)

    async def _doze(self) -> None:
        timing = self._timing
        is_busy = time.monotonic() - self._found_at < timing.busy_for
        idle = timing.poll_idle if self.listener.is_hearing else timing.poll_deaf
        longest = timing.poll_busy if is_busy else idle
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(longest, self.claimer.until_hold_ends()))

    async def _finish(self, ending: asyncio.Event) -> None:
        gap = _FIRST_GAP_SECONDS
        while not ending.is_set():
            await self.finisher.wait()
            try:
                await self.finisher.run_once()
            except Exception as error:
                self._failed("finish", error)
                await asyncio.sleep(gap)
                gap = min(gap * 2, self._timing.gap_most)
            else:
                gap = _FIRST_GAP_SECONDS
                self._ended("finish")

    async def _loop(
        self, name: str, run_once: Callable[[], Awaitable[object]], period: float, ending: asyncio.Event
    ) -> None:
        """A cancellation that meets a dying connection may come out as another error, so the event is asked, too."""
        gap = _FIRST_GAP_SECONDS
        while not ending.is_set():
            try:
                await run_once()
            except Exception as error:
                self._failed(name, error)
                await asyncio.sleep(gap)
                gap = min(gap * 2, self._timing.gap_most)
            else:
                gap = _FIRST_GAP_SECONDS
                self._ended(name)
                await asyncio.sleep(period)

    async def _beat(self) -> None:
        async with asyncio.timeout(self._timing.lease / 2):
            was_ready = self.lease.worker_id is not None
            is_same = await self.lease.run_once()
        self._set_slots()
        if not was_ready:
            self._wake.set()
        if not is_same:
            _log.warning("this worker was declared lost; its claims are abandoned", worker=self.lease.id)
            self._held.clear()
            self.finisher.forget()
            self.claimer.forget()
            await self.runner.abandon()
            self._wake.set()

    def _set_slots(self) -> None:
        """Every queue has as many slots as operators set, else as configured; who waited for one more has it."""
        for station, queue in zip(self.claimer.stations, self._queues, strict=True):
            slots, had = self.lease.slots.get(queue.name, queue.concurrency), station.config.concurrency
            if slots == had:
                continue
            _log.info("a queue has other slots now", queue=queue.name, slots=slots)
            station.config = replace(queue, concurrency=slots)
            if (slots >= WIDE) != (had >= WIDE):
                station.pace, station.ahead = _pace(station.config, self._tasks), 0
            self.runner.seat_waiting(station)
            self._wake.set()

    async def _promote(self) -> None:
        if await self.promoter.run_once():
            self._wake.set()

    async def _sweep(self) -> None:
        if await self.claimer.sweep_once():
            self._wake.set()

    def _hear(self, queue: str) -> None:
        self._wake.set()
        if self._heard is not None:
            self._heard(queue)

    def _end(self, held: Held) -> None:
        """A handler has ended: its slot may be free for another job, its lane is when it has been acknowledged."""
        held.station.ended += 1
        if held.station.was_full and held.station.free > 0 and not self._wake.is_set():
            self._wake.set()
        self.finisher.add(held)

    def _release(self, helds: Sequence[Held]) -> None:
        was_full = self.claimer.total_free() <= 0
        ended: Counter[tuple[Station, str, bool]] = Counter()
        on_hold: list[Held] = []
        now = time.monotonic()
        for held in helds:
            if self._held.get(held.job.id) is held:
                del self._held[held.job.id]
                ended[held.station, held.job.lane, held.is_settled] += 1
                if held.outcome is not None and isinstance(held.outcome, Hold) and held.job.lane:
                    on_hold.append(held)
        for (station, lane, is_settled), count in ended.items():
            was_full = was_full or station.free <= 0
            station.held -= count
            if station.pace is not None:
                station.pace.left(count, now)
            station.ended -= 0 if is_settled else count
            station.book.ended(lane, count)
        for held in on_hold:
            held.station.book.learn(held.place[0], held.job.lane, held.place[1])
        if was_full or self.claimer.can_claim_more():
            self._wake.set()

    def _count_lost(self, queue: str, kind: str, count: int, *, is_dead: bool) -> None:
        """Attempts of another worker that was lost count here."""
        station = next((one for one in self.claimer.stations if one.config.name == queue), self.claimer.stations[0])
        if station.config.name == queue:
            count_failed(station, kind, "lost", is_dead=is_dead, count=count)

    def _ended(self, loop: str) -> None:
        telemetry.LOOP_LAST_RUN.labels(loop).set(self._clock.now().timestamp())

    def _failed(self, loop: str, error: Exception) -> None:
        telemetry.LOOP_ERRORS.labels(loop).inc()
        if isinstance(error, Unavailable | TimeoutError):
            _log.warning("the database does not answer", loop=loop)
        else:
            _log.error("a round failed", loop=loop, exc_info=error)


def _lane_limit(queue: str, tasks: Sequence[Task]) -> LaneLimit:
    limits = [task.lane_limit for task in tasks if task.queue == queue and task.lane_limit is not None]
    asked = [limit for limit in limits if not isinstance(limit, int)]
    fixed = min((limit for limit in limits if isinstance(limit, int)), default=None)
    if not asked:
        return fixed
    if len(limits) == 1:
        return asked[0]
    return lambda lane: min([limit(lane) for limit in asked] + ([] if fixed is None else [fixed]))


def _pace(queue: QueueConfig, tasks: Sequence[Task]) -> Pace | None:
    """The pace of a queue whose jobs are claimed ahead, because the time until they act is more than that they take."""
    is_loaded = any(task.batch is not None for task in tasks if task.queue == queue.name)
    return Pace() if is_loaded and queue.concurrency >= WIDE else None


async def _until(is_so: Callable[[], bool], deadline: float) -> None:
    while not is_so() and time.monotonic() < deadline:  # noqa: ASYNC110 (the end of a process, once)
        await asyncio.sleep(0.01)


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Every task has ended; or it was told to for two seconds, and is left to itself."""
    until = time.monotonic() + 2.0
    while (left := [task for task in tasks if not task.done()]) and time.monotonic() < until:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.5)
    if left:
        _log.warning("loops did not end in time", loops=len(left))
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()
