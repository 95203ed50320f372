"""Who is alive: a worker's own lease by heartbeat, and giving back what the dead held."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from mainstay.jobs import memory
from mainstay.jobs.dead import announce_deaths
from mainstay.jobs.errors import LeaseLost
from mainstay.jobs.queries import claims, lines, planning, workers
from mainstay.jobs.queues import QueueConfig, attempts_of
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.work import Job, Task

_log = logger(__name__)
HEARTBEAT_SECONDS = 1.0
LEASE_SECONDS = 6.0
_PROMOTE_BATCH = 1_000
_PROMOTE_LOOK_BACK = timedelta(seconds=30)
_PROMOTE_ALL_EVERY_SECONDS = 20.0
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


async def confirm(tx: Tx, job: Job) -> None:
    """The claim under which the handler runs still holds, and nobody takes the job away until the transaction ends.

    For `run` handlers that make many small transactions: with this in each, none commits under a lost lease. LeaseLost
    otherwise. From here on the transaction may stand idle between statements for 10 s at most.
    """
    if not await claims.confirm_everywhere(tx, job.id, job.epoch):
        raise LeaseLost


class Lost(Protocol):
    """Is told of attempts that a lost worker had begun."""

    def __call__(self, queue: str, kind: str, count: int, *, is_dead: bool) -> None:
        """So many of them, of that kind in that queue."""


class Lease:
    """One worker's standing in the database: an id, renewed by heartbeat, lost after six seconds without one.

    With each heartbeat come the `slots` that operators set at run time, by queue.
    """

    def __init__(
        self,
        db: Database,
        name: str,
        queues: Sequence[QueueConfig],
        tasks: Sequence[Task] = (),
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._db = db
        self._name = name
        self._queues = queues
        self._kinds = [_kind_of(task) for task in tasks]
        self.lease_seconds = lease_seconds
        self._id: int | None = None
        self.slots: Mapping[str, int] = {}
        self._renewed = self._healthy_since = float("-inf")

    @property
    def worker_id(self) -> int | None:
        """The id under which jobs may be claimed now; None while the lease may have run out."""
        return self._id if time.monotonic() - self._renewed < self.lease_seconds else None

    @property
    def id(self) -> int | None:
        """The id under which jobs are held."""
        return self._id

    @property
    def may_judge(self) -> bool:
        """Whether this worker has had good heartbeats for a whole lease, so that silence of others means something."""
        now = time.monotonic()
        return self.worker_id is not None and now - self._healthy_since >= self.lease_seconds

    async def run_once(self) -> bool:
        """The lease runs anew; False if the worker had been declared lost and goes on under a new id."""
        started = time.monotonic()
        slots = None if self._id is None else await self._beat(self._id)
        was_lost = self._id is not None and slots is None
        if slots is None:
            names, priorities = [q.name for q in self._queues], [q.priority for q in self._queues]
            figures = [q.concurrency for q in self._queues]
            self._id = await workers.enlist_worker_everywhere(
                self._db, self._name, names, priorities, self._kinds, figures
            )
            slots = await self._beat(self._id)
        self.slots = slots or {}
        if started - self._renewed > self.lease_seconds / 2 or was_lost:
            self._healthy_since = started
        self._renewed = started
        return not was_lost

    async def _beat(self, worker_id: int) -> Mapping[str, int] | None:
        rows = await workers.beat_everywhere(self._db, worker_id, memory.share(), memory.HIGH)
        return {row["name"]: row["concurrency"] for row in rows if row["name"] is not None} if rows else None

    async def leave(self) -> None:
        """The worker has signed off."""
        if self._id is not None:
            async with planning.begin_by_id(self._db) as tx:
                await workers.leave_everywhere(tx, self._id, "stopped")


def _kind_of(task: Task) -> workers.KindRow:
    backoff = None if task.backoff is None else task.backoff.text
    return workers.KindRow(task.kind, task.queue, task.priority, attempts_of(task), backoff, task.is_public)


class Reaper:
    """Gives back what lost workers held; says nothing about others until its own lease has been sound for a while."""

    def __init__(self, db: Database, lease: Lease, *, lost: Lost | None = None) -> None:
        self._db = db
        self._lease = lease
        self._lost = lost

    async def run_once(self) -> int:
        """Every worker silent for over a lease is struck off and its jobs are in line again or dead; how many jobs."""
        moved = 0
        while self._lease.may_judge:
            async with planning.begin_by_line(self._db) as tx:
                lost = await workers.find_lost_worker_everywhere(tx, timedelta(seconds=self._lease.lease_seconds))
                if lost is None:
                    break
                requeued = await workers.requeue_lost_everywhere(tx, lost)
                dead = await workers.bury_lost_everywhere(tx, lost)
                await announce_deaths(tx, dead)
                await workers.leave_everywhere(tx, lost, "lost")
            if self._lost is not None:
                for row in requeued:
                    self._lost(row["queue"], row["kind"], row["jobs"], is_dead=False)
                for row in dead:
                    self._lost(row["queue"], row["kind"], 1, is_dead=True)
            count = sum(row["jobs"] for row in requeued)
            moved += count + len(dead)
            _log.warning("a worker was lost", worker=lost, requeued=count, dead=len(dead))
        return moved


class Promoter:
    """Puts delayed and retrying jobs in line when their time has come."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._since = _EVER
        self._all_due = 0.0

    async def run_once(self) -> int:
        """Up to 1,000 due jobs are in line; how many.

        It reads from half a minute before its last round, so that what an old snapshot keeps is not walked again; every
        20 s it reads from the start, for what was committed long after its time.
        """
        started = time.monotonic()
        is_whole = started >= self._all_due
        async with planning.begin_by_line(self._db) as tx:
            row = await lines.promote_everywhere(tx, _EVER if is_whole else self._since, _PROMOTE_BATCH)
        count: int = row["jobs"]
        if count < _PROMOTE_BATCH:
            self._since = row["now"] - _PROMOTE_LOOK_BACK
            if is_whole:
                ended = time.monotonic()
                self._all_due = ended + max(_PROMOTE_ALL_EVERY_SECONDS, 20 * (ended - started))
        return count
