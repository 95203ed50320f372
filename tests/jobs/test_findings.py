"""Patterns in failures, as operators look for them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs import memory
from mainstay.jobs.findings import exhausted, find, is_last_rung, last_rungs, memory_timeouts, same_failures
from mainstay.jobs.queries.workers import beat_everywhere
from mainstay.kernel.db import Database
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Job, Outcome, Retry
from tests.jobs.conftest import QUEUE, add, one, task, until, working

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
AT_ONCE = Backoff("fixed", timedelta(0))


def _failure(error: str, kind: str = "k", **more: Any) -> dict[str, Any]:
    return {"queue": "q", "kind": kind, "error": error, "outcome": "failed", "finished_at": NOW, **more}


@pytest.mark.parametrize(
    ("errors", "found"),
    [
        (["ValueError: 1"] * 4, []),
        ([f"ValueError: {n}" for n in range(5)], ["ValueError: #"]),
        ([f"step 'pay': E{'abc'[n % 3]}: x" for n in range(5)], ["step 'pay'"]),
        (["ValueError: 1"] * 4 + ["TypeError: 1"] * 4, []),
        ([f"step 'pay': E: {n}" for n in range(4)] + ["step 'ship': E: 1"], []),
        (["A: 1"] * 5 + ["B: 1"] * 6, ["A: #", "B: #"]),
    ],
)
def test_five_failures_alike_are_a_finding(errors: list[str], found: list[str]) -> None:
    told = list(same_failures(_failure(error) for error in errors))
    assert [each.facts["shape"] for each in told] == found
    assert all(each.facts["of"] == len(errors) for each in told)


def test_failures_of_several_kinds_are_not_added_up() -> None:
    assert list(same_failures(_failure("E: 1", kind=f"k{n % 2}") for n in range(8))) == []


@pytest.mark.parametrize(
    ("attempt", "most", "backoff", "is_last"),
    [
        (1, 3, None, False),
        (2, 3, None, True),
        (1, 2, None, True),
        (5, 1000, "exponential:2000:0.0", False),
        (17, 1000, "exponential:2000:0.0", True),
        (900, 1000, "fixed:5000:0.0", False),
        (1, 1000, "nonsense", True),
    ],
)
def test_the_last_rung_is_before_the_last_attempt_or_at_the_longest_gap(
    attempt: int, most: int, backoff: str | None, is_last: bool
) -> None:
    assert is_last_rung("q", attempt, most, backoff) is is_last
    row = {"queue": "q", "kind": "k", "attempt": attempt, "max_attempts": most, "backoff": backoff, "jobs": 2}
    assert [each.facts["jobs"] for each in last_rungs([{**row, "next_at": NOW}, {**row, "next_at": NOW}])] == [
        4
    ] * is_last


def test_deaths_and_timeouts_are_told_with_their_figures() -> None:
    (death,) = exhausted([{"queue": "q", "kind": "k", "jobs": 1200, "last_at": NOW, "attempts": 5}])
    assert death.sentence == "1,200 job(s) of k died in the last hour after up to 5 attempts."
    (late,) = memory_timeouts([{"queue": "q", "kind": "k", "worker": "w", "timeouts": 3, "memory_share": 0.97}])
    assert (late.code, late.facts) == ("memory_timeouts", {"timeouts": 3, "worker": "w", "memoryShare": 0.97})


@pytest.mark.contract("DR-Q-09", "DR-Q-10", "DR-Q-11")
async def test_the_patterns_are_found_in_what_workers_did(db: Database) -> None:
    async def run(job: Job) -> Outcome:
        if job.payload == "late":
            await until(lambda: False)
        if job.payload == "wait" and job.attempt == 2:
            return Retry(f"order {job.id} is not paid", after=timedelta(hours=1))
        raise ValueError(f"step of order {job.id}")

    assert await find(db) == []
    for _ in range(5):
        await add(db, "test.same", attempts=1)
    waiting = await add(db, "test.wait", "wait", attempts=3)
    await add(db, "test.late", "late", attempts=1)
    named = [
        task(run, kind=f"test.{name}", backoff=AT_ONCE, timeout=timedelta(seconds=0.2))
        for name in ("same", "wait", "late")
    ]
    async with working(db, named) as worker:
        await until(lambda: _has_rested(db, waiting))
        await until(lambda: _died(db, 6))
        assert "memory_timeouts" not in {each.code for each in await find(db)}
        assert worker.lease.id is not None
        assert await beat_everywhere(db, worker.lease.id, 0.95, memory.HIGH)
    found = {(each.code, each.kind): each.facts for each in await find(db)}
    assert set(found) == {
        ("same_failure", "test.same"), ("last_rung", "test.wait"), ("exhausted", "test.same"),
        ("exhausted", "test.late"), ("memory_timeouts", "test.late"),
    }  # fmt: skip
    assert found["same_failure", "test.same"]["failures"] == 5
    assert found["last_rung", "test.wait"]["jobs"] == 1
    assert found["exhausted", "test.same"]["jobs"] == 5
    assert (await jobs.stats(db))[QUEUE].dead == 6


async def _has_rested(db: Database, job_id: int) -> bool:
    return bool(await one(db, "select state = 'retrying' and attempt = 2 from mainstay.jobs where id = $1", job_id))


async def _died(db: Database, count: int) -> bool:
    return bool(await one(db, "select count(*) = $1 from mainstay.dead_jobs", count))
