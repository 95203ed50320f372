"""API, worker and PostgreSQL are killed under load: what was acknowledged is there once, and everybody hears of it."""

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from mainstay import events, plans, webhooks
from tests.chaos.load import Load
from tests.chaos.world import World, is_refused

LOAD_SECONDS = 4.0
RECOVERY_SECONDS = 10.0
"""Or five times what the first start took, where the machine is so busy that this is more."""
IN_FLIGHT_TO_ONE_ENDPOINT = 10
"""What one worker has in flight to one endpoint at most, and so what one kill may send twice."""
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "3"))


@dataclass
class Story:
    """What was killed, and when each thing worked again."""

    world: World
    load: Load
    chance: random.Random
    kills: list[str] = field(default_factory=list)
    back_at: list[tuple[str, float]] = field(default_factory=list)

    async def round(self, victim: str) -> None:
        """The victim is killed at a random moment of some seconds of load, and started again by the test."""
        sending = asyncio.create_task(self.load.run(LOAD_SECONDS))
        await asyncio.sleep(self.chance.uniform(0.5, LOAD_SECONDS / 2))
        self.kills.append(victim)
        match victim:
            case "api":
                self.world.api.kill()
                await asyncio.sleep(self.chance.uniform(0.0, 0.3))
                self.world.api.start()
            case "worker":
                self.world.worker.kill()
                await asyncio.sleep(self.chance.uniform(0.0, 0.3))
                self.world.worker.start()
            case _:
                self.world.ground.kill()
                await asyncio.sleep(self.chance.uniform(0.2, 1.0))
                self.world.ground.start()
        self.back_at.append((victim, time.time()))
        await sending

    def recoveries(self) -> list[tuple[str, float, float]]:
        """For each kill, the seconds until the first new event and until the first message not heard before."""
        stored = [one.at_seconds for one in self.load.acknowledged if not one.is_replay]
        heard: dict[str, float] = {}
        for it in self.world.receiver.requests:
            if it.target == "/good":
                heard.setdefault(it.headers["webhook-id"], it.at_seconds)
        return [
            (victim, *(min(at for at in moments if at > back) - back for moments in (stored, heard.values())))
            for victim, back in self.back_at
        ]


@pytest.mark.timeout(300 + 60 * ROUNDS)
async def test_nothing_acknowledged_is_lost(world: World) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(1 << 32)))
    print(f"CHAOS_SEED={seed}")
    story = Story(world, Load(world), random.Random(seed))
    world.api.start()
    world.worker.start()
    bound = max(RECOVERY_SECONDS, 5 * await world.until_status("/api/v1/health/ready", 200))
    await world.subscribe()
    for number in range(ROUNDS):
        await story.round(("api", "worker", "postgres")[number % 3])
    await world.settled()
    assert world.api.process.poll() is None, world.tails()
    assert world.worker.process.poll() is None, world.tails()
    again = sum(one.is_replay for one in story.load.acknowledged)
    print(f"{len(story.load.acknowledged)} events, {again} by the second answer; others: {story.load.seen}")
    await each_event_is_stored_once(story.load)
    await each_delivery_has_ended(story.load)
    everybody_heard(story)
    for victim, until_event, until_delivery in story.recoveries():
        print(f"{victim}: first event after {until_event:.2f} s, first delivery after {until_delivery:.2f} s")
        assert until_event < bound
        assert until_delivery < bound


async def each_event_is_stored_once(load: Load) -> None:
    """The acknowledged events are the stored ones, in one chain without a gap, and the meter has counted them."""
    world, tenancy = load.world, load.world.tenancy
    rows = await world.rows(
        """select id::text, seq, encode(hash, 'hex') as hash, idempotency_key, payload::jsonb ->> 'key' as key
           from mainstay.events where workspace_id = $1 order by seq""",
        tenancy.workspace_id,
    )
    stored = {(row["id"], row["seq"], row["hash"], row["key"]) for row in rows}
    told = {(one.event["id"], one.event["seq"], one.event["hash"], one.key) for one in load.acknowledged}
    assert told == stored
    assert len(load.acknowledged) == len(rows)
    assert len({row["idempotency_key"] for row in rows}) == len(rows)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    verdict = await events.verify_workspace(world.db, tenancy.company_id, tenancy.workspace_id, public_keys={})
    assert verdict.ok, verdict
    assert verdict.checked == len(rows)
    meters = await plans.usage(world.db, tenancy.company_id, "events")
    assert sum(one.quantity for one in meters if one.workspace_id == tenancy.workspace_id) == len(rows)


async def each_delivery_has_ended(load: Load) -> None:
    """Each event went to each endpoint once: delivered where it was taken, given up where it was refused."""
    world = load.world
    expected = len(load.acknowledged)
    refused = sum(is_refused(one.event["id"]) for one in load.acknowledged)
    found = await world.rows(
        """select endpoint_id::text as endpoint, status, count(*) as deliveries, count(distinct message_id) as messages
           from mainstay.deliveries group by 1, 2"""
    )
    assert {(row["endpoint"], row["status"], row["deliveries"], row["messages"]) for row in found} == {
        (world.good["id"], "DELIVERED", expected, expected),
        (world.failing["id"], "FAILED", refused, refused),
        (world.failing["id"], "DELIVERED", expected - refused, expected - refused),
    }
    dead = "select count(*) from mainstay.dead_jobs where queue = 'nova:webhook'"
    assert await world.value(dead) == refused


def everybody_heard(story: Story) -> None:
    """The receiver has each event at least once, signed; twice at most what was in flight at a kill."""
    world = story.world
    heard: Counter[str] = Counter()
    for it in world.receiver.requests:
        if it.target == "/good":
            now = float(it.headers["webhook-timestamp"])
            webhooks.verify([world.good["secret"]], it.headers, it.body, now_seconds=now)
            heard[it.headers["webhook-id"]] += 1
    assert set(heard) == {one.event["id"] for one in story.load.acknowledged}
    twice = sum(heard.values()) - len(heard)
    bound = IN_FLIGHT_TO_ONE_ENDPOINT * sum(1 for victim in story.kills if victim != "api")
    print(f"{twice} messages came again; at most {bound} may")
    assert twice <= bound
