"""Results of steps, committed together: those of all runs of a process that end within two milliseconds."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from mainstay.functions.queries import steps as rows
from mainstay.kernel.db import RACED, Database
from mainstay.kernel.errors import Unavailable

GATHER_SECONDS = 0.002
_BATCH = 500
_BATCH_BYTES = 8_000_000
_FLUSHES = 2
_TRIES = 8
_FIRST_GAP_SECONDS = 0.05


class Lost(Exception):
    """The run is no longer this claim's, or has been cancelled: nothing more is written for it."""


class Result(NamedTuple):
    """What an attempt at a step gave, under the claim that it was made under."""

    run_id: str
    epoch: int
    step_id: str
    place: int
    kind: str
    state: str
    attempt: int
    seconds: float
    output: str | None
    error: str | None


class Committer:
    """Writes results in batches; each caller goes on when its own stands."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: deque[tuple[Result, asyncio.Future[bool]]] = deque()
        self._flushes: set[asyncio.Task[None]] = set()

    async def commit(self, result: Result) -> None:
        """The result stands; Lost where the claim no longer holds, Unavailable where the database stays away."""
        stands: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((result, stands))
        if len(self._flushes) < _FLUSHES:
            flush = asyncio.create_task(self._flush())
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)
        if not await stands:
            raise Lost

    async def _flush(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            taken: list[tuple[Result, asyncio.Future[bool]]] = []
            size = 0
            while self._waiting and len(taken) < _BATCH and size < _BATCH_BYTES:
                taken.append(self._waiting.popleft())
                size += len(taken[-1][0].output or "")
            if taken:
                await self._write(taken)

    async def _write(self, taken: Sequence[tuple[Result, asyncio.Future[bool]]]) -> None:
        try:
            stand: set[tuple[str, str]] | Exception = await self._tried([result for result, _ in taken])
        except Exception as error:
            stand = error
        if isinstance(stand, Exception) and len(taken) > 1 and not isinstance(stand, Unavailable):
            for one in taken:
                await self._write([one])
            return
        for result, future in taken:
            if future.done():
                continue
            if isinstance(stand, Exception):
                future.set_exception(stand)
            else:
                future.set_result((result.run_id, result.step_id) in stand)

    async def _tried(self, results: Sequence[Result]) -> set[tuple[str, str]]:
        gap: Any = _FIRST_GAP_SECONDS
        for _ in range(_TRIES):
            try:
                return await rows.commit_steps_everywhere(self._db, results)
            except (Unavailable, *RACED):
                await asyncio.sleep(gap)
                gap *= 2
        return await rows.commit_steps_everywhere(self._db, results)
