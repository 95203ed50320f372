"""The schedules of the service against the times that the documents give: a clock that is walked over them."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from mainstay import main
from mainstay.jobs import recurring
from mainstay.jobs.scheduling import Scheduler
from mainstay.jobs.timetable import as_cron, in_words
from mainstay.kernel.db import Database
from mainstay.kernel.work import Job
from tests.conftest import SqlClock
from tests.jobs.conftest import all_of, one, task

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
_TODAY = datetime.combine(datetime.now(UTC).date(), time(), tzinfo=UTC)
SATURDAY = _TODAY + timedelta(days=(5 - _TODAY.weekday()) % 7 or 7)
LIST = Path(__file__).parents[2] / "docs" / "reference" / "schedules.md"


async def _run(_: Job) -> None: ...


class Calendar:
    """Two schedulers with every schedule of the service, and a clock to walk."""

    def __init__(self, db: Database, other: Database, clock: SqlClock) -> None:
        schedules = main.schedules()
        tasks = {schedule.kind: task(_run, kind=schedule.kind) for schedule in schedules}
        self._db, self._clock = db, clock
        self._fleet = [Scheduler(each, schedules, tasks) for each in (db, other)]

    async def begin(self, at: datetime) -> None:
        """The clock stands there, and every schedule has been seen."""
        await self._clock.stop()
        assert await self.go_to(at) == []

    async def go_to(self, at: datetime) -> list[str]:
        """What ran at that time, in the order in which it ran; each run ends at once."""
        await self._clock.move(at - await one(self._db, "select mainstay.now()"))
        ran: list[str] = []
        for _ in range(3):
            await asyncio.gather(*(each.run_once() for each in self._fleet))
            rows = await all_of(self._db, "delete from mainstay.jobs returning kind, pos")
            ran += [row["kind"] for row in sorted(rows, key=lambda row: row["pos"])]
        return ran


@pytest.fixture
async def calendar(db: Database, other_db: Database, sql_clock: SqlClock) -> Calendar:
    return Calendar(db, other_db, sql_clock)


@pytest.mark.contract("HL-J-01", "HL-J-04", "HL-J-05", "HL-J-07", "HL-J-14")
async def test_daily_schedules_run_once_at_their_hour_and_not_a_second_before(calendar: Calendar) -> None:
    await calendar.begin(SATURDAY + HOUR + 30 * MINUTE)
    for hour, name in ((2, "plans.rollover"), (3, "archive.mark"), (4, "archive.run"), (6, "templates.check")):
        assert name not in await calendar.go_to(SATURDAY + hour * HOUR - SECOND)
        assert (await calendar.go_to(SATURDAY + hour * HOUR)).count(name) == 1
        assert name not in await calendar.go_to(SATURDAY + hour * HOUR + MINUTE)


@pytest.mark.contract("HL-J-02")
async def test_meters_are_recounted_each_hour(calendar: Calendar) -> None:
    await calendar.begin(SATURDAY + 30 * MINUTE)
    ran = [await calendar.go_to(SATURDAY + minutes * MINUTE) for minutes in range(45, 225, 15)]
    assert [names.count("plans.reconcile") for names in ran] == [0, 1, 0, 0] * 3


@pytest.mark.contract("HL-J-03", "HL-J-08", "HL-J-10")
async def test_an_hour_has_twelve_checks_each_before_the_alerts_of_its_minute(calendar: Calendar) -> None:
    await calendar.begin(SATURDAY + MINUTE)
    wanted = ("plans.check_thresholds", "plans.send_alerts", "events.clean_tails")
    for minutes in range(5, 65, 5):
        ran = await calendar.go_to(SATURDAY + minutes * MINUTE)
        assert [ran.count(name) for name in wanted] == [1, 1, 1]
        assert ran.index("plans.check_thresholds") < ran.index("plans.send_alerts")
        assert not set(wanted).intersection(await calendar.go_to(SATURDAY + minutes * MINUTE + 4 * MINUTE))


@pytest.mark.contract("HL-J-06")
async def test_archives_are_verified_on_sundays_only(calendar: Calendar) -> None:
    await calendar.begin(SATURDAY + 4 * HOUR)
    days = [await calendar.go_to(SATURDAY + timedelta(days=day, hours=5)) for day in range(8)]
    assert ["archive.verify" in ran for ran in days] == [False, True, *[False] * 6]
    assert "archive.verify" not in await calendar.go_to(SATURDAY + timedelta(days=8, hours=5) - SECOND)


@pytest.mark.contract("HL-J-09", "HL-J-11")
async def test_deliveries_are_swept_and_figures_taken_each_minute(calendar: Calendar) -> None:
    await calendar.begin(SATURDAY + 30 * SECOND)
    for minute in range(1, 4):
        ran = await calendar.go_to(SATURDAY + minute * MINUTE)
        assert [ran.count(name) for name in ("webhooks.sweep", "observability.aggregate")] == [1, 1]
        assert not {"webhooks.sweep", "observability.aggregate"}.intersection(
            await calendar.go_to(SATURDAY + minute * MINUTE + 59 * SECOND)
        )


@pytest.mark.contract("HL-J-12")
async def test_the_family_has_the_eleven_documented_names(db: Database, calendar: Calendar) -> None:
    await calendar.begin(SATURDAY)
    found = await recurring.list_schedules(db, family="audit")
    assert sorted(one.title for one in found) == sorted(
        ("Billing rollover", "Usage reconciliation", "Threshold checker", "Retention marking", "Archival",
         "Archive verification", "Template enforcer", "Alert trigger", "Metrics aggregator", "Tail cleaner",
         "Webhook worker")
    )  # fmt: skip


def test_the_list_in_the_documents_is_that_of_the_code() -> None:
    rows = [
        re.split(r"\s*\|\s*", line.strip("| \n")) for line in LIST.read_text().splitlines() if line.startswith("| `")
    ]
    wanted: Sequence[Sequence[str]] = [
        [f"`{one.name}`", one.title or "-", one.family or one.name.partition(".")[0], in_words(one.slots),
         f"`{fields}`" if (fields := as_cron(one.slots)) else "-", one.missed]
        for one in main.schedules()
    ]  # fmt: skip
    assert sorted(row[:6] for row in rows) == sorted(wanted)
