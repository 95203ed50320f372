"""Calls of people and of nobody known yet, held to named limits: what `web.limiting.Limiter` asks for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from mainstay.kernel import telemetry
from mainstay.kernel.logs import logger
from mainstay.limits.errors import StoreAway
from mainstay.limits.overrides import Current, Figures
from mainstay.limits.policies import counter_key
from mainstay.limits.report import CHECKS, FLUSH_SECONDS, Tally
from mainstay.limits.store import Rule, Taken
from mainstay.web.limiting import Verdict, Whose

_log = logger(__name__)


class Counting(Protocol):
    """Where calls are counted; answers whatever becomes of the store behind it."""

    async def take(self, key: str, rule: Rule, cost: int = 1) -> Taken: ...

    async def give_back(self, key: str, rule: Rule, cost: int, *, held_seconds: float) -> None: ...


class Enforcement:
    """Fulfils `Limiter`. A call that is refused in shadow mode passes, and is counted as one that would not have."""

    def __init__(self, counting: Counting, current: Current, tally: Tally) -> None:
        self._counting = counting
        self._current = current
        self._tally = tally

    async def take(self, policy: str, whose: Whose) -> Verdict | None:
        """As `Limiter.take`."""
        figures = (await self._current.now()).of(policy, whose.company_id)
        if figures.rule is None:
            return None
        try:
            taken = await self._counting.take(counter_key(figures.policy, whose), figures.rule)
        except StoreAway:
            if figures.mode != "shadow":
                raise
            CHECKS.labels(policy, "unseen").inc()
            return None
        if not taken.is_counted:
            CHECKS.labels(policy, "unseen").inc()
            return None
        return told(figures, taken, self._tally, whose.company_id)

    async def give_back(self, policy: str, whose: Whose, *, held_seconds: float) -> None:
        """As `Limiter.give_back`."""
        figures = (await self._current.now()).of(policy, whose.company_id)
        if figures.rule is not None:
            key = counter_key(figures.policy, whose)
            await self._counting.give_back(key, figures.rule, 1, held_seconds=held_seconds)

    def replaces_general(self, policy: str) -> bool:
        """As `Limiter.replaces_general`."""
        return self._current.policies[policy].replaces_general


def told(figures: Figures, taken: Taken, tally: Tally, company_id: str) -> Verdict | None:
    """What was taken as routes are told of it, counted under its outcome; None in shadow mode."""
    name, shadow = figures.policy.name, figures.mode == "shadow"
    if taken.allowed:
        CHECKS.labels(name, "allowed").inc()
    else:
        CHECKS.labels(name, "shadow_refused" if shadow else "refused").inc()
        tally.add(name, figures.mode, company_id)
    if shadow:
        return None
    return verdict_of(figures, taken)


def verdict_of(figures: Figures, taken: Taken) -> Verdict:
    """What was taken as routes are told of it."""
    policy = figures.policy
    return Verdict(
        policy.name,
        taken.allowed,
        taken.allowance,
        int(policy.window.total_seconds()),
        taken.remaining,
        taken.reset_seconds if taken.allowed else taken.retry_after_seconds,
        policy.set_by,
        figures.of_company,
        figures.until,
    )


async def keep_counts(stop: asyncio.Event, *rounds: Callable[[], Awaitable[Any]]) -> None:
    """Each of these every two seconds until `stop` is set, and once more then."""
    while True:
        stopping = stop.is_set()
        for one in rounds:
            try:
                await one()
            except Exception:
                telemetry.LOOP_ERRORS.labels("limit_counts").inc()
                _log.warning("a round failed", loop="limit_counts", exc_info=True)
        telemetry.LOOP_LAST_RUN.labels("limit_counts").set_to_current_time()
        if stopping:
            return
        try:
            await asyncio.wait_for(stop.wait(), FLUSH_SECONDS)
        except TimeoutError:
            continue
