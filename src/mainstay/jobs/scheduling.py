"""Recurring jobs: each slot is a row, so that it runs once over any number of nodes."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mainstay.jobs.enqueueing import encode
from mainstay.jobs.queries import schedules as rows
from mainstay.jobs.queries.schedules import ScheduleRow, SlotRow
from mainstay.jobs.queues import attempts_of
from mainstay.jobs.runs import SCHEDULER, announce_late, log_ended
from mainstay.jobs.timetable import count_between, last_slot, next_slot, write
from mainstay.kernel import ids, outbox, telemetry
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger
from mainstay.kernel.work import Schedule, Task

_log = logger(__name__)
SKIP_AFTER = timedelta(seconds=60)
_TELL_SECONDS = 600.0
_WATCH_SECONDS = 5.0
_LEAST_SLEEP_SECONDS = 0.005
_FOLLOWERS_WAIT_SECONDS = 0.1
_AFTER_AT_MOST = timedelta(seconds=30)
_FORESEEN = timedelta(milliseconds=50)
_TRIES = 5
_Open = tuple[Schedule, datetime | None]
"""A schedule with a slot to settle, and its newest slot on record."""


class Scheduler:
    """Enqueues what is due. A schedule that was never seen before begins with its next slot.

    Of several schedulers one settles the slots of a moment, all in one transaction; the others look whether it did. If
    it dies on the way, its transaction is undone and another settles them, within a fifth of a second or so.
    """

    def __init__(self, db: Database, schedules: Sequence[Schedule], tasks: Mapping[str, Task]) -> None:
        unknown = sorted({schedule.kind for schedule in schedules} - set(tasks))
        if unknown:
            raise ValueError(f"schedules name kinds without a task: {', '.join(unknown)}")
        if len({schedule.name for schedule in schedules}) != len(schedules):
            raise ValueError("each schedule needs a name of its own")
        if {one.after for one in schedules if one.after} - {one.name for one in schedules}:
            raise ValueError("a schedule comes after one that is not here")
        self._db = db
        self._schedules = schedules
        self._rows = {schedule.name: _row_of(schedule, tasks[schedule.kind]) for schedule in schedules}
        self._next: dict[str, datetime] = {}
        self._ahead = datetime(1970, 1, 1, tzinfo=UTC)
        self._look_at = self._told_at = self._watched_at = float("-inf")

    async def run_when_due(self, longest_seconds: float) -> int:
        """`run_once` at the next slot, or after so many seconds: a slot that nobody foresaw is met then."""
        wait = self._look_at - time.monotonic()
        await asyncio.sleep(min(max(wait, _LEAST_SLEEP_SECONDS), longest_seconds))
        return await self.run_once()

    async def run_once(self) -> int:
        """Every slot that is due by the database's clock is on record, with its job if it is to run; how many new jobs.

        While a schedule's last job is unfinished, a new slot is on record with that one: runs do not pile up.
        """
        if not self._schedules:
            self._look_at = float("inf")
            return 0
        if time.monotonic() - self._told_at > _TELL_SECONDS:
            await rows.tell_schedules_everywhere(self._db, list(self._rows.values()))
            self._told_at = time.monotonic()
        now, due = await self._due()
        heard_at = time.monotonic()
        self._ahead = now - timedelta(seconds=heard_at)
        started = await self._settle(due, now) if due else 0
        waiting = [self._next[one.name] for one in self._schedules if one.name in self._next]
        if len(waiting) < len(self._schedules):
            self._look_at = heard_at + _FOLLOWERS_WAIT_SECONDS * (1 + random.random())  # noqa: S311
        else:
            self._look_at = heard_at + (min(waiting) - now).total_seconds()
        if time.monotonic() - self._watched_at > _WATCH_SECONDS:
            await self.watch()
            self._watched_at = time.monotonic()
        return started

    async def _due(self) -> tuple[datetime, list[_Open]]:
        """The database's time, and the schedules whose slot of now is not on record, with their newest slot."""
        soon = self._ahead + timedelta(seconds=time.monotonic()) + _FORESEEN
        asked = [one.name for one in self._schedules if one.name not in self._next or self._next[one.name] <= soon]
        now, last = await rows.look_everywhere(self._db, asked)
        due = [one for one in self._schedules if one.name not in self._next or self._next[one.name] <= now]
        if unforeseen := [one.name for one in due if one.name not in last]:
            last |= (await rows.look_everywhere(self._db, unforeseen))[1]
        left = []
        for one in due:
            newest = last[one.name]
            if newest is None or newest < last_slot(one.slots, now):
                self._next.pop(one.name, None)
                left.append((one, newest))
            else:
                self._next[one.name] = next_slot(one.slots, now)
        return now, left

    async def _settle(self, left: Sequence[_Open], now: datetime) -> int:
        """How many new jobs; where the slots cannot be settled together, each is settled alone."""
        try:
            return await self._settle_together(left, now)
        except Unavailable:
            raise
        except _TakenElsewhere:
            return 0
        except Exception as error:
            if len(left) == 1:
                raise
            _log.error("slots could not be settled together", exc_info=error)
        started, failure = 0, None
        for one in left:
            try:
                started += await self._settle_together([one], now)
            except Unavailable:
                raise
            except _TakenElsewhere:
                continue
            except Exception as error:
                failure = error
        if failure is not None:
            raise failure
        return started

    async def _settle_together(self, left: Sequence[_Open], now: datetime) -> int:
        async with self._db.begin() as tx:
            if not await rows.lead_everywhere(tx, "slots"):
                return 0
            left = await self._ready_of(tx, left, now)
            to_run = [one for one, newest in left if newest is not None and not _is_skipped(one, now)]
            jobs = await self._jobs_for(tx, to_run)
            slots = []
            for one, newest in left:
                job_id, since = jobs.get(one.name, (None, None))
                due_at = last_slot(one.slots, now)
                passed = 0 if newest is None else count_between(one.slots, newest, due_at) + _is_skipped(one, now)
                slots.append(SlotRow(one.name, due_at, job_id, since is not None, passed))
                if newest is not None:
                    await _announce_missed(tx, one, newest, passed, now)
                if newest is not None and job_id is not None and since is not None:
                    await _announce_overlap(tx, one, due_at, newest, job_id, since)
            if slots and not await rows.take_slots_everywhere(tx, slots):
                raise _TakenElsewhere
        for one, _ in left:
            self._next[one.name] = next_slot(one.slots, now)
        for slot in slots:
            if slot.missed:
                telemetry.SCHEDULE_MISSED.labels(slot.schedule).inc(slot.missed)
        return sum(slot.job_id is not None and not slot.is_covered for slot in slots)

    async def _ready_of(self, tx: Tx, left: Sequence[_Open], now: datetime) -> Sequence[_Open]:
        """Without those that wait for the run of another schedule, which is about to be enqueued or has not ended."""
        waiting = [one for one, _ in left if one.after and now - last_slot(one.slots, now) < _AFTER_AT_MOST]
        if not waiting:
            return left
        names = sorted({one.after for one in waiting})
        unfinished = await rows.unfinished_everywhere(tx, names, [self._rows[name].kind for name in names])
        busy = {*unfinished, *(one.name for one, newest in left if newest is not None)}
        return [(one, newest) for one, newest in left if one not in waiting or one.after not in busy]

    async def _jobs_for(self, tx: Tx, to_run: Sequence[Schedule]) -> dict[str, tuple[int, datetime | None]]:
        """By schedule the job that stands for its slot, and for one that was there before since when it is in line."""
        found: dict[str, tuple[int, datetime | None]] = {}
        left = [self._rows[one.name] for one in to_run]
        for _ in range(_TRIES):
            if not left:
                break
            traces = [ids.new_trace_id() for _ in left]
            added = await rows.enqueue_due_everywhere(tx, left, traces)
            found |= {name: (job_id, None) for name, job_id in added.items() if job_id is not None}
            left = [row for row in left if row.name not in found]
            if left:
                found |= await rows.unfinished_everywhere(tx, [one.name for one in left], [one.kind for one in left])
                left = [row for row in left if row.name not in found]
        if not left:
            return found
        raise RuntimeError("the runs of a schedule come and go too fast")

    async def watch(self) -> None:
        """Runs that wait too long are announced, and those whose job ended otherwise are on record as ended."""
        async with self._db.begin() as tx:
            if await rows.lead_everywhere(tx, "watch"):
                await announce_late(tx, await rows.find_late_everywhere(tx))
                log_ended(await rows.find_gone_everywhere(tx))


class _TakenElsewhere(Exception):
    """Another scheduler has settled one of the slots since they were looked at."""


def _row_of(schedule: Schedule, task: Task) -> ScheduleRow:
    return ScheduleRow(
        schedule.name,
        schedule.family or schedule.name.partition(".")[0],
        schedule.title or schedule.name,
        schedule.kind,
        task.queue,
        task.priority,
        attempts_of(task),
        encode(schedule.payload),
        write(schedule.slots),
        schedule.missed,
        schedule.late_after,
    )


def _is_skipped(schedule: Schedule, now: datetime) -> bool:
    return schedule.missed == "skip" and now - last_slot(schedule.slots, now) > SKIP_AFTER


async def _announce_missed(tx: Tx, schedule: Schedule, newest: datetime, passed: int, now: datetime) -> None:
    """Slots that passed without a run are announced together, if the first of them was due long enough ago."""
    first = next_slot(schedule.slots, newest)
    if passed and now - first > schedule.late_after:
        data: dict[str, Any] = {"schedule": schedule.name, "slots": passed, "firstDueAt": iso(first)}
        await outbox.announce(tx, "schedule.missed", company_id=None, actor=SCHEDULER, data=data)


async def _announce_overlap(
    tx: Tx, schedule: Schedule, due_at: datetime, newest: datetime, job_id: int, since: datetime
) -> None:
    """A run that goes on over slots is announced with the first of them by which it is older than `late_after`."""
    if newest - since <= schedule.late_after < due_at - since:
        data = {"schedule": schedule.name, "dueAt": iso(due_at), "jobId": str(job_id), "since": iso(since)}
        await outbox.announce(tx, "schedule.overlapped", company_id=None, actor=SCHEDULER, data=data)
