"""Live, ready, and who may read the figures."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import identity, main
from mainstay.kernel import settings
from mainstay.kernel.db import Database
from tests.conftest import running_app
from tests.tenancy import OPERATOR, open_tenancy

TOKEN = "a-test-token-of-forty-characters-or-more-3"


@pytest.mark.parametrize("family", ["/api/v1/health", "/api/_health"])
async def test_a_migrated_database_is_ready(api: httpx.AsyncClient, family: str) -> None:
    assert (await api.get(f"{family}/live")).json()["status"] == "live"
    ready = await api.get(f"{family}/ready")
    assert [ready.status_code, ready.json()["checks"]] == [200, {"database": "ok", "schema": "ok", "partitions": "ok"}]


@pytest.mark.parametrize(("revision", "status"), [("0001", 503), ("9999", 200)])
async def test_an_older_schema_is_not_ready_and_a_newer_one_is(
    api: httpx.AsyncClient, db: Database, revision: str, status: int
) -> None:
    async with db.connection() as connection:
        await connection.execute("update mainstay.migrations set version_num = $1", revision)
    ready = await api.get("/api/v1/health/ready")
    assert ready.status_code == status
    assert ("mainstay migrate" in ready.text) is (status == 503)


async def test_partitions_that_end_soon_are_told(api: httpx.AsyncClient, sql_clock: Any) -> None:
    await sql_clock.move(timedelta(days=365))
    ready = await api.get("/api/v1/health/ready")
    assert ready.status_code == 503
    assert "is a worker running?" in ready.json()["checks"]["partitions"]


async def test_figures_are_open_in_development_and_ask_for_the_token_in_production(fresh_url: str) -> None:
    async with running_app(fresh_url) as api:
        for path in ("/metrics", "/api/v1/metrics"):
            assert "http_requests_total" in (await api.get(path)).text
    async with running_app(fresh_url, PROFILE="production") as api:
        for path in ("/metrics", "/api/v1/metrics"):
            assert (await api.get(path)).status_code == 401
            assert (await api.get(path, headers={"x-internal-token": "x" * 40})).status_code == 401
            assert (await api.get(path, headers={"x-internal-token": TOKEN})).status_code == 200
    async with running_app(fresh_url, PROFILE="production", METRICS_PUBLIC="true") as api:
        assert (await api.get("/metrics")).status_code == 200


async def test_production_is_not_ready_without_what_its_parts_need(fresh_url: str) -> None:
    path = "/api/v1/health/ready"
    async with running_app(fresh_url, PROFILE="production", PARTS="functions,archive", INTERNAL_TOKEN="") as api:
        ready = await api.get(path)
    told = "missing: INNGEST_EVENT_KEY, INNGEST_SIGNING_KEY, OBJECT_STORE"
    assert (ready.status_code, ready.json()["checks"]["settings"]) == (503, told)
    async with running_app(fresh_url, PARTS="functions,archive", INTERNAL_TOKEN="") as api:
        assert (await api.get(path)).status_code == 200


@pytest.mark.contract("DR-C-01")
async def test_without_a_database_only_health_is_answered() -> None:
    waiting = settings.load(
        {
            "MAINSTAY_SECRET": "a-test-secret-of-forty-characters-or-so-1",
            "JWT_ACCESS_SECRET": "a-test-secret-of-forty-characters-or-so-2",
            "JWT_REFRESH_SECRET": "a-test-secret-of-forty-characters-or-so-4",
            "INTERNAL_TOKEN": TOKEN,
        },
        needs_database=False,
    )
    transport = httpx.ASGITransport(main.build_unready(waiting))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as api:
        for family in ("/api/v1/health", "/api/_health"):
            assert (await api.get(f"{family}/live")).json()["status"] == "live"
            ready = await api.get(f"{family}/ready")
            assert (ready.status_code, ready.json()["checks"]) == (503, {"settings": "missing: DATABASE_URL"})
        assert (await api.get("/healthz")).status_code == 503
        other = await api.post("/v1/key/workspace/events", json={})
        assert (other.status_code, other.json()["code"]) == (503, "settings-missing")
        assert "DATABASE_URL" in other.json()["detail"]


@pytest.mark.contract("HL-A-02")
async def test_operators_come_in_by_their_token_alone(fresh_url: str, db: Database) -> None:
    tenancy = await open_tenancy(db)
    passwords = identity.Passwords(memory_kib=19_456, passes=2)
    hashed = await passwords.hash("a long enough password")
    async with db.begin() as tx:
        await identity.add_person(
            tx, OPERATOR, tenancy.company_id, email="o@x.io", name="Olga", password_hash=hashed, role="owner"
        )
    async with running_app(fresh_url, PROFILE="production") as api:
        login = {"email": "o@x.io", "password": "a long enough password"}
        person = (await api.post("/api/v1/auth/login", json=login)).json()["accessToken"]
        assert (await api.get("/api/v1/webhooks", headers={"authorization": f"Bearer {person}"})).status_code == 200
        for headers, status in (
            ({}, 401),
            ({"x-internal-token": TOKEN[:-1]}, 401),
            ({"x-internal-token": person}, 401),
            ({"authorization": f"Bearer {person}"}, 401),
            ({"authorization": f"Bearer {TOKEN}"}, 401),
            (tenancy.company_auth, 401),
            ({"x-internal-token": TOKEN}, 200),
        ):
            assert (await api.get("/metrics", headers=headers)).status_code == status
    passwords.close()


async def test_healthz_is_ok_while_the_database_answers(api: httpx.AsyncClient) -> None:
    answer = await api.get("/healthz")
    told = answer.json()
    assert (answer.status_code, told["status"], set(told)) == (200, "ok", {"status", "version", "time"})


async def test_healthz_is_503_while_the_database_is_away() -> None:
    async with running_app("postgresql://nobody@127.0.0.1:1/none") as api:
        answer = await api.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
