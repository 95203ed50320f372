"""Acting on claimed jobs: one asyncio task a job, no connection held unless the handler asked for a transaction."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
                held.handle = asyncio.create_task(self._run(held) if task.run is not None else self._run_in_tx(held))
        for kind, group in batches.items():
            loading = asyncio.create_task(self._load(self._tasks[kind], group))
            self._loading.add(loading)
            loading.add_done_callback(self._loading.discard)
        return started

    async def watch_once(self) -> int:
        """Every job over its time has been told to stop; how many were."""
        now = time.monotonic()
        late = [held for held in self.running.values() if held.deadline < now and not held.is_timed_out]
        for held in late:
            held.is_timed_out = True
            if held.handle is not None:
                held.handle.cancel()
        return len(late)

    async def abandon(self) -> list[Held]:
        """Every handler has been cancelled (and given a second to end); the jobs that had not ended."""
        left = list(self.running.values())
        self.running.clear()
        handles = [*self._loading, *(held.handle for held in left if held.handle is not None)]
        for handle in handles:
            handle.cancel()
        if handles:
            await asyncio.wait(handles, timeout=1.0)
        return left

    def _hold(self, station: Station, row: Record) -> Held:
        (
            job_id, kind, payload, attempt, max_attempts, epoch, lane, company_id, trace_id, enqueued_at, priority, pos,
            backoff,
        ) = row  # fmt: skip
        task = self._tasks.get(kind)
        rule, timeout_seconds = self._rules.get(kind, (Backoff(), _UNKNOWN_AFTER_SECONDS))
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
        held = Held(job, (priority, pos), task, rule, station, time.monotonic() + timeout_seconds)
        held.started = time.monotonic()
        if task is None:
            _log.warning("no task for this kind here", kind=kind, queue=job.queue, job=job_id)
            outcome = Snooze(Backoff("fixed").delay * 15, "no task for this kind")
        held.outcome = outcome
        return held

    async def _run(self, held: Held) -> None:
        run, job = held.task.run if held.task is not None else None, held.job
        assert run is not None
        await self._attempt(held, lambda: run(job))

    async def _attempt(self, held: Held, body: Callable[[], Awaitable[Outcome]]) -> None:
        job = held.job
        telemetry.enter_trace(telemetry.Trace(job.trace_id, ids.new_span_id(), job.trace_id))
        held.started = time.monotonic()
        try:
            given: object = await body()
            if given is None or isinstance(given, Retry | Snooze | Hold | Discard):
                held.outcome = given
            else:
                held.outcome = Discard(f"the handler gave {type(given).__name__}, which is no outcome")
        except (Retry, Snooze, Hold, Discard) as word:
            held.outcome = word
        except asyncio.CancelledError:
            if job.id not in self.running:
                return
            held.outcome = self._cancelled(held)
        except Exception as error:
            held.outcome = Retry(clean(f"{type(error).__name__}: {error}"))
        if not held.is_settled:
            held.duration_ms = (time.monotonic() - held.started) * 1000
        if self.running.pop(job.id, None) is not None:
            if held.is_settled:
                self._release([held])
            else:
                _rest(held)
                self._ended(held)

    async def _run_in_tx(self, held: Held) -> None:
        run, job = held.task.run_in_tx if held.task is not None else None, held.job
        assert run is not None

        async def body() -> Outcome:
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
        act = task.batch.act
        for held in group:
            if held.job.id in contexts:
                held.is_acted = True
                held.handle = asyncio.create_task(self._act(held, act, contexts[held.job.id]))
            elif self.running.pop(held.job.id, None) is not None:
                held.outcome = failure
                self._ended(held)

    async def _act(self, held: Held, act: Callable[[Job, Any], Awaitable[tuple[Outcome, Any]]], context: Any) -> None:
        async def body() -> Outcome:
            outcome, held.result = await act(held.job, context)
            return outcome

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
