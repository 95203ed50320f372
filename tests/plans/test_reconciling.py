"""A meter that drifted is found by looking at the chain, set right and told; nothing is guessed."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from mainstay import plans
from mainstay.kernel.db import Database, Sql
from mainstay.plans import periods, reconciling
from tests.conftest import SqlClock
from tests.plans.conftest import Send, go_to_middle, go_to_next_month
from tests.tenancy import Tenancy

_SET = Sql("test.set", "update mainstay.meter_counts set quantity = $2 where workspace_id = $1 and closed_at is null")
_TOLD = Sql("test.told", "select data::text from mainstay.announcements where name = 'meter.corrected'")


async def used(db: Database, tenancy: Tenancy) -> list[int]:
    """The first workspace's counts, newest month first."""
    usage = await plans.usage(db, tenancy.company_id, "events")
    return [one.quantity for one in usage if one.workspace_id == tenancy.workspace_id]


@pytest.mark.contract("HL-E-09")
async def test_ten_events_raise_the_meter_by_ten(db: Database, tenancy: Tenancy, send: Send) -> None:
    await send(3)
    before = await used(db, tenancy)
    await send(10)
    assert (await used(db, tenancy))[0] == before[0] + 10
    assert await reconciling.reconcile(db) == 0


@pytest.mark.contract("HL-P-06")
@pytest.mark.parametrize("wrong", [0, 3, 1_000])
async def test_a_drifted_meter_equals_the_count_again_and_the_drift_is_told(
    wrong: int, db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    await go_to_middle(db, sql_clock)
    await send(10)
    await db.run(_SET, tenancy.workspace_id, wrong)
    corrected, drift = _metrics()
    with capture_logs() as logs:
        assert await reconciling.reconcile(db) == 1
    assert await used(db, tenancy) == [10]
    assert _metrics() == (corrected + 1, drift + abs(10 - wrong))
    assert [(one["was"], one["now"]) for one in logs if one["event"] == "a meter had drifted"] == [(wrong, 10)]
    (told,) = await db.rows(_TOLD)
    assert '"now": 10' in told["data"]
    assert f'"was": {wrong}' in told["data"]
    assert await reconciling.reconcile(db) == 0


def _metrics() -> tuple[float, float]:
    return tuple(one._value.get() for one in (reconciling.CORRECTIONS, reconciling.DRIFT))  # type: ignore[return-value]


async def test_a_meter_that_is_missing_is_made(db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send) -> None:
    await go_to_middle(db, sql_clock)
    await send(4)
    await db.run(Sql("t", "delete from mainstay.meter_counts"))
    assert await reconciling.reconcile(db) == 1
    assert await used(db, tenancy) == [4]


async def test_each_month_counts_its_own_events(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    """Also the one that is over and not closed yet."""
    await go_to_middle(db, sql_clock)
    await send(4)
    await go_to_next_month(db, sql_clock)
    await send(3)
    await db.run(Sql("t", "update mainstay.meter_counts set quantity = 50"))
    assert await reconciling.reconcile(db) == 2
    assert await used(db, tenancy) == [3, 4]
    await db.run(Sql("t", "update mainstay.meter_counts set quantity = 50"))
    await periods.roll_over(db)
    assert await used(db, tenancy) == [50, 4]
    assert await reconciling.reconcile(db) == 1
    assert await used(db, tenancy) == [3, 4]


async def test_events_that_left_the_database_stay_counted(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    """Where the month began is kept from the first recount on."""
    await go_to_middle(db, sql_clock)
    await send(2)
    await go_to_next_month(db, sql_clock, into=timedelta(days=1))
    await send(6)
    assert await reconciling.reconcile(db) == 0
    await db.run(Sql("t", "delete from mainstay.events where seq < 5"))
    assert await reconciling.reconcile(db) == 0
    await db.run(_SET, tenancy.workspace_id, 1)
    await reconciling.reconcile(db)
    assert (await used(db, tenancy))[0] == 6


async def test_what_cannot_be_counted_any_more_is_left_alone(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    await go_to_middle(db, sql_clock)
    await send(6)
    await db.run(Sql("t", "delete from mainstay.events where seq < 3"))
    await db.run(_SET, tenancy.workspace_id, 1)
    assert await reconciling.reconcile(db) == 0
    assert await used(db, tenancy) == [1]


async def test_events_that_arrive_meanwhile_are_no_drift(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send
) -> None:
    await go_to_middle(db, sql_clock)
    await send(1)
    await db.run(_SET, tenancy.workspace_id, 40)
    async with asyncio.timeout(60):
        found = await asyncio.gather(
            *(send(1) for _ in range(20)), *(reconciling.reconcile(db) for _ in range(3)), return_exceptions=True
        )
    assert [one for one in found if isinstance(one, BaseException)] == []
    await reconciling.reconcile(db)
    assert await used(db, tenancy) == [21]
    assert await reconciling.reconcile(db) == 0


async def test_pages_of_workspaces_and_the_system_workspace(
    db: Database, sql_clock: SqlClock, tenancy: Tenancy, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "WORKSPACES_A_STEP", 1)
    await go_to_middle(db, sql_clock)
    await send(1)
    await send(2, workspace_id=tenancy.other_workspace_id)
    system: Any = await db.value(
        Sql("t", "select id::text from mainstay.workspaces where system and company_id = $1"), tenancy.company_id
    )
    await send(9, workspace_id=system)
    await db.run(Sql("t", "update mainstay.meter_counts set quantity = 70"))
    assert await reconciling.reconcile(db) == 2
    found = {one.workspace_id: one.quantity for one in await plans.usage(db, tenancy.company_id, "events")}
    assert found == {tenancy.workspace_id: 1, tenancy.other_workspace_id: 2}
