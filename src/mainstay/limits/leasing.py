"""Rates of API keys: a node leases many calls from the store at once and spends them without asking again.

A lease is good for a second. Its calls are taken from a window that is a second longer than the limit's, so that in no
window of the limit's length, over all nodes, more calls pass than it allows; what was not spent is given back.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from mainstay.kernel.clock import Clock, SystemClock
from mainstay.limits.enforcing import Counting
from mainstay.limits.errors import StoreAway
from mainstay.limits.overrides import Current, Figures
from mainstay.limits.policies import key_policy
from mainstay.limits.report import CHECKS, Tally
from mainstay.limits.store import Rule, Taken
from mainstay.web.limiting import Verdict

LEASE_SECONDS = 1.0
EARLY_SECONDS = 0.3
"""A lease that ends so soon is renewed beside the calls, which go on with what is left of it."""
SHARE = 20
"""A node leases up to this part of an allowance at once: others may be refused that much early, nobody gains."""
MOST_KEYS = 10_000
_TIMES_SMALLER = 3
_TRIES = 5


@dataclass(slots=True)
class _Lease:
    """What this node holds for one key."""

    company_id: str
    figures: Figures | None = None
    rule: Rule | None = None
    tokens: int = 0
    size: int = 1
    spent: int = 0
    taken_at: float = 0.0
    good_until: float = 0.0
    is_refused: bool = False
    left: int = 0
    frees_at: float = 0.0
    waiting: int = 0
    renewal: asyncio.Task[None] | None = None


class KeyLeases:
    """Fulfils `KeyRates` for one node. `spend` asks nobody; `lease` asks the store and, after a second, what holds."""

    def __init__(self, counting: Counting, current: Current, tally: Tally, *, clock: Clock | None = None) -> None:
        self._counting = counting
        self._current = current
        self._tally = tally
        self._clock = clock or SystemClock()
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._left_over: set[asyncio.Task[None]] = set()

    def spend(self, key_id: str) -> Verdict | Literal["lease"] | None:
        """One call of the key, from what this node holds; "lease" where it holds nothing that is good."""
        lease = self._leases.get(key_id)
        if lease is None:
            return "lease"
        now = self._clock.monotonic()
        if now >= lease.good_until:
            return "lease"
        figures, rule = lease.figures, lease.rule
        if figures is None or rule is None:
            return None
        if lease.tokens > 0:
            lease.tokens -= 1
            lease.spent += 1
            if lease.renewal is None and (lease.tokens * 2 < lease.size - 1 or lease.good_until - now < EARLY_SECONDS):
                self._renew(key_id, lease)
            return self._told(lease, figures, now, allowed=True)
        if lease.is_refused:
            return self._told(lease, figures, now, allowed=False)
        return "lease"

    async def lease(self, key_id: str, company_id: str) -> Verdict | None:
        """One call of the key, once the store was asked; simultaneous calls share one question.

        Where leases end before they can be spent, as answers take too long, the call passes unseen."""
        for _ in range(_TRIES):
            lease = self._leases.get(key_id)
            if lease is None:
                lease = self._leases[key_id] = _Lease(company_id)
                if len(self._leases) > MOST_KEYS:
                    self._end(*self._leases.popitem(last=False))
            lease.waiting += 1
            try:
                await asyncio.shield(lease.renewal or self._renew(key_id, lease))
            finally:
                lease.waiting -= 1
            verdict = self.spend(key_id)
            if verdict != "lease":
                return verdict
            if lease.is_refused and lease.figures is not None:
                return self._told(lease, lease.figures, self._clock.monotonic(), allowed=False)
        CHECKS.labels("key", "unseen").inc()
        return None

    async def sweep(self) -> int:
        """Leases that are over are given back and forgotten; how many."""
        now = self._clock.monotonic()
        over = [
            key_id for key_id, one in self._leases.items() if now >= one.good_until + 1.0 and not one.waiting
            and one.renewal is None
        ]  # fmt: skip
        for key_id in over:
            await self._give_back(key_id, self._leases.pop(key_id))
        return len(over)

    async def close(self) -> None:
        """What this node still holds is given back."""
        while self._leases:
            key_id, lease = self._leases.popitem()
            if lease.renewal is not None:
                await asyncio.wait([lease.renewal])
            await self._give_back(key_id, lease)
        if self._left_over:
            await asyncio.wait(self._left_over)

    def _renew(self, key_id: str, lease: _Lease) -> asyncio.Task[None]:
        task = lease.renewal = asyncio.create_task(self._take(key_id, lease))

        def end(done: asyncio.Task[None]) -> None:
            lease.renewal = None
            if not done.cancelled():
                done.exception()

        task.add_done_callback(end)
        return task

    async def _take(self, key_id: str, lease: _Lease) -> None:
        """The lease holds calls that are good for a second, or knows that there are none."""
        figures = await self._figures(lease.company_id, for_seconds=LEASE_SECONDS / 2)
        rule = None if figures is None else _leased(figures)
        asked_at = self._clock.monotonic()
        good_until = min(asked_at + LEASE_SECONDS, (await self._current.now()).good_until)
        if figures is None or rule is None:
            self._replace(key_id, lease, figures, None, asked_at, good_until)
            return
        if lease.tokens and asked_at >= lease.good_until:
            await self._give_back(key_id, lease)
            lease.tokens = 0
        wanted = max(lease.waiting, self._size(lease, rule, asked_at))
        taken, cost = await self._most(key_id, rule, wanted, is_closed=figures.mode != "shadow")
        if not taken.is_counted:
            self._replace(key_id, lease, figures, None, asked_at, good_until)
            return
        if lease.tokens and lease.rule == rule and not taken.allowed:
            lease.size = lease.tokens
            return
        if lease.tokens and lease.rule == rule and asked_at < lease.good_until - EARLY_SECONDS:
            lease.tokens, lease.size = lease.tokens + cost, max(lease.size, cost)
        else:
            self._replace(key_id, lease, figures, rule, asked_at, good_until)
            lease.tokens, lease.size = (cost, cost) if taken.allowed else (0, 1)
        self._remember(lease, taken)

    def _remember(self, lease: _Lease, taken: Taken) -> None:
        now = self._clock.monotonic()
        lease.is_refused, lease.left = not taken.allowed, taken.remaining
        lease.frees_at = now + (taken.reset_seconds if taken.allowed else taken.retry_after_seconds)
        if not taken.allowed:
            lease.good_until = min(lease.good_until, lease.frees_at)

    async def _most(self, key_id: str, rule: Rule, wanted: int, *, is_closed: bool) -> tuple[Taken, int]:
        """As many calls as there are, up to what is wanted; where there is none, the answer of a single one.

        Where nobody can count, StoreAway, or uncounted where nobody is refused in any case."""
        try:
            return await self._most_counted(key_id, rule, wanted)
        except StoreAway:
            if is_closed:
                raise
            return Taken(True, rule.allowance, rule.allowance, 0.0, 0.0, is_counted=False), 1

    async def _most_counted(self, key_id: str, rule: Rule, wanted: int) -> tuple[Taken, int]:
        cost = wanted
        for _ in range(_TIMES_SMALLER):
            taken = await self._counting.take(_key(key_id), rule, cost)
            if taken.allowed or cost == 1:
                return taken, cost
            cost = max(1, min(cost - 1, taken.remaining))
        return await self._counting.take(_key(key_id), rule), 1

    def _size(self, lease: _Lease, rule: Rule, now: float) -> int:
        """Twice as many as the last time where those ran out, else a little more than a second has used."""
        most = max(1, rule.allowance // SHARE)
        if lease.tokens * 2 < lease.size:
            return min(most, lease.size * 2)
        lasted = max(now - lease.taken_at, 0.1)
        return min(most, max(1, round(lease.spent / lasted * 1.25)))

    def _replace(
        self, key_id: str, lease: _Lease, figures: Figures | None, rule: Rule | None, now: float, good_until: float
    ) -> None:
        """The lease begins anew; what was left of the one before is given back."""
        self._end(key_id, lease)
        lease.figures, lease.rule = figures, rule
        lease.tokens, lease.spent, lease.is_refused = 0, 0, False
        lease.taken_at, lease.good_until = now, good_until

    def _end(self, key_id: str, lease: _Lease) -> None:
        if lease.tokens and lease.rule is not None:
            task = asyncio.create_task(self._give_back(key_id, replace(lease, renewal=None)))
            self._left_over.add(task)
            task.add_done_callback(self._left_over.discard)

    async def _give_back(self, key_id: str, lease: _Lease) -> None:
        if lease.tokens and lease.rule is not None:
            held = self._clock.monotonic() - lease.taken_at
            await self._counting.give_back(_key(key_id), lease.rule, lease.tokens, held_seconds=held)

    async def _figures(self, company_id: str, *, for_seconds: float) -> Figures | None:
        snapshot = await self._current.now(for_seconds=for_seconds)
        plan = await self._current.plan_of(company_id)
        name = key_policy(plan or "")
        return snapshot.of(name, company_id) if name in self._current.policies else None

    def _told(self, lease: _Lease, figures: Figures, now: float, *, allowed: bool) -> Verdict | None:
        name, shadow = figures.policy.name, figures.mode == "shadow"
        if allowed:
            CHECKS.labels(name, "allowed").inc()
        else:
            CHECKS.labels(name, "shadow_refused" if shadow else "refused").inc()
            self._tally.add(name, figures.mode, lease.company_id)
        if shadow:
            return None
        return _verdict(
            figures, allowed=allowed, remaining=lease.left + lease.tokens if allowed else 0, wait=lease.frees_at - now
        )


def _verdict(figures: Figures, *, allowed: bool, remaining: int, wait: float) -> Verdict:
    policy = figures.policy
    return Verdict(
        policy.name,
        allowed,
        policy.allowance or 0,
        int(policy.window.total_seconds()),
        remaining,
        wait,
        policy.set_by,
        figures.of_company,
        figures.until,
    )


def _leased(figures: Figures) -> Rule | None:
    """The rule that leases are taken under: its window is longer by as long as a lease is good."""
    if figures.rule is None:
        return None
    return replace(figures.rule, window=figures.rule.window + timedelta(seconds=LEASE_SECONDS))


def _key(key_id: str) -> str:
    return f"throttle:key:{key_id}"
