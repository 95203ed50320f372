"""The jobs of this room: marking at 03:00, archiving at 04:00, cutting after it, verification on Sundays at 05:00."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta

from mainstay import events, jobs, plans
from mainstay.archive import archiving, cutting, days, marking, queries, verifying
from mainstay.archive.archiving import Day
from mainstay.archive.errors import Contended, Damaged, DayNotFound
from mainstay.archive.ground import Ground
from mainstay.archive.objects import Stores
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.regions import Regions
from mainstay.kernel.retry import Backoff
from mainstay.kernel.settings import Settings
from mainstay.kernel.work import Daily, Discard, Every, Job, Outcome, Retry, Schedule, Task, Weekly

QUEUE = "mainstay:archive"
MARK = "archive.mark"
RUN = "archive.run"
DAY = "archive.day"
CUT = "archive.cut"
VERIFY = "archive.verify"
VERIFY_WORKSPACE = "archive.verify_workspace"
MEASURE = "archive.measure"
STEPS = {"mark": MARK, "archive": RUN, "verify": VERIFY, "cut": CUT}
"""What may be asked for by hand, and its kind of job."""
SUNDAY = 6
_LONG = timedelta(hours=6)
_BACKOFF = Backoff("exponential", timedelta(minutes=1))


def ground_of(settings: Settings, regions: Regions, db: Database, keyring: Keyring) -> Ground:
    """What the jobs of one database stand on."""
    return Ground(
        events.Retirement(db, events.Sealer(keyring)),
        regions.home,
        plans.Book.of(settings),
        Stores(settings),
        deletes=settings.retention_delete,
        cuts=settings.archive_cut,
        name=next(name for name, one in regions.all() if one is db),
    )


def tasks(ground: Ground) -> list[Task]:
    """The room's kinds of job on one database."""

    def long(kind: str, run: Callable[[Job], Awaitable[Outcome]]) -> Task:
        return Task(kind=kind, queue=QUEUE, run=run, timeout=_LONG, backoff=_BACKOFF)

    async def measure(_: Job) -> Outcome:
        await days.measure(ground.db, ground.name)
        return None

    return [
        long(MARK, _marking(ground)),
        long(RUN, _running(ground)),
        long(DAY, _archiving(ground)),
        long(CUT, _cutting(ground)),
        long(VERIFY, _spreading(ground)),
        long(VERIFY_WORKSPACE, _verifying(ground)),
        Task(kind=MEASURE, queue=jobs.UPKEEP, run=measure, history="failures"),
    ]


def schedules() -> list[Schedule]:
    """When they run, in UTC (C-17)."""
    return [
        Schedule(name=MARK, slots=Daily(time(3)), kind=MARK, title="Retention marking", family="audit"),
        Schedule(name=RUN, slots=Daily(time(4)), kind=RUN, title="Archival", family="audit"),
        Schedule(name=CUT, slots=Daily(time(4, 30)), kind=CUT),
        Schedule(name=VERIFY, slots=Weekly(SUNDAY, time(5)), kind=VERIFY, title="Archive verification", family="audit"),
        Schedule(name=MEASURE, slots=Every(timedelta(minutes=5)), kind=MEASURE),
    ]


async def ask(tx: Tx, step: str) -> jobs.Enqueued:
    """One of STEPS runs as soon as a worker is free; the one that waits or runs already stands for it."""
    return await jobs.enqueue(tx, STEPS[step], {}, queue=QUEUE, dedupe_key=f"schedule {STEPS[step]}")


async def ask_day(tx: Tx, day: Day) -> jobs.Enqueued:
    """The candidates of the day are archived as soon as a worker is free, where the company's plan has archives."""
    payload = {"companyId": day.company_id, "workspaceId": day.workspace_id, "day": day.day.isoformat()}
    return await jobs.enqueue(
        tx,
        DAY,
        payload,
        queue=QUEUE,
        lane=day.company_id,
        company_id=day.company_id,
        dedupe_key=f"{day.workspace_id}/{day.day}",
    )


async def ask_verification(tx: Tx, day: Day) -> jobs.Enqueued:
    """The day's object is verified as soon as a worker is free."""
    now = await queries.now_everywhere(tx)
    payload = {"companyId": day.company_id, "workspaceId": day.workspace_id, "before": now.isoformat()}
    return await jobs.enqueue(
        tx,
        VERIFY_WORKSPACE,
        {**payload, "day": day.day.isoformat()},
        queue=QUEUE,
        lane=day.company_id,
        company_id=day.company_id,
        dedupe_key=f"{day.workspace_id}/{day.day}",
    )


def _marking(ground: Ground) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(_: Job) -> Outcome:
        await marking.mark(ground)
        return None

    return run


def _running(ground: Ground) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(_: Job) -> Outcome:
        async for day in archiving.due_days(ground):
            async with ground.db.begin() as tx:
                await ask_day(tx, day)
        return None

    return run


def _archiving(ground: Ground) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(job: Job) -> Outcome:
        async def fence(tx: Tx) -> None:
            await jobs.confirm(tx, job)

        given = job.payload
        day = Day(given["companyId"], given["workspaceId"], date.fromisoformat(given["day"]))
        try:
            await archiving.archive_day(ground, day, fence)
        except (events.Unproven, Damaged, DayNotFound) as error:
            return Discard(str(error))
        except (Unavailable, Contended) as error:
            return Retry(str(error))
        return None

    return run


def _cutting(ground: Ground) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(_: Job) -> Outcome:
        await cutting.cut(ground)
        return None

    return run


def _spreading(ground: Ground) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(_: Job) -> Outcome:
        before = await queries.now_everywhere(ground.db)
        for row in await queries.archived_workspaces_everywhere(ground.db):
            company_id, workspace_id = str(row["company_id"]), str(row["workspace_id"])
            payload = {"companyId": company_id, "workspaceId": workspace_id, "before": before.isoformat()}
            async with ground.db.begin() as tx:
                await jobs.enqueue(
                    tx,
                    VERIFY_WORKSPACE,
                    payload,
                    queue=QUEUE,
                    lane=company_id,
                    company_id=company_id,
                    dedupe_key=workspace_id,
                )
        return None

    return run


def _verifying(ground: Ground) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(job: Job) -> Outcome:
        given = job.payload
        company_id, workspace_id = given["companyId"], given["workspaceId"]
        try:
            if "day" in given:
                await verifying.verify_day(ground, Day(company_id, workspace_id, date.fromisoformat(given["day"])))
            else:
                before = datetime.fromisoformat(given["before"]).astimezone(UTC)
                await verifying.verify_workspace(ground, company_id, workspace_id, before=before)
        except Unavailable as error:
            return Retry(str(error))
        return None

    return run
