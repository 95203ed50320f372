"""The jobs of this room: when they run, and that each does its own part in its own region."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta

import pytest
import pytest_asyncio

from mainstay import plans
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.regions import Regions
from mainstay.kernel.work import Daily, Every, Job
from mainstay.plans import reports
from mainstay.plans.schemas import NewTarget
from mainstay.plans.senders import Recorder
from tests.conftest import SqlClock, cut_database, drop_database
from tests.plans.conftest import KEYRING, go_to_middle, go_to_next_month, this_month
from tests.plans.test_thresholds import BOOK, add, use
from tests.tenancy import OPERATOR, Tenancy, open_tenancy

_COUNT = "select (select count(*) from mainstay.{}) as n"


@pytest_asyncio.fixture
async def eu(server_url: str, template_url: str) -> AsyncIterator[Database]:
    """The database of a region of its own."""
    url = await cut_database(server_url, template_url)
    found = Database(url, size=4)
    yield found
    await found.close()
    await drop_database(server_url, url)


async def count(db: Database, table: str) -> int:
    """How many rows a table has."""
    found: int = await db.value(Sql("t", _COUNT.format(table)))
    return found


async def run(kind: str, home: Database, regional: Database, email: Recorder | None = None) -> None:
    """One run of a job of this room, for one region."""
    jobs = {task.kind: task for task in plans.tasks(home, regional, BOOK, KEYRING, {"email": email or Recorder()})}
    body = jobs[kind].run
    assert body is not None
    now = datetime.now(UTC)
    assert await body(Job(1, "mainstay:upkeep", kind, None, 1, 1, 1, "", None, "0" * 32, now)) is None


def test_they_run_when_they_should() -> None:
    slots = {schedule.kind: schedule.slots for schedule in plans.schedules()}
    assert slots == {
        "plans.rollover": Daily(time(2, 0)),
        "plans.reconcile": Every(timedelta(hours=1)),
        "plans.check_thresholds": Every(timedelta(minutes=5)),
        "plans.send_alerts": Every(timedelta(minutes=5)),
    }


@pytest.mark.contract("HL-P-13")
async def test_checking_and_sending_are_two_jobs(db: Database, tenancy: Tenancy) -> None:
    email = Recorder()
    await add(db, tenancy, NewTarget(kind="email", to="a@b.example"), amount=1)
    await use(db, tenancy, 1)
    await run("plans.send_alerts", db, db, email)
    assert await count(db, "threshold_alerts") == 0
    await run("plans.check_thresholds", db, db, email)
    assert (await count(db, "threshold_alerts"), len(email.letters)) == (1, 0)
    for _ in range(2):
        await run("plans.send_alerts", db, db, email)
        assert len(email.letters) == 1


async def test_a_region_of_its_own_holds_meters_thresholds_alerts_and_snapshots(db: Database, eu: Database) -> None:
    """Plans, add-ons, limits and choices stay at home; each job works on its region's meters."""
    home, clock, regions = db, SqlClock(eu), Regions(db, {"EU": eu})
    company = await open_tenancy(home, region="EU", plan="free")
    await go_to_middle(eu, clock)
    await add(eu, company, kind="hard", unit="percentage", amount=50)

    async def stop(tx: object) -> None:
        await plans.set_limit(tx, OPERATOR, company.company_id, name="event_quota", amount=20)  # type: ignore[arg-type]
        await plans.choose_blocking(tx, OPERATOR, company.company_id, blocks=True)  # type: ignore[arg-type]

    standing = (await plans.change_company(regions, BOOK, company.company_id, stop)).data
    assert (standing.limits.event_quota, standing.blocks_at_limit) == (20, True)
    await use(eu, company, 10)
    with pytest.raises(Exception, match="allowance") as error:
        await use(eu, company, 1)
    assert plans.exhausted_of(error.value) is not None
    await run("plans.check_thresholds", home, eu)
    await run("plans.send_alerts", home, eu)
    usage = await reports.company_usage(home, eu, BOOK, company.company_id)
    assert (usage.meters[0].quantity, usage.meters[0].percent, usage.allowance) == (10, 50.0, 10)
    assert [one.state for one in usage.thresholds] == ["crossed"]
    month = await this_month(eu)
    await go_to_next_month(eu, clock)
    await run("plans.rollover", home, eu)
    await run("plans.reconcile", home, eu)
    usage = await reports.company_usage(home, eu, BOOK, company.company_id)
    assert [(one.period_start, one.quantity) for one in usage.history] == [(month, 10)]
    regional = ("meter_counts", "meter_caps", "thresholds", "threshold_alerts", "usage_snapshots", "meter_closings")
    assert [await count(home, table) for table in regional] == [0] * len(regional)
    assert [await count(eu, table) for table in ("company_limits", "company_choices", "add_ons")] == [0, 0, 0]


async def test_a_choice_made_elsewhere_holds_within_one_run_of_the_checker(db: Database, eu: Database) -> None:
    """Where the process that wrote it at home died before it reached the region."""
    company = await open_tenancy(db, region="EU", plan="free")
    async with db.begin() as tx:
        await plans.choose_blocking(tx, OPERATOR, company.company_id, blocks=True)
    await run("plans.check_thresholds", db, eu)
    assert await count(eu, "meter_caps") == 1
    async with db.begin() as tx:
        await plans.set_plan(tx, OPERATOR, company.company_id, plan="enterprise")
    await run("plans.check_thresholds", db, eu)
    assert await count(eu, "meter_caps") == 0
