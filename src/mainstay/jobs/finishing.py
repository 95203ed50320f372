"""Acknowledging ended jobs in batches: the state, its history row and the handler's record commit together or not."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from mainstay.jobs.dead import announce_deaths
from mainstay.jobs.held import Held, clean, count_ended
from mainstay.jobs.queries import claims, planning
from mainstay.kernel.db import RACED, Database, Record, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.work import Batch, Discard, Hold, Retry, Snooze

_log = logger(__name__)
BATCH = 1_000
GATHER_SECONDS = 0.002
_GATHER_UNDER = 500
_MOST_DELAY = timedelta(days=365)
_PASSES = (
    Unavailable,
    *RACED,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.OperatorInterventionError,
)
"""What says nothing about the jobs at hand: the same transaction may succeed in a while."""


class Finisher:
    """Holds ended jobs for a few milliseconds at most and acknowledges them together."""

    def __init__(
        self,
        db: Database,
        *,
        worker_id: Callable[[], int | None],
        release: Callable[[Sequence[Held]], None],
        note: Callable[[Tx, Sequence[Held], set[int]], Awaitable[None]],
    ) -> None:
        self._db = db
        self._worker_id = worker_id
        self._note = note
        self._release = release
        self._plain: deque[Held] = deque()
        self._recorded: dict[str, deque[Held]] = {}
        self._flushing = 0
        self._arrived = asyncio.Event()

    def add(self, held: Held) -> None:
        """The job will be acknowledged shortly."""
        if held.task is not None and held.task.batch is not None:
            self._recorded.setdefault(held.job.kind, deque()).append(held)
        else:
            self._plain.append(held)
        self._arrived.set()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was added has been acknowledged."""
        return not (self._plain or self._flushing or any(self._recorded.values()))

    def forget(self) -> None:
        """What has not been acknowledged is dropped: it belongs to another worker now."""
        self._plain.clear()
        self._recorded.clear()

    async def wait(self) -> None:
        """Something has ended, and what ends within 2 ms of it may share its statement."""
        await self._arrived.wait()
        if len(self._plain) + sum(map(len, self._recorded.values())) < _GATHER_UNDER:
            await asyncio.sleep(GATHER_SECONDS)

    async def run_once(self) -> int:
        """Up to 1,000 ended jobs of one sort have been acknowledged; how many. On an error they wait for another."""
        queue = next((waiting for waiting in (self._plain, *self._recorded.values()) if waiting), None)
        if queue is None:
            self._arrived.clear()
            return 0
        taken = [queue.popleft() for _ in range(min(BATCH, len(queue)))]
        self._flushing += 1
        try:
            await self._flush(taken)
        except BaseException:
            queue.extendleft(reversed(taken))
            self._arrived.set()
            raise
        finally:
            self._flushing -= 1
        return len(taken)

    async def _flush(self, taken: Sequence[Held]) -> None:
        batch = taken[0].task.batch if taken[0].task is not None else None
        try:
            async with planning.begin_by_id(self._db) as tx:
                with _blaming(tx):
                    kept = await self.settle(tx, taken)
                if batch is not None:
                    await planning.plan_freely(tx)
                    with _blaming(tx, their_own=True):
                        await _record(tx, batch, taken, kept)
        except _Unfit as error:
            await self._isolate(taken, error)
            return
        count_ended(taken, kept)
        self._release(taken)

    async def _isolate(self, taken: Sequence[Held], error: "_Unfit") -> None:
        """What cannot be acknowledged together is acknowledged one by one; what fails alone has failed as an attempt.

        Where not even that can be written, because the word itself cannot, the job is dead of it.
        """
        if len(taken) > 1:
            for held in taken:
                await self._flush([held])
            return
        (held,) = taken
        given = held.outcome
        reason = clean(str(error))
        _log.error("an acknowledgement failed", kind=held.job.kind, job=held.job.id, error=reason)
        try:
            kept = await self._settle_alone(held, Retry(reason))
            if kept is None:
                kept = await self._settle_alone(held, Discard(reason))
        except BaseException:
            held.outcome = given
            raise
        count_ended(taken, kept or ())
        self._release(taken)

    async def _settle_alone(self, held: Held, outcome: Retry | Discard) -> set[int] | None:
        held.outcome = outcome
        try:
            async with planning.begin_by_id(self._db) as tx:
                with _blaming(tx):
                    return await self.settle(tx, [held])
        except _Unfit as error:
            if isinstance(outcome, Discard):
                raise
            _log.error("a failure could not be written", job=held.job.id, error=str(error))
            return None

    async def settle(self, tx: Tx, taken: Sequence[Held]) -> set[int]:
        """Each job that is still this worker's has its new state with the transaction; their ids."""
        completed: list[Held] = []
        retried: list[tuple[Held, timedelta, str]] = []
        snoozed: list[tuple[Held, timedelta]] = []
        held_back: list[Held] = []
        buried: list[tuple[Held, str]] = []
        for held in taken:
            outcome = held.outcome
            if outcome is None:
                completed.append(held)
            elif isinstance(outcome, Hold) and held.job.lane:
                held_back.append(held)
            elif isinstance(outcome, Snooze | Hold):
                snoozed.append((held, _bounded(outcome.after)))
            elif isinstance(outcome, Discard):
                held.failure = "discarded"
                buried.append((held, outcome.reason))
            elif held.job.attempt >= held.job.max_attempts:
                buried.append((held, outcome.reason))
            else:
                after = held.backoff.after(held.job.attempt) if outcome.after is None else outcome.after
                retried.append((held, _bounded(after), outcome.reason))
        kept = await self._complete(tx, completed)
        kept |= await self._retry(tx, retried)
        if snoozed:
            jobs = [held.job for held, _ in snoozed]
            ids, epochs = [job.id for job in jobs], [job.epoch for job in jobs]
            kept |= _ids(await claims.snooze_everywhere(tx, ids, epochs, [after for _, after in snoozed]))
        if held_back:
            ids, epochs = [held.job.id for held in held_back], [held.job.epoch for held in held_back]
            kept |= _ids(await claims.hold_everywhere(tx, ids, epochs))
        if buried:
            kept |= await self._bury(tx, buried)
        await self._note(tx, taken, kept)
        return kept

    @staticmethod
    async def _complete(tx: Tx, completed: Sequence[Held]) -> set[int]:
        if not completed:
            return set()
        return _ids(
            await claims.complete_everywhere(
                tx,
                [held.job.id for held in completed],
                [held.job.epoch for held in completed],
                [held.duration_ms for held in completed],
                [held.task is None or held.task.history == "all" for held in completed],
            )
        )

    async def _retry(self, tx: Tx, retried: Sequence[tuple[Held, timedelta, str]]) -> set[int]:
        if not retried:
            return set()
        rows = [
            (held.job.id, held.job.epoch, after, held.failure, clean(reason), held.duration_ms)
            for held, after, reason in retried
        ]
        return _ids(await claims.retry_everywhere(tx, self._worker_id() or 0, *_columns(rows)))

    @staticmethod
    async def _bury(tx: Tx, buried: Sequence[tuple[Held, str]]) -> set[int]:
        rows = [(held.job.id, held.job.epoch, held.failure, clean(reason), held.duration_ms) for held, reason in buried]
        dead = await claims.bury_everywhere(tx, *_columns(rows))
        await announce_deaths(tx, dead)
        return _ids(dead)


async def _record(tx: Tx, batch: Batch, taken: Sequence[Held], kept: set[int]) -> None:
    results = [(held.job, held.result, held.outcome) for held in taken if held.job.id in kept and held.is_acted]
    if results:
        await batch.record(tx, results)


class _Unfit(Exception):
    """The jobs at hand cannot be acknowledged so, however often it is tried."""


@contextmanager
def _blaming(tx: Tx, *, their_own: bool = False) -> Iterator[None]:
    """Errors within are about the jobs: all that do not pass, but of our own statements only those about values."""
    try:
        yield
    except _PASSES:
        raise
    except Exception as error:
        is_of_values = not isinstance(error, asyncpg.PostgresError) or (error.sqlstate or "")[:2] in ("22", "23")
        if tx.connection.is_closed() or not (their_own or is_of_values):
            raise
        raise _Unfit(f"{type(error).__name__}: {error}") from error


def _bounded(after: timedelta) -> timedelta:
    return min(max(after, timedelta(0)), _MOST_DELAY)


def _ids(rows: Iterable[Record]) -> set[int]:
    return {row[0] for row in rows}


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
