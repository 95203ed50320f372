"""procrastinate with periodic tasks that are due each second: `URL SCHEDULES SECONDS`, in its own environment."""

import asyncio
import contextlib
import json
import sys
import time

import uvloop
from procrastinate import App, PsycopgConnector


async def measure(url: str, schedules: int, seconds: float) -> list[float]:
    """The moments at which runs began."""
    app = App(connector=PsycopgConnector(conninfo=url, min_size=10, max_size=10))
    moments: list[float] = []

    async def tick(timestamp: int) -> None:
        moments.append(time.time())

    for number in range(schedules):
        task = app.task(name=f"tick-{number}")(tick)
        app.periodic(cron="* * * * * *", periodic_id=str(number))(task)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=schedules, wait=True, delete_jobs="successful", install_signal_handlers=False
            )
        )
        await asyncio.wait([worker], timeout=seconds)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    return moments


if __name__ == "__main__":
    address, count, span = sys.argv[1:]
    print(json.dumps(uvloop.run(measure(address, int(count), float(span)))))
