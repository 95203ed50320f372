"""A job in a worker's hands, and the figures that its end adds to."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from mainstay.jobs.claiming import Station
from mainstay.jobs.failures import class_of
from mainstay.kernel import telemetry
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Discard, Job, Outcome, Retry, Task

ERROR_LENGTH = 2_000


class Held:
    """A job that this worker holds: what it is, its priority and place in line, how it is going, how it ended."""

    __slots__ = (
        "backoff",
        "context",
        "deadline",
        "duration_ms",
        "failure",
        "handle",
        "is_acted",
        "is_seated",
        "is_settled",
        "is_timed_out",
        "job",
        "outcome",
        "place",
        "result",
        "started",
        "station",
        "task",
    )

    def __init__(
        self,
        job: Job,
        place: tuple[int, int],
        task: Task | None,
        backoff: Backoff,
        station: Station,
        deadline: float,
    ) -> None:
        self.job = job
        self.place = place
        self.task = task
        self.backoff = backoff
        self.station = station
        self.deadline = deadline
        self.started = 0.0
        self.duration_ms = 0.0
        self.handle: asyncio.Task[None] | None = None
        self.context: Any = None
        self.is_acted = self.is_seated = self.is_settled = self.is_timed_out = False
        self.outcome: Outcome = None
        self.result: Any = None
        self.failure: Literal["failed", "timeout", "discarded"] = "failed"


def count_ended(taken: Iterable[Held], kept: Collection[int]) -> None:
    """The ended attempts are in the metrics and in their worker's figures: time, failures, and jobs that ended."""
    by_kind: dict[tuple[Station, str], list[Held]] = {}
    for held in taken:
        job = held.job
        if job.id in kept:
            key = held.station, job.kind
            if key in by_kind:
                by_kind[key].append(held)
            else:
                by_kind[key] = [held]
    for (station, kind), ended in by_kind.items():
        queue = station.config.name
        meter = _METERS.get((queue, kind)) or _METERS.setdefault((queue, kind), _Meter(queue, kind))
        meter.observe([held.duration_ms / 1000 for held in ended])
        others = [held for held in ended if held.outcome is not None]
        if len(ended) > len(others):
            meter.completed.inc(len(ended) - len(others))
            meter.completed_kind.inc(len(ended) - len(others))
            station.tally[kind, "completed", ""] += len(ended) - len(others)
        for held in others:
            if isinstance(held.outcome, Retry | Discard):
                is_dead = isinstance(held.outcome, Discard) or held.job.attempt >= held.job.max_attempts
                count_failed(station, kind, class_of(held.failure, held.outcome.reason), is_dead=is_dead)


def count_failed(station: Station, kind: str, error_class: str, *, is_dead: bool, count: int = 1) -> None:
    """So many attempts of the kind failed in that way, and their jobs are dead or are tried again."""
    queue = station.config.name
    meter = _METERS.get((queue, kind)) or _METERS.setdefault((queue, kind), _Meter(queue, kind))
    meter.errors.inc(count)
    telemetry.JOB_FAILURES.labels(queue, error_class).inc(count)
    telemetry.KIND_ATTEMPTS.labels(kind, "dead" if is_dead else "retried").inc(count)
    if is_dead:
        meter.dead.inc(count)
    station.tally[kind, "dead" if is_dead else "retried", error_class] += count


class _Meter:
    """The figures of one kind in one queue, looked up once."""

    __slots__ = ("_seconds", "completed", "completed_kind", "dead", "errors")

    def __init__(self, queue: str, kind: str) -> None:
        self._seconds = telemetry.JOB_SECONDS.labels(queue)
        self.completed = telemetry.JOBS.labels(queue, "completed")
        self.completed_kind = telemetry.KIND_ATTEMPTS.labels(kind, "completed")
        self.dead = telemetry.JOBS.labels(queue, "dead")
        self.errors = telemetry.JOB_ERRORS.labels(queue)

    def observe(self, seconds: Sequence[float]) -> None:
        """These times more, added a bucket at a time: the library's own way takes two locks a time."""
        bounds, buckets = self._seconds._upper_bounds, self._seconds._buckets
        self._seconds._sum.inc(sum(seconds))
        for index, count in Counter(bisect_left(bounds, each) for each in seconds).items():
            buckets[index].inc(count)


_METERS: dict[tuple[str, str], _Meter] = {}


def clean(text: str) -> str:
    """The text as PostgreSQL can keep it, cut at 2,000 characters."""
    return text[:ERROR_LENGTH].replace("\0", "").encode("utf-8", "replace").decode()
