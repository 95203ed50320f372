"""Schedules as operators see them: when each runs, what became of its runs, and a run by hand."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson

from mainstay.jobs import enqueueing
from mainstay.jobs.errors import ScheduleNotFound
from mainstay.jobs.queries import schedule_lists as lists
from mainstay.jobs.queries import schedules as rows
from mainstay.jobs.timetable import as_cron, in_words, last_slot, next_slot, read
from mainstay.kernel import outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.outbox import Actor

MOST_RUNS: Final = 1_000
_MOST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One run of a schedule: of the slot `due_at`, or asked for by hand (`asked_by`).

    `state` is waiting, active or retrying while it goes on, then completed, dead or cancelled. `covered` is how many
    later slots came while it went on.
    """

    job_id: int
    due_at: datetime | None
    asked_by: str | None
    enqueued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    state: str
    attempt: int | None
    duration: timedelta | None
    is_late: bool
    covered: int = 0

    @property
    def lateness(self) -> timedelta | None:
        """From the slot to the start of the run."""
        if self.due_at is None or self.started_at is None:
            return None
        return max(self.started_at - self.due_at, timedelta(0))

    def shown(self) -> dict[str, Any]:
        """As JSON has it; times in seconds."""
        return {
            "jobId": str(self.job_id),
            "dueAt": _iso(self.due_at),
            "askedBy": self.asked_by,
            "enqueuedAt": iso(self.enqueued_at),
            "startedAt": _iso(self.started_at),
            "endedAt": _iso(self.ended_at),
            "state": self.state,
            "attempt": self.attempt,
            "durationSeconds": _seconds(self.duration),
            "latenessSeconds": _seconds(self.lateness),
            "isLate": self.is_late,
            "covered": self.covered,
        }


@dataclass(frozen=True, slots=True)
class ListedSchedule:
    """A schedule, its next slot, and the run of the last slot that had one.

    `concerns` are of now: 'late' (the last run began late, or has not begun), 'missing' (a slot that is due has no
    run), 'overlapping' (the newest slot found the run before it unfinished), 'failing' (the last run is dead).
    `missed_slots` and `missed_before` tell of the newest gap: so many slots before that one had no run.
    """

    name: str
    family: str
    title: str
    kind: str
    queue: str
    slots: str
    cron: str | None
    missed: str
    late_after: timedelta
    next_at: datetime
    last_slot_at: datetime | None
    last_run: ScheduleRun | None
    concerns: tuple[str, ...]
    missed_slots: int
    missed_before: datetime | None
    seen_at: datetime

    def shown(self) -> dict[str, Any]:
        """As JSON has it; times in seconds."""
        same = ("name", "family", "title", "kind", "queue", "slots", "cron", "missed")
        return {
            **{name: getattr(self, name) for name in same},
            "lateAfterSeconds": self.late_after.total_seconds(),
            "nextAt": iso(self.next_at),
            "lastSlotAt": _iso(self.last_slot_at),
            "lastRun": None if self.last_run is None else self.last_run.shown(),
            "concerns": list(self.concerns),
            "missedSlots": self.missed_slots,
            "missedBefore": _iso(self.missed_before),
            "seenAt": iso(self.seen_at),
        }


@dataclass(frozen=True, slots=True)
class RunByHand:
    """The job that runs because somebody asked; not new where one was unfinished already."""

    job_id: int
    is_new: bool


async def list_schedules(db: Connection, *, family: str | None = None) -> list[ListedSchedule]:
    """Every schedule that a worker told of within the last day, by family and name."""
    return [_listed(row) for row in await lists.list_schedules_everywhere(db, None, family)]


async def get_schedule(db: Connection, name: str) -> ListedSchedule:
    """The schedule of that name; ScheduleNotFound."""
    found = await lists.list_schedules_everywhere(db, name, None)
    if not found:
        raise ScheduleNotFound(f"There is no schedule {name!r}.")
    return _listed(found[0])


async def list_runs(db: Connection, name: str, *, before_id: int | None = None, limit: int = 50) -> list[ScheduleRun]:
    """Runs of the schedule, newest first, at most 1,000; `before_id` is the job id of the last one seen."""
    found = await lists.list_runs_everywhere(
        db, name, _MOST_ID if before_id is None else before_id, min(max(limit, 1), MOST_RUNS)
    )
    return [_run(row, covered=row["covered"]) for row in found]


async def run_now(tx: Tx, actor: Actor, name: str) -> RunByHand:
    """One run as soon as a worker is free; while one is unfinished, that one stands for it. ScheduleNotFound.

    A new one is announced as `schedule.run_by_hand` and stands for no slot; a slot that comes meanwhile is covered.
    """
    found = await lists.find_schedule_everywhere(tx, name)
    if found is None:
        raise ScheduleNotFound(f"There is no schedule {name!r}.")
    job = await enqueueing.enqueue(
        tx,
        found["kind"],
        orjson.loads(found["payload"]),
        queue=found["queue"],
        priority=found["priority"],
        attempts=found["max_attempts"],
        dedupe_key=f"schedule {name}",
    )
    if not job.deduplicated:
        await rows.add_run_by_hand_everywhere(tx, job.id, name, actor.name or actor.email or actor.id)
        data: dict[str, Any] = {"schedule": name, "jobId": str(job.id)}
        await outbox.announce(tx, "schedule.run_by_hand", company_id=None, actor=actor, data=data)
    return RunByHand(job.id, not job.deduplicated)


async def is_unfinished(db: Connection, name: str) -> bool:
    """Whether a run of the schedule waits, runs or will be tried again."""
    return await lists.has_unfinished_run_everywhere(db, name)


def _listed(row: Record) -> ListedSchedule:
    slots, now, newest = read(row["slots"]), row["now"], row["slot_at"]
    run = None if row["job_id"] is None else _run(row)
    concerns = []
    if run is not None and run.is_late:
        concerns.append("late")
    if newest is not None and newest < last_slot(slots, now - row["late_after"]):
        concerns.append("missing")
    if row["is_covered"] and run is not None and run.ended_at is None:
        concerns.append("overlapping")
    if run is not None and run.state == "dead":
        concerns.append("failing")
    return ListedSchedule(
        **{name: row[name] for name in ("name", "family", "title", "kind", "queue", "late_after", "seen_at")},
        slots=in_words(slots),
        cron=as_cron(slots),
        missed=row["missed_rule"],
        next_at=next_slot(slots, now),
        last_slot_at=newest,
        last_run=run,
        concerns=tuple(concerns),
        missed_slots=row["gap"] or 0,
        missed_before=row["gap_at"],
    )


def _run(row: Record, *, covered: int = 0) -> ScheduleRun:
    state = row["outcome"] or {"delayed": "retrying", "parked": "waiting"}.get(
        row["state"], row["state"] or "cancelled"
    )
    return ScheduleRun(
        **{name: row[name] for name in ("job_id", "due_at", "asked_by", "enqueued_at", "started_at", "ended_at")},
        state=state,
        attempt=row["attempt"],
        duration=None if row["duration_ms"] is None else timedelta(milliseconds=row["duration_ms"]),
        is_late=row["late_at"] is not None,
        covered=covered,
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 3)
