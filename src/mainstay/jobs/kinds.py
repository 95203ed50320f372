"""Kinds of jobs: pausing one while the others of its queues run, and resuming it by and by.

runs --pause--> paused (0 of 100 start) --resume(share)--> at a share --resume--> runs
  ^                                                                                 |
  +---------- parked jobs return to their places in line, by a job <----------------+
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.jobs import enqueueing
from mainstay.jobs.errors import FigureRefused, KindNotFound
from mainstay.jobs.queries import kinds as rows
from mainstay.jobs.queries import planning
from mainstay.jobs.queues import UPKEEP
from mainstay.kernel import outbox
from mainstay.kernel.db import Connection, Database, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Job, Task

WHOLE = 100
_UNPARK = "jobs.unpark"
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class KindPause:
    """A kind of which `share` of 100 jobs start (0: none), since when, and who said so."""

    kind: str
    share: int
    paused_at: datetime
    paused_by: str


async def pause_kind(tx: Tx, actor: Actor, kind: str) -> None:
    """From the commit on nobody starts a job of the kind; what was claimed before runs to its end. KindNotFound.

    It waits for claims under way, which take milliseconds. Paused jobs stay in line as waiting ones, no attempt is
    counted, and those behind them run. Announced as `kind.paused`, unless it was paused already.
    """
    await _check(tx, kind)
    if await rows.set_share_everywhere(tx, kind, 0, _name_of(actor)) != 0:
        await outbox.announce(tx, "kind.paused", company_id=None, actor=actor, data={"kind": kind})


async def resume_kind(tx: Tx, actor: Actor, kind: str, share: int = WHOLE) -> None:
    """From the commit on `share` of 100 jobs of the kind start (1 to 100), always the same ones. KindNotFound.

    Those set aside return to their old places by a job, a thousand a transaction. FigureRefused for another share.
    Announced as `kind.resumed` with the share, when it changes.
    """
    if not 1 <= share <= WHOLE:
        raise FigureRefused("A share is 1 to 100 of a hundred jobs.")
    await _check(tx, kind)
    before = await rows.set_share_everywhere(tx, kind, share, _name_of(actor))
    if share == (WHOLE if before is None else before):
        return
    await outbox.announce(tx, "kind.resumed", company_id=None, actor=actor, data={"kind": kind, "share": share})
    if before is not None and share > before:
        await enqueueing.enqueue(tx, _UNPARK, {"kind": kind}, queue=UPKEEP, priority=0)


async def list_kind_pauses(connection: Connection) -> list[KindPause]:
    """Every kind that is paused or at a share, by name."""
    return [KindPause(**dict(row)) for row in await rows.pauses_everywhere(connection)]


async def unpark(db: Database, kind: str | None = None) -> int:
    """Parked jobs that may start wait in their places again, lowest place first; how many.

    Without a kind those of kinds that are neither paused nor at a share: what a resume that broke off left behind.
    """
    moved = 0
    for line in await rows.parked_lines_everywhere(db):
        if line["kind"] != kind and (kind is not None or line["is_paused"]):
            continue
        pos, count = 0, _BATCH
        while count == _BATCH:
            async with planning.begin_by_line(db) as tx:
                count, pos = await rows.unpark_everywhere(tx, line["queue"], line["kind"], pos, _BATCH)
            moved += count
    return moved


def unpark_task(db: Database) -> Task:
    """The task that brings back what a resumed kind had set aside."""

    async def run(job: Job) -> None:
        await unpark(db, str(job.payload["kind"]))

    return Task(kind=_UNPARK, queue=UPKEEP, run=run, priority=0, timeout=timedelta(hours=1), history="failures")


async def _check(tx: Tx, kind: str) -> None:
    if kind == _UNPARK:
        raise FigureRefused("What brings paused jobs back cannot be paused itself.")
    if not await rows.kind_exists_everywhere(tx, kind):
        raise KindNotFound(f"No worker ever had a task for the kind {kind!r}.")


def _name_of(actor: Actor) -> str:
    return actor.name or actor.email or actor.id
