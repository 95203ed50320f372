"""Acting on claimed jobs: each that waits has a task of its own; no connection is held unless the handler asked."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from datetime import timedelta
from typing import Any

import orjson

from mainstay.jobs.claiming import Station
from mainstay.jobs.errors import LeaseLost
from mainstay.jobs.held import Held, clean, count_ended
from mainstay.jobs.queries import planning
from mainstay.jobs.queues import backoff_of
from mainstay.kernel import ids, telemetry
from mainstay.kernel.db import Database, Record, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Discard, Hold, Job, Outcome, Retry, Snooze, Task

_log = logger(__name__)
_UNKNOWN_AFTER_SECONDS = 30.0
_DATABASE_AWAY = timedelta(seconds=1)
_STEP_SECONDS = 0.005
_PARKED_AT_MOST_SECONDS = 1.0
_UNKNOWN_RULE = (Backoff(), _UNKNOWN_AFTER_SECONDS)


class Runner:
    """Runs the handlers of claimed jobs and hands each ended job on."""

    def __init__(
        self,
        db: Database,
        tasks: Mapping[str, Task],
        *,
        ended: Callable[[Held], None],
        settle: Callable[[Tx, Sequence[Held]], Awaitable[set[int]]],
        release: Callable[[Sequence[Held]], None],
        connections: int,
    ) -> None:
        self._db = db
        self._in_tx = asyncio.Semaphore(connections)
        self._tasks = tasks
        self._rules = {kind: (backoff_of(task), task.timeout.total_seconds()) for kind, task in tasks.items()}
        self._ended = ended
        self._settle = settle
        self._release = release
        self._loading: set[asyncio.Task[None]] = set()
        self._line: deque[Held] = deque()
        self._step = 0
        self._step_until = 0.0
        self.running: dict[int, Held] = {}

    def start(self, station: Station, rows: Sequence[Record]) -> list[Held]:
        """Every claimed job is being acted on."""
        started = []
        batches: dict[str, list[Held]] = {}
        for row in rows:
            held = self._hold(station, row)
            started.append(held)
            task = held.task
            if task is None or held.outcome is not None:
                self._ended(held)
            elif task.batch is not None:
                self.running[held.job.id] = held
                batches.setdefault(held.job.kind, []).append(held)
            else:
                self.running[held.job.id] = held
                self._seat(held)
        for kind, group in batches.items():
            loading = asyncio.create_task(self._load(self._tasks[kind], group))
            self._loading.add(loading)
            loading.add_done_callback(self._loading.discard)
        return started

    async def watch_once(self) -> int:
        """Every job over its time has been told to stop; how many were. Who waits in vain for a slot is put back."""
        now = time.monotonic()
        count = 0
        for station in {held.station for held in self.running.values()}:
            while station.parked and station.parked[0].started < now - _PARKED_AT_MOST_SECONDS:
                held = station.parked.popleft()
                held.outcome = Hold(timedelta(0), "no slot came free")
                self._end(held)
        for held in self.running.values():
            if held.deadline < now and held.handle is not None and not held.is_timed_out:
                held.is_timed_out = True
                held.handle.cancel()
                count += 1
        return count

    async def abandon(self) -> list[Held]:
        """Every handler has been cancelled (and given a second to end); the jobs that had not ended."""
        left = list(self.running.values())
        self.running.clear()
        for held in left:
            held.station.parked.clear()
        self._line.clear()
        handles = [*self._loading, *(held.handle for held in left if held.handle is not None)]
        for handle in handles:
            handle.cancel()
        if handles:
            await asyncio.wait(handles, timeout=1.0)
        for held in left:
            self._leave(held)
        return left

    def _hold(self, station: Station, row: Record) -> Held:
        (
            job_id, kind, payload, attempt, max_attempts, epoch, lane, company_id, trace_id, enqueued_at, priority, pos,
            backoff,
        ) = row  # fmt: skip
        task = self._tasks.get(kind)
        rule, timeout_seconds = self._rules.get(kind, _UNKNOWN_RULE)
        outcome: Outcome = None
        try:
            body = orjson.loads(payload)
        except ValueError as error:
            body, outcome = None, Discard(f"the payload cannot be read: {error}")
        job = Job(
            job_id, station.config.name, kind, body, attempt, max_attempts, epoch, lane,
            None if company_id is None else str(company_id), trace_id or ids.new_trace_id(), enqueued_at,
        )  # fmt: skip
        if backoff is not None:
            try:
                rule = Backoff.parse(backoff)
            except (ValueError, TypeError, KeyError) as error:
                outcome = Discard(f"the backoff cannot be read: {error}")
        now = time.monotonic()
        held = Held(job, (priority, pos), task, rule, station, now + timeout_seconds)
        held.started = now
        if task is None:
            _log.warning("no task for this kind here", kind=kind, queue=job.queue, job=job_id)
            outcome = Snooze(Backoff("fixed").delay * 15, "no task for this kind")
        held.outcome = outcome
        return held

    def _seat(self, held: Held) -> None:
        """The job has a slot and its handler begins, or it waits for one."""
        station, task = held.station, held.task
        assert task is not None
        if station.acting >= station.config.concurrency:
            station.parked.append(held)
            return
        station.acting += 1
        held.is_seated = True
        if task.batch is not None:
            held.is_acted = True
            held.deadline += time.monotonic() - held.started
            held.handle = asyncio.create_task(self._act(held, task.batch.act))
        elif task.run is not None:
            self._line.append(held)
            if len(self._line) == 1:
                self._send_walkers(1)
        else:
            held.handle = asyncio.create_task(self._run_in_tx(held))

    def _leave(self, held: Held) -> None:
        """The job's slot, if it had one, is its successor's."""
        if held.is_seated:
            held.is_seated = False
            held.station.acting -= 1
            self.seat_waiting(held.station)

    def seat_waiting(self, station: Station) -> None:
        """As many of those who wait for a slot have one as there are."""
        while station.parked and station.acting < station.config.concurrency:
            self._seat(station.parked.popleft())

    def _end(self, held: Held) -> None:
        if self.running.pop(held.job.id, None) is not None:
            _rest(held)
            self._ended(held)

    def _send_walkers(self, count: int) -> None:
        """Whoever is in line will be served: by so many walkers, and if they all have to wait by twice as many more."""
        self._step_until = time.monotonic() + _STEP_SECONDS
        for _ in range(count):
            asyncio.create_task(self._walk())  # noqa: RUF006 (a task that waits is the handle of its job)
        asyncio.get_running_loop().call_soon(self._walkers_sent, count)

    def _walkers_sent(self, count: int) -> None:
        self._step += 1
        if self._line:
            have_waited = time.monotonic() < self._step_until
            self._send_walkers(min(2 * count, len(self._line)) if have_waited else 1)

    async def _walk(self) -> None:
        """Runs those in line one after another. A handler that waited, was cancelled or left context is its last.

        So each handler has, as far as it can tell, an asyncio task to itself; handlers that never wait cost none.
        """
        task, step = asyncio.current_task(), self._step
        assert task is not None
        while self._line:
            held = self._line.popleft()
            run = held.task.run if held.task is not None else None
            assert run is not None
            held.handle = task
            held.deadline += time.monotonic() - held.started
            self._enter(held)
            entered = copy_context()
            await self._attempt(held, run)
            if step != self._step or task.cancelling() or copy_context() != entered:
                return
            if time.monotonic() > self._step_until:
                return

    @staticmethod
    def _enter(held: Held) -> None:
        """The current task works under the job's trace, and its attempt begins."""
        trace_id = held.job.trace_id
        telemetry.enter_trace(telemetry.Trace(trace_id, ids.new_span_id(), trace_id))
        held.started = time.monotonic()

    async def _attempt(self, held: Held, body: Callable[[Job], Awaitable[Outcome]]) -> None:
        job = held.job
        try:
            given: object = await body(job)
            if given is None or isinstance(given, Retry | Snooze | Hold | Discard):
                held.outcome = given
            else:
                held.outcome = Discard(f"the handler gave {type(given).__name__}, which is no outcome")
        except (Retry, Snooze, Hold, Discard) as word:
            held.outcome = word
        except asyncio.CancelledError:
            if job.id not in self.running:
                self._leave(held)
                return
            held.outcome = self._cancelled(held)
        except Exception as error:
            held.outcome = Retry(clean(f"{type(error).__name__}: {error}"))
        if not held.is_settled:
            held.duration_ms = (time.monotonic() - held.started) * 1000
            self._end(held)
        elif self.running.pop(job.id, None) is not None:
            self._release([held])
        self._leave(held)

    async def _run_in_tx(self, held: Held) -> None:
        run, job = held.task.run_in_tx if held.task is not None else None, held.job
        assert run is not None

        async def body(_: Job) -> Outcome:
            async with self._in_tx, self._db.begin() as tx:
                held.deadline += time.monotonic() - held.started
                held.started = time.monotonic()
                held.outcome = await run(tx, job)
                held.duration_ms = (time.monotonic() - held.started) * 1000
                if job.id in self.running:
                    _rest(held)
                await planning.plan_by_id(tx)
                if not await self._settle(tx, [held]):
                    raise LeaseLost
            held.is_settled = True
            count_ended([held], {job.id})
            return held.outcome

        self._enter(held)
        await self._attempt(held, body)

    async def _load(self, task: Task, group: Sequence[Held]) -> None:
        assert task.batch is not None
        contexts: Mapping[int, Any] = {}
        failure: Outcome = Discard("there is nothing to do for this job")
        try:
            async with asyncio.timeout(task.timeout.total_seconds()):
                contexts = await task.batch.load([held.job for held in group])
        except Unavailable:
            failure = Snooze(_DATABASE_AWAY, "the database was away")
        except Exception as error:
            failure = Retry(clean(f"{type(error).__name__}: {error}"))
        for held in group:
            if held.job.id in contexts:
                held.context = contexts[held.job.id]
                self._seat(held)
            else:
                held.outcome = failure
                self._end(held)

    async def _act(self, held: Held, act: Callable[[Job, Any], Awaitable[tuple[Outcome, Any]]]) -> None:
        async def body(job: Job) -> Outcome:
            outcome, held.result = await act(job, held.context)
            return outcome

        self._enter(held)
        await self._attempt(held, body)

    @staticmethod
    def _cancelled(held: Held) -> Outcome:
        if not held.is_timed_out or held.task is None:
            return Retry("the handler was cancelled")
        held.failure = "timeout"
        return Retry(f"timed out after {held.task.timeout.total_seconds():g} s")


def _rest(held: Held) -> None:
    """The lane rests before its job is back in line, so that no claim slips in between."""
    outcome = held.outcome
    if isinstance(outcome, Hold) and isinstance(outcome.after, timedelta) and held.job.lane:
        held.station.book.hold(held.job.lane, time.monotonic() + outcome.after.total_seconds())
