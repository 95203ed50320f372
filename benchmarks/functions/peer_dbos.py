"""DBOS on the same work, run by the Python of its own environment: `URL COUNT AT_ONCE`."""

import asyncio
import sys
import time

import psycopg
import uvloop
from dbos import DBOS


@DBOS.step()
async def nothing() -> int:
    """A step."""
    return 1


@DBOS.workflow()
async def three() -> int:
    """Three of them, one after another."""
    return await nothing() + await nothing() + await nothing()


async def run(count: int, at_once: int) -> None:
    """So many workflows have ended, so many at a time."""
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            await three()

    await asyncio.gather(*(one_after_another() for _ in range(at_once)))


if __name__ == "__main__":
    url, number, together = sys.argv[1:]
    config = {
        "name": "bench",
        "system_database_url": url,
        "sys_db_pool_size": 20,
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    DBOS.launch()
    uvloop.run(run(10, 10))
    cpu, started = time.process_time(), time.perf_counter()
    uvloop.run(run(int(number), int(together)))
    seconds, spent = time.perf_counter() - started, time.process_time() - cpu
    with psycopg.connect(url) as connection:
        found = connection.execute("select count(*) from dbos.workflow_status where status = 'SUCCESS'").fetchone()
    DBOS.destroy()
    if found is None or found[0] < int(number) + 10:
        raise SystemExit(f"{found} of {number} workflows ended")
    print(number, seconds, spent)
