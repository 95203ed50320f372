"""Why a job is not running: every reason, told in order."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs import kinds
from mainstay.jobs.finding import JobView
from mainstay.jobs.reasons import Circumstances, Holder, Server, decide, why
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Discard, Job, Outcome, Retry
from tests.jobs.conftest import OPERATOR, QUEUE, add, one, state_of, task, until, working

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
JOB = JobView(
    id=7, queue="q", kind="k", state="waiting", lane="l", priority=5, attempt=0, max_attempts=3, company_id=None,
    trace_id="", dedupe_key=None, backoff=None, enqueued_at=NOW, due_at=None, started_at=None, ended_at=None,
    duration_ms=None, worker_id=None, reason=None, error=None, payload=None,
)  # fmt: skip
WORKER = Server(1, "w", frozenset({"k"}), 2, {}, 0.1)
ALL_WELL: dict[str, Any] = {"job": JOB, "now": NOW, "servers": [WORKER]}
SOON = NOW + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("more", "codes"),
    [
        ({}, ["ready"]),
        ({"now": NOW + timedelta(seconds=4.9)}, ["ready"]),
        ({"now": NOW + timedelta(seconds=5)}, ["lane_held"]),
        ({"now": NOW + timedelta(seconds=5), "job": replace(JOB, lane="")}, ["ready"]),
        ({"now": NOW + timedelta(seconds=5), "job": replace(JOB, due_at=NOW + timedelta(seconds=4))}, ["ready"]),
        ({"servers": []}, ["no_worker_for_queue"]),
        ({"servers": [replace(WORKER, silent_seconds=6.0)]}, ["no_worker_for_queue"]),
        ({"servers": [replace(WORKER, kinds=frozenset({"other"}))]}, ["no_worker_for_kind"]),
        ({"servers": [replace(WORKER, kinds=frozenset())]}, ["ready"]),
        ({"servers": [replace(WORKER, acting={"k": 1, "o": 1})]}, ["slots_taken"]),
        ({"servers": [replace(WORKER, acting={"k": 2}), WORKER]}, ["ready"]),
        ({"servers": [replace(WORKER, acting={"k": 2}), replace(WORKER, kinds=frozenset({"o"}))]}, ["slots_taken"]),
        ({"servers": [replace(WORKER, acting={"k": 2}, slots=None)]}, ["ready"]),
        ({"in_lane": 1}, ["lane_busy"]),
        ({"in_lane": 1, "job": replace(JOB, lane="")}, ["ready"]),
        ({"in_line": 1}, ["behind"]),
        ({"before": 1000}, ["behind"]),
        ({"queue_paused_at": NOW, "queue_paused_by": "Olga", "in_line": 3}, ["queue_paused", "behind"]),
        (
            {"share": 0, "is_passed_over": True, "kind_paused_at": NOW, "servers": []},
            ["kind_paused", "no_worker_for_queue"],
        ),
        ({"share": 10, "is_passed_over": True, "kind_paused_at": NOW}, ["kind_at_share"]),
        ({"share": 10, "is_passed_over": False, "kind_paused_at": NOW}, ["ready"]),
        ({"job": replace(JOB, state="parked")}, ["returning"]),
        ({"job": replace(JOB, state="delayed", due_at=SOON), "in_line": 1}, ["delayed"]),
        ({"job": replace(JOB, state="retrying", due_at=SOON, attempt=1), "last_error": "E"}, ["retrying"]),
        ({"job": replace(JOB, state="active", started_at=NOW), "holder": Holder(1, "w", 0.5, False)}, ["running"]),
        ({"job": replace(JOB, state="active", started_at=NOW), "holder": Holder(1, "w", 4.0, False)}, ["lease"]),
        ({"job": replace(JOB, state="active", started_at=NOW), "holder": Holder(1, "w", 0.5, True)}, ["lease"]),
        ({"job": replace(JOB, state="active"), "holder": None}, ["lease"]),
        ({"job": replace(JOB, state="completed", ended_at=NOW), "servers": []}, ["completed"]),
        ({"job": replace(JOB, state="cancelled", ended_at=NOW)}, ["cancelled"]),
        ({"job": replace(JOB, state="dead", ended_at=NOW, error="E")}, ["dead"]),
    ],
)
def test_every_reason_that_holds_is_told_in_order(more: dict[str, Any], codes: list[str]) -> None:
    found = decide(Circumstances(**{**ALL_WELL, **more}))
    assert [reason.code for reason in found.reasons] == codes
    assert found.answer.code == codes[0]
    for reason in found.reasons:
        assert reason.sentence.endswith((".", "it.", "one.", "E")), reason.sentence


def test_a_reason_says_who_and_since_when() -> None:
    more = {"queue_paused_at": NOW, "queue_paused_by": "Olga"}
    (reason,) = decide(Circumstances(**ALL_WELL, **more)).reasons
    assert reason.sentence == f"Queue q was paused by Olga at {iso(NOW)}; resume it."
    assert reason.facts["by"] == "Olga"
    late = {"job": replace(JOB, state="retrying", due_at=SOON, attempt=2), "last_error": "ValueError: x"}
    (reason,) = decide(Circumstances(**{**ALL_WELL, **late})).reasons
    assert "Attempt 2 of 3 failed (ValueError: x)" in reason.sentence
    (reason,) = decide(Circumstances(**ALL_WELL, in_line=1000)).reasons
    assert reason.sentence.startswith("1,000 or more job(s) stand before it")


async def _codes(db: Database, job_id: int) -> list[str]:
    found = await why(db, job_id)
    assert found.job_id == job_id
    return [reason.code for reason in found.reasons]


async def _is(db: Database, job_id: int, *codes: str) -> bool:
    return await _codes(db, job_id) == list(codes)


async def test_the_database_tells_each_reason_of_a_job_that_waits(db: Database) -> None:
    with pytest.raises(jobs.JobNotFound):
        await why(db, 10**12)
    first = await add(db, "test.kind", lane="l")
    assert await _codes(db, first) == ["no_worker_for_queue"]
    later = await add(db, "test.kind", lane="l", delay=timedelta(hours=1))
    assert (await _codes(db, later))[0] == "delayed"
    second = await add(db, "test.kind", lane="l", priority=6)
    third = await add(db, "test.kind", lane="l", priority=6)
    (reason,) = [one for one in (await why(db, third)).reasons if one.code == "behind"]
    assert (reason.facts["inLine"], reason.facts["higherPriority"]) == (1, 1)
    gate = asyncio.Event()

    async def run(job: Job) -> Outcome:
        await gate.wait()
        return Discard("no use") if job.id == second else Retry("not yet", after=timedelta(hours=1))

    async with working(db, [task(run, lane_limit=1)], slots=1):
        await until(lambda: _is(db, first, "running"))
        assert (await why(db, first)).answer.facts["worker"]
        assert await _codes(db, second) == ["slots_taken", "lane_busy"]
        (slots, lane) = (await why(db, second)).reasons
        assert (slots.facts, lane.facts) == ({"slots": 1, "taken": {"test.kind": 1}}, {"lane": "l", "running": 1})
        unknown = await add(db, "test.unknown")
        assert "no_worker_for_kind" in await _codes(db, unknown)
        async with db.begin() as tx:
            await jobs.cancel(tx, unknown)
            await jobs.pause(tx, OPERATOR, QUEUE)
            await kinds.pause_kind(tx, OPERATOR, "test.kind")
        assert (await _codes(db, third))[:2] == ["queue_paused", "kind_paused"]
        async with db.begin() as tx:
            await jobs.resume(tx, OPERATOR, QUEUE)
            await kinds.resume_kind(tx, OPERATOR, "test.kind")
        gate.set()
        await until(lambda: _is(db, second, "dead"))
        assert await _codes(db, first) == ["retrying"]
        assert (await why(db, first)).answer.facts["lastError"] == "not yet"
        assert await _codes(db, unknown) == ["cancelled"]


async def test_a_job_of_a_silent_worker_waits_for_its_lease(db: Database) -> None:
    job_id = await add(db, "test.kind")
    await one(db, """with w as (insert into mainstay.workers (name, queues, started_at, heartbeat_at)
                       values ('gone', '{}', mainstay.now(), mainstay.now() - interval '4 s') returning id)
                     update mainstay.jobs set state = 'active', attempt = 1, started_at = mainstay.now(),
                            worker_id = (select id from w) returning id""")  # fmt: skip
    assert await _codes(db, job_id) == ["lease"]
    assert await state_of(db, job_id) == "active"


async def test_the_answer_costs_no_more_behind_a_large_backlog(db: Database) -> None:
    await one(db, """with n as (insert into mainstay.jobs (queue, kind, payload, lane)
                       select $1, 'test.kind', '1', 'l' from generate_series(1, 5000) g returning 1)
                     select count(*) from n""", QUEUE)  # fmt: skip
    job_id = await add(db, "test.kind", lane="l", priority=6, backoff=Backoff())
    other = await add(db, "test.kind", lane="l")
    (reason,) = [one for one in (await why(db, job_id)).reasons if one.code == "behind"]
    assert (reason.facts["inLine"], reason.facts["higherPriority"]) == (0, 1000)
    (reason,) = [one for one in (await why(db, other)).reasons if one.code == "behind"]
    assert reason.facts["inLine"] == 1000
