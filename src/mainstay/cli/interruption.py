"""Ctrl-C and its like: the first asks for a clean stop, another one a second later forces it."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

# One act may send two signals at once: to the group of processes, and again through `make`.
SAME_ACT_SECONDS = 1.0
FORCED_CODE = 130


class Interruption:
    """Listens for SIGINT, SIGTERM and SIGHUP; before a loop is attached they raise KeyboardInterrupt."""

    def __init__(self, force: Callable[[], None]) -> None:
        """From now on signals come here; `force` ends everything at once and must not block."""
        self._force = force
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self._asked_at: float | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    @property
    def is_asked(self) -> bool:
        """Whether somebody wants us to stop."""
        return self._asked_at is not None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """`wait` ends by the first signal from now on."""
        self._loop = loop
        if self.is_asked:
            self._event.set()

    def detach(self) -> None:
        """The loop is over; another signal still forces."""
        self._loop = None

    async def wait(self) -> None:
        """Somebody wants us to stop."""
        await self._event.wait()

    def ask(self) -> None:
        """As if the first signal had come."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._event.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            if self._loop is None:
                raise KeyboardInterrupt
            self._loop.call_soon_threadsafe(self._event.set)
        elif time.monotonic() - self._asked_at > SAME_ACT_SECONDS:
            self._force()
            os._exit(FORCED_CODE)
