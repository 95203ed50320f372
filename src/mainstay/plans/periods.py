"""Periods: the month that is over is closed and kept, a new meter begins at zero."""

from datetime import date

from prometheus_client import Counter

from mainstay.kernel import outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.telemetry import REGISTRY
from mainstay.plans import calendar, reconciling
from mainstay.plans.queries import metering as queries

COMPANIES_A_STEP = 200
ACTOR = Actor(kind="job", id="plans.rollover")
CLOSED = Counter("usage_periods_closed_total", "Periods of a company that were closed", registry=REGISTRY)
_OPENINGS_KEPT_MONTHS = 3


async def current(db: Connection) -> date:
    """The first day of the month in which the database is."""
    return (await queries.period_everywhere(db))["start"].date()  # type: ignore[no-any-return]


async def roll_over(db: Database) -> int:
    """Every period that is over is closed, after a recount, and its meters begin anew at zero; how many were closed.

    Counted is a company and month. From the moment a period ends no meter of it is born; what a transaction that
    began before midnight still adds to a meter counts until that meter is closed, and is refused from then on
    (a serialization failure: run again, it counts in the new period).
    """
    this_month, closed = await current(db), 0
    for period in await queries.due_periods_everywhere(db, this_month):
        await reconciling.recount(db, period)
        async with db.begin() as tx:
            await queries.end_period_everywhere(tx, period)
        while True:
            async with db.begin() as tx:
                companies = await _close_step(tx, period, this_month)
            closed += companies
            if companies < COMPANIES_A_STEP:
                break
    async with db.begin() as tx:
        oldest = this_month
        for _ in range(_OPENINGS_KEPT_MONTHS):
            oldest = calendar.preceding(oldest)
        await queries.forget_openings_everywhere(tx, oldest)
    return closed


async def _close_step(tx: Tx, period: date, this_month: date) -> int:
    used: dict[str, dict[str, int]] = {}
    for row in await queries.close_everywhere(tx, period, this_month, companies=COMPANIES_A_STEP):
        used.setdefault(str(row["company_id"]), {})[row["meter"]] = row["quantity"]
    for company_id, meters in used.items():
        data = {
            "periodStart": iso(calendar.start_of(period)),
            "periodEnd": iso(calendar.start_of(calendar.following(period))),
            "meters": meters,
        }
        await outbox.announce(tx, "period.closed", company_id=company_id, actor=ACTOR, data=data)
    CLOSED.inc(len(used))
    return len(used)
