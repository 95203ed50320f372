"""Rates of API keys: leased calls are spent without asking, and over all nodes never more than the allowance pass."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from mainstay import limits
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.db import Database
from mainstay.limits.leasing import KeyLeases
from mainstay.limits.memory import Memory
from mainstay.limits.overrides import Current
from mainstay.limits.report import Tally
from mainstay.limits.store import Rule, Taken
from mainstay.web.limiting import Verdict
from tests.tenancy import OPERATOR, Tenancy, test_settings

KEY = "a-key"


class Store(Memory):
    """Memory that tells how often it was asked, and may be away."""

    asked = 0
    is_away = False

    async def take(self, key: str, rule: Rule, cost: int = 1, *, peek: bool = False) -> Taken:
        self.asked += 1
        if self.is_away:
            return Taken(True, rule.allowance, rule.allowance, 0.0, 0.0, is_counted=False)
        return await super().take(key, rule, cost, peek=peek)


class Nodes:
    """Several nodes that count in one store."""

    def __init__(self, db: Database, company_id: str, figures: str, *, count: int = 1) -> None:
        self.clock = MovableClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.store = Store(monotonic=self.clock.monotonic)
        self.company_id = company_id
        policies = limits.policies_of(test_settings(db.dsn, RATE_LIMITS=figures))
        self.tally = Tally(db)
        self.all = [
            KeyLeases(self.store, Current(db, policies, clock=self.clock), self.tally, clock=self.clock)
            for _ in range(count)
        ]

    async def call(self, node: int = 0) -> Verdict | None:
        """One call of the key at that node."""
        found = self.all[node].spend(KEY)
        return await self.all[node].lease(KEY, self.company_id) if found == "lease" else found

    async def close(self) -> None:
        """Whatever was begun has ended."""
        for one in self.all:
            await one.close()


async def test_the_allowance_passes_and_not_one_call_more(db: Database, tenancy: Tenancy) -> None:
    nodes = Nodes(db, tenancy.company_id, "key_growth=50/60")
    verdicts = [await nodes.call() for _ in range(52)]
    told = [(one.allowed, one.remaining) for one in verdicts if one is not None]
    assert told == [(True, left) for left in range(49, -1, -1)] + [(False, 0)] * 2
    refused = verdicts[-1]
    assert refused is not None
    assert (refused.policy, refused.allowance, refused.window_seconds) == ("key_growth", 50, 60)
    assert 60 <= refused.frees_in_seconds <= 61
    nodes.clock.move(timedelta(seconds=61))
    again = await nodes.call()
    assert again is not None
    assert again.allowed
    await nodes.close()


async def test_many_calls_cost_few_questions(db: Database, tenancy: Tenancy) -> None:
    nodes = Nodes(db, tenancy.company_id, "key_growth=1000000/60")
    for _ in range(5_000):
        verdict = await nodes.call()
        assert verdict is not None
        assert verdict.allowed
    assert nodes.store.asked < 30
    await nodes.close()


async def test_simultaneous_calls_at_several_nodes_never_pass_more_than_the_allowance(
    db: Database, tenancy: Tenancy
) -> None:
    nodes = Nodes(db, tenancy.company_id, "key_growth=300/60", count=3)

    async def calls(node: int) -> int:
        return sum([one.allowed for _ in range(150) if (one := await nodes.call(node)) is not None])

    passed = sum(await asyncio.gather(*(calls(node) for node in (0, 1, 2, 0, 1, 2))))
    assert passed <= 300
    # What a node held and did not spend is there again for the others once its second is over.
    nodes.clock.move(timedelta(seconds=2))
    for one in nodes.all:
        await one.sweep()
    nodes.clock.move(timedelta(seconds=2))
    passed += await calls(1)
    assert passed == 300
    await nodes.close()


async def test_in_no_window_more_calls_pass_than_allowed_wherever_it_begins(db: Database, tenancy: Tenancy) -> None:
    chance = random.Random(7)
    nodes = Nodes(db, tenancy.company_id, "key_growth=60/10", count=2)
    passed: list[datetime] = []
    for _ in range(1_500):
        verdict = await nodes.call(chance.randrange(2))
        if verdict is not None and verdict.allowed:
            passed.append(nodes.clock.now())
        if chance.random() < 0.2:
            nodes.clock.move(timedelta(milliseconds=chance.choice((1, 20, 300, 990, 1_010))))
        if chance.random() < 0.02:
            await nodes.all[chance.randrange(2)].sweep()
    window = timedelta(seconds=10)
    assert max(sum(at <= one < at + window for one in passed) for at in passed) <= 60
    assert len(passed) > 300
    await nodes.close()


async def test_a_store_that_is_away_lets_keys_pass_and_is_asked_once_a_second(db: Database, tenancy: Tenancy) -> None:
    nodes = Nodes(db, tenancy.company_id, "key_growth=1/60")
    nodes.store.is_away = True
    assert [await nodes.call() for _ in range(100)] == [None] * 100
    assert nodes.store.asked == 1
    nodes.store.is_away = False
    nodes.clock.move(timedelta(seconds=1))
    assert [one.allowed for _ in range(2) if (one := await nodes.call()) is not None] == [True, False]
    await nodes.close()


@pytest.mark.parametrize("plan", ["free", "growth", "enterprise"])
async def test_the_rate_follows_the_plan(db: Database, tenancy: Tenancy, plan: str) -> None:
    async with db.begin() as tx:
        await tx.connection.execute("update mainstay.companies set plan = $1", plan)
    nodes = Nodes(db, tenancy.company_id, "")
    verdict = await nodes.call()
    assert verdict is not None
    allowance = {"free": 6_000, "growth": 600_000}.get(plan, 6_000_000)
    assert (verdict.policy, verdict.allowance) == (f"key_{plan}", allowance)
    await nodes.close()


async def test_new_figures_hold_within_a_second(db: Database, tenancy: Tenancy) -> None:
    nodes = Nodes(db, tenancy.company_id, "key_growth=1000/60")
    for _ in range(50):
        await nodes.call()
    policy = limits.policies_of(test_settings(db.dsn))["key_growth"]
    async with db.begin() as tx:
        await limits.set_override(tx, OPERATOR, policy, tenancy.company_id, allowance=10, reason="too many")
    nodes.clock.move(timedelta(seconds=1))
    verdict = await nodes.call()
    assert verdict is not None
    assert (verdict.allowed, verdict.allowance, verdict.set_by, verdict.of_company) == (False, 10, "operator", True)
    await nodes.close()
