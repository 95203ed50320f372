"""How an endpoint stands after failed tries: circuit breaker, warnings and the end. Pure decisions and constants.

closed --10 tries failed in a row--> open for 30 s --> half-open: one try at a time
   ^                                  ^                  |
   +------------- a success ----------|------------------+
                                      +-- it failed: twice as long, up to 5 min
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

BREAKER_FAILURES: Final = 10
"""More than the five tries of one delivery on the documented ladder, which alone never opens the breaker."""

OPEN_AT_FIRST: Final = timedelta(seconds=30)
OPEN_AT_MOST: Final = timedelta(minutes=5)

DISABLE_AFTER: Final = timedelta(days=5)
DISABLE_FAILURES: Final = 20
DISABLE_DAYS: Final = 3
"""All must be reached without one success between. A day of failure begins 24 h after the one before, or later, so a
bad hour long after a lone failure is two days and not three: it disables nothing."""

WARNING_SHARES: Final = (75, 50)
"""How many hundredths of the way to the end are worth a warning, highest first; each is given once a streak."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of an endpoint whose newest try failed: tries failed in a row, since when, and on how many days."""

    failures: int
    failing_since: datetime
    days: int = 1
    warned: int = 0
    trips: int = 0
    open_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a failed try: nothing sent for `open_for`, a warning (its share), or the end."""

    open_for: timedelta | None = None
    warning: int | None = None
    disables: bool = False


NO_STEP: Final = Step()


def after_failure(health: Health, now: datetime) -> Step:
    """What becomes of an endpoint after its newest failed try, which `health` includes."""
    if _is_past(health, now, 100):
        return Step(disables=True)
    reached = next((share for share in WARNING_SHARES if _is_past(health, now, share)), 0)
    return Step(_open_for(health, now), reached if reached > health.warned else None)


def disables_at(health: Health) -> datetime:
    """When an endpoint that goes on failing is disabled at the earliest."""
    return health.failing_since + DISABLE_AFTER


def _open_for(health: Health, now: datetime) -> timedelta | None:
    """A try that ends while the breaker is open was under way before; one that ends when it is not was the probe."""
    if health.failures < BREAKER_FAILURES or (health.open_until is not None and health.open_until > now):
        return None
    return min(OPEN_AT_FIRST * (1 << min(health.trips, 10)), OPEN_AT_MOST)


def _is_past(health: Health, now: datetime, share: int) -> bool:
    is_long = (now - health.failing_since) * 100 >= DISABLE_AFTER * share
    is_often = health.failures * 100 >= DISABLE_FAILURES * share
    return is_long and is_often and health.days * 100 >= DISABLE_DAYS * share
