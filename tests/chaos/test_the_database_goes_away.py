"""Without the database requests are told to come back, and once it is there everything works, without a restart."""

import asyncio
import time

import pytest

from tests.chaos.world import World

LIVE, READY = "/api/v1/health/live", "/api/v1/health/ready"
EVENTS = "/v1/key/workspace/events"
BACK_SECONDS = 10.0
"""Or five times what the start took, where the machine is so busy that this is more."""
EVENT = {"action": "a.b", "category": "t"}


async def until_heard(world: World, event_id: str, deadline: float) -> None:
    """The good endpoint hears of the event within the time that recovery may take."""
    while event_id not in {it.headers["webhook-id"] for it in world.receiver.requests if it.target == "/good"}:
        assert time.monotonic() < deadline, world.tails()
        await asyncio.sleep(0.05)


@pytest.mark.contract("DR-S-07")
async def test_the_database_going_away_gives_503_and_comes_back(world: World) -> None:
    world.api.start()
    world.worker.start()
    bound = max(BACK_SECONDS, 5 * await world.until_status(READY, 200))
    await world.subscribe()
    processes = world.api.process.pid, world.worker.process.pid
    status, _, _ = await world.post(EVENTS, EVENT)
    assert status == 201
    await world.settled()
    heard = len(world.receiver.requests)
    world.ground.stop()
    for path, body in ((EVENTS, EVENT), (f"{EVENTS}/batch", {"events": [EVENT, EVENT]})):
        began = time.monotonic()
        status, told, headers = await world.post(path, body)
        assert (status, told["status"], told["code"]) == (503, 503, "unavailable")
        assert headers["Content-Type"].startswith("application/problem+json")
        assert int(headers["Retry-After"]) >= 1
        assert time.monotonic() - began < bound - 2
    assert await world.status(f"{EVENTS}?limit=1", **world.tenancy.auth) == 503
    assert (await world.status(LIVE), await world.status(READY)) == (200, 503)
    await asyncio.sleep(2.0)
    assert len(world.receiver.requests) == heard
    assert world.worker.process.poll() is None
    world.ground.start()
    began = time.monotonic()
    while (answer := await world.post(EVENTS, EVENT))[0] != 201:
        assert answer[0] == 503
        assert time.monotonic() < began + bound, world.tails()
        await asyncio.sleep(0.05)
    await until_heard(world, answer[1]["id"], began + bound)
    assert (await world.status(LIVE), await world.status(READY)) == (200, 200)
    assert (world.api.process.pid, world.worker.process.pid) == processes
    assert (world.api.process.poll(), world.worker.process.poll()) == (None, None)
    count = "select count(*) from mainstay.events where workspace_id = $1"
    assert await world.value(count, world.tenancy.workspace_id) == 2
    await world.settled()


@pytest.mark.contract("DR-S-07")
async def test_a_start_without_the_database_waits_for_it(world: World) -> None:
    world.ground.stop()
    world.api.start()
    world.worker.start()
    bound = max(BACK_SECONDS, 5 * await world.until_status(LIVE, 200))
    assert await world.status(READY) == 503
    status, told, _ = await world.post(EVENTS, EVENT)
    assert (status, told["code"]) == (503, "unavailable")
    assert world.worker.process.poll() is None, world.tails()
    world.ground.start()
    began = time.monotonic()
    await world.until_status(READY, 200, bound)
    await world.subscribe()
    status, event, _ = await world.post(EVENTS, EVENT)
    assert status == 201
    await until_heard(world, event["id"], began + bound)
    assert (world.api.process.poll(), world.worker.process.poll()) == (None, None)


@pytest.mark.contract("NP-Q-19", "NP-Q-25", "HL-Q-01", "DR-Q-03", "DR-S-11", "NP-S-09")
async def test_jobs_accepted_before_wait_for_the_database_and_run_once(world: World) -> None:
    """The API runs without a worker, and then a worker without the API."""
    world.api.start()
    await world.until_status(READY, 200)
    await world.subscribe()
    told = [(await world.post(EVENTS, EVENT))[1]["id"] for _ in range(20)]
    waiting = "select count(*) from mainstay.jobs where queue = 'nova:webhook' and state = 'waiting' and attempt = 0"
    jobs = await world.value(waiting)
    assert jobs >= 20
    assert world.receiver.requests == []
    world.ground.kill()
    world.worker.start()
    await world.worker.said("a worker runs")
    assert (await world.post(EVENTS, EVENT))[0] == 503
    world.api.kill()
    world.ground.start()
    await world.settled()
    counts = "select count(*) from mainstay.events where workspace_id = $1"
    assert await world.value(counts, world.tenancy.workspace_id) == 20
    assert await world.value("select count(*) from mainstay.deliveries") == jobs
    heard = [it.headers["webhook-id"] for it in world.receiver.requests if it.target == "/good"]
    assert sorted(heard) == sorted(told)
