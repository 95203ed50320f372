"""Queues and jobs as they are shown, the same over HTTP and by the command line."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mainstay.jobs import finding
from mainstay.jobs.dead import Attempt
from mainstay.jobs.finding import JobView
from mainstay.jobs.findings import Finding
from mainstay.jobs.reasons import Reasons
from mainstay.jobs.stats import QueueStats
from mainstay.kernel.clock import iso


def queue_shown(one: QueueStats) -> dict[str, Any]:
    """A queue with its jobs by state."""
    states = {name: getattr(one, name) for name in ("waiting", "delayed", "active", "retrying", "completed", "dead")}
    return {
        "queue": one.queue,
        "priority": one.priority,
        **states,
        "failed": one.dead,
        "paused": one.paused,
        "pausedAt": _time(one.paused_at),
        "pausedBy": one.paused_by,
        "failedSet": one.queue + finding.SET_SUFFIX,
        "concurrency": one.concurrency,
        "concurrencyBy": one.concurrency_by,
        "concurrencyAt": _time(one.concurrency_at),
        "oldestReadySeconds": one.oldest_ready_seconds,
        "bound": one.bound,
    }


def listed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A job as lists show it."""
    worker_id = row.get("worker_id")
    ended = row.get("ended_at") or row.get("finished_at") or row.get("died_at")
    return {
        "id": str(row["id"]),
        "kind": row["kind"],
        "state": row["state"],
        "lane": row["lane"],
        "priority": row.get("priority"),
        "attempt": row["attempt"],
        "maxAttempts": row.get("max_attempts"),
        "companyId": row["company_id"],
        "traceId": row["trace_id"],
        "enqueuedAt": iso(row["enqueued_at"]),
        "dueAt": _time(row.get("due_at")) if row["state"] in ("delayed", "retrying") else None,
        "startedAt": _time(row["started_at"]),
        "endedAt": _time(ended),
        "durationMs": row.get("duration_ms"),
        "workerId": None if worker_id is None else str(worker_id),
        "reason": row.get("reason"),
        "error": row.get("error"),
    }


def job_shown(job: JobView, attempts: Sequence[Attempt]) -> dict[str, Any]:
    """A job with its payload and its failed attempts."""
    more = {"queue": job.queue, "dedupeKey": job.dedupe_key, "backoff": job.backoff, "payload": job.payload}
    return {**listed(asdict(job)), **more, "attempts": [_attempt_shown(one) for one in attempts]}


def reasons_shown(why: Reasons) -> dict[str, Any]:
    """Why a job is not running: the answer, and every reason that holds, in order."""
    told = [asdict(one) for one in why.reasons]
    return {"jobId": str(why.job_id), "answer": told[0], "reasons": told}


def finding_shown(one: Finding) -> dict[str, Any]:
    """A pattern in the failures of a kind."""
    return asdict(one)


def _attempt_shown(one: Attempt) -> dict[str, Any]:
    return {
        "attempt": one.attempt,
        "outcome": one.outcome,
        "error": one.error,
        "workerId": None if one.worker_id is None else str(one.worker_id),
        "startedAt": iso(one.started_at),
        "finishedAt": iso(one.finished_at),
        "durationMs": one.duration_ms,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
