"""Limits counted in PostgreSQL: for several nodes without Redis. A crash of the server empties the table."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg

from mainstay.kernel.db import GONE, Connection, Database, Record, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.redis import TIMEOUT_SECONDS, Away, Breaker
from mainstay.kernel.together import Together
from mainstay.limits.queries import counters
from mainstay.limits.store import CHECK, CHECK_KEY, Counted, Rule, Taken

_CARRIED_AT_ONCE = 1_000
_KEPT_AFTER_EXPIRY = timedelta(seconds=10)
_T = TypeVar("_T")
_Call = tuple[str, int, int, int, int, bool]


class PostgreSQL:
    """The store of several nodes: calls of one moment are one statement, which waits its turn for the counters' rows.

    As with Redis a call ends within the time given, and after a failure nothing is asked for a second.
    """

    kind = "postgresql"

    def __init__(
        self, db: Database, *, timeout_seconds: float = TIMEOUT_SECONDS, breaker: Breaker | None = None
    ) -> None:
        self._db = db
        self._timeout_seconds = timeout_seconds
        self._breaker = breaker or Breaker()
        self._together = Together(self._take_all, timeout_seconds=timeout_seconds)

    async def take(self, key: str, rule: Rule, cost: int = 1, *, peek: bool = False) -> Taken:
        """As `Store.take`."""
        call = (key, rule.allowance, rule.window_us, rule.slot_us, cost, peek)
        allowed, remaining, retry_us, reset_us = await self._together.ask(call)
        return Taken(allowed, rule.allowance, remaining, retry_us / 1_000_000, reset_us / 1_000_000)

    async def give_back(self, key: str, rule: Rule, cost: int, *, held_seconds: float) -> None:
        """As `Store.give_back`."""
        if held_seconds < rule.window.total_seconds():
            await self._within(
                lambda: counters.give_back_everywhere(self._db, key, window_us=rule.window_us, cost=cost)
            )

    async def check(self) -> None:
        """As `Store.check`."""
        await self.take(CHECK_KEY, CHECK)

    async def close(self) -> None:
        """The pool is closed by who opened it."""

    async def _take_all(self, calls: Sequence[_Call], within_seconds: float) -> list[Record]:
        return await self._within(lambda: counters.take_everywhere(self._db, calls), within_seconds)

    async def _within(self, call: Callable[[], Coroutine[Any, Any, _T]], seconds: float | None = None) -> _T:
        if not self._breaker.enter():
            raise Away("PostgreSQL is left alone for a moment")
        asked = asyncio.ensure_future(call())
        try:
            # Nobody waits for what is cut off: a server that hangs takes seconds to give a connection up.
            done, _ = await asyncio.wait({asked}, timeout=self._timeout_seconds if seconds is None else seconds)
        except BaseException:
            self._breaker.left()
            _cut_off(asked)
            raise
        if not done:
            _cut_off(asked)
            self._breaker.failed()
            raise Away("PostgreSQL: TimeoutError")
        error = asked.exception()
        if error is None:
            self._breaker.succeeded()
            return asked.result()
        self._breaker.failed()
        if isinstance(error, (*GONE, Unavailable, asyncpg.PostgresError)):
            raise Away(f"PostgreSQL: {type(error).__name__}") from error
        raise error


def _cut_off(asked: "asyncio.Future[Any]") -> None:
    asked.cancel()
    asked.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def carry(tx: Tx, counted: Sequence[Counted]) -> None:
    """What memory counted counts in the table, beside what is there."""
    # In the order in which calls lock them too.
    counted = sorted(counted, key=lambda one: one.key)
    for first in range(0, len(counted), _CARRIED_AT_ONCE):
        rows = [
            (one.key, one.window_us, [age for age, _ in one.hits], [number for _, number in one.hits])
            for one in counted[first : first + _CARRIED_AT_ONCE]
        ]
        await counters.carry_everywhere(tx, rows)


async def take_away(tx: Tx, most: int) -> list[Counted] | None:
    """The table is empty; what it counted, for memory to go on with. None, and nothing changed, past `most` keys."""
    if await counters.count_everywhere(tx, most + 1) > most:
        return None
    return [
        Counted(row["key"], row["window_us"], list(zip(row["ages"], row["numbers"], strict=True)))
        for row in await counters.take_away_everywhere(tx)
    ]


async def prune(db: Connection) -> int:
    """Counters whose last hit is over are gone; how many went."""
    return await counters.prune_everywhere(db, _KEPT_AFTER_EXPIRY)
