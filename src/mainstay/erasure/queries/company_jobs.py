"""Statements of jobs that a company asks for and whose files it fetches."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_ADD = Sql(
    "erasure.add_company_job",
    """insert into mainstay.company_jobs
         (id, company_id, type, data_region, subject_sealed, object, created_by, expires_at)
       values ($1, $2, $3, $4, $5, $6, $7, mainstay.now() + $8)""",
)
_FIND = Sql("erasure.find_company_job", "select * from mainstay.company_jobs where company_id = $1 and id = $2")
_LIST = Sql(
    "erasure.list_company_jobs", "select * from mainstay.company_jobs where company_id = $1 order by id desc limit $2"
)
_UNDER_WAY = Sql(
    "erasure.company_jobs_under_way",
    "select count(*) from mainstay.company_jobs where company_id = $1 and status in ('pending', 'running')",
)
_START = Sql(
    "erasure.start_company_job",
    """update mainstay.company_jobs set status = 'running', run = run + 1, progress = 0, failure = null
        where company_id = $1 and id = $2 and status <> 'completed' and object is not null returning *""",
)
_PROGRESS = Sql(
    "erasure.company_job_progress",
    "update mainstay.company_jobs set progress = $4 where company_id = $1 and id = $2 and run = $3",
)
_COMPLETE = Sql(
    "erasure.complete_company_job",
    """update mainstay.company_jobs set status = 'completed', progress = 100, rows = $4, completed_at = mainstay.now(),
         expires_at = mainstay.now() + $5, subject_sealed = null
        where company_id = $1 and id = $2 and run = $3 and status = 'running'""",
)
_FAIL = Sql(
    "erasure.fail_company_job",
    "update mainstay.company_jobs set status = 'failed', failure = $4 where company_id = $1 and id = $2 and run = $3",
)
_FILES = Sql(
    "erasure.files_of_company",
    """select id, data_region, object from mainstay.company_jobs
        where company_id = $1 and object is not null and status in ('completed', 'failed')""",
)
_AGAIN = Sql(
    "erasure.run_company_jobs_again",
    """update mainstay.company_jobs set run = run + 1
        where company_id = $1 and status in ('pending', 'running')""",
)
_EXPIRED = Sql(
    "erasure.expired_files",
    """select id, company_id, data_region, object from mainstay.company_jobs
        where object is not null and expires_at <= mainstay.now() order by expires_at limit $1""",
)
_GONE = Sql(
    "erasure.file_is_gone",
    """update mainstay.company_jobs set object = null, subject_sealed = null,
         expires_at = least(expires_at, mainstay.now()),
         status = case when status = 'completed' then status else 'failed' end
        where company_id = $1 and id = $2""",
)


async def add(tx: Tx, company_id: str, job_id: str, values: Sequence[Any], *, kept: timedelta) -> None:
    """The job is on record."""
    await tx.run(_ADD, job_id, company_id, *values, kept)


async def find(connection: Connection, company_id: str, job_id: str) -> Record | None:
    """One job of the company."""
    return await connection.row(_FIND, company_id, job_id)


async def list_some(connection: Connection, company_id: str, *, limit: int) -> list[Record]:
    """Jobs of the company, newest first."""
    return await connection.rows(_LIST, company_id, limit)


async def count_under_way(connection: Connection, company_id: str) -> int:
    """How many jobs of the company have not ended."""
    count: int = await connection.value(_UNDER_WAY, company_id)
    return count


async def start(tx: Tx, company_id: str, job_id: str) -> Record | None:
    """The job runs, under a number of its own; None where it is completed or has expired."""
    return await tx.row(_START, company_id, job_id)


async def set_progress(connection: Connection, company_id: str, job_id: str, run: int, percent: int) -> None:
    """That run is so far."""
    await connection.run(_PROGRESS, company_id, job_id, run, percent)


async def complete(tx: Tx, company_id: str, job_id: str, run: int, *, rows: int, kept: timedelta) -> bool:
    """Whether that run's file is the job's; not where the job was to run again meanwhile."""
    return count_of(await tx.run(_COMPLETE, company_id, job_id, run, rows, kept)) == 1


async def fail(connection: Connection, company_id: str, job_id: str, run: int, failure: str) -> None:
    """That run failed, and why."""
    await connection.run(_FAIL, company_id, job_id, run, failure[:1000])


async def files_of(connection: Connection, company_id: str) -> list[Record]:
    """The company's jobs that ended and may have files."""
    return await connection.rows(_FILES, company_id)


async def run_again(tx: Tx, company_id: str) -> None:
    """No run that is under way counts."""
    await tx.run(_AGAIN, company_id)


async def expired_everywhere(connection: Connection, limit: int) -> list[Record]:
    """Jobs whose files are to go."""
    return await connection.rows(_EXPIRED, limit)


async def forget(connection: Connection, company_id: str, job_id: str) -> None:
    """The job has no file, and does not know any more whose events it gathered."""
    await connection.run(_GONE, company_id, job_id)
