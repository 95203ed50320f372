"""Why a job is not running: every reason that holds, in order; the first one is the answer."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from mainstay.jobs import finding
from mainstay.jobs.finding import JobView
from mainstay.jobs.leases import LEASE_SECONDS
from mainstay.jobs.queries import planning
from mainstay.jobs.queries import reasons as rows
from mainstay.jobs.queries import workers as worker_rows
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database

_SILENT_SECONDS = LEASE_SECONDS / 2
_PASSED_OVER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: a stable code, a sentence, and the facts that it rests on."""

    code: str
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Every reason that holds for the job; `answer` is the first."""

    job_id: int
    reasons: Sequence[Reason]

    @property
    def answer(self) -> Reason:
        """What keeps the job from running now, before all else."""
        return self.reasons[0]


@dataclass(frozen=True, slots=True)
class Server:
    """A worker that serves the queue: its slots there (None: not known), what fills them, how long it was silent."""

    id: int
    name: str
    kinds: frozenset[str]
    slots: int | None
    acting: Mapping[str, int]
    silent_seconds: float

    @property
    def is_alive(self) -> bool:
        """Whether its lease has not run out."""
        return self.silent_seconds < LEASE_SECONDS

    def knows(self, kind: str) -> bool:
        """Whether it has a task for the kind, as far as it said."""
        return not self.kinds or kind in self.kinds


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker that holds an active job."""

    id: int
    name: str
    silent_seconds: float
    has_ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """All that a decision about one job rests on. Counts go to 1,000."""

    job: JobView
    now: datetime
    queue_paused_at: datetime | None = None
    queue_paused_by: str | None = None
    share: int | None = None
    kind_paused_at: datetime | None = None
    kind_paused_by: str | None = None
    is_passed_over: bool = False
    last_error: str | None = None
    holder: Holder | None = None
    servers: Sequence[Server] = ()
    in_line: int = 0
    before: int = 0
    in_lane: int = 0


async def why(db: Database, job_id: int) -> Reasons:
    """Every reason why the job is not running now, the first one being the answer. JobNotFound.

    It reads a bounded number of rows however many jobs there are. What only the memory of a worker knows, a lane on
    hold or at its limit, is told as far as the database shows it: how many jobs of the lane run.
    """
    async with planning.begin_by_line(db) as tx:
        job = await finding.get(tx, job_id)
        found = await rows.settings_everywhere(tx, job_id, job.queue, job.kind)
        held = None if job.worker_id is None else await worker_rows.holder_everywhere(tx, job.worker_id)
        servers = [
            Server(
                row["id"], row["name"], frozenset(row["kinds"]), row["slots"],
                orjson.loads(row["acting"] or "{}"), row["silent_seconds"],
            )
            for row in await worker_rows.serving_workers_everywhere(tx, job.queue)
        ]  # fmt: skip
        ahead = await rows.ahead_everywhere(tx, job_id, [server.id for server in servers])
    counts = {} if ahead is None else dict(ahead)
    holder = (
        None if held is None
        else Holder(held["id"], held["name"], held["silent_seconds"], held["ended_at"] is not None)
    )  # fmt: skip
    return decide(
        Circumstances(
            job=job, now=found["now"], queue_paused_at=found["paused_at"], queue_paused_by=found["paused_by"],
            share=found["share"], kind_paused_at=found["kind_paused_at"], kind_paused_by=found["kind_paused_by"],
            is_passed_over=found["is_passed_over"], last_error=found["last_error"], holder=holder, servers=servers,
            **counts,
        )
    )  # fmt: skip


def decide(case: Circumstances) -> Reasons:
    """The reasons that hold under the circumstances."""
    job = case.job
    if job.state in ("completed", "cancelled", "dead"):
        found = [_ended(job)]
    elif job.state == "active":
        found = [_running(case)]
    else:
        found = [*_stopped(case), *_later(case), *_unserved(case), *_crowded(case)] or [_first(case)]
    return Reasons(job.id, found)


def _first(case: Circumstances) -> Reason:
    """A worker that has room and passes the first of a line over for seconds knows of a limit or a hold of its lane."""
    job = case.job
    since = max(job.enqueued_at, job.due_at or job.enqueued_at)
    if job.lane and (case.now - since).total_seconds() >= _PASSED_OVER_SECONDS:
        said = f"It is first in its line, and workers pass it over since {iso(since)}: lane {job.lane} is on hold"
        facts = {"lane": job.lane, "since": iso(since)}
        return Reason("lane_held", f"{said} or at its limit, such as a webhook's breaker, pace or order.", facts)
    return Reason("ready", "It is first in line: the next worker that looks claims it.")


def _ended(job: JobView) -> Reason:
    at = "" if job.ended_at is None else f" at {iso(job.ended_at)}"
    facts: dict[str, Any] = {"endedAt": None if job.ended_at is None else iso(job.ended_at)}
    if job.state == "dead":
        facts |= {"reason": job.reason, "error": job.error, "attempt": job.attempt}
        return Reason("dead", f"It failed for good{at}, after attempt {job.attempt}: {job.error}", facts)
    said = "It completed" if job.state == "completed" else "It was cancelled before it began"
    return Reason(job.state, f"{said}{at}.", facts)


def _running(case: Circumstances) -> Reason:
    job, holder = case.job, case.holder
    since = None if job.started_at is None else iso(job.started_at)
    facts: dict[str, Any] = {"startedAt": since, "attempt": job.attempt, "worker": holder.name if holder else None}
    if holder is None or holder.has_ended or holder.silent_seconds >= _SILENT_SECONDS:
        silent = round(holder.silent_seconds, 1) if holder else None
        facts |= {"silentSeconds": silent, "leaseSeconds": LEASE_SECONDS}
        said = "is gone" if holder is None or holder.has_ended else f"has been silent for {silent:g} s"
        return Reason(
            "lease", f"The worker that began it {said}; when its lease has run out it is in line again.", facts
        )
    return Reason("running", f"It is running, by worker {holder.name} since {since}, attempt {job.attempt}.", facts)


def _stopped(case: Circumstances) -> Iterator[Reason]:
    job = case.job
    facts: dict[str, Any]
    if case.queue_paused_at is not None:
        facts = {"queue": job.queue, "by": case.queue_paused_by, "since": iso(case.queue_paused_at)}
        yield Reason(
            "queue_paused", f"Queue {job.queue} was paused by {facts['by']} at {facts['since']}; resume it.", facts
        )
    if case.share is not None and case.is_passed_over and case.kind_paused_at is not None:
        facts = {"kind": job.kind, "by": case.kind_paused_by, "since": iso(case.kind_paused_at), "share": case.share}
        said = f"is at {case.share} of 100 jobs, and this is none of them," if case.share else "was paused"
        code = "kind_at_share" if case.share else "kind_paused"
        yield Reason(code, f"Kind {job.kind} {said} by {facts['by']} at {facts['since']}; resume it.", facts)
    elif job.state == "parked":
        said = f"Kind {job.kind} was resumed, and a job of mainstay:upkeep is bringing its jobs back into line."
        yield Reason("returning", said, {"kind": job.kind})


def _later(case: Circumstances) -> Iterator[Reason]:
    job = case.job
    if job.due_at is None or job.state not in ("delayed", "retrying"):
        return
    facts: dict[str, Any] = {"dueAt": iso(job.due_at)}
    when = f"at {iso(job.due_at)}" if job.due_at > case.now else "in a moment, for its time has come"
    if job.state == "delayed":
        yield Reason("delayed", f"It was put off and joins the line {when}.", facts)
    else:
        facts |= {"attempt": job.attempt, "maxAttempts": job.max_attempts, "lastError": case.last_error}
        said = f"Attempt {job.attempt} of {job.max_attempts} failed ({case.last_error}); it is tried again {when}."
        yield Reason("retrying", said, facts)


def _unserved(case: Circumstances) -> Iterator[Reason]:
    job = case.job
    alive = [server for server in case.servers if server.is_alive]
    if not alive:
        said = f"No live worker serves queue {job.queue}; start one."
        yield Reason("no_worker_for_queue", said, {"queue": job.queue})
    elif not any(server.knows(job.kind) for server in alive):
        facts = {"kind": job.kind, "workers": [server.name for server in alive[:10]]}
        said = f"{len(alive)} live worker(s) serve queue {job.queue}, and none has a task for kind {job.kind}."
        yield Reason("no_worker_for_kind", said, facts)


def _crowded(case: Circumstances) -> Iterator[Reason]:
    job = case.job
    if job.state in ("delayed", "retrying"):
        return
    able = [server for server in case.servers if server.is_alive and server.knows(job.kind)]
    if able and all(server.slots is not None and sum(server.acting.values()) >= server.slots for server in able):
        acting = sum((Counter(server.acting) for server in able), Counter[str]())
        facts: dict[str, Any] = {
            "slots": sum(server.slots or 0 for server in able),
            "taken": dict(acting.most_common(10)),
        }
        by = ", ".join(f"{count} of {kind}" for kind, count in acting.most_common(3))
        yield Reason("slots_taken", f"All {facts['slots']} slots of queue {job.queue} are taken: {by}.", facts)
    if case.in_lane and job.lane:
        facts = {"lane": job.lane, "running": case.in_lane}
        said = f"{case.in_lane} job(s) of lane {job.lane} run now; the lane may be at its limit."
        yield Reason("lane_busy", said, facts)
    if job.state == "waiting" and (case.in_line or case.before):
        facts = {"inLine": case.in_line, "higherPriority": case.before, "countedTo": rows.COUNTED_TO}
        said = (
            f"{_count(case.in_line)} job(s) stand before it in its line; of higher priority {_count(case.before)} wait."
        )
        yield Reason("behind", said, facts)


def _count(count: int) -> str:
    return f"{count:,} or more" if count >= rows.COUNTED_TO else f"{count:,}"
