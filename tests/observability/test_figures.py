"""System figures: what operators read is what the last run of the aggregator kept."""

from datetime import timedelta

import httpx
import pytest

from mainstay import observability
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database
from mainstay.kernel.work import Every
from tests.conftest import SqlClock
from tests.observability.test_health import TOKEN
from tests.tenancy import Tenancy


@pytest.mark.contract("HL-J-09", "HL-CA-01")
async def test_figures_change_with_a_run_of_the_aggregator_only(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    (task,), (schedule,) = observability.tasks(db), observability.schedules()
    assert task.run is not None
    assert (schedule.kind, schedule.slots) == (task.kind, Every(timedelta(minutes=1)))
    now = await sql_clock.stop()

    async def shown() -> dict[str, object]:
        answer = await api.get("/internal/metrics", headers={"x-internal-token": TOKEN})
        (found,) = answer.json()["databases"]
        return dict(found)

    assert set(await shown()) == {"name", "takenAt"}
    await task.run(None)  # type: ignore[arg-type]
    first = await shown()
    assert first["takenAt"] == iso(now)
    await sql_clock.move(timedelta(minutes=1))
    assert set(first) == {"name", "takenAt", "webhooks", "events", "database", "apiKeys"}
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.event_minutes (company_id, minute, events)
               values ($1, date_trunc('minute', mainstay.now()), 3)""",
            tenancy.company_id,
        )
    assert await shown() == first
    await task.run(None)  # type: ignore[arg-type]
    second = await shown()
    assert second["events"] == {"ingested24h": 3}
    assert second["takenAt"] == iso(now + timedelta(minutes=1))
