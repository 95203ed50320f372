"""Putting jobs in line: an insert in the caller's transaction, and one wake-up for it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from mainstay.jobs.errors import JobRefused
from mainstay.jobs.queries import enqueueing as rows
from mainstay.jobs.queries.enqueueing import JobSpec
from mainstay.jobs.queues import attempts_of, rule_of
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Task

MAX_PAYLOAD_BYTES = 262_144
MAX_KEY_LENGTH = 200
_WAKE_GAP_SECONDS = 0.05
_DEDUPE_TRIES = 5
_woken: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The job that stands for the request: a new one, or the unfinished one that has the same dedupe key."""

    id: int
    deduplicated: bool


async def enqueue(
    tx: Tx,
    kind_or_task: str | Task,
    payload: Any,
    *,
    queue: str | None = None,
    lane: str = "",
    company_id: str | None = None,
    delay: timedelta | None = None,
    run_at: datetime | None = None,
    priority: int | None = None,
    attempts: int | None = None,
    backoff: Backoff | None = None,
    dedupe_key: str | None = None,
) -> Enqueued:
    """The job is in line when the caller commits; at `run_at` or after `delay` if given. JobRefused on bad values.

    A kind that is given by its name alone is looked up among those that workers have told of, and brings its queue,
    priority and attempts along; an unknown one is refused. With its task or its `queue` nothing is looked up.
    `dedupe_key`: while an unfinished job of this kind has the same key no second one is made, and the transaction
    lives on. Lower `priority` (0 to 10) runs first within the queue. `attempts` is the total number of starts.
    """
    if queue is None and isinstance(kind_or_task, str):
        spec = await _spec_of_known(tx, kind_or_task, priority, attempts)
    else:
        spec = _spec(kind_or_task, queue, priority, attempts)
    values = (
        lane_of(lane),
        company_id,
        telemetry.current_trace().trace_id,
        None if backoff is None else backoff.text,
        _key(dedupe_key),
        encode(payload),
        run_at,
        delay,
    )
    for _ in range(_DEDUPE_TRIES):
        added = await rows.insert_job_everywhere(tx, spec, *values)
        if added is not None:
            return Enqueued(added, deduplicated=False)
        found = await rows.find_by_dedupe_key_everywhere(tx, spec.kind, dedupe_key or "")
        if found is not None:
            return Enqueued(found, deduplicated=True)
    raise JobRefused("Jobs with this dedupe key come and go too fast; try again.")


async def enqueue_many(
    tx: Tx,
    kind_or_task: str | Task,
    payloads: Sequence[Any],
    *,
    queue: str | None = None,
    lanes: Sequence[str] | None = None,
    company_ids: Sequence[str | None] | None = None,
    delay: timedelta | None = None,
    priority: int | None = None,
    attempts: int | None = None,
) -> list[int]:
    """All jobs are in line, in this order, when the caller commits; their ids. One statement, one wake-up."""
    if not payloads:
        return []
    spec = _spec(kind_or_task, queue, priority, attempts)
    count = len(payloads)
    lanes = [""] * count if lanes is None else [lane_of(lane) for lane in lanes]
    company_ids = [None] * count if company_ids is None else company_ids
    if not len(lanes) == len(company_ids) == count:
        raise JobRefused("Give as many lanes and companies as payloads.")
    bodies = [encode(payload) for payload in payloads]
    trace_id = telemetry.current_trace().trace_id
    return await rows.insert_jobs_everywhere(tx, spec, lanes, company_ids, bodies, trace_id, delay)


async def wake(db: Database, queue: str) -> None:
    """Workers look at the queue now; at most 20 times a second a process and queue, since awake workers poll anyway.

    For hot paths that enqueue by the SQL function: call it after the commit.
    """
    now = time.monotonic()
    if now - _woken.get(queue, 0.0) >= _WAKE_GAP_SECONDS:
        _woken[queue] = now
        await rows.notify_everywhere(db, queue)


def encode(payload: Any) -> str:
    """The payload as JSON text; JobRefused where PostgreSQL could not keep it or it is over 256 KiB."""
    try:
        body = orjson.dumps(payload)
    except TypeError as error:
        raise JobRefused(f"The payload is not JSON: {error}") from None
    if len(body) > MAX_PAYLOAD_BYTES:
        raise JobRefused(f"The payload has {len(body)} bytes; at most {MAX_PAYLOAD_BYTES} are kept.")
    if b"\\u0000" in body.replace(b"\\\\", b""):
        raise JobRefused("The payload holds a NUL character.")
    return body.decode()


def lane_of(lane: str) -> str:
    """The lane, checked: at most 200 characters and no NUL."""
    if len(lane) > MAX_KEY_LENGTH or "\0" in lane:
        raise JobRefused(f"A lane has at most {MAX_KEY_LENGTH} characters and no NUL.")
    return lane


def _key(dedupe_key: str | None) -> str | None:
    if dedupe_key is not None and not (0 < len(dedupe_key) <= MAX_KEY_LENGTH and "\0" not in dedupe_key):
        raise JobRefused(f"A dedupe key has 1 to {MAX_KEY_LENGTH} characters and no NUL.")
    return dedupe_key


async def _spec_of_known(tx: Tx, kind: str, priority: int | None, attempts: int | None) -> JobSpec:
    known = (await rows.find_kinds_everywhere(tx, [kind])).get(kind)
    if known is None:
        raise JobRefused(f"No worker has told of a kind {kind!r}: name its queue, or start a worker that has its task.")
    priority = known["priority"] if priority is None else priority
    return _spec(kind, known["queue"], priority, known["max_attempts"] if attempts is None else attempts)


def _spec(kind_or_task: str | Task, queue: str | None, priority: int | None, attempts: int | None) -> JobSpec:
    if isinstance(kind_or_task, Task):
        kind, queue = kind_or_task.kind, queue or kind_or_task.queue
        priority = kind_or_task.priority if priority is None else priority
        attempts = attempts_of(kind_or_task) if attempts is None else attempts
    else:
        kind = kind_or_task
    if not queue or len(queue) > 100:
        raise JobRefused("A job given by its kind alone needs the name of its queue (1 to 100 characters).")
    priority = 5 if priority is None else priority
    attempts = rule_of(queue).attempts if attempts is None else attempts
    if not 0 < len(kind) <= MAX_KEY_LENGTH:
        raise JobRefused(f"A kind has 1 to {MAX_KEY_LENGTH} characters.")
    if not 0 <= priority <= 10 or not 1 <= attempts <= 1000:
        raise JobRefused("A priority is 0 to 10 and attempts are 1 to 1000.")
    return JobSpec(queue, kind, priority, attempts)
