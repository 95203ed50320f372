"""Statements about the slots of schedules, and the database's time."""

from datetime import datetime, timedelta

from mainstay.kernel.db import Database, Sql, Tx

_NOW = Sql("jobs.now", "select mainstay.now()")
_LAST_RUN = Sql("jobs.last_run", "select max(due_at) from mainstay.schedule_runs where schedule = $1")
_TAKE_SLOT = Sql(
    "jobs.take_slot",
    "insert into mainstay.schedule_runs (schedule, due_at) values ($1, $2) on conflict do nothing returning schedule",
)
_FILL_SLOT = Sql("jobs.fill_slot", "update mainstay.schedule_runs set job_id = $3 where schedule = $1 and due_at = $2")
_PRUNE_SLOTS = Sql(
    "jobs.prune_slots",
    """delete from mainstay.schedule_runs r where due_at < mainstay.now() - $1::interval
       and exists (select from mainstay.schedule_runs n where n.schedule = r.schedule and n.due_at > r.due_at)""",
)


async def now_everywhere(db: Database) -> datetime:
    """The database's time."""
    moment: datetime = await db.value(_NOW)
    return moment


async def last_run_everywhere(tx: Tx, schedule: str) -> datetime | None:
    """The newest slot on record."""
    found: datetime | None = await tx.value(_LAST_RUN, schedule)
    return found


async def take_slot_everywhere(tx: Tx, schedule: str, due_at: datetime) -> bool:
    """Whether this transaction, and no other, has the slot."""
    return await tx.value(_TAKE_SLOT, schedule, due_at) is not None


async def fill_slot_everywhere(tx: Tx, schedule: str, due_at: datetime, job_id: int) -> None:
    """The slot names its job."""
    await tx.run(_FILL_SLOT, schedule, due_at, job_id)


async def prune_slots_everywhere(db: Database, keep: timedelta) -> None:
    """Slots due longer ago than that are gone, but each schedule's newest slot stays."""
    await db.run(_PRUNE_SLOTS, keep)
