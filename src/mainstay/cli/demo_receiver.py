"""The receiver of the demonstration: four addresses on loopback that verify signatures; one is slow, one fails,
one takes the batches of a stream."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from mainstay import webhooks

SLOW_SECONDS = (1.0, 2.0)
_MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class Tally:
    """What came to one address since the start."""

    verified: int = 0
    refused: int = 0
    repeated: int = 0


class Receiver:
    """An HTTP server in this process; `secrets` by the last part of the path: `good`, `slow`, `failing`,
    `stream`."""

    def __init__(self) -> None:
        self.secrets: Mapping[str, str] = {}
        self.tallies = {name: Tally() for name in ("good", "slow", "failing", "stream")}
        self._seen: dict[str, None] = {}
        self._runner: web.AppRunner | None = None

    async def open(self, port: int) -> None:
        """The receiver answers on 127.0.0.1."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/{name}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def close(self) -> None:
        """Nobody listens any more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def total(self) -> Tally:
        """The sums over all addresses."""
        rows = self.tallies.values()
        return Tally(*(sum(getattr(row, name) for row in rows) for name in ("verified", "refused", "repeated")))

    async def _receive(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        tally = self.tallies.get(name)
        if tally is None:
            return web.Response(status=404)
        body = await request.read()
        try:
            webhooks.verify([self.secrets.get(name, "")], dict(request.headers), body, now_seconds=time.time())
        except webhooks.BadSignature as refusal:
            tally.refused += 1
            return web.Response(status=401, text=refusal.reason)
        tally.verified += 1
        tally.repeated += self._is_known(f"{name} {request.headers['webhook-id']}")
        if name == "failing":
            return web.Response(status=500, text="this address always fails, so that you can watch retries")
        if name == "slow":
            await asyncio.sleep(random.uniform(*SLOW_SECONDS))  # noqa: S311 - no secret
        return web.Response(text="thank you")

    def _is_known(self, message: str) -> bool:
        known = message in self._seen
        self._seen[message] = None
        if len(self._seen) > _MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return known
