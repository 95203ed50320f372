"""Allowances: how much a company that chose to be stopped may use, kept where its meters are."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

import asyncpg
import orjson
from prometheus_client import Counter

from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.telemetry import REGISTRY
from mainstay.plans import calendar
from mainstay.plans.catalogue import METERS
from mainstay.plans.errors import QuotaReached
from mainstay.plans.queries import alerting, limits
from mainstay.plans.standing import Book, Standing

REFUSED = "MQ429"
"""The SQLSTATE with which the database refuses a count above an allowance."""
REFUSALS = Counter("usage_refusals_total", "Requests refused because an allowance is used up", registry=REGISTRY)
_PAGE = 500


def limit_of(unit: str, amount: int, quota: int | None) -> int | None:
    """The quantity at which a threshold is reached; None for a share of a quota that has no limit."""
    if unit == "absolute":
        return amount
    return None if quota is None else max(1, math.ceil(quota * amount / 100))


def allowance_of(quota: int | None, hard: Iterable[tuple[str, int]]) -> int | None:
    """What a company that is stopped at its limit may use: its lowest hard threshold, else its quota, else anything."""
    limits_reached = [limit for unit, amount in hard if (limit := limit_of(unit, amount, quota)) is not None]
    return min(limits_reached, default=quota)


async def settle(home: Database, regional: Database, book: Book, company_id: str) -> None:
    """The company's allowances in its region are what its plan, limits, thresholds and choice say at this moment."""
    async with regional.begin() as tx:
        await limits.lock_caps(tx, company_id)
        # What is asked after the lock is at least as new as what anybody settled before.
        seen: Connection = tx if home is regional else home
        standing = await book.standing(seen, company_id)
        for meter in METERS:
            wanted = await _wanted(tx, standing, meter)
            if wanted != await limits.find_allowance(tx, company_id, meter):
                await limits.set_cap(tx, company_id, meter, allowance=wanted)


async def _wanted(tx: Connection, standing: Standing, meter: str) -> int | None:
    if not standing.blocks_at_limit:
        return None
    hard = await alerting.hard_thresholds(tx, standing.company_id, meter)
    return allowance_of(standing.quota_of(meter), [(row["unit"], row["amount"]) for row in hard])


async def settle_all(home: Database, regional: Database, book: Book) -> int:
    """The same for every company that has an allowance in this region or chose to have one; how many."""
    companies = set(await limits.capped_everywhere(regional))
    after = str(UUID(int=0))
    while page := await limits.blocking_everywhere(home, after=after, limit=_PAGE):
        companies.update(page)
        after = page[-1]
    for company_id in sorted(companies):
        await settle(home, regional, book, company_id)
    return len(companies)


@dataclass(frozen=True, slots=True)
class Exhausted:
    """That a count was refused: what the company had used of its allowance before it."""

    company_id: str
    meter: str
    allowance: int
    used: int
    period: date

    @property
    def remaining(self) -> int:
        """What still fits; it can only shrink until the period or the allowance changes."""
        return self.allowance - self.used

    def refusal(self, *, now: datetime | None = None) -> QuotaReached:
        """What callers are told: the allowance, what is used of it, and when a new period begins."""
        REFUSALS.inc()
        resets_at = calendar.start_of(calendar.following(self.period))
        seconds = max(1, math.ceil((resets_at - (now or datetime.now(UTC))).total_seconds()))
        return QuotaReached(
            headers={"Retry-After": str(seconds)},
            extra={
                "meter": self.meter,
                "allowance": self.allowance,
                "used": self.used,
                "resetsAt": iso(resets_at),
            },
        )


def exhausted_of(error: BaseException) -> Exhausted | None:
    """What the database told when it refused a count above an allowance; None for any other error."""
    if not isinstance(error, asyncpg.PostgresError) or error.sqlstate != REFUSED:
        return None
    told = orjson.loads(error.detail or "")
    period = date.fromisoformat(told["periodStart"])
    return Exhausted(told["companyId"], told["meter"], told["allowance"], told["used"], period)
