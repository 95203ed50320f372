"""Senders that want an answer: each event is sent under one idempotency key until the API acknowledges it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.chaos.world import World

PATH = "/v1/key/workspace/events"
PATIENCE_SECONDS = 30.0
"""How long a sender goes on asking for one event."""
PAUSE_SECONDS = 0.02
"""Between two events of one sender, so that deliveries keep pace and a delay is the fault of a kill alone."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One event that was answered 201: under which key, when, what came back, and whether it was there before."""

    key: str
    at_seconds: float
    event: dict[str, Any]
    is_replay: bool


@dataclass
class Load:
    """What senders did: the acknowledged events, and how often each other answer was seen (0: no answer at all)."""

    world: World
    acknowledged: list[Acknowledged] = field(default_factory=list)
    seen: dict[int, int] = field(default_factory=dict)
    _count: int = 0

    async def run(self, seconds: float, senders: int = 8) -> None:
        """For so long each sender sends one event after the other; then each waits for its last answer."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(senders):
                group.create_task(self._send_until(until))

    async def _send_until(self, until: float) -> None:
        while time.monotonic() < until:
            self._count += 1
            await self._insist(f"event-{self._count}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _insist(self, key: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        body = {"action": "chaos.sent", "category": "test", "payload": {"key": key}}
        while True:
            status, event, headers = await self._ask(body, key)
            if status == 201:
                is_replay = headers.get("idempotency-replayed") == "true"
                self.acknowledged.append(Acknowledged(key, time.time(), event, is_replay))
                return
            self.seen[status] = self.seen.get(status, 0) + 1
            assert status in (0, 409, 503), f"{status}: {event}"
            assert time.monotonic() < deadline, f"no answer for {key}: {self.seen} {self.world.tails()}"
            await asyncio.sleep(0.05)

    async def _ask(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        try:
            return await self.world.post(PATH, body, **{"idempotency-key": key})
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, {}, {}
