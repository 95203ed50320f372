"""History that is older than its keeping: a partition dropped, beside the same rows deleted."""

import time

import asyncpg

from benchmarks.growth.filling import fill_history
from mainstay import jobs
from mainstay.kernel import partitions
from mainstay.kernel.db import Database

_WEEKS_AGO = 7
_DELETE = "delete from mainstay.finished_jobs where finished_at < mainstay.now() - interval '5 weeks'"


async def measure(url: str, rows: int) -> tuple[float, float, float]:
    """Seconds to drop a partition of so many rows, to delete as many, and to vacuum what that leaves."""
    spec = next(spec for spec in jobs.PARTITIONED if spec.table == "finished_jobs")
    await fill_history(url, rows, _WEEKS_AGO)
    connection = await asyncpg.connect(url)
    await connection.execute("checkpoint")
    started = time.perf_counter()
    await connection.execute(_DELETE, timeout=300)
    deleted = time.perf_counter() - started
    started = time.perf_counter()
    await connection.execute("vacuum mainstay.finished_jobs", timeout=300)
    vacuumed = time.perf_counter() - started
    await connection.close()
    await fill_history(url, rows, _WEEKS_AGO + 1)
    db = Database(url, size=1)
    started = time.perf_counter()
    async with db.begin() as tx:
        gone = await partitions.drop_expired(tx, spec)
    dropped = time.perf_counter() - started
    await db.close()
    assert len(gone) == 2, gone
    return dropped, deleted, vacuumed
