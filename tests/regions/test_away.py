"""A region that is away: its companies wait, the others go on, and nothing is lost when it comes back."""

import asyncio
from typing import Any

import httpx
import pytest

from mainstay.kernel import telemetry
from mainstay.kernel.db import Database, Sql
from tests.conftest import running_app
from tests.regions.conftest import AWAY, Two, running_worker, until
from tests.regions.test_residency import is_quiet
from tests.tenancy import Tenancy, test_settings

EVENTS = "/v1/key/workspace/events"
UNKNOWN = {"authorization": "Bearer mk_ws_" + "x" * 43}
_WAITING = Sql("test.waiting", "select failures from mainstay.announcements where company_id = $1")


async def test_requests_of_its_companies_answer_503_and_the_others_go_on(
    two: Two, eu_company: Tenancy, us_company: Tenancy
) -> None:
    async with running_app(two.home_url, DATABASE_URL_EU=AWAY) as api:
        answer = await api.post(EVENTS, json={"action": "a"}, headers=us_company.auth)
        assert (answer.status_code, answer.json()["dataRegion"]) == (201, "US")
        for method, path, auth in (
            ("POST", EVENTS, eu_company.auth),
            ("GET", EVENTS, eu_company.auth),
            ("GET", "/v1/key/company/webhooks", eu_company.company_auth),
            ("POST", EVENTS, UNKNOWN),
            ("GET", EVENTS, UNKNOWN),
        ):
            answer = await api.request(method, path, headers=auth, json={"action": "a"} if method == "POST" else None)
            assert answer.status_code == 503, (method, path, answer.text)
        assert (await api.get(EVENTS, headers={"authorization": "Bearer nonsense"})).status_code == 401


async def test_with_all_databases_there_an_unknown_key_is_refused(api: httpx.AsyncClient) -> None:
    for method in ("POST", "GET"):
        answer = await api.request(method, EVENTS, headers=UNKNOWN, json={"action": "a"} if method == "POST" else None)
        assert answer.status_code == 401


async def test_a_key_that_was_seen_in_its_region_works_while_home_is_away(two: Two, eu_company: Tenancy) -> None:
    async with running_app(AWAY, DATABASE_URL_EU=two.eu_url) as api:
        answer = await api.post(EVENTS, json={"action": "a"}, headers=eu_company.auth)
        assert answer.status_code == 201, answer.text


async def test_readiness_and_the_operators_health_tell_which_regions_answer(two: Two) -> None:
    token = {"x-internal-token": str(test_settings(two.home_url).internal_token)}
    for eu_url, database in ((two.eu_url, "ok"), (AWAY, "does not answer")):
        async with running_app(two.home_url, DATABASE_URL_EU=eu_url) as api:
            ready = await api.get("/api/v1/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (200, "ready")
            told: dict[str, Any] = ready.json()["regions"]
            assert {region: one["database"] for region, one in told.items()} == {
                "US": "ok", "EU": database, "APAC": "ok",
            }  # fmt: skip
            assert (await api.get("/internal/health", headers=token)).json()["regions"] == told
    async with running_app(AWAY, DATABASE_URL_EU=two.eu_url) as api:
        assert (await api.get("/api/v1/health/ready")).status_code == 503
        assert (await api.get("/internal/health", headers=token)).json()["isReady"] is False


async def test_what_home_announces_of_its_companies_waits_and_arrives_later(
    two: Two, eu_company: Tenancy, us_company: Tenancy
) -> None:
    async with running_worker(two.home_url, AWAY) as worker:
        await until(lambda: _are_put_off(two.home, eu_company.company_id))
        assert await two.home.value(_WAITING, us_company.company_id) is None
        assert not worker.done()
    async with two.home.begin() as tx:
        await tx.run(Sql("test.due", "update mainstay.announcements set due_at = mainstay.now()"))
    async with running_worker(two.home_url, two.eu_url):
        await until(lambda: is_quiet(two.home))
        await until(lambda: is_quiet(two.eu))
    opened = Sql("test.opened", "select count(*) from mainstay.events where company_id = $1 and action ~ 'opened'")
    assert await two.eu.value(opened, eu_company.company_id) == 4


async def _are_put_off(db: Database, company_id: str) -> bool:
    rows = await db.rows(_WAITING, company_id)
    return bool(rows) and all(row["failures"] for row in rows)


async def test_figures_of_the_regions_of_one_process_are_told_together() -> None:
    telemetry.QUEUE_SIZE.labels("test:parts").set(3)

    async def of_region() -> None:
        telemetry.enter_part("EU")
        telemetry.QUEUE_SIZE.labels("test:parts").set(9)
        telemetry.QUEUE_SIZE.labels("test:parts").set(4)
        telemetry.LOOP_LAST_RUN.labels("test-parts").set(100)

    telemetry.LOOP_LAST_RUN.labels("test-parts").set(200)
    await asyncio.create_task(of_region())
    assert telemetry.REGISTRY.get_sample_value("queue_size", {"queue": "test:parts"}) == 7
    name = "loop_last_run_timestamp_seconds"
    assert telemetry.REGISTRY.get_sample_value(name, {"loop": "test-parts"}) == 100


@pytest.mark.parametrize("region", ["eu", "UK", "", "US "])
async def test_a_region_is_one_of_three(two: Two, region: str) -> None:
    with pytest.raises(KeyError):
        two.regions.of(region)
