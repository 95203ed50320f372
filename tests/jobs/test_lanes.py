"""Whose turn it is: the book's rules, and that one lane's trouble is not another's."""

import asyncio
import time
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay import jobs
from mainstay.jobs.lanes import LINES_KNOWN, LINES_PER_PLAN, Horizon, LaneBook, LaneLimit, Take
from mainstay.jobs.queries import claims, planning
from mainstay.jobs.queries import lines as line_rows
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.work import Job
from tests.jobs.conftest import QUEUE, add, one, task, until, working


def test_slots_are_shared_in_rotation_within_the_lowest_priority() -> None:
    book = LaneBook()
    for lane in "abc":
        book.learn(5, lane, 1)
    book.learn(9, "late", 1)
    assert book.plan(4) == [Take(5, "a", 1, 2), Take(5, "b", 1, 1), Take(5, "c", 1, 1)]
    takes = book.plan(1)
    book.claimed(takes, {(5, "a"): (1, 7)})
    assert book.plan(1) == [Take(5, "b", 1, 1)]
    book.claimed(book.plan(1), {})
    assert book.plan(2) == [Take(5, "c", 1, 1), Take(5, "a", 8, 1)]


def test_a_lane_at_its_limit_is_set_aside_until_one_of_its_jobs_ends() -> None:
    book = LaneBook(lane_limit=2)
    book.learn(5, "a", 1)
    book.learn(5, "", 2)
    takes = book.plan(10)
    assert takes == [Take(5, "a", 1, 2), Take(5, "", 2, 8)]
    book.claimed(takes, {(5, "a"): (2, 4), (5, ""): (8, 20)})
    assert book.plan(10) == [Take(5, "", 21, 10)]
    book.learn(5, "a", 3)
    assert len(book) == 2
    book.ended("a")
    assert book.plan(10) == [Take(5, "", 21, 5), Take(5, "a", 3, 1)]


def test_a_thousand_lanes_at_their_limit_hide_nobody() -> None:
    book = LaneBook(lane_limit=1)
    for lane in range(1000):
        book.learn(5, f"full{lane}", 1)
        book.claimed([Take(5, f"full{lane}", 1, 1)], {(5, f"full{lane}"): (1, 1)})
    book.learn(5, "new", 1)
    for _ in range(1000 // LINES_PER_PLAN + 1):
        takes = book.plan(10)
    assert takes == [Take(5, "new", 1, 1)]


def test_the_book_is_bounded() -> None:
    book = LaneBook()
    for lane in range(LINES_KNOWN + 10):
        book.learn(5, str(lane), 1)
    assert len(book) == LINES_KNOWN
    assert sum(take.jobs for take in book.plan(100_000)) <= 100_000


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), st.sampled_from(["", "a", "b", "c"]), st.integers(1, 8)),
        st.tuples(st.just("claim"), st.integers(1, 6), st.just(""), st.just(0)),
        st.tuples(st.just("end"), st.integers(1, 6), st.just(""), st.just(0)),
        st.tuples(st.just("hold"), st.integers(0, 5), st.just(""), st.integers(0, 4)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(_STEPS, st.sampled_from([None, 1, 3, lambda lane: {"a": 1, "b": 0, "c": 3}[lane]]))
def test_the_book_loses_no_job_keeps_limits_and_holds_and_takes_no_more_than_is_free(
    steps: list, limit: LaneLimit
) -> None:
    """Against a line-up kept in full: whatever happens, draining at the end brings every job."""
    is_open = False
    book = LaneBook((lambda lane: 9 if is_open else limit(lane)) if callable(limit) else limit)
    lines, held, pos, now, until_of = {}, [], 0, 1.0, {}

    def claim(free: int) -> int:
        takes = book.plan(free, now)
        assert sum(take.jobs for take in takes) <= free
        got = {}
        for take in takes:
            line = lines.get((take.priority, take.lane), [])
            taken = [place for place in line if place >= take.pos][: take.jobs]
            lines[take.priority, take.lane] = [place for place in line if place not in taken]
            held.extend((take.priority, take.lane, place) for place in taken)
            assert until_of.get(take.lane, 0.0) <= now
            if taken:
                got[take.priority, take.lane] = (len(taken), taken[-1])
        book.claimed(takes, got)
        for lane, count in Counter(lane for _, lane, _ in held).items():
            assert book.running(lane) == count
            if lane and limit is not None and not is_open:
                assert count <= (limit(lane) if callable(limit) else limit)
        return sum(count for count, _ in got.values())

    for what, number, lane, count in steps:
        now += 0.1
        if what == "add":
            places = list(range(pos, pos + count))
            pos += count
            lines.setdefault((number, lane), []).extend(places)
            book.learn(number, lane, places[0])
        elif what == "claim":
            claim(number)
        elif what == "end":
            for _ in range(min(number, len(held))):
                book.ended(held.pop(0)[1])
        elif held:
            priority, resting, place = held.pop(0)
            if resting:
                until_of[resting] = now + number / 10
                book.hold(resting, until_of[resting])
            book.ended(resting)
            lines[priority, resting] = sorted([*lines[priority, resting], place])
            book.learn(priority, resting, place)
    is_open = True
    for _ in range(pos * 20 + 20):
        now += 0.3
        while held:
            book.ended(held.pop()[1])
        claim(5)
    assert not any(lines.values())
    assert len(book) == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "commit", "look"]), st.integers(0, 30), st.integers(1, 400)), max_size=80
    )
)
def test_a_look_never_passes_over_what_commits_later(steps: list) -> None:
    """Writers draw places and commit in any order; once all have, one or two looks more have seen every place."""
    horizon, now = Horizon(0), 100.0
    head, xid, open_, visible, seen = 0, 10, {}, set(), set()

    def look(count: int) -> None:
        start = horizon.start(now)
        found = sorted(place for place in visible if place >= start)
        shown = found[:count]
        seen.update(shown)
        xmin = min(open_, default=xid)
        last = shown[-1] if len(shown) == count else None
        horizon.looked(start, last, head=head, xmin=xmin, xmax=xid, now=now)

    for what, number, ms in steps:
        now += ms / 1000
        if what == "begin":
            open_[xid] = set(range(head + 1, head + 1 + number))
            head, xid = head + number, xid + 1
        elif what == "commit" and open_:
            visible |= open_.pop(sorted(open_)[number % len(open_)])
        else:
            look(10 + number)
    for places in open_.values():
        visible |= places
    open_.clear()
    for _ in range(4 * len(visible) // 10 + 6):
        now += 0.01
        look(40)
    assert seen == visible


def test_a_writer_that_stays_open_does_not_make_every_look_long() -> None:
    horizon, now = Horizon(0), 0.0
    starts = []
    for head in range(0, 100_000, 100):
        now += 0.01
        starts.append(horizon.start(now))
        horizon.looked(starts[-1], None, head=head, xmin=5, xmax=10 + head, now=now)
    behind = [head - start for head, start in zip(range(0, 100_000, 100), starts, strict=True)][200:]
    assert max(behind) <= 10_300
    assert sum(lag > 200 for lag in behind) < len(behind) / 8


_BACKLOG = """insert into mainstay.jobs (queue, kind, lane, payload)
              select $1, 'test.kind', 'big', to_jsonb(n) from generate_series(1, 100000) n returning 1"""


async def test_a_backlog_of_100000_in_one_lane_delays_another_lane_by_less_than_a_second(db: Database) -> None:
    """The best of three is timed, as the machine may have been busy with others; none waits behind the backlog."""
    done: dict[str, float] = {}

    async def run(job: Job) -> None:
        done.setdefault(job.lane, time.monotonic())
        await asyncio.sleep(0.001)

    async with working(db, [task(run)], slots=20):
        await one(db, _BACKLOG, QUEUE)
        await until(lambda: "big" in done)
        waits = []
        for n in range(3):
            asked = time.monotonic()
            await add(db, "test.kind", lane=f"small{n}")
            await until(lambda: f"small{n}" in done)  # noqa: B023
            waits.append(done[f"small{n}"] - asked)
        assert await one(db, "select count(*) from mainstay.jobs where state = 'waiting'") > 50_000
    assert min(waits) < 1.0


async def test_the_same_for_a_worker_that_starts_on_the_backlog(db: Database) -> None:
    lanes: list[str] = []

    async def run(job: Job) -> None:
        lanes.append(job.lane)
        await asyncio.sleep(0.001)

    await one(db, _BACKLOG, QUEUE)
    await add(db, "test.kind", lane="small")
    async with working(db, [task(run)], slots=20):
        await until(lambda: "small" in lanes)
    assert lanes.index("small") < 10_000


async def test_a_lane_at_its_cap_or_hanging_delays_nobody(db: Database) -> None:
    active: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done = []
    is_let = asyncio.Event()

    async def run(job: Job) -> None:
        active[job.lane] += 1
        most[job.lane] = max(most[job.lane], active[job.lane])
        if job.lane == "hangs":
            await is_let.wait()
        active[job.lane] -= 1
        done.append(job.lane)

    async with db.begin() as tx:
        await jobs.enqueue_many(tx, "test.kind", range(300), queue=QUEUE, lanes=["hangs"] * 300)
        await jobs.enqueue_many(tx, "test.kind", range(300), queue=QUEUE, lanes=[f"ok{n % 3}" for n in range(300)])
    async with working(db, [task(run, lane_limit=3)], slots=10):
        await until(lambda: len(done) == 300 and active["hangs"] == 3)
        is_let.set()
        await until(lambda: len(done) == 600)
    assert most["hangs"] == 3
    assert max(most.values()) <= 3


@pytest.mark.parametrize("held_seconds", [0.05, 1.5])
async def test_what_is_committed_late_is_found(db: Database, held_seconds: float) -> None:
    """Its place in line was drawn long before later jobs were seen and run."""
    done: set[int] = set()

    async def run(job: Job) -> None:
        done.add(job.payload)

    async with working(db, [task(run)]) as worker:
        await until(lambda: worker.lease.worker_id)
        async with db.begin() as tx:
            await jobs.enqueue(tx, "test.kind", 0, queue=QUEUE)
            late = asyncio.get_running_loop().time() + held_seconds
            n = 0
            while asyncio.get_running_loop().time() < late:
                n += 1
                await add(db, "test.kind", n)
                await until(lambda: n in done)  # noqa: B023
            assert 0 not in done
        await until(lambda: 0 in done)


async def test_what_another_claimer_had_locked_and_let_go_is_found(db: Database, other_db: Database) -> None:
    done = []

    async def run(job: Job) -> None:
        done.append(job.id)

    job = await add(db, "test.kind")
    async with other_db.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("select 1 from mainstay.jobs for update")
        async with working(db, [task(run)]):
            other = await add(db, "test.kind")
            await until(lambda: done == [other])
            await transaction.rollback()
            await until(lambda: done == [other, job])


async def test_the_claim_walks_the_lane_whatever_the_statistics_say(db: Database) -> None:
    """Statistics taken of an empty table, or of one lane alone, must not lead the claim through another lane's jobs."""
    async with db.connection() as connection:
        await connection.execute("vacuum analyze mainstay.jobs")
        await connection.execute(
            """insert into mainstay.jobs (queue, kind, lane, payload)
               select 'q', 'k', 'big', '1' from generate_series(1, 5000); analyze mainstay.jobs"""
        )
    for claim in (line_rows._CLAIM, claims._COMPLETE):
        begin = planning.begin_by_line if claim is line_rows._CLAIM else planning.begin_by_id
        async with begin(db) as tx:
            values = (
                "('q', 1, '{5}', '{small}', '{0}', '{10}')"
                if claim is line_rows._CLAIM
                else "('{1}', '{1}', '{1}', '{t}')"
            )
            await tx.connection.execute(f"prepare the_plan as {claim.text}")
            plan = await tx.rows(Sql("test", f"explain execute the_plan{values}"))
            await tx.connection.execute("deallocate the_plan")
        text = "\n".join(row[0] for row in plan)
        wanted = "jobs_line_idx" if claim is line_rows._CLAIM else "jobs_pkey"
        assert wanted in text
        assert "jobs_arrival_idx" not in text
        assert "jobs_active_idx" not in text
        assert "Seq Scan on jobs" not in text


async def test_a_due_job_joins_the_end_of_the_line(db: Database) -> None:
    order = []

    async def run(job: Job) -> None:
        order.append(job.payload)
        await asyncio.sleep(0.05)

    await add(db, "test.kind", "delayed", delay=timedelta(milliseconds=60))
    for n in range(4):
        await add(db, "test.kind", n)
    async with working(db, [task(run)], slots=1):
        await until(lambda: len(order) == 5)
    assert order == [0, 1, 2, 3, "delayed"]
