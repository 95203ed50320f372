"""Months close once, are kept for ever, and take no count afterwards, whatever a late transaction tries."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import asyncpg
import pytest

from mainstay import plans
from mainstay.kernel import ids
from mainstay.kernel.db import Database, Sql
from mainstay.plans import periods
from tests.conftest import SqlClock
from tests.plans.conftest import Send, go_to_middle, go_to_next_month, this_month
from tests.tenancy import Tenancy

_METERS = Sql(
    "test.meters",
    """select period_start, workspace_id::text, quantity, closed_at from mainstay.meter_counts
        where company_id = $1 and meter = 'events' order by period_start, workspace_id""",
)
_SNAPSHOTS = Sql(
    "test.snapshots",
    """select period_start, workspace_id::text, quantity, closed_at from mainstay.usage_snapshots
        where company_id = $1 order by period_start, workspace_id""",
)
_ANNOUNCED = Sql("test.announced", "select data::text from mainstay.announcements where name = $1 order by id")


@pytest.mark.contract("HL-P-03", "HL-P-04", "HL-P-05")
async def test_a_month_that_is_over_is_closed_kept_and_followed_by_one_at_zero(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    await go_to_middle(db, sql_clock)
    month = await this_month(db)
    await send(5)
    await send(2, workspace_id=tenancy.other_workspace_id)
    assert await periods.roll_over(db) == 0
    following = await go_to_next_month(db, sql_clock)
    assert await periods.roll_over(db) == 1
    old = [row for row in await db.rows(_METERS, tenancy.company_id) if row["period_start"] == month]
    new = [row for row in await db.rows(_METERS, tenancy.company_id) if row["period_start"] == following]
    assert sorted(row["quantity"] for row in old) == [2, 5]
    assert all(row["closed_at"] is not None for row in old)
    assert [(row["quantity"], row["closed_at"]) for row in new] == [(0, None), (0, None)]
    kept = await db.rows(_SNAPSHOTS, tenancy.company_id)
    assert kept == old

    # Nothing is counted in it any more, and what was kept stays as it is.
    await send(3)
    with pytest.raises(asyncpg.SerializationError, match="closed"):
        await db.run(
            Sql("t", "update mainstay.meter_counts set quantity = quantity + 1 where period_start = $1"), month
        )
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="never changes"):
        await db.run(Sql("t", "update mainstay.usage_snapshots set quantity = 1"))
    assert await periods.roll_over(db) == 0
    assert await db.rows(_SNAPSHOTS, tenancy.company_id) == kept
    usage = await plans.usage(db, tenancy.company_id, "events")
    assert [(one.period_start, one.quantity) for one in usage if one.workspace_id == tenancy.workspace_id] == [
        (following, 3),
        (month, 5),
    ]


async def test_closing_is_announced_once_a_company_with_what_it_used(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    await go_to_middle(db, sql_clock)
    await send(4)
    await go_to_next_month(db, sql_clock)
    await asyncio.gather(periods.roll_over(db), periods.roll_over(db))
    (told,) = await db.rows(_ANNOUNCED, "period.closed")
    assert '"meters": {"events": 4}' in told["data"]


async def test_a_transaction_from_before_midnight_is_counted_or_refused_never_lost(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    """Its events carry the old month; while that is open they count there, afterwards the whole of it is refused."""
    await go_to_middle(db, sql_clock)
    month = await this_month(db)
    await send(1)
    late = _clock_of(sql_clock)
    await go_to_next_month(db, sql_clock)
    async with db.begin() as tx:
        await tx.connection.execute(late)
        await send(2, within=tx)
        await tx.connection.execute(_clock_of(sql_clock))
    assert await periods.roll_over(db) == 1
    assert [row["quantity"] for row in await db.rows(_SNAPSHOTS, tenancy.company_id)] == [3]
    # Also where the workspace had no meter then: it gets none now.
    for workspace_id in (tenancy.workspace_id, tenancy.other_workspace_id):
        with suppress(ZeroDivisionError):
            async with db.begin() as tx:
                await tx.connection.execute(late)
                with pytest.raises(asyncpg.SerializationError, match="closed"):
                    await plans.meter(tx, tenancy.company_id, workspace_id, name="events", quantity=1)
                raise ZeroDivisionError
    assert [(row["period_start"], row["quantity"]) for row in await db.rows(_SNAPSHOTS, tenancy.company_id)] == [
        (month, 3)
    ]


def _clock_of(clock: SqlClock) -> str:
    """What makes a transaction read the clock as it stands now, whatever it is moved to afterwards."""
    return f"""create or replace function mainstay.now() returns timestamptz language sql stable parallel safe
               as $$ select pg_catalog.now() + interval '{clock.offset.total_seconds()} seconds' $$"""


async def test_the_birth_of_a_meter_and_the_end_of_its_month_wait_for_each_other(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy
) -> None:
    """A count that is under way when the month ends is committed before it is closed."""
    await go_to_middle(db, sql_clock)
    month, company = await this_month(db), tenancy.company_id
    async with db.begin() as tx:
        await plans.meter(tx, company, tenancy.other_workspace_id, name="events", quantity=1)
    birth = db.begin()
    tx = await birth.__aenter__()
    await plans.meter(tx, company, ids.new_id(), name="events", quantity=7)
    ended = asyncio.create_task(_end(db, month))
    await _until_waiting(db)
    await birth.__aexit__(None, None, None)
    async with asyncio.timeout(30):
        await ended
    await go_to_next_month(db, sql_clock)
    await periods.roll_over(db)
    assert sum(row["quantity"] for row in await db.rows(_SNAPSHOTS, company)) in (7, 8)
    assert 7 in [row["quantity"] for row in await db.rows(_SNAPSHOTS, company)]


async def _end(db: Database, month: object) -> None:
    async with db.begin() as tx:
        await tx.run(
            Sql("t", "select pg_advisory_xact_lock(mainstay.meter_lock('period ' || to_char($1::date, 'YYYY-MM-DD')))"),
            month,
        )
        await tx.run(Sql("t", "insert into mainstay.meter_closings (period_start) values ($1)"), month)


async def _until_waiting(db: Database) -> None:
    async with asyncio.timeout(30):
        while not await db.value(Sql("t", "select exists (select from pg_locks where not granted)")):
            await asyncio.sleep(0.01)


async def test_many_companies_close_in_steps(
    db: Database, sql_clock: SqlClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(periods, "COMPANIES_A_STEP", 2)
    await go_to_middle(db, sql_clock)
    companies = [ids.new_id() for _ in range(5)]
    async with db.begin() as tx:
        for company in companies:
            await plans.meter(tx, company, ids.new_id(), name="events", quantity=1)
    await go_to_next_month(db, sql_clock, into=timedelta(days=3))
    assert await periods.roll_over(db) == 5
    assert len(await db.rows(Sql("t", "select from mainstay.usage_snapshots"))) == 5
