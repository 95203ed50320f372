"""A job in a worker's hands, and the figures that its end adds to."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal

from mainstay.jobs.claiming import Station
from mainstay.kernel import telemetry
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Discard, Hold, Job, Outcome, Snooze, Task

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
    """The ended attempts are in the metrics: time, failures, and jobs that ended for good."""
    by_queue: dict[str, list[Held]] = {}
    for held in taken:
        if held.job.id in kept:
            by_queue.setdefault(held.job.queue, []).append(held)
    for queue, ended in by_queue.items():
        meter = _METERS.get(queue) or _METERS.setdefault(queue, _Meter(queue))
        meter.observe([held.duration_ms / 1000 for held in ended])
        others = [held for held in ended if held.outcome is not None]
        meter.completed.inc(len(ended) - len(others))
        for held in others:
            if not isinstance(held.outcome, Snooze | Hold):
                meter.errors.inc()
                if isinstance(held.outcome, Discard) or held.job.attempt >= held.job.max_attempts:
                    meter.dead.inc()


class _Meter:
    """The figures of one queue, looked up once."""

    __slots__ = ("_seconds", "completed", "dead", "errors")

    def __init__(self, queue: str) -> None:
        self._seconds = telemetry.JOB_SECONDS.labels(queue)
        self.completed = telemetry.JOBS.labels(queue, "completed")
        self.dead = telemetry.JOBS.labels(queue, "dead")
        self.errors = telemetry.JOB_ERRORS.labels(queue)

    def observe(self, seconds: Sequence[float]) -> None:
        """These times more, added a bucket at a time: the library's own way takes two locks a time."""
        bounds, buckets = self._seconds._upper_bounds, self._seconds._buckets
        self._seconds._sum.inc(sum(seconds))
        for index, count in Counter(bisect_left(bounds, each) for each in seconds).items():
            buckets[index].inc(count)


_METERS: dict[str, _Meter] = {}


def clean(text: str) -> str:
    """The text as PostgreSQL can keep it, cut at 2,000 characters."""
    return text[:ERROR_LENGTH].replace("\0", "").encode("utf-8", "replace").decode()
