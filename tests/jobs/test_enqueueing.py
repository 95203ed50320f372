"""Jobs are in line exactly when their caller's transaction commits."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from mainstay import jobs
from mainstay.jobs import enqueueing
from mainstay.kernel import telemetry
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.retry import Backoff
from tests.jobs.conftest import QUEUE, add, all_of, one, state_of, until


async def test_a_rolled_back_caller_leaves_no_job(db: Database) -> None:
    async def give_up() -> None:
        async with db.begin() as tx:
            await jobs.enqueue(tx, "test.kind", 1, queue=QUEUE)
            await jobs.enqueue_many(tx, "test.kind", [1, 2], queue=QUEUE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await give_up()
    assert await one(db, "select count(*) from mainstay.jobs") == 0


async def test_the_row_carries_what_was_given_and_the_trace(db: Database) -> None:
    telemetry.enter_trace(telemetry.start_trace("00-" + "a" * 32 + "-" + "b" * 16 + "-01", None))
    company = "018f0000-0000-7000-8000-000000000001"
    job = await add(
        db, "test.kind", {"n": [1, "ü"]}, lane="l", company_id=company, priority=2, attempts=7,
        backoff=Backoff("fixed", timedelta(seconds=3), 0.5),
    )  # fmt: skip
    (row,) = await all_of(db, "select * from mainstay.jobs where id = $1", job)
    assert (row["state"], row["lane"], str(row["company_id"]), row["priority"]) == ("waiting", "l", company, 2)
    assert (row["max_attempts"], row["attempt"], row["trace_id"], row["backoff"]) == (7, 0, "a" * 32, "fixed:3000:0.5")


async def test_a_dedupe_key_gives_the_unfinished_job_and_the_transaction_lives_on(db: Database) -> None:
    async with db.begin() as tx:
        first = await jobs.enqueue(tx, "test.kind", 1, queue=QUEUE, dedupe_key="k")
        again = await jobs.enqueue(tx, "test.kind", 2, queue=QUEUE, dedupe_key="k")
        other = await jobs.enqueue(tx, "test.other", 3, queue=QUEUE, dedupe_key="k")
    assert again == jobs.Enqueued(first.id, deduplicated=True)
    assert not first.deduplicated
    assert other.id != first.id
    assert await one(db, "select count(*) from mainstay.jobs") == 2


async def test_two_who_enqueue_the_same_key_at_once_get_one_job(db: Database) -> None:
    async def enqueue() -> jobs.Enqueued:
        async with db.begin() as tx:
            made = await jobs.enqueue(tx, "test.kind", 1, queue=QUEUE, dedupe_key="k")
            await asyncio.sleep(0.05)
            assert await tx.value(Sql("test", "select 1")) == 1
            return made

    made = await asyncio.gather(*(enqueue() for _ in range(6)))
    assert len({each.id for each in made}) == 1
    assert sum(not each.deduplicated for each in made) == 1


async def test_the_key_is_free_again_when_the_first_rolled_back(db: Database) -> None:
    async with db.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "insert into mainstay.jobs (queue, kind, payload, dedupe_key) values ('q', 'test.kind', '1', 'k')"
        )
        waiting = asyncio.create_task(add(db, "test.kind", 2, dedupe_key="k"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await transaction.rollback()
    assert await state_of(db, await waiting) == "waiting"


async def test_many_jobs_keep_their_order_lanes_and_companies(db: Database) -> None:
    async with db.begin() as tx:
        made = await jobs.enqueue_many(tx, "test.kind", [1, 2, 3], queue=QUEUE, lanes=["a", "", "b"])
    rows = await all_of(db, "select id, lane, payload::text from mainstay.jobs order by pos")
    assert [tuple(row) for row in rows] == list(zip(made, ["a", "", "b"], ["1", "2", "3"], strict=True))


async def test_other_rooms_enqueue_by_the_sql_function(db: Database) -> None:
    await one(
        db,
        """select mainstay.enqueue_jobs('q', 'k', array['a', null], array['{"n": 1}', '2']::jsonb[],
               array[null, '018f0000-0000-7000-8000-000000000001']::uuid[], array['t', null], null, null)""",
    )
    rows = await all_of(db, "select lane, payload::text, company_id is null, trace_id, priority, max_attempts from mainstay.jobs order by pos")  # fmt: skip  # noqa: E501
    assert [tuple(row) for row in rows] == [("a", '{"n": 1}', True, "t", 5, 3), ("", "2", False, "", 5, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"payload": "a\0b"},
        {"payload": "\ud800"},
        {"payload": object()},
        {"payload": "x" * 262_143},
        {"priority": 11},
        {"priority": -1},
        {"attempts": 0},
        {"attempts": 1001},
        {"lane": "x" * 201},
        {"dedupe_key": ""},
        {"dedupe_key": "x" * 201},
        {"queue": ""},
    ],
)
async def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    db: Database, wrong: dict[str, object]
) -> None:
    given = {"payload": 1, "queue": QUEUE, **wrong}
    async with db.begin() as tx:
        with pytest.raises(jobs.JobRefused):
            await jobs.enqueue(tx, "test.kind", given.pop("payload"), **given)  # type: ignore[arg-type]
        await jobs.enqueue(tx, "test.kind", "x" * 262_142, queue=QUEUE, lane="x" * 200, priority=10, attempts=1000)
        await jobs.enqueue(tx, "test.kind", "a\\u0000b", queue=QUEUE)
    assert await one(db, "select count(*) from mainstay.jobs") == 2


async def test_one_wake_up_a_transaction(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    listener = await asyncpg.connect(db.dsn)
    await listener.add_listener("mainstay_jobs", lambda *event: heard.append(event[-1]))
    async with db.begin() as tx:
        for _ in range(5):
            await jobs.enqueue(tx, "test.kind", 1, queue=QUEUE)
        await jobs.enqueue_many(tx, "test.kind", [1, 2, 3], queue=QUEUE)
        await jobs.enqueue(tx, "test.kind", 1, queue="later", delay=timedelta(hours=1))
    monkeypatch.setattr(enqueueing, "time", MovableClock(datetime.now(UTC)))
    for _ in range(20):
        await jobs.wake(db, "hot")
    await jobs.wake(db, "last")
    await until(lambda: "last" in heard)
    await listener.close()
    assert heard == [QUEUE, "hot", "last"]
