"""Hearing wake-ups: one connection that listens, and connects again whenever it is lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from mainstay.jobs.queries.enqueueing import CHANNEL
from mainstay.kernel.db import GONE

_PROBE_SECONDS = 10.0
_FIRST_GAP_SECONDS, _LAST_GAP_SECONDS = 0.2, 5.0


class Listener:
    """Calls `woken(queue)` for each notification; without an address, or without a connection, it hears nothing."""

    def __init__(self, url: str | None, woken: Callable[[str], None]) -> None:
        self._url = url
        self._woken = woken
        self.is_hearing = False

    async def run(self) -> None:
        """Listens until it is cancelled."""
        gap = _FIRST_GAP_SECONDS
        while self._url is not None:
            try:
                await self._listen(self._url)
                gap = _FIRST_GAP_SECONDS
            except (*GONE, asyncpg.PostgresError):
                gap = min(gap * 2, _LAST_GAP_SECONDS)
            await asyncio.sleep(gap)

    async def _listen(self, url: str) -> None:
        connection = await asyncpg.connect(url, timeout=5, command_timeout=5, statement_cache_size=0)
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, self._heard)
            self.is_hearing = True
            self._woken("")
            while not lost.is_set():
                try:
                    await asyncio.wait_for(lost.wait(), _PROBE_SECONDS)
                except TimeoutError:
                    await connection.execute("select 1")
        finally:
            self.is_hearing = False
            connection.terminate()

    def _heard(self, _: Any, __: int, ___: str, queue: object) -> None:
        self._woken(str(queue))
