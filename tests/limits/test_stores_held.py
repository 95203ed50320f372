"""Limits over several nodes as callers meet them, in each store that nodes can share, and with Redis gone."""

import pytest

from mainstay.kernel.db import Database
from mainstay.kernel.redis import Redis
from mainstay.kernel.telemetry import REGISTRY
from tests.limits.stores import Server, redis_server
from tests.limits.test_policies_held import ME, USAGE, keys_in, limited, member, statuses
from tests.tenancy import Tenancy


async def keys_of(redis: Server) -> set[str]:
    """Every counter in Redis."""
    client = Redis(redis.url, use="tests", timeout_seconds=30)
    found = await client.ask("KEYS", "throttle:*")
    await client.close()
    return {one.decode() for one in found}


@pytest.mark.parametrize("store", ["postgresql", "redis"])
@pytest.mark.contract("NP-RL-06", "NP-RL-04")
async def test_two_nodes_count_together_under_the_documented_keys(
    store: str, db: Database, tenancy: Tenancy, redis: Server
) -> None:
    client = Redis(redis.url, use="tests", timeout_seconds=30)
    await client.ask("FLUSHALL")
    await client.close()
    settings = {"REDIS_URL": redis.url} if store == "redis" else {}
    headers = await member(db, tenancy)
    async with limited(db.dsn, RATE_LIMIT_STORE="auto", **settings) as one:
        assert await statuses(one, "GET", ME, 60, headers=headers) == [200] * 60
        async with limited(db.dsn, RATE_LIMIT_STORE="auto", **settings) as other:
            assert await statuses(other, "GET", ME, 41, headers=headers) == [200] * 40 + [429]
            assert await statuses(one, "GET", ME, 1, headers=headers) == [429]
            assert await statuses(one, "GET", USAGE, 1, headers=headers) == [200]
            found = await keys_of(redis) if store == "redis" else await keys_in(db)
    assert found == {f"throttle:{tenancy.company_id}:127.0.0.1:{route}" for route in (ME, USAGE)}


@pytest.mark.contract("NP-RL-07")
async def test_with_redis_gone_nobody_is_refused_and_it_is_counted(db: Database, tenancy: Tenancy) -> None:
    def uncounted() -> float:
        return REGISTRY.get_sample_value("rate_limit_fail_open_total", {"policy": "general"}) or 0.0

    headers = await member(db, tenancy)
    with redis_server() as server:
        settings = {"RATE_LIMIT_STORE": "auto", "RATE_LIMIT_REDIS_URL": server.url, "RATE_LIMIT_GENERAL": "3"}
        async with limited(db.dsn, **settings) as client:
            assert await statuses(client, "GET", ME, 4, headers=headers) == [200] * 3 + [429]
            before = uncounted()
            server.kill()
            assert await statuses(client, "GET", ME, 5, headers=headers) == [200] * 5
            assert uncounted() == before + 5
