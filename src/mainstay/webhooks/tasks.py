"""The jobs and schedules of this room."""

import os
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta

from mainstay import jobs
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.settings import Settings
from mainstay.kernel.work import Batch, Every, Job, Outcome, Schedule, Task
from mainstay.webhooks import deliveries, figures, line, replays
from mainstay.webhooks.courier import Courier

TIMEOUT = timedelta(seconds=30)
LINE_TIMEOUT = timedelta(seconds=60)
"""Over the 20 s of a run, the last try of which may take its 10 s."""

QUEUE = jobs.WEBHOOK


def tasks(
    db: Database, outbound: Outbound, keyring: Keyring, settings: Settings, *, clock: Clock | None = None
) -> list[Task]:
    """The kinds of job that a worker of this process can do."""
    courier = Courier(
        db,
        keyring=keyring,
        outbound=outbound,
        brand=settings.brand,
        clock=clock or SystemClock(),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )
    return [
        Task(
            kind="webhooks.deliver",
            queue=QUEUE,
            batch=Batch(load=courier.load, act=courier.act, record=courier.record),
            attempts=3,
            lane_limit=courier.lane_limit,
            timeout=TIMEOUT,
            history="failures",
        ),
        Task(
            kind="webhooks.deliver_in_order",
            queue=QUEUE,
            run=line.Line(db, courier).run,
            attempts=line.STARTS_AT_MOST,
            timeout=LINE_TIMEOUT,
            history="failures",
        ),
        Task(kind="webhooks.sweep", queue=jobs.UPKEEP, run_in_tx=_sweep),
        Task(kind=replays.KIND, queue=QUEUE, run_in_tx=replays.step, attempts=replays.JOB_ATTEMPTS),
        Task(kind="webhooks.fold_figures", queue=jobs.UPKEEP, run=_fold_with(db), history="failures"),
    ]


def schedules() -> list[Schedule]:
    """The recurring jobs: a sweep for missed deliveries each minute (C-10), and figures each ten seconds."""
    return [
        Schedule(
            name="webhooks.sweep",
            slots=Every(timedelta(minutes=1)),
            kind="webhooks.sweep",
            title="Webhook worker",
            family="audit",
        ),
        Schedule(name="webhooks.fold_figures", slots=Every(timedelta(seconds=10)), kind="webhooks.fold_figures"),
    ]


def _fold_with(db: Database) -> Callable[[Job], Awaitable[Outcome]]:
    async def fold(job: Job) -> Outcome:
        await figures.fold(db)
        return None

    return fold


async def _sweep(tx: Tx, job: Job) -> Outcome:
    await deliveries.sweep(tx)
    await line.sweep(tx)
    return None
