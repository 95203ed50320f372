"""Calls that wait at the same moment are asked together, so that many of them share one round trip."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_Call = TypeVar("_Call")
_Answer = TypeVar("_Answer")


@dataclass(slots=True)
class _Waits(Generic[_Call, _Answer]):
    """A call, where its answer goes, and since when it waits (the loop's time)."""

    call: _Call
    answer: "asyncio.Future[_Answer]"
    since: float


class Together(Generic[_Call, _Answer]):
    """Asks `ask_all` for everything that came within one turn of the event loop, or while `lanes` questions were open.

    `ask_all` is given up to `most` calls and the seconds that are left to the one that has waited longest, of
    `timeout_seconds`; what it raises, each of them raises. A call that is cancelled takes none of the others with it.
    """

    def __init__(
        self,
        ask_all: Callable[[Sequence[_Call], float], Awaitable[Sequence[_Answer]]],
        *,
        timeout_seconds: float,
        lanes: int = 1,
        most: int = 64,
    ) -> None:
        self._ask_all = ask_all
        self._timeout_seconds = timeout_seconds
        self._lanes = lanes
        self._most = most
        self._waiting: deque[_Waits[_Call, _Answer]] = deque()
        self._open = 0
        self._running: set[asyncio.Task[None]] = set()
        self._is_gathering = False

    async def ask(self, call: _Call) -> _Answer:
        """The answer to this call."""
        loop = asyncio.get_running_loop()
        waits: _Waits[_Call, _Answer] = _Waits(call, loop.create_future(), loop.time())
        self._waiting.append(waits)
        if not self._is_gathering and self._open < self._lanes and await self._is_alone(waits):
            return await self._ask_alone(call)
        return await waits.answer

    async def _is_alone(self, waits: _Waits[_Call, _Answer]) -> bool:
        """Whether nobody else came within this turn; then this call waits no more, else all of them are asked."""
        self._is_gathering = True
        try:
            await asyncio.sleep(0)
        except BaseException:
            waits.answer.cancel()
            raise
        finally:
            self._is_gathering = False
            is_alone = len(self._waiting) == 1
            if is_alone:
                self._waiting.clear()
            else:
                self._begin()
        return is_alone

    async def _ask_alone(self, call: _Call) -> _Answer:
        """As its own task, on which nobody else depends: that costs less."""
        self._open += 1
        try:
            return (await self._ask_all([call], self._timeout_seconds))[0]
        finally:
            self._open -= 1
            self._begin()

    def _begin(self) -> None:
        if self._waiting and self._open < self._lanes:
            self._open += 1
            lane = asyncio.create_task(self._run())
            self._running.add(lane)
            lane.add_done_callback(self._end)

    def _end(self, lane: asyncio.Task[None]) -> None:
        self._open -= 1
        self._running.discard(lane)
        if not lane.cancelled():
            lane.exception()
        self._begin()

    async def _run(self) -> None:
        """Everything that waits is asked, and what comes meanwhile."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            asked = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            asked = [one for one in asked if not one.answer.done()]
            if not asked:
                continue
            left = self._timeout_seconds - (loop.time() - asked[0].since)
            try:
                answers = await self._ask_all([one.call for one in asked], max(left, 0.0))
            except Exception as error:
                for one in asked:
                    if not one.answer.done():
                        one.answer.set_exception(error)
            except BaseException:
                for one in asked:
                    one.answer.cancel()
                raise
            else:
                for one, given in zip(asked, answers, strict=True):
                    if not one.answer.done():
                        one.answer.set_result(given)
