"""A batch is stored whole or not at all, wherever the API dies."""

import asyncio
import itertools
import random
import time

import aiohttp

from tests.chaos.world import World

PATH = "/v1/key/workspace/events/batch"
EVENTS = 100
KILLS = 3
SENDERS = 4


async def sent(world: World, name: str) -> list[str] | None:
    """The ids of the batch's events where it was acknowledged whole, None where no answer came."""
    event = {"action": "chaos.batch", "category": "test", "target": {"id": name, "type": "batch"}}
    body = {"events": [{**event, "payload": {"n": n}} for n in range(EVENTS)]}
    try:
        status, answer, _ = await world.post(PATH, body, **{"idempotency-key": name})
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    if status == 503:
        return None
    assert status == 200, answer
    assert [item["status"] for item in answer["data"]] == [201] * EVENTS
    return [item["id"] for item in answer["data"]]


async def sizes(world: World) -> dict[str, int]:
    """How many events of each batch are stored."""
    rows = await world.rows("select target_id as batch, count(*) as events from mainstay.events group by 1")
    return {row["batch"]: row["events"] for row in rows}


async def test_a_batch_is_whole_or_not_at_all(world: World) -> None:
    chance = random.Random(7)
    names = (f"batch-{n}" for n in itertools.count())
    told: dict[str, list[str]] = {}
    cut: list[str] = []

    async def send_on() -> None:
        for name in names:
            ids = await sent(world, name)
            if ids is None:
                cut.append(name)
                return
            told[name] = ids

    for _ in range(KILLS):
        world.api.start()
        await world.until_status("/api/v1/health/ready", 200)
        senders = [asyncio.create_task(send_on()) for _ in range(SENDERS)]
        await asyncio.sleep(chance.uniform(0.3, 0.8))
        world.api.kill()
        await asyncio.gather(*senders)
        assert set((await sizes(world)).values()) <= {EVENTS}
    assert cut, "no batch was under way at a kill"
    await until_idle(world)
    before = await sizes(world)
    assert set(before.values()) <= {EVENTS}
    assert set(told) <= set(before) <= {*told, *cut}
    world.api.start()
    await world.until_status("/api/v1/health/ready", 200)
    for name in [*cut, *told]:
        ids = await sent(world, name)
        assert ids is not None
        assert ids == told.setdefault(name, ids)
        assert len(set(ids)) == EVENTS
    assert await sizes(world) == dict.fromkeys(told, EVENTS)
    assert await world.value("select count(distinct id) from mainstay.events") == EVENTS * len(told)


async def until_idle(world: World) -> None:
    """No statement of a killed API is still running."""
    deadline = time.monotonic() + 60
    busy = """select count(*) from pg_stat_activity
              where application_name = 'mainstay ingest' and datname = current_database()"""
    while await world.value(busy):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
