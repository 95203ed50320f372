"""What becomes of the runs of schedules: on record with the acknowledgement, in the logs, and announced where late."""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Final

from mainstay.jobs.held import Held
from mainstay.jobs.queries import schedules as rows
from mainstay.kernel import outbox, telemetry
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Discard, Retry, Schedule

_log = logger(__name__)
SCHEDULER: Final = Actor(kind="rule", id="jobs.schedules", name="Schedules")


class RunBook:
    """Keeps the records of one worker's runs."""

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self._kinds = frozenset(schedule.kind for schedule in schedules)

    async def note(self, tx: Tx, taken: Sequence[Held], kept: Collection[int]) -> None:
        """Attempts that are acknowledged with this transaction are on record where their jobs are runs of schedules."""
        if not self._kinds:
            return
        ended = [held for held in taken if held.job.kind in self._kinds and held.job.id in kept]
        if ended:
            columns = [(one.job.id, one.duration_ms, one.job.attempt, _outcome_of(one)) for one in ended]
            found = await rows.note_runs_everywhere(tx, *map(list, zip(*columns, strict=True)))
            await announce_late(tx, (row for row in found if row["is_newly_late"]))
            log_ended(found)


async def announce_late(tx: Tx, late: Iterable[Record]) -> None:
    """Each run that is late is announced as `schedule.late` with the transaction, while it waits or once it began."""
    for row in late:
        started_at = row["started_at"]
        data = {
            "schedule": row["schedule"],
            "dueAt": iso(row["due_at"]),
            "startedAt": None if started_at is None else iso(started_at),
            "jobId": str(row["job_id"]),
        }
        await outbox.announce(tx, "schedule.late", company_id=None, actor=SCHEDULER, data=data)


def log_ended(found: Iterable[Record]) -> None:
    """Each run that ended is a line in the logs, and in the metrics."""
    for row in found:
        if row["outcome"] is None:
            continue
        telemetry.SCHEDULE_RUNS.labels(row["schedule"], row["outcome"]).inc()
        if row["due_at"] is not None and row["started_at"] is not None:
            lateness = max(row["started_at"] - row["due_at"], timedelta(0))
            telemetry.SCHEDULE_LATENESS.labels(row["family"]).observe(lateness.total_seconds())
        moments = {name: None if row[name] is None else iso(row[name]) for name in ("due_at", "started_at", "ended_at")}
        _log.info(
            "a scheduled run ended",
            schedule=row["schedule"],
            outcome=row["outcome"],
            **moments,
            duration_ms=None if row["duration_ms"] is None else round(row["duration_ms"], 1),
            attempt=row["attempt"],
            job=row["job_id"],
        )


def _outcome_of(held: Held) -> str | None:
    """How the run ended; None where its job goes on."""
    outcome = held.outcome
    if outcome is None:
        return "completed"
    if isinstance(outcome, Discard) or (isinstance(outcome, Retry) and held.job.attempt >= held.job.max_attempts):
        return "dead"
    return None
