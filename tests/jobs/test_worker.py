"""A worker against the world: no notifications, a database that goes away, metrics, orderly loops."""

import asyncio
import itertools
import time
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from mainstay import jobs
from mainstay.kernel import telemetry
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.work import Job, Task
from tests.jobs.conftest import QUEUE, QUICK, add, one, task, until, working


async def _run_three_from_rest(db: Database, timing: jobs.Timing, listen_url: str | None) -> None:
    """Three jobs have run, each of which came when the worker had been dozing."""
    ran: list[int] = []

    async def run(job: Job) -> None:
        ran.append(job.payload)

    async with working(db, [task(run)], listen_url=listen_url, timing=timing) as worker:
        await until(lambda: worker.lease.worker_id and (listen_url is None or worker.listener.is_hearing))
        for n in range(3):
            await asyncio.sleep(0.1)
            await add(db, "test.kind", n)
            await until(lambda: n in ran)  # noqa: B023
    assert ran == [0, 1, 2]


async def test_an_idle_worker_hears_of_a_job_at_once(db: Database) -> None:
    """Nothing but the wake-up can tell this worker of a job in time."""
    rare = jobs.Timing(busy_for=0.01, poll_idle=600.0, poll_deaf=600.0, promote=600.0)
    await _run_three_from_rest(db, rare, db.dsn)


async def test_polling_alone_is_enough(db: Database) -> None:
    await _run_three_from_rest(db, jobs.Timing(busy_for=0.01, promote=600.0), None)


async def test_a_listener_that_cannot_connect_costs_no_job(db: Database) -> None:
    async def run(_: Job) -> None: ...

    async with working(db, [task(run)], listen_url="postgresql://nobody@127.0.0.1:1/none") as worker:
        await add(db, "test.kind")
        await until(lambda: _finished(db, 1))
        assert not worker.listener.is_hearing


async def _finished(db: Database, count: int) -> bool:
    return await one(db, "select count(*) from mainstay.finished_jobs") == count


async def _dead(connection: asyncpg.Connection, count: int) -> bool:
    return await connection.fetchval("select count(*) from mainstay.dead_jobs") >= count


async def _cut_all(url: str) -> None:
    admin = await asyncpg.connect(url)
    await admin.execute(
        """select pg_terminate_backend(pid) from pg_stat_activity
           where pid <> pg_backend_pid() and datname = current_database()"""
    )
    await admin.close()


async def test_a_database_that_goes_away_and_comes_back_loses_and_doubles_nothing(
    db: Database, server_url: str, fresh_url: str
) -> None:
    """Every connection is cut again and again, then the database refuses for two seconds; nobody helps."""
    name = fresh_url.rpartition("/")[2]
    await one(db, "create table mainstay.effects (n int)")

    async def run(tx: Tx, job: Job) -> None:
        await one(tx, "insert into mainstay.effects values ($1)", job.payload)
        await asyncio.sleep(0.02)

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(400), queue=QUEUE, attempts=50)
    in_tx = Task(kind="test.kind", queue=QUEUE, run_in_tx=run)
    admin = await asyncpg.connect(server_url)
    async with working(db, [in_tx], slots=5, listen_url=fresh_url) as worker:
        await until(lambda: _some_done(db))
        for _ in range(3):
            await _cut_all(fresh_url)
            await asyncio.sleep(0.1)
        await admin.execute(f'alter database "{name}" allow_connections false')
        await admin.fetch("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        await asyncio.sleep(2.0)
        await admin.execute(f'alter database "{name}" allow_connections true')
        back = time.monotonic()
        await until(lambda: worker.lease.worker_id)
        await until(lambda: _is_drained(db))
        assert worker.listener.is_hearing or await until(lambda: worker.listener.is_hearing)
    await admin.close()
    assert time.monotonic() - back < 15
    rows = await one(db, "select array_agg(n order by n) from mainstay.effects")
    assert rows == list(range(400))
    assert await one(db, "select count(*) from mainstay.dead_jobs") == 0


async def _some_done(db: Database) -> bool:
    return await one(db, "select count(*) from mainstay.finished_jobs") > 20


async def _is_drained(db: Database) -> bool:
    return await one(db, "select not exists (select from mainstay.jobs)")


async def test_every_loop_tells_when_it_last_ran_and_queues_are_gauged(db: Database) -> None:
    async def run(_: Job) -> None: ...

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.other", range(7), queue="test:unserved")
    started = time.time()
    queues = [jobs.QueueConfig(QUEUE, 1), jobs.QueueConfig("test:unserved", 1)]
    async with db.begin() as tx:
        await one(
            tx, "insert into mainstay.queues (name, priority, paused_at) values ('test:unserved', 5, now()) returning 1"
        )
    async with working(db, [task(run)], queues=queues):
        await add(db, "test.kind")
        await until(lambda: telemetry.QUEUE_SIZE.labels("test:unserved")._value.get() == 7)
        loops = ("claim", "finish", "promote", "reap", "sweep", "schedule", "gauge", "heartbeat", "watch")
        await until(lambda: all(telemetry.LOOP_LAST_RUN.labels(loop)._value.get() >= started for loop in loops))
        assert telemetry.JOBS.labels(QUEUE, "completed")._value.get() >= 1


async def test_a_loop_that_raises_is_counted_and_goes_on(db: Database) -> None:
    async def run(_: Job) -> None: ...

    errors = telemetry.LOOP_ERRORS.labels("claim")
    before = errors._value.get()
    async with working(db, [task(run)]) as worker:
        await until(lambda: worker.lease.worker_id)
        await one(db, "alter table mainstay.queues rename to hidden")
        await until(lambda: errors._value.get() > before)
        await one(db, "alter table mainstay.hidden rename to queues")
        await add(db, "test.kind")
        await until(lambda: _finished(db, 1))


async def test_the_trace_of_the_caller_is_the_trace_of_the_job(db: Database) -> None:
    seen = []

    async def run(job: Job) -> None:
        seen.append((telemetry.current_trace().trace_id, job.trace_id))

    telemetry.enter_trace(telemetry.start_trace("00-" + "c" * 32 + "-" + "d" * 16 + "-01", None))
    await add(db, "test.kind")
    async with working(db, [task(run)]):
        await until(lambda: seen)
    assert seen == [("c" * 32, "c" * 32)]


@pytest.mark.contract("DR-Q-03", "DR-S-11")
async def test_a_loop_that_fails_waits_twice_as_long_each_time(db: Database) -> None:
    begun: list[float] = []
    ending = asyncio.Event()

    async def fail() -> None:
        begun.append(time.monotonic())
        if len(begun) == 5:
            ending.set()
        raise ConnectionRefusedError

    worker = jobs.Worker(db, [], queues=[jobs.QueueConfig(QUEUE, 1)], timing=jobs.Timing(gap_most=0.2))
    await worker._loop("test", fail, 0.0, ending)
    gaps = [after - before for before, after in itertools.pairwise(begun)]
    assert all(gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2, 0.2), strict=True)), gaps


async def test_whoever_enqueues_does_not_run_the_job(db: Database) -> None:
    ran = []

    async def run(job: Job) -> None:
        ran.append(job.id)

    each = task(run)
    job = await add(db, each)
    await asyncio.sleep(0.1)
    assert ran == []
    async with working(db, [each]):
        await until(lambda: ran == [job])


async def test_an_acknowledgement_that_failed_is_tried_again_though_nothing_else_ends(db: Database) -> None:
    """While one of the two finishers holds what there is, the other finds nothing and sleeps."""
    has_begun = asyncio.Event()

    async def run(_: Job) -> None:
        has_begun.set()

    async with working(db, [task(run)], slots=1) as worker:
        await until(lambda: worker.lease.worker_id)
        async with db.begin() as tx:
            await one(tx, "lock table mainstay.finished_jobs in access exclusive mode")
            await add(db, "test.kind")
            await has_begun.wait()
            await until(lambda: worker.finisher._flushing and not worker.finisher._arrived.is_set())
            await one(
                tx,
                """select pg_terminate_backend(pid) from pg_locks l join pg_class c on c.oid = l.relation
                   where not granted and relname = 'finished_jobs'""",
            )
        await until(lambda: _finished(db, 1))


async def test_a_job_that_cannot_be_understood_dies_and_the_worker_goes_on(db: Database) -> None:
    async def run(job: Job) -> None:
        if job.payload == "odd":
            return True  # type: ignore[return-value]
        return None

    async with db.connection() as connection:
        for payload in ("backoff", "odd", "good"):
            await add(db, "test.kind", payload)
        await connection.execute(
            "update mainstay.jobs set backoff = 'sometimes' where payload = to_jsonb('backoff'::text)"
        )
    async with working(db, [task(run)]):
        await until(lambda: _finished(db, 1))
        async with db.connection() as connection:
            await until(lambda: _dead(connection, 2))
            errors = [row[0] for row in await connection.fetch("select error from mainstay.dead_jobs order by id")]
    assert "backoff cannot be read" in errors[0]
    assert "bool, which is no outcome" in errors[1]


async def test_a_loop_that_ends_ends_the_worker_loudly(db: Database) -> None:
    async def run(_: Job) -> None: ...

    worker = jobs.Worker(db, [task(run)], queues=[jobs.QueueConfig(QUEUE, 5)], shutdown_seconds=1.0)

    def broken(*_: object) -> None:
        raise RuntimeError("no such thing should happen")

    worker.runner.start = broken  # type: ignore[assignment, method-assign]
    await add(db, "test.kind")
    with pytest.raises(RuntimeError, match="no such thing"):
        await asyncio.wait_for(worker.run(asyncio.Event()), 60)


class _Middleman:
    """Stands between a worker and its database, and can stop passing anything on without hanging up."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._there = (there.hostname or "", there.port or 5432)
        self._passes = asyncio.Event()
        self._passes.set()
        self._lines: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "_Middleman":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def url(self, url: str) -> str:
        there = urlsplit(url)
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(there._replace(netloc=f"{there.netloc.rpartition('@')[0]}@127.0.0.1:{port}"))

    def freeze(self) -> None:
        self._passes.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.create_task(self._serve(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._passes.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._there)
            try:
                await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
            finally:
                far_writer.close()
        except OSError:
            pass
        finally:
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._passes.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("seconds_after", [0.0, 0.3])
async def test_a_stop_ends_in_time_though_the_database_has_just_fallen_silent(
    db: Database, fresh_url: str, seconds_after: float
) -> None:
    async def run(tx: Tx, _: Job) -> None:
        await one(tx, "select 1")
        await asyncio.sleep(0.01)

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(2000), queue=QUEUE)
    async with _Middleman(fresh_url) as middleman:
        engine = Database(middleman.url(fresh_url), size=6)
        far = Database(middleman.url(fresh_url), size=4)
        in_tx = Task(kind="test.kind", queue=QUEUE, run_in_tx=run)
        worker = jobs.Worker(
            far, [in_tx], queues=[jobs.QueueConfig(QUEUE, 20)], engine_db=engine, timing=QUICK, shutdown_seconds=1.0
        )
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        await until(lambda: _some_done(db))
        middleman.freeze()
        await asyncio.sleep(seconds_after)
        stop.set()
        asked = time.monotonic()
        await asyncio.wait([running], timeout=30)
        took = time.monotonic() - asked
        is_done = running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for each in (engine, far):
            await each.close(0.1)
    assert is_done
    assert took < 1.0 + 5.0 + 5.0, "the time for jobs, the last acts, and letting go"
