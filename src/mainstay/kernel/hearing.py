"""Hearing what other processes say on a channel of one database, and knowing whether all of it was heard."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import asyncpg

from mainstay.kernel.clock import Clock
from mainstay.kernel.db import GONE, Database, Sql
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.ids import new_trace_id

PROVEN_SECONDS: Final = 4.0
"""How long the last proof lets the process believe that it hears everything."""
_EVERY_SECONDS, _ECHO_SECONDS = 1.0, 2.0
_FIRST_GAP_SECONDS, _LAST_GAP_SECONDS = 0.2, 5.0
_NOTIFY = Sql("hearing.echo", "select pg_notify($1, '')")


class Hearing:
    """Calls `heard(text)` for what is said on the channel of one database, from `begin` to `close`.

    Each second it says something to itself through the pool and waits to hear it on the connection that listens. What
    was said is heard in the order of commits, so an echo proves that everything before was heard; behind a pooler of
    transactions, or where the connection is cut without a word, none comes.
    """

    def __init__(self, db: Database, url: str, channel: str, heard: Callable[[str], None], clock: Clock) -> None:
        self._db = db
        self._url = url
        self._channel = channel
        self._echo_channel = f"{channel}_{new_trace_id()}"
        self._heard = heard
        self._clock = clock
        self._since: datetime | None = None
        self._proven_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    @property
    def since(self) -> datetime | None:
        """From when on everything was heard; None where that is not known now."""
        return self._since if time.monotonic() - self._proven_at < PROVEN_SECONDS else None

    def begin(self) -> None:
        """It listens from soon on, if it did not before."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """It listens no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        gap = _FIRST_GAP_SECONDS
        while True:
            try:
                await self._listen()
            except (*GONE, Unavailable, asyncpg.PostgresError):
                gap = _FIRST_GAP_SECONDS if self._since is not None else min(gap * 2, _LAST_GAP_SECONDS)
            finally:
                self._since = None
            await asyncio.sleep(gap)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=5, command_timeout=5, statement_cache_size=0)
        lost, echoed = asyncio.Event(), asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(self._channel, self._take)
            await connection.add_listener(self._echo_channel, lambda *_: echoed.set())
            began = self._clock.now()
            while not lost.is_set():
                echoed.clear()
                said_at = time.monotonic()
                await self._db.run(_NOTIFY, self._echo_channel)
                await asyncio.wait_for(echoed.wait(), _ECHO_SECONDS)
                self._since, self._proven_at = began, said_at
                try:
                    await asyncio.wait_for(lost.wait(), _EVERY_SECONDS)
                except TimeoutError:
                    continue
        finally:
            connection.terminate()

    def _take(self, _: Any, __: int, ___: str, text: object) -> None:
        self._heard(str(text))
