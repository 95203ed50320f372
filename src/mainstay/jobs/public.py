"""Jobs that outsiders ask for by name, one or many at once, and jobs that an operator starts by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import orjson
from msgspec import UNSET

from mainstay.jobs.enqueueing import MAX_KEY_LENGTH, MAX_PAYLOAD_BYTES, Enqueued, enqueue
from mainstay.jobs.errors import JobRefused, KindNotFound, QueueNotFound, TestRunNotFound
from mainstay.jobs.finding import JobView, find, is_name
from mainstay.jobs.queries import by_hand, enqueueing
from mainstay.jobs.queries import queues as queue_rows
from mainstay.jobs.queues import attempts_of, rule_of
from mainstay.jobs.schemas import (
    MOST_AT_ONCE,
    MOST_ATTEMPTS,
    MOST_BACKOFF_MS,
    MOST_DELAY_MS,
    NewBackoff,
    NewJob,
)
from mainstay.kernel import ids, outbox, telemetry
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Task
from mainstay.web import json_checks

_TRIES: Final = 5
_FAULTS_SHOWN: Final = 50
_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class TestRun:
    """A job that was started by hand. `job` is None where nothing is kept of it any more.

    `outcome` is completed, failed, cancelled or cleared; None while the job has not ended.
    """

    job_id: int
    kind: str
    asked_by: dict[str, str]
    asked_at: datetime
    outcome: str | None
    job: JobView | None

    __test__ = False


async def enqueue_public(tx: Tx, queue: str, wanted: Sequence[NewJob], *, under: str = "#") -> list[Enqueued]:
    """All the jobs are in line when the caller commits, or none; in the order given. Up to 1,000.

    Only kinds that are public and belong to this queue. What a job leaves out is as its kind has it, but a job of a
    company without a lane has the company's own: so one company's many jobs do not delay another's. QueueNotFound;
    Invalid names every fault, under `#/0/…` and so on where `under` is `#/`.
    """
    if not await queue_rows.queue_exists_everywhere(tx, queue):
        raise QueueNotFound(f"There is no queue {queue!r}.")
    if not 1 <= len(wanted) <= MOST_AT_ONCE:
        raise Invalid(faults=[Fault(f"must hold 1 to {MOST_AT_ONCE:,} jobs", "#")])
    kinds = await enqueueing.find_kinds_everywhere(tx, sorted({one.kind for one in wanted if is_name(one.kind)}))
    is_batch = under.endswith("/")
    faults: list[Fault] = []
    rows = []
    for index, one in enumerate(wanted):
        at = f"{under}{index}" if is_batch else under
        faults += _kind_faults(one.kind, kinds.get(one.kind), queue, at) + faults_of(one, at)
        if not faults:
            rows.append(_row_of(one, kinds[one.kind]))
        elif len(faults) >= _FAULTS_SHOWN:
            break
    if faults:
        raise Invalid("The job cannot be taken as it was given.", faults=faults[:_FAULTS_SHOWN])
    return await _insert(tx, queue, rows)


async def run_by_hand(tx: Tx, actor: Actor, kind: str, payload: Any = None, *, company_id: str | None = None) -> int:
    """One job of the kind, with a single attempt, is in line; its id. KindNotFound, JobRefused.

    Any kind that a worker has a task for, public or not. Announced as `job.enqueued_by_hand`.
    """
    found = (await enqueueing.find_kinds_everywhere(tx, [kind])).get(kind)
    if found is None:
        raise KindNotFound(f"No worker has ever had a task for the kind {kind!r}.")
    job = await enqueue(
        tx, kind, payload, queue=found["queue"], company_id=company_id, priority=found["priority"], attempts=1
    )
    asked_by = msgspec.json.encode(actor).decode()
    await by_hand.add_run_everywhere(tx, job.id, kind, asked_by)
    data = {"id": job.id, "kind": kind, "queue": found["queue"]}
    await outbox.announce(tx, "job.enqueued_by_hand", company_id=None, actor=actor, data=data)
    return job.id


async def get_run(tx: Connection, kind: str, job_id: int) -> TestRun:
    """The job of that kind that was started by hand, and how it ended; TestRunNotFound. Kept for 30 days."""
    row = await by_hand.find_run_everywhere(tx, kind, job_id)
    if row is None:
        raise TestRunNotFound
    job = await find(tx, job_id)
    ends = {"dead": "failed", "completed": "completed", "cancelled": "cancelled"}
    # Of a kind that keeps no history nothing is left where it succeeded; what failed has left an attempt.
    gone = "cleared" if row["failures"] else "completed"
    outcome = gone if job is None else ends.get(job.state)
    asked_by = orjson.loads(row["asked_by"])
    return TestRun(job_id, kind, asked_by, row["asked_at"], outcome, job)


async def introduce(db: Database, tasks: Sequence[Task]) -> None:
    """The tasks' kinds and queues are known where no worker has told of them yet, so that jobs can be asked for."""
    rows = [
        (
            task.kind,
            task.queue,
            task.priority,
            attempts_of(task),
            None if task.backoff is None else task.backoff.text,
            task.is_public,
            rule_of(task.queue).priority,
        )
        for task in tasks
    ]
    if rows:
        await enqueueing.introduce_kinds_everywhere(db, [list(column) for column in zip(*rows, strict=True)])


async def list_kinds(db: Connection) -> list[dict[str, Any]]:
    """Every kind that a worker ever had a task for: its queue, priority, attempts, share, and whether it is public."""
    return [
        {
            "kind": row["kind"],
            "queue": row["queue"],
            "priority": row["priority"],
            "attempts": row["max_attempts"],
            "isPublic": row["is_public"],
            "share": row["share"],
            "seenAt": iso(row["seen_at"]),
        }
        for row in await enqueueing.list_kinds_everywhere(db)
    ]


def job_of(given: Mapping[str, Any]) -> NewJob:
    """The job of these members, as JSON has them; Invalid where one has the wrong type."""
    try:
        return msgspec.convert(given, NewJob)
    except msgspec.ValidationError as error:
        raise Invalid("The job cannot be taken as it was given.", faults=[Fault(str(error))]) from error


def payload_of(given: Any) -> Any:
    """The payload under either of its names."""
    found = given.payload if given.payload is not UNSET else given.data
    return None if found is UNSET else found


def faults_of(job: NewJob, under: str = "#") -> list[Fault]:
    """Everything that is wrong with a job by itself."""
    faults = payload_faults(job, under)

    def check(name: str, value: float | None, least: int, most: int) -> None:
        if value is not None and not least <= value <= most:
            faults.append(Fault(f"must be from {least} to {most}", f"{under}/{name}"))

    check("attempts", job.attempts, 1, MOST_ATTEMPTS)
    check("delay", job.delay, 0, MOST_DELAY_MS)
    check("priority", job.priority, 0, 10)
    if isinstance(job.backoff, NewBackoff):
        check("backoff/delay", job.backoff.delay, 0, MOST_BACKOFF_MS)
        check("backoff/jitter", job.backoff.jitter, 0, 1)
    else:
        check("backoff", job.backoff, 0, MOST_BACKOFF_MS)
    if job.run_at is not None and moment_of(job.run_at) is None:
        faults.append(Fault("must be a time with its offset, from 1970 to 2099", f"{under}/runAt"))
    if job.run_at is not None and job.delay is not None:
        faults.append(Fault("must be left out beside runAt", f"{under}/delay"))
    for name, text, least in (("dedupeKey", job.dedupe_key, 1), ("lane", job.lane, 0)):
        if text is not None and (not least <= len(text) <= MAX_KEY_LENGTH or "\0" in text):
            faults.append(Fault(f"must have {least} to {MAX_KEY_LENGTH} characters and no NUL", f"{under}/{name}"))
    if job.company_id is not None and not ids.is_uuid(job.company_id):
        faults.append(Fault("must be the id of a company", f"{under}/companyId"))
    return faults


def payload_faults(job: Any, under: str = "#") -> list[Fault]:
    """What is wrong with the payload of a request that may name it twice."""
    if job.payload is not UNSET and job.data is not UNSET:
        return [Fault("must be left out beside payload: it is another name of it", f"{under}/data")]
    at = f"{under}/data" if job.payload is UNSET else f"{under}/payload"
    payload = payload_of(job)
    return json_checks.faults_of(payload, at, most_bytes=MAX_PAYLOAD_BYTES) or json_checks.nul_faults(payload, at)


def moment_of(text: str) -> datetime | None:
    """The moment that an RFC 3339 text with an offset names, from 1970 to 2099; None for anything else."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or len(text) > 40:
            return None
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1970 <= moment.year < 2100 else None


def _kind_faults(kind: str, found: Record | None, queue: str, under: str) -> list[Fault]:
    if found is None or not found["is_public"]:
        return [Fault("names no public kind that a worker has a task for", f"{under}/kind")]
    if found["queue"] != queue:
        return [Fault(f"belongs to the queue {found['queue']}, not to {queue}", f"{under}/kind")]
    return []


def _row_of(job: NewJob, kind: Record) -> tuple[Any, ...]:
    lane = (job.company_id or "").lower() if job.lane is None else job.lane
    return (
        job.kind,
        kind["priority"] if job.priority is None else job.priority,
        kind["max_attempts"] if job.attempts is None else job.attempts,
        lane,
        job.company_id,
        _backoff_of(job.backoff),
        job.dedupe_key,
        orjson.dumps(payload_of(job)).decode(),
        None if job.run_at is None else moment_of(job.run_at),
        None if job.delay is None else job.delay * _MS,
    )


def _backoff_of(given: NewBackoff | int | None) -> str | None:
    if given is None:
        return None
    if isinstance(given, int):
        return Backoff("fixed", given * _MS).text
    return Backoff(given.type, given.delay * _MS, given.jitter).text


async def _insert(tx: Tx, queue: str, rows: list[tuple[Any, ...]]) -> list[Enqueued]:
    """Those whose key is taken stand for the job that has it; one that ended meanwhile leaves its key to be tried."""
    made: dict[int, Enqueued] = {}
    left = list(range(len(rows)))
    trace_id = telemetry.current_trace().trace_id
    for _ in range(_TRIES):
        columns = [list(column) for column in zip(*(rows[index] for index in left), strict=True)]
        added = await enqueueing.insert_each_everywhere(tx, queue, trace_id, columns)
        made |= {
            index: Enqueued(job_id, deduplicated=False)
            for index, job_id in zip(left, added, strict=True)
            if job_id is not None
        }
        left = [index for index in left if index not in made]
        if left:
            wanted = [(rows[index][0], rows[index][6]) for index in left]
            found = await enqueueing.find_by_dedupe_keys_everywhere(tx, *map(list, zip(*wanted, strict=True)))
            made |= {
                index: Enqueued(found[key], deduplicated=True)
                for index, key in zip(left, wanted, strict=True)
                if key in found
            }
            left = [index for index in left if index not in made]
        if not left:
            await enqueueing.notify_everywhere(tx, queue)
            return [made[index] for index in range(len(rows))]
    raise JobRefused("Jobs with these dedupe keys come and go too fast; try again.")
