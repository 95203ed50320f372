"""Recurring jobs: each slot is a row, so that it runs once over any number of nodes."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from mainstay.jobs import enqueueing
from mainstay.jobs.queries import schedules
from mainstay.jobs.timetable import last_slot
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database
from mainstay.kernel.work import Schedule, Task

SKIP_AFTER = timedelta(seconds=60)


class Scheduler:
    """Enqueues what is due. A schedule that was never seen before begins with its next slot."""

    def __init__(self, db: Database, schedules: Sequence[Schedule], tasks: Mapping[str, Task]) -> None:
        unknown = sorted({schedule.kind for schedule in schedules} - set(tasks))
        if unknown:
            raise ValueError(f"schedules name kinds without a task: {', '.join(unknown)}")
        self._db = db
        self._schedules = schedules
        self._tasks = tasks
        self._settled: dict[str, datetime] = {}

    async def run_once(self) -> int:
        """Every slot that is due by the database's clock is on record, with its job if it is to run; how many new jobs.

        While a schedule's last job is unfinished, a new slot is on record with that one: runs do not pile up.
        """
        if not self._schedules:
            return 0
        now = await schedules.now_everywhere(self._db)
        started = 0
        for schedule in self._schedules:
            due_at = last_slot(schedule.slots, now)
            if self._settled.get(schedule.name) != due_at:
                started += await self._settle(schedule, due_at, now)
                self._settled[schedule.name] = due_at
        return started

    async def _settle(self, schedule: Schedule, due_at: datetime, now: datetime) -> bool:
        telemetry.enter_trace(telemetry.start_trace(None, None))
        async with self._db.begin() as tx:
            last = await schedules.last_run_everywhere(tx, schedule.name)
            if last is not None and last >= due_at:
                return False
            if not await schedules.take_slot_everywhere(tx, schedule.name, due_at):
                return False
            if last is None or (schedule.missed == "skip" and now - due_at > SKIP_AFTER):
                return False
            key = f"schedule {schedule.name}"
            job = await enqueueing.enqueue(tx, self._tasks[schedule.kind], schedule.payload, dedupe_key=key)
            await schedules.fill_slot_everywhere(tx, schedule.name, due_at, job.id)
        return not job.deduplicated
