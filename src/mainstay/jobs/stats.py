"""What is in each queue: counts by state, its depth minute by minute, and the jobs themselves."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from mainstay.jobs.queries import lines, planning
from mainstay.jobs.queries import queues as queue_rows
from mainstay.kernel import telemetry
from mainstay.kernel.clock import Clock
from mainstay.kernel.db import Connection, Database

COUNTED_TO = 100_000
_GAUGED_TO = 1_000_000
DEPTHS_KEPT = timedelta(days=2)
_LISTED_MOST = 1_000

State = Literal["waiting", "active", "delayed", "retrying"]
Depth = tuple[datetime, int, int, int, int]


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The jobs of one queue by state (G-24). `completed` is of the last 30 days; `dead` is publicly also `failed`.

    A count of `bound` is a floor: there may be more.
    """

    queue: str
    priority: int
    waiting: int
    delayed: int
    active: int
    retrying: int
    completed: int
    dead: int
    paused_at: datetime | None
    paused_by: str | None
    bound: int

    @property
    def paused(self) -> bool:
        """Whether the queue starts nothing now."""
        return self.paused_at is not None


@dataclass(frozen=True, slots=True)
class ListedJob:
    """One unfinished job as a list shows it; its payload is left out."""

    id: int
    kind: str
    lane: str
    priority: int
    attempt: int
    max_attempts: int
    company_id: str | None
    trace_id: str
    enqueued_at: datetime
    started_at: datetime | None
    due_at: datetime | None
    worker_id: int | None


async def stats(db: Database, *, bound: int = COUNTED_TO) -> dict[str, QueueStats]:
    """Every queue's counts, exact up to `bound` a state; completed is always exact."""
    async with planning.begin_by_line(db) as tx:
        rows = await queue_rows.stats_everywhere(tx, bound)
    return {row["queue"]: QueueStats(**dict(row), bound=bound) for row in rows}


async def depths(connection: Connection, *, minutes: int = 60) -> dict[str, list[Depth]]:
    """(minute, waiting, active, retrying, dead) by queue, oldest first, of up to two days; empty where nobody counted.

    Counts are of some moment of the minute and go to a million at most.
    """
    span = min(timedelta(minutes=max(minutes, 1)), DEPTHS_KEPT)
    found: dict[str, list[Depth]] = {}
    for row in await queue_rows.minutes_everywhere(connection, span):
        found.setdefault(row["queue"], []).append(tuple(row)[1:])
    return found


async def list_jobs(
    connection: Connection, *, queue: str, state: State, before_id: int | None = None, limit: int = 50
) -> list[ListedJob]:
    """The queue's jobs in that state with ids below `before_id`, highest first, at most 1,000; ValueError.

    Of those waiting the 10,000 that are last in line are listed, and no more.
    """
    if state not in get_args(State):
        raise ValueError(f"there is no list of {state!r} jobs")
    count = min(max(limit, 1), _LISTED_MOST)
    rows = await lines.list_jobs_everywhere(connection, state, queue, before_id, count)
    return [ListedJob(**_plain(row)) for row in rows]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    company_id = row["company_id"]
    return {**dict(row), "company_id": None if company_id is None else str(company_id)}


class Gauge:
    """Tells the metrics how much waits, and once a minute writes every queue's depth down."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._written: datetime | None = None

    async def run_once(self) -> None:
        """The counts are told; then a rest, since beside an old snapshot the count walks all that it keeps.

        It never takes more than a fiftieth of the time.
        """
        started = time.monotonic()
        counts = (await stats(self._db, bound=_GAUGED_TO)).values()
        for each in counts:
            telemetry.QUEUE_SIZE.labels(each.queue).set(each.waiting)
        minute = self._clock.now().replace(second=0, microsecond=0)
        if counts and minute != self._written:
            columns = zip(*((q.queue, q.waiting, q.active, q.retrying, q.dead) for q in counts), strict=True)
            await queue_rows.write_minute_everywhere(self._db, [list(column) for column in columns])
            self._written = minute
        await asyncio.sleep(50 * (time.monotonic() - started))
