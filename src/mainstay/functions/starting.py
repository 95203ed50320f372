"""Making runs: each with its job, at the pace its function asks for, and those that are skipped with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mainstay import jobs
from mainstay.functions.declaring import Function, Received, key_of
from mainstay.functions.limits import Limits, limits_of
from mainstay.functions.queries import limits as limit_rows
from mainstay.functions.queries import runs as rows
from mainstay.kernel import ids, telemetry
from mainstay.kernel.db import Tx

RUN_KIND = "functions.run"
RUN_ATTEMPTS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A run to be made: of what, with which events, and where from. `skipped` is why it is not to be run."""

    function: Function
    events: Sequence[Received]
    event_id: str | None = None
    rerun_of: str | None = None
    parent: tuple[str, str] | None = None
    skipped: str | None = None

    @property
    def company_id(self) -> str | None:
        """Whose run it is: that of its events."""
        return self.events[0].company_id


def received(body: dict[str, Any]) -> Received:
    """An event as it was sent."""
    return Received(
        body["name"], body["data"], body["user"], body["id"], body["ts"], body.get("v"), body.get("company")
    )


def body_of(event: Received) -> dict[str, Any]:
    """The event as runs and gathered events keep it."""
    return {**event.shown, "company": event.company_id}


def made_up(name: str, data: dict[str, Any], at: datetime, company_id: str | None = None) -> Received:
    """An event that nobody sent: what the clock, another run or an operator starts a function with."""
    return Received(name, data, {}, ids.new_id(), round(at.timestamp() * 1000), None, company_id)


async def start(tx: Tx, starts: Sequence[Start]) -> list[str]:
    """The runs stand with the caller's commit, and the jobs of those that are to be run are in line; their ids."""
    if not starts:
        return []
    run_ids = [ids.new_id() for _ in starts]
    job_ids: list[int | None] = [None] * len(starts)
    plain: dict[int, list[int]] = {}
    for index, one in enumerate(starts):
        if one.skipped is None and one.function.throttle is None:
            plain.setdefault(one.function.priority, []).append(index)
        elif one.skipped is None:
            job_ids[index] = await _enqueue_at_pace(tx, one, run_ids[index])
    for priority, indexes in plain.items():
        added = await jobs.enqueue_many(
            tx,
            RUN_KIND,
            [_payload(starts[index], run_ids[index]) for index in indexes],
            queue=jobs.WORKFLOW,
            lanes=[_lane(starts[index]) for index in indexes],
            company_ids=[starts[index].company_id for index in indexes],
            priority=priority,
            attempts=RUN_ATTEMPTS,
        )
        for index, job_id in zip(indexes, added, strict=True):
            job_ids[index] = job_id
    await rows.insert_runs_everywhere(tx, [_row(*parts) for parts in zip(starts, run_ids, job_ids, strict=True)])
    for one in starts:
        if one.skipped is not None:
            telemetry.FUNCTION_RUNS.labels(one.function.id, "skipped").inc()
    return run_ids


async def _enqueue_at_pace(tx: Tx, one: Start, run_id: str) -> int:
    throttle = one.function.throttle
    assert throttle is not None
    key = f"throttle:{one.function.id}:{key_of(throttle.key, one.events[0])}"
    start_at = await limit_rows.throttle_everywhere(tx, key, throttle.period / throttle.limit, throttle.burst)
    job = await jobs.enqueue(
        tx,
        RUN_KIND,
        _payload(one, run_id),
        queue=jobs.WORKFLOW,
        lane=_lane(one),
        company_id=one.company_id,
        run_at=start_at,
        priority=one.function.priority,
        attempts=RUN_ATTEMPTS,
    )
    return job.id


def _payload(one: Start, run_id: str) -> dict[str, str]:
    return {"run": run_id, "function": one.function.id}


def _lane(one: Start) -> str:
    """Runs of a key, else of a company, else of a function take turns with those of others."""
    for limit in one.function.concurrency:
        if limit.key is not None:
            return f"{one.function.id}/{key_of(limit.key, one.events[0])}"[:200]
    return one.company_id or one.function.id


def _limits_of(one: Start) -> Limits | None:
    """What limits the run, and so a rerun of it; None also where it was skipped because that cannot be told."""
    try:
        return limits_of(one.function, one.events[0])
    except Exception:
        if one.skipped is None:
            raise
        return None


def _row(one: Start, run_id: str, job_id: int | None) -> tuple[Any, ...]:
    limits = _limits_of(one)
    parent_id, parent_step = one.parent or (None, None)
    return (
        run_id, job_id, one.company_id, one.event_id, one.rerun_of, parent_id, parent_step, one.function.id,
        one.events[0].name, orjson.dumps([body_of(event) for event in one.events]).decode(),
        None if limits is None else limits.text, "open" if one.skipped is None else "skipped", one.skipped,
    )  # fmt: skip
