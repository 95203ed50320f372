"""System figures: what operators read is what the last run of the aggregator kept."""

import httpx
import pytest

from mainstay import observability
from mainstay.kernel.db import Database
from tests.observability.test_health import TOKEN
from tests.tenancy import Tenancy


@pytest.mark.contract("HL-J-09")
async def test_figures_change_with_a_run_of_the_aggregator_only(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    (task,) = observability.tasks(db)
    assert task.run is not None

    async def shown() -> dict[str, object]:
        answer = await api.get("/internal/metrics", headers={"x-internal-token": TOKEN})
        (found,) = answer.json()["databases"]
        return dict(found)

    assert set(await shown()) == {"name", "takenAt"}
    await task.run(None)  # type: ignore[arg-type]
    first = await shown()
    assert set(first) == {"name", "takenAt", "webhooks", "events", "database", "apiKeys"}
    async with db.connection() as connection:
        await connection.execute(
            """insert into mainstay.event_minutes (company_id, minute, events)
               values ($1, date_trunc('minute', now()), 3)""",
            tenancy.company_id,
        )
    assert await shown() == first
    await task.run(None)  # type: ignore[arg-type]
    second = await shown()
    assert second["events"] == {"ingested24h": 3}
    assert second["takenAt"] > first["takenAt"]  # type: ignore[operator]
