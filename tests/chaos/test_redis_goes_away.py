"""Redis holds counters and copies alone: without it requests pass, and work is accepted and done as before."""

import pytest
import redis

from tests.accounts.signing import add
from tests.chaos.world import World
from tests.limits.stores import redis_server
from tests.tenancy import bearer

READY = "/api/v1/health/ready"
EVENTS = "/v1/key/workspace/events"
EVENT = {"action": "a.b", "category": "t"}


@pytest.mark.contract("NP-S-08", "NP-S-09")
async def test_redis_going_away_fails_no_request_and_touches_no_job(world: World) -> None:
    person = await add(world.db, world.tenancy.company_id, "o@acme.test")
    me = await bearer(world.db, person, world.tenancy.company_id)
    with redis_server() as server:
        for program in (world.api, world.worker):
            program.give(REDIS_URL=server.url)
            program.start()
        await world.until_status(READY, 200)
        await world.subscribe()
        told = [(await world.post(EVENTS, EVENT))[1]["id"] for _ in range(5)]
        assert await world.status("/api/v1/auth/me", **me) == 200
        with redis.Redis.from_url(server.url) as client:
            kept = [str(key) for key in client.scan_iter()]
        assert kept
        assert not [key for key in kept if "job" in key or "nova" in key or "deliver" in key]
        server.kill()
        told += [(await world.post(EVENTS, EVENT))[1]["id"] for _ in range(5)]
        assert [await world.status("/api/v1/auth/me", **me) for _ in range(3)] == [200, 200, 200]
    await world.settled()
    heard = [it.headers["webhook-id"] for it in world.receiver.requests if it.target == "/good"]
    assert sorted(heard) == sorted(told)
