"""Who was refused, or would have been: counted by each node, stored by the hour, told to operators and companies."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime

import asyncpg
from prometheus_client import Counter

from mainstay.kernel import telemetry
from mainstay.kernel.db import Connection, Database, Record
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.logs import logger
from mainstay.limits.overrides import Current, Figures, plan_of
from mainstay.limits.policies import Policy, key_policy
from mainstay.limits.queries import refusals

FLUSH_SECONDS = 2.0
MOST_KEPT = 10_000
"""Counters of companies that a node keeps between two writings; whoever comes after them counts as nobody known."""
MOST_SHOWN = 1_000

CHECKS = Counter(
    "rate_limit_checks_total",
    "Calls that a limit let pass, refused, or would have refused (shadow)",
    ["policy", "outcome"],
    registry=telemetry.REGISTRY,
)
_log = logger(__name__)
_Key = tuple[str, str, str]


class Tally:
    """What this node refused since it was last written down."""

    def __init__(self, db: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._monotonic = monotonic
        self._counted: dict[_Key, tuple[int, float, float]] = {}

    def add(self, policy: str, mode: str, company_id: str) -> None:
        """One more call was refused, or would have been."""
        now = self._monotonic()
        key = (policy, mode, company_id)
        if key not in self._counted and len(self._counted) >= MOST_KEPT:
            key = (policy, mode, "")
        calls, first, _ = self._counted.get(key, (0, now, now))
        self._counted[key] = (calls + 1, first, now)

    async def flush(self) -> int:
        """What was counted is stored; how many rows that were. What cannot be stored now is kept for the next time."""
        if not self._counted:
            return 0
        taken, self._counted = self._counted, {}
        now = self._monotonic()
        rows = [
            (policy, mode, company_id or None, calls, now - first, now - last)
            for (policy, mode, company_id), (calls, first, last) in taken.items()
        ]
        try:
            await refusals.add_everywhere(self._db, rows)
        except BaseException as error:
            self._keep(taken)
            if not isinstance(error, MainstayError | asyncpg.PostgresError):
                raise
            _log.warning("what limits refused cannot be stored now", rows=len(rows), error=type(error).__name__)
            return 0
        return len(rows)

    def _keep(self, taken: dict[_Key, tuple[int, float, float]]) -> None:
        for key, (calls, first, last) in taken.items():
            more, _, newest = self._counted.get(key, (0, first, last))
            self._counted[key] = (calls + more, first, newest)


async def report(db: Connection, policy: str, *, since: datetime) -> list[Record]:
    """Companies that the policy refused or would have refused since then, most calls first, up to 1,000 rows."""
    return await refusals.report_everywhere(db, policy, since=since, most=MOST_SHOWN)


async def refused_today(db: Connection, company_id: str) -> dict[str, Record]:
    """What the company was refused on this day (UTC), by policy."""
    return {row["policy"]: row for row in await refusals.today(db, company_id)}


async def of_company(
    db: Database, policies: Mapping[str, Policy], company_id: str
) -> list[tuple[Figures, Record | None]]:
    """What holds for the company under each limit that counts its calls, and what that refused today; CompanyUnknown.

    Of limits of keys there is that of its plan."""
    plan = await plan_of(db, company_id)
    snapshot, refused = await Current(db, policies).now(), await refused_today(db, company_id)
    return [
        (snapshot.of(name, company_id), refused.get(name))
        for name, policy in policies.items()
        if policy.counted != "address" and (policy.counted != "key" or name == key_policy(plan))
    ]


async def prune(db: Connection) -> int:
    """Counts older than 30 days are gone; how many."""
    return await refusals.prune_everywhere(db)
