"""What is in each queue: counts by state, its depth minute by minute, and the jobs themselves."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from mainstay.jobs.claiming import Station
from mainstay.jobs.queries import lines, planning
from mainstay.jobs.queries import queues as queue_rows
from mainstay.kernel import telemetry
from mainstay.kernel.clock import Clock
from mainstay.kernel.db import Connection, Database

COUNTED_TO = 100_000
_GAUGED_TO = 1_000_000
FIGURES_MINUTES = 15
DEPTHS_KEPT = timedelta(days=2)
_GAUGED = ("waiting", "delayed", "active", "retrying", "dead")
_LISTED_MOST = 1_000

State = Literal["waiting", "active", "delayed", "retrying"]
Depth = tuple[datetime, int, int, int, int]


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The jobs of one queue by state (G-24). `completed` is of the last 30 days; `dead` is publicly also `failed`.

    A count of `bound` is a floor: there may be more. `concurrency`: the slots of each worker that an operator set at
    run time, by whom and when; None where every worker has its own configured ones. `oldest_ready_seconds`: how
    long the first in line could have been started.
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
    concurrency: int | None = None
    concurrency_by: str | None = None
    concurrency_at: datetime | None = None
    oldest_ready_seconds: float | None = None

    @property
    def paused(self) -> bool:
        """Whether the queue starts nothing now."""
        return self.paused_at is not None


@dataclass(frozen=True, slots=True)
class KindFigures:
    """How the attempts of a kind ended in some span: completed, retried, or dead with their job; failures by class."""

    queue: str
    kind: str
    completed: int
    retried: int
    dead: int
    failures: Mapping[str, int]

    @property
    def success_ratio(self) -> float | None:
        """Jobs that completed, of those that ended (C-26); None where none ended."""
        ended = self.completed + self.dead
        return self.completed / ended if ended else None

    @property
    def failure_rate(self) -> float | None:
        """Attempts that failed, of all (C-26); None where there were none."""
        attempts = self.completed + self.retried + self.dead
        return (self.retried + self.dead) / attempts if attempts else None


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


async def kind_figures(connection: Connection, *, minutes: int = FIGURES_MINUTES) -> list[KindFigures]:
    """Every kind with attempts in the last `minutes` (up to two days), by name.

    Workers write what ended every few seconds; what one has not written when it is killed is missing.
    """
    span = min(timedelta(minutes=max(minutes, 1)), DEPTHS_KEPT)
    found: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for row in await queue_rows.kind_figures_everywhere(connection, span):
        by_outcome = found.setdefault((row["queue"], row["kind"]), {})
        by_outcome.setdefault(row["outcome"], Counter())[row["error_class"]] = row["attempts"]
    figures = []
    for (queue, kind), by_outcome in found.items():
        completed, retried, dead = (by_outcome.get(name, Counter()) for name in ("completed", "retried", "dead"))
        totals = completed.total(), retried.total(), dead.total()
        figures.append(KindFigures(queue, kind, *totals, failures=dict(retried + dead)))
    return figures


def over_retried(figures: Iterable[KindFigures], *, most: int) -> list[KindFigures]:
    """Those with more retries than the set figure, the most first."""
    return sorted((each for each in figures if each.retried > most), key=lambda each: -each.retried)


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
    """Tells the metrics how much waits and how kinds fare, and once a minute writes every queue's depth down."""

    def __init__(self, db: Database, clock: Clock, stations: Sequence[Station] = ()) -> None:
        self._db = db
        self._clock = clock
        self._stations = stations
        self._written: datetime | None = None

    async def run_once(self) -> None:
        """The counts are told; then a rest, since beside an old snapshot the count walks all that it keeps.

        It never takes more than a fiftieth of the time.
        """
        started = time.monotonic()
        await self.tell()
        await asyncio.sleep(50 * (time.monotonic() - started))

    async def tell(self) -> None:
        """What ended here is in the figures of its kinds; the metrics and the minute's depths are as they stand."""
        await self.write_tallies()
        counts = (await stats(self._db, bound=_GAUGED_TO)).values()
        for each in counts:
            telemetry.QUEUE_SIZE.labels(each.queue).set(each.waiting)
            telemetry.QUEUE_OLDEST.labels(each.queue).set(each.oldest_ready_seconds or 0.0)
            for state in _GAUGED:
                telemetry.QUEUE_DEPTH.labels(each.queue, state).set(getattr(each, state))
        for figures in await kind_figures(self._db):
            telemetry.KIND_RETRIES.labels(figures.kind).set(figures.retried)
            if figures.success_ratio is not None:
                telemetry.KIND_SUCCESS.labels(figures.kind).set(figures.success_ratio)
        minute = self._clock.now().replace(second=0, microsecond=0)
        if counts and minute != self._written:
            columns = zip(*((q.queue, q.waiting, q.active, q.retrying, q.dead) for q in counts), strict=True)
            await queue_rows.write_minute_everywhere(self._db, [list(column) for column in columns])
            self._written = minute

    async def write_tallies(self) -> None:
        """What ended here is in the figures of its kinds."""
        taken = [(station, Counter(station.tally)) for station in self._stations if station.tally]
        rows = [(station.config.name, *key, count) for station, tally in taken for key, count in tally.items()]
        if rows:
            await queue_rows.tally_kinds_everywhere(self._db, [list(column) for column in zip(*rows, strict=True)])
        for station, tally in taken:
            station.tally -= tally
