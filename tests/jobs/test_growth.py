"""What a claim costs does not grow with what waits, whatever statistics say; nobody waits behind another's backlog."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from mainstay import jobs
from mainstay.jobs.queries import lines, planning
from mainstay.kernel.db import Database, Record, Sql, Tx
from mainstay.kernel.work import Job
from tests.jobs.conftest import QUEUE, add, one, task, until, working

KIND = "test.kind"
CLAIMED = 100


class Undone(Exception):
    """What the transaction did is not to stay."""


class Explaining(Tx):
    """Runs statements as they are and counts the blocks that they touch, in place of their rows."""

    blocks = 0

    async def rows(self, sql: Sql, *args: Any) -> list[Record]:
        """No rows; `blocks` has grown by what the statement touched."""
        told = await self.connection.fetchval(f"explain (analyze, buffers, format json) {sql.text}", *args)
        plan = json.loads(told)[0]["Plan"]
        self.blocks += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return []


async def load(db: Database, count: int, lanes: int) -> None:
    """So many jobs are in line, as one bulk load by SQL, and nobody analyzed anything since."""
    async with db.begin() as tx:
        await tx.run(
            Sql(
                "t",
                """insert into mainstay.job_kinds values ($1, $2, 5, 3, null, true, mainstay.now())
                   on conflict do nothing""",
            ),
            KIND,
            QUEUE,
        )
        await tx.run(Sql("t", "insert into mainstay.queues values ($1, 5) on conflict do nothing"), QUEUE)
        await tx.value(
            Sql(
                "t",
                """select count(*) from mainstay.enqueue_many($1,
                     (select array_agg(to_jsonb(n)) from generate_series(1, $2::int) n),
                     lanes => (select array_agg('l' || n % $3::int) from generate_series(1, $2::int) n))""",
            ),
            KIND,
            count,
            lanes,
        )


async def worker_id(db: Database) -> int:
    """A worker that lives."""
    found: int = await one(
        db,
        """insert into mainstay.workers (name, queues, started_at, heartbeat_at)
           values ('w', '{}', now(), now()) returning id""",
    )
    return found


async def cost(db: Database, lanes: int) -> Mapping[str, int]:
    """Blocks that a look, a sweep and a claim of 100 jobs touch now; what they did is undone."""
    worker = await worker_id(db)
    first = await one(db, "select min(pos) from mainstay.jobs where state = 'waiting'")
    width = min(lanes, CLAIMED)
    takes: Sequence[Sequence[Any]] = (
        [5] * width, [f"l{n}" for n in range(width)], [first] * width, [CLAIMED // width] * width
    )  # fmt: skip
    found = {}
    for name in ("look", "sweep", "claim"):
        with suppress(Undone):
            async with planning.begin_by_line(db) as tx:
                counted = Explaining(tx.connection)
                if name == "look":
                    await lines.look_everywhere(counted, [QUEUE], [first], [CLAIMED])
                elif name == "sweep":
                    await lines.sweep_everywhere(counted, QUEUE, -1, "", CLAIMED)
                else:
                    await lines.claim_everywhere(counted, QUEUE, worker, takes)
                found[name] = counted.blocks
                raise Undone
    return found


@pytest.mark.parametrize("lanes", [1, 2_000])
async def test_a_claim_touches_as_much_behind_twenty_times_the_backlog(db: Database, lanes: int) -> None:
    await load(db, 2_000, lanes)
    few = await cost(db, lanes)
    await load(db, 38_000, lanes)
    many = await cost(db, lanes)
    assert all(many[name] <= 1.5 * few[name] + 60 for name in few), (few, many)
    # A claim reads what it takes: some blocks a job at most, and not the table.
    whole = await one(db, "select pg_relation_size('mainstay.jobs') / 8192")
    assert max(many["look"], many["sweep"]) < whole / 2, (many, whole)
    assert many["claim"] < 30 * CLAIMED, many
    assert await one(db, "select count(*) from pg_stats where schemaname = 'mainstay' and tablename = 'jobs'") == 0


async def test_the_same_holds_where_statistics_speak_of_an_empty_table(db: Database) -> None:
    """As after a bulk load into a table that was analyzed while it was empty."""
    async with db.connection() as connection:
        await connection.execute("vacuum analyze mainstay.jobs")
    await load(db, 2_000, 1)
    few = await cost(db, 1)
    await load(db, 18_000, 1)
    many = await cost(db, 1)
    assert all(many[name] <= 1.5 * few[name] + 60 for name in few), (few, many)


async def test_another_tenants_job_is_in_the_next_round_behind_a_flood(db: Database) -> None:
    """Ten slots, 5,000 jobs of one tenant: the other's job starts while the flood has had a round or two."""
    order: list[str] = []
    late: list[int] = []

    async def act(job: Job) -> None:
        if not late:
            late.append(await add(db, KIND, "theirs", lane="quiet"))
        order.append(job.lane)

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, KIND, range(5_000), queue=QUEUE, lanes=["flood"] * 5_000)
    async with working(db, [task(act, kind=KIND)], slots=10):
        await until(lambda: "quiet" in order)
    # What ran before it: the round in which it was enqueued, and those already claimed when it was looked for.
    assert order.index("quiet") <= 60, order.index("quiet")
