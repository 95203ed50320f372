"""What every store of limits does alike: one conformance suite, with a clock that stands until it is moved."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.limits import Rule
from mainstay.limits.store import MOST_EXACT
from tests.limits.stores import Bench

MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
FIVE = Rule("five", 5, MINUTE)


async def takes(bench: Bench, rule: Rule, number: int, key: str = "k") -> list[bool]:
    """Which of so many calls one after the other pass."""
    return [(await bench.store.take(key, rule)).allowed for _ in range(number)]


@pytest.mark.contract("DR-RL-09")
async def test_remaining_falls_to_zero_and_no_further(bench: Bench) -> None:
    taken = [await bench.store.take("k", FIVE) for _ in range(7)]
    assert [one.remaining for one in taken] == [4, 3, 2, 1, 0, 0, 0]
    assert [one.allowed for one in taken] == [True] * 5 + [False] * 2
    assert {one.allowance for one in taken} == {5}
    assert [one.retry_after_seconds for one in taken] == [0.0] * 5 + [60.0] * 2
    assert {one.reset_seconds for one in taken} == {60.0}


async def test_the_window_slides_and_refused_calls_take_nothing(bench: Bench) -> None:
    """A burst at the end of one minute and another at the start of the next are one window's."""
    await takes(bench, FIVE, 1)
    await bench.move(timedelta(seconds=50))
    assert await takes(bench, FIVE, 6) == [True] * 4 + [False] * 2
    refused = await bench.store.take("k", FIVE)
    assert (refused.retry_after_seconds, refused.reset_seconds) == (10.0, 60.0)
    await bench.move(timedelta(seconds=10) - MICROSECOND)
    assert await takes(bench, FIVE, 3) == [False] * 3
    await bench.move(MICROSECOND)
    assert await takes(bench, FIVE, 2) == [True, False]
    await bench.move(timedelta(seconds=50) - MICROSECOND)
    assert await takes(bench, FIVE, 1) == [False]
    await bench.move(MICROSECOND)
    assert await takes(bench, FIVE, 5) == [True] * 4 + [False]


async def test_a_call_costs_what_it_says_and_passes_whole_or_not_at_all(bench: Bench) -> None:
    assert (await bench.store.take("k", FIVE, 3)).remaining == 2
    await bench.move(timedelta(seconds=20))
    assert (await bench.store.take("k", FIVE, 1)).remaining == 1
    refused = await bench.store.take("k", FIVE, 2)
    assert (refused.allowed, refused.remaining, refused.retry_after_seconds) == (False, 1, 40.0)
    assert (await bench.store.take("k", FIVE, 5)).retry_after_seconds == 60.0
    assert (await bench.store.take("k", FIVE, 1)).remaining == 0
    await bench.move(timedelta(seconds=40))
    assert (await bench.store.take("k", FIVE, 3)).allowed


async def test_what_costs_more_than_the_allowance_never_passes(bench: Bench) -> None:
    refused = await bench.store.take("k", FIVE, 6)
    assert (refused.allowed, refused.remaining) == (False, 5)
    assert (refused.retry_after_seconds, refused.reset_seconds) == (60.0, 0.0)
    assert (await bench.store.take("k", Rule("none", 0, MINUTE))).allowed is False


async def test_a_peek_takes_nothing(bench: Bench) -> None:
    assert [(await bench.store.take("k", FIVE, peek=True)).remaining for _ in range(9)] == [5] * 9
    await bench.store.take("k", FIVE, 4)
    assert (await bench.store.take("k", FIVE, 2, peek=True)).allowed is False
    seen = await bench.store.take("k", FIVE, peek=True)
    assert (seen.allowed, seen.remaining, seen.reset_seconds) == (True, 1, 60.0)


async def test_what_is_given_back_can_be_taken_until_its_window_is_over(bench: Bench) -> None:
    await bench.store.take("k", FIVE, 2)
    await bench.move(timedelta(seconds=30))
    await bench.store.take("k", FIVE, 3)
    await bench.store.give_back("k", FIVE, 3, held_seconds=0.1)
    taken = await bench.store.take("k", FIVE, peek=True)
    # The oldest went, so what is left frees as late as it may.
    assert (taken.remaining, taken.reset_seconds) == (3, 60.0)
    await bench.store.give_back("k", FIVE, 1, held_seconds=60.0)
    assert (await bench.store.take("k", FIVE, peek=True)).remaining == 3
    await bench.store.give_back("k", FIVE, 9, held_seconds=59.9)
    await bench.store.give_back("unknown", FIVE, 1, held_seconds=0.1)
    assert (await bench.store.take("k", FIVE, peek=True)).remaining == 5
    await bench.store.take("k", FIVE, 5)
    await bench.move(MINUTE)
    await bench.store.give_back("k", FIVE, 5, held_seconds=1.0)
    assert await takes(bench, FIVE, 6) == [True] * 5 + [False]


async def test_each_key_has_a_counter_of_its_own(bench: Bench) -> None:
    keys = ["throttle:c1:10.0.0.1:/api/v1/a", "throttle:c1:10.0.0.1:/api/v1/b", "throttle:c2:10.0.0.1:/api/v1/a", "ü €"]
    for key in keys:
        assert await takes(bench, FIVE, 6, key) == [True] * 5 + [False]


@pytest.mark.parametrize("allowance", [7, 1_000])
async def test_of_many_at_once_exactly_the_allowance_passes(bench: Bench, allowance: int) -> None:
    rule = Rule("r", allowance, MINUTE)
    cost = max(allowance // 50, 1)
    calls = [(bench.store, bench.other)[n % 2].take("k", rule, cost) for n in range(80)]
    taken = await asyncio.gather(*calls)
    assert sum(one.allowed for one in taken) == allowance // cost
    assert sorted(one.remaining for one in taken if one.allowed) == list(range(0, allowance, cost))[: allowance // cost]


async def test_figures_can_change_while_hits_are_counted(bench: Bench) -> None:
    await bench.store.take("k", FIVE, 5)
    raised = await bench.store.take("k", Rule("five", 200, MINUTE), 190)
    assert (raised.allowed, raised.remaining) == (True, 5)
    lowered = await bench.store.take("k", FIVE)
    assert (lowered.allowed, lowered.remaining) == (False, 0)


@pytest.mark.parametrize("allowance", [3, MOST_EXACT, MOST_EXACT + 1])
async def test_it_agrees_with_a_naive_count_of_the_window(bench: Bench, allowance: int) -> None:
    """Up to 128 to the microsecond; above, up to a slot late and never early."""
    window = timedelta(microseconds=1_280_000)
    rule = Rule("r", allowance, window)
    used = iter(range(10_000))
    cost = st.integers(1, max(allowance // 3, 1))
    wait = st.integers(0, 1_500_000) | st.sampled_from([1, 9_999, 10_000, 1_279_999, 1_280_000])

    async def check(steps: list[tuple[int, int]]) -> None:
        key, now = f"k{next(used)}", 0
        hits: list[tuple[int, int]] = []

        def counted(within_us: int) -> int:
            return sum(cost for at, cost in hits if at > now - within_us)

        for waited, cost in steps:
            await bench.move(timedelta(microseconds=waited))
            now += waited
            taken = await bench.store.take(key, rule, cost)
            if taken.allowed:
                assert counted(rule.window_us) + cost <= allowance
                hits.append((now, cost))
            else:
                assert counted(rule.window_us + rule.slot_us) + cost > allowance
                passes_at = now + round(taken.retry_after_seconds * 1_000_000)
                still = [sum(c for at, c in hits if at > passes_at - early - rule.window_us) for early in (0, 1)]
                assert still[0] + cost <= allowance
                assert rule.slot_us or still[1] + cost > allowance
            assert allowance - counted(rule.window_us + rule.slot_us) <= taken.remaining
            assert taken.remaining <= allowance - counted(rule.window_us)

    loop = asyncio.get_running_loop()
    examples = 50 if bench.store.kind == "memory" else 8

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(st.tuples(wait, cost), min_size=5, max_size=25))
    def run(steps: list[tuple[int, int]]) -> None:
        asyncio.run_coroutine_threadsafe(check(steps), loop).result(60)

    await asyncio.to_thread(run)
