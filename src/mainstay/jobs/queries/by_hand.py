"""Statements about jobs that operators started by hand, and about the jobs of requests that are to count once."""

from collections.abc import Sequence
from datetime import timedelta

from mainstay.kernel.db import Connection, Database, Record, Sql, Tx

_ADD_RUN = Sql("jobs.add_test_run", "insert into mainstay.test_runs (job_id, kind, asked_by) values ($1, $2, $3)")
_FIND_RUN = Sql(
    "jobs.find_test_run",
    """select asked_by, asked_at,
              (select count(*) from mainstay.job_attempts a where a.job_id = r.job_id) as failures
       from mainstay.test_runs r where job_id = $1 and kind = $2""",
)
_PRUNE_RUNS = Sql(
    "jobs.prune_test_runs", "delete from mainstay.test_runs where asked_at < mainstay.now() - $1::interval"
)
_REMEMBER = Sql("jobs.remember_request", "insert into mainstay.enqueue_requests (id, job_ids) values ($1, $2)")
_RECALL = Sql("jobs.recall_request", "select job_ids from mainstay.enqueue_requests where id = $1")
_PRUNE_REQUESTS = Sql(
    "jobs.prune_requests", "delete from mainstay.enqueue_requests where at < mainstay.now() - interval '25 hours'"
)


async def add_run_everywhere(tx: Tx, job_id: int, kind: str, asked_by: str) -> None:
    """It is on record who started the job by hand."""
    await tx.run(_ADD_RUN, job_id, kind, asked_by)


async def find_run_everywhere(db: Connection, kind: str, job_id: int) -> Record | None:
    """Who started the job of that kind by hand and when, and how many of its attempts failed."""
    return await db.row(_FIND_RUN, job_id, kind)


async def remember_everywhere(tx: Tx, request_id: str, job_ids: Sequence[int]) -> None:
    """The request's jobs are remembered for a day."""
    await tx.run(_REMEMBER, request_id, job_ids)


async def recall_everywhere(tx: Tx, request_id: str) -> list[int]:
    """The jobs of a request."""
    return list(await tx.value(_RECALL, request_id) or [])


async def prune_everywhere(db: Database, keep: timedelta) -> None:
    """Runs by hand longer ago than that are forgotten, and requests of more than a day ago."""
    await db.run(_PRUNE_RUNS, keep)
    await db.run(_PRUNE_REQUESTS)
