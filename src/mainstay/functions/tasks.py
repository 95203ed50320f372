"""The room's jobs and schedules: one line each, into the verbs."""

from collections.abc import Sequence
from datetime import timedelta

from mainstay import jobs
from mainstay.functions import upkeep
from mainstay.functions.gathering import GATHER_KIND, UNKNOWN_AFTER, start_due, start_overdue
from mainstay.functions.queries.operating import now_everywhere
from mainstay.functions.registry import Registry
from mainstay.functions.routing import Router
from mainstay.functions.running import Runs
from mainstay.functions.sending import ROUTE_KIND
from mainstay.functions.serving import Serving
from mainstay.functions.starting import RUN_ATTEMPTS, RUN_KIND, Start, made_up, start
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Batch, Every, Job, Outcome, Schedule, Snooze, Task

CRON_KIND = "functions.cron"
UPKEEP_KIND = "functions.upkeep"
_CRON_EVENT = "inngest/scheduled.timer"
_LONGEST_INVOCATION = timedelta(days=1)
_UNKNOWN_FOR = timedelta(hours=1)


def tasks(db: Database, registry: Registry, serving: Serving | None = None) -> list[Task]:
    """What runs functions on one database; with `serving` also those that applications serve."""
    refresh = None if serving is None else serving.refresh
    router, runs = Router(registry, refresh), Runs(db, registry, refresh)

    async def start_by_clock(tx: Tx, job: Job) -> Outcome:
        function = registry.find(job.payload["function"])
        if function is None:
            # A worker of another release may know it; what nobody knows within the hour has been taken away.
            if await now_everywhere(tx) - job.enqueued_at < _UNKNOWN_FOR:
                return Snooze(UNKNOWN_AFTER, "this process does not know the function")
            return None
        event = made_up(_CRON_EVENT, {"cron": job.payload["cron"]}, job.enqueued_at)
        await start(tx, [Start(function=function, events=[event])])
        return None

    async def gather(tx: Tx, job: Job) -> Outcome:
        if refresh is not None and registry.find(job.payload["function"]) is None:
            await refresh(tx)
        return await start_due(tx, registry, job)

    async def keep(_: Job) -> Outcome:
        await upkeep.keep(db)
        async with db.begin() as tx:
            await start_overdue(tx, registry)
        if serving is not None:
            async with db.begin() as tx:
                await serving.start_by_clock(tx)
        return None

    return [
        Task(kind=ROUTE_KIND, queue=jobs.FUNCTIONS, batch=Batch(router.load, router.act, router.record), attempts=20),
        Task(kind=GATHER_KIND, queue=jobs.FUNCTIONS, run_in_tx=gather, attempts=20, history="failures"),
        Task(kind=CRON_KIND, queue=jobs.FUNCTIONS, run_in_tx=start_by_clock, attempts=20, history="failures"),
        Task(
            kind=RUN_KIND,
            queue=jobs.WORKFLOW,
            batch=Batch(runs.load, runs.act, runs.record),
            attempts=RUN_ATTEMPTS,
            timeout=_LONGEST_INVOCATION,
            history="failures",
        ),
        Task(kind=UPKEEP_KIND, queue=jobs.UPKEEP, run=keep, history="failures"),
    ]


def schedules(registry: Registry) -> Sequence[Schedule]:
    """When the clock starts functions, and the room's upkeep."""
    return [
        *(
            Schedule(
                name=function.id if number == 1 else f"{function.id}:{number}",
                slots=slots,
                kind=CRON_KIND,
                payload={"function": function.id, "cron": slots.text},
            )
            for function, slots, number in registry.crons()
        ),
        Schedule(name=UPKEEP_KIND, slots=Every(timedelta(minutes=1)), kind=UPKEEP_KIND),
    ]
