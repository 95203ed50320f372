"""Worker and PostgreSQL are killed while lines are served and replays run: order is kept, none is lost or doubled."""

import asyncio
import random
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.chaos.load import Load
from tests.chaos.world import World, is_refused, refuse_some

BEFORE_SECONDS = 3.0
UNDER_KILLS_SECONDS = 5.0


@pytest.mark.timeout(300)
async def test_order_and_replays_outlive_kills(world: World) -> None:
    chance = random.Random()
    load = Load(world)
    world.receiver.at("/ordered", refuse_some)
    world.api.start()
    world.worker.start()
    await world.until_status("/api/v1/health/ready", 200)
    ordered = await world.endpoint("/ordered", ordering="fifo", retries=0)
    off = await world.endpoint("/off", isActive=False)
    began = datetime.now(UTC).isoformat()
    await load.run(BEFORE_SECONDS)
    missed = {one.event["id"] for one in load.acknowledged}

    await world.manage("PATCH", f"/{off['id']}", {"isActive": True}, 200)
    wanted = {"scope": "missed", "since": began}
    counted = await world.manage("POST", f"/{off['id']}/replays", {**wanted, "dryRun": True}, 200)
    assert (counted["matched"], counted["isFloor"]) == (len(missed), False)
    replay = await world.manage("POST", f"/{off['id']}/replays", wanted, 202)
    sending = asyncio.create_task(load.run(UNDER_KILLS_SECONDS))
    for victim in ("worker", "postgres", "worker"):
        await asyncio.sleep(chance.uniform(0.1, 1.0))
        await _kill(world, victim, chance)
    await sending
    await world.settled()

    events = {one.event["id"]: one.event["seq"] for one in load.acknowledged}
    done = await world.manage("GET", f"/{off['id']}/replays/{replay['id']}", None, 200)
    assert (done["state"], done["matched"], done["made"]) == ("done", len(missed), len(missed))
    assert await _deliveries(world, off) == {("DELIVERED", len(events), len(events))}
    assert await world.value(
        "select count(*) from mainstay.deliveries where endpoint_id = $1 and replay_of is null", off["id"]
    ) >= len(events) - len(missed)
    assert set(_heard(world, "/off")) == set(events)

    refused = sum(map(is_refused, events))
    assert await _deliveries(world, ordered) == {
        ("DELIVERED", len(events) - refused, len(events) - refused),
        ("FAILED", refused, refused),
    }
    order = [events[message] for message in _heard(world, "/ordered")]
    assert set(order) == set(events.values())
    assert [(one, other) for one, other in pairwise(order) if other < one] == []
    print(f"{len(events)} events in order, {len(order) - len(events)} came twice; {len(missed)} replayed under kills")
    assert len(order) - len(events) <= 3


async def _kill(world: World, victim: str, chance: random.Random) -> None:
    if victim == "worker":
        world.worker.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        world.worker.start()
    else:
        world.ground.kill()
        await asyncio.sleep(chance.uniform(0.2, 0.6))
        world.ground.start()


async def _deliveries(world: World, endpoint: dict[str, Any]) -> set[tuple[str, int, int]]:
    rows = await world.rows(
        """select status, count(*) as deliveries, count(distinct message_id) as messages
           from mainstay.deliveries where endpoint_id = $1 group by 1""",
        endpoint["id"],
    )
    return {(row["status"], row["deliveries"], row["messages"]) for row in rows}


def _heard(world: World, path: str) -> list[str]:
    return [it.headers["webhook-id"] for it in world.receiver.requests if it.target == path]
