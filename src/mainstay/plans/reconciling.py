"""Reconciliation: meters of events are held against the chains, and what drifted is set right and told.

Chains have no gaps, so what a workspace received in a month is the seq at its end less the seq at its start: a few
looks into an index for each workspace, however many events there are. Where a period began is kept from the first
recount on, so that events which leave the database later are still counted.
"""

from datetime import date
from uuid import UUID

from prometheus_client import Counter

from mainstay.kernel import outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Record
from mainstay.kernel.logs import logger
from mainstay.kernel.outbox import Actor
from mainstay.kernel.telemetry import REGISTRY
from mainstay.plans import calendar
from mainstay.plans.catalogue import EVENTS
from mainstay.plans.queries import metering as queries

WORKSPACES_A_STEP = 500
ACTOR = Actor(kind="job", id="plans.reconcile")
CORRECTIONS = Counter("usage_corrections_total", "Meters that a recount set right", registry=REGISTRY)
DRIFT = Counter("usage_drift_total", "Events by which meters had drifted, up or down", registry=REGISTRY)
_FIRST = str(UUID(int=0))
_log = logger(__name__)


async def reconcile(db: Database) -> int:
    """Every open meter of events equals its chain: of this month, and of those before that are not closed yet.

    Gives how many meters were set right; each is announced as `meter.corrected`, counted and logged.
    """
    this_month = (await queries.period_everywhere(db))["start"].date()
    periods = [*await queries.due_periods_everywhere(db, this_month), this_month]
    return sum([await recount(db, period) for period in periods])


async def recount(db: Database, period: date) -> int:
    """The same for one period: a page of workspaces after the other, each in a short transaction."""
    after, corrected = _FIRST, 0
    while True:
        async with db.begin() as tx:
            rows = await queries.recount_everywhere(
                tx, period, calendar.following(period), after=after, limit=WORKSPACES_A_STEP
            )
            fresh = [row for row in rows if row["remembered"] is None and row["opening"] is not None]
            if fresh:
                await queries.remember_openings_everywhere(tx, period, fresh)
        for row in rows:
            if row["counted"] is not None and row["counted"] != row["metered"]:
                corrected += await _correct(db, str(row["company_id"]), str(row["workspace_id"]), period)
        if len(rows) < WORKSPACES_A_STEP:
            return corrected
        after = str(rows[-1]["workspace_id"])


async def _correct(db: Database, company_id: str, workspace_id: str, period: date) -> bool:
    async with db.begin() as tx:
        await queries.lock_head(tx, company_id, workspace_id)
        found = await queries.recount_everywhere(
            tx, period, calendar.following(period), after=_FIRST, limit=1, workspace_id=workspace_id
        )
        if not found or found[0]["counted"] is None or found[0]["counted"] == found[0]["metered"]:
            return False
        (row,) = found
        if not await queries.correct(tx, company_id, workspace_id, period, quantity=row["counted"]):
            return False
        await outbox.announce(tx, "meter.corrected", company_id=company_id, actor=ACTOR, data=_told(row, period))
    CORRECTIONS.inc()
    DRIFT.inc(abs(row["counted"] - row["metered"]))
    _log.warning("a meter had drifted", company_id=company_id, **_told(row, period))
    return True


def _told(row: Record, period: date) -> dict[str, object]:
    return {
        "workspaceId": str(row["workspace_id"]),
        "meter": EVENTS,
        "periodStart": iso(calendar.start_of(period)),
        "was": row["metered"],
        "now": row["counted"],
    }
