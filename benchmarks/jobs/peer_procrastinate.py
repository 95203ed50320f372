"""procrastinate on the same work, run by the Python of its own environment: `fill|drain URL COUNT CONCURRENCY`."""

import sys
import time

import psycopg
import uvloop
from procrastinate import App, PsycopgConnector

_PAYLOAD = {"to": "someone@example.com", "template": "welcome", "data": {"name": "Someone", "note": "x" * 120}}
_CHUNK = 500
_acted = 0


def _app(url: str, connections: int) -> App:
    app = App(connector=PsycopgConnector(conninfo=url, min_size=connections, max_size=connections))

    @app.task(name="nothing")
    async def nothing(**_: object) -> None:
        global _acted  # noqa: PLW0603 - the task is found by its name and has no other place for a count
        _acted += 1

    return app


async def fill(url: str, count: int) -> None:
    """A new schema holds that many waiting jobs, and fresh statistics."""
    app = _app(url, 2)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for start in range(0, count, _CHUNK):
            await app.tasks["nothing"].batch_defer_async(*[_PAYLOAD] * min(_CHUNK, count - start))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("vacuum analyze")


async def drain(url: str, count: int, concurrency: int) -> None:
    """The queue is empty; prints the jobs run, the seconds and the CPU seconds it took."""
    app = _app(url, 8)
    async with app.open_async():
        cpu, started = time.process_time(), time.perf_counter()
        await app.run_worker_async(
            concurrency=concurrency, wait=False, delete_jobs="successful", install_signal_handlers=False
        )
        seconds, spent = time.perf_counter() - started, time.process_time() - cpu
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await (await connection.execute("select count(*) from procrastinate_jobs")).fetchone()
    if _acted != count or found != (0,):
        raise SystemExit(f"{_acted} of {count} jobs ran, {found} are left")
    print(_acted, seconds, spent)


if __name__ == "__main__":
    mode, address, jobs, at_once = sys.argv[1:]
    uvloop.run(fill(address, int(jobs)) if mode == "fill" else drain(address, int(jobs), int(at_once)))
