"""Jobs that failed for good, and jobs not yet begun: list, look at, put back in line, clear away, cancel."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from mainstay.jobs.errors import JobNotFound, RedriveRefused
from mainstay.jobs.queries import dead as dead_rows
from mainstay.kernel import outbox
from mainstay.kernel.db import Record, Tx

KEPT = timedelta(days=14)
MOST_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Match:
    """Which jobs of a queue are meant; None means any.

    `error` (a text that the error holds), `since` and `until` (when they died) speak of dead jobs alone.
    """

    queue: str
    kind: str | None = None
    lane: str | None = None
    company_id: str | None = None
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def unfinished(self) -> tuple[str, str | None, str | None, str | None]:
        """As the statements about jobs that are not dead take it."""
        return self.queue, self.kind, self.lane, self.company_id

    @property
    def values(self) -> tuple[object, ...]:
        """As the statements about dead jobs take it."""
        return *self.unfinished, self.error, self.since, self.until


@dataclass(frozen=True, slots=True)
class Attempt:
    """One failed start of a job: `outcome` is failed, timeout, lost or discarded."""

    attempt: int
    outcome: str
    error: str
    worker_id: int | None
    started_at: datetime
    finished_at: datetime
    duration_ms: float | None


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that failed for good, as the set `<queue>:failed` lists it."""

    id: int
    queue: str
    kind: str
    lane: str
    payload: Any
    reason: str
    error: str
    attempt: int
    max_attempts: int
    company_id: str | None
    trace_id: str
    enqueued_at: datetime
    died_at: datetime


async def list_dead(
    tx: Tx, match: Match, *, before: tuple[datetime, int] | None = None, limit: int = 100
) -> list[DeadJob]:
    """The dead jobs that match, youngest first, at most 1,000; `before` is (died_at, id) of the last one seen."""
    rows = await dead_rows.list_dead_everywhere(tx, match.values, before, min(max(limit, 1), 1_000))
    return [_dead(row) for row in rows]


async def get_dead(tx: Tx, job_id: int) -> DeadJob:
    """The dead job; JobNotFound."""
    row = await dead_rows.find_dead_everywhere(tx, job_id)
    if row is None:
        raise JobNotFound
    return _dead(row)


async def attempts_of_job(tx: Tx, job_id: int) -> list[Attempt]:
    """Every failed start of the job, oldest first, kept for 60 days."""
    rows = await dead_rows.attempts_everywhere(tx, job_id)
    names = ("attempt", "outcome", "error", "worker_id", "started_at", "finished_at", "duration_ms")
    return [Attempt(**{name: row[name] for name in names}) for row in rows]


async def redrive(tx: Tx, job_id: int) -> None:
    """The dead job is in line again with all its attempts ahead. JobNotFound; RedriveRefused if its key is taken."""
    if not await dead_rows.redrive_everywhere(tx, job_id):
        await get_dead(tx, job_id)
        raise RedriveRefused


async def redrive_matching(tx: Tx, match: Match, *, limit: int = MOST_AT_ONCE) -> int:
    """Up to `limit` matching dead jobs are in line again, oldest first; how many.

    One whose dedupe key an unfinished job has stays dead and is not counted; of several with one key the oldest goes.
    """
    return await dead_rows.redrive_matching_everywhere(tx, match.values, min(limit, MOST_AT_ONCE))


async def clear(tx: Tx, job_id: int) -> None:
    """The dead job is gone; JobNotFound."""
    if not await dead_rows.clear_everywhere(tx, job_id):
        raise JobNotFound


async def clear_matching(tx: Tx, match: Match, *, limit: int = MOST_AT_ONCE) -> int:
    """Up to `limit` matching dead jobs are gone, oldest first; how many. Nothing else of the queue is touched."""
    return await dead_rows.clear_matching_everywhere(tx, match.values, min(limit, MOST_AT_ONCE))


async def cancel(tx: Tx, job_id: int) -> None:
    """The job that had not started will not; JobNotFound where it is active, ended or unknown."""
    if not await dead_rows.cancel_everywhere(tx, job_id):
        raise JobNotFound


async def cancel_matching(tx: Tx, match: Match, *, limit: int = MOST_AT_ONCE) -> int:
    """Up to `limit` matching jobs that are not active will not run; how many."""
    return await dead_rows.cancel_matching_everywhere(tx, match.unfinished, min(limit, MOST_AT_ONCE))


async def promote(tx: Tx, job_id: int) -> None:
    """The delayed or retrying job is in line now; JobNotFound where it is in another state."""
    if not await dead_rows.promote_one_everywhere(tx, job_id):
        raise JobNotFound


async def announce_deaths(tx: Tx, dead: Iterable[Record]) -> None:
    """Each dead job is announced as `job.died` with the transaction (C-16)."""
    for row in dead:
        await outbox.announce(
            tx,
            "job.died",
            company_id=row["company_id"],
            actor=outbox.Actor(kind="job", id=str(row["id"]), name=row["kind"]),
            data={name: row[name] for name in ("id", "queue", "kind", "attempt", "reason", "error")},
            trace_id=row["trace_id"] or None,
        )


def readable(payload: str) -> Any:
    """The kept payload as a value; its text where SQL took what no answer can hold: too deep, or too large a number."""
    try:
        value = orjson.loads(payload)
        orjson.dumps([[[[value]]]])
    except (TypeError, ValueError):
        return payload
    return value


def _dead(row: Record) -> DeadJob:
    names: Sequence[str] = ("id", "queue", "kind", "lane", "reason", "error", "attempt", "max_attempts", "trace_id")
    return DeadJob(
        payload=readable(row["payload"]),
        company_id=None if row["company_id"] is None else str(row["company_id"]),
        enqueued_at=row["enqueued_at"],
        died_at=row["died_at"],
        **{name: row[name] for name in names},
    )
