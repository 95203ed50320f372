"""Host names to vetted network addresses: one lookup a host at a time, remembered briefly, all answers judged."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mainstay.kernel.addresses import AllowList, RefusedAddress, vet_address

Lookup = Callable[[str], Awaitable[Sequence[str]]]

KEEP_SECONDS: Final = 30.0
KEEP_FAILURE_SECONDS: Final = 5.0
REMEMBERED_HOSTS: Final = 4_096
LOOKUPS_AT_ONCE: Final = 64


class LookupFailed(Exception):
    """The name has no address, or no name server said so in time."""


@dataclass(frozen=True, slots=True)
class _Entry:
    until: float
    addresses: tuple[str, ...] = ()
    problem: RefusedAddress | LookupFailed | None = None


class VettedLookup:
    """Remembers which addresses of a host may be connected to; never hands out an address it has not vetted."""

    def __init__(self, allow: AllowList, lookup: Lookup | None = None, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self._allow = allow
        self._lookup = lookup or _SystemLookup()
        self._keep_seconds = keep_seconds
        self._entries: dict[str, _Entry] = {}
        self._running: dict[str, asyncio.Task[_Entry]] = {}
        self._closed = False

    async def addresses(self, host: str) -> tuple[str, ...]:
        """All addresses of the host, vetted lately; RefusedAddress if one is internal, LookupFailed."""
        entry = self._entries.get(host)
        if entry is None or entry.until <= time.monotonic():
            entry = await self._look_up_once(host)
        if entry.problem is not None:
            raise type(entry.problem)(*entry.problem.args)
        return entry.addresses

    def remembered(self, host: str) -> tuple[str, ...] | None:
        """The same without a lookup; None where there has to be one, or where the answer is no."""
        entry = self._entries.get(host)
        return (
            entry.addresses if entry is not None and entry.problem is None and entry.until > time.monotonic() else None
        )

    async def close(self) -> None:
        """No lookup is waited for any more."""
        self._closed = True
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _look_up_once(self, host: str) -> _Entry:
        task = self._running.get(host)
        if task is None:
            task = self._running[host] = asyncio.create_task(self._look_up(host))
            task.add_done_callback(lambda _: self._running.pop(host, None))
        # Shielded: a caller that gives up must not take the answer from the others who wait for it.
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._closed and task.cancelled():
                raise LookupFailed("the client is closing") from None
            raise

    async def _look_up(self, host: str) -> _Entry:
        problem: RefusedAddress | LookupFailed | None = None
        found: tuple[str, ...] = ()
        keep_seconds = self._keep_seconds
        try:
            found = tuple(dict.fromkeys(await self._lookup(host)))
            if not found:
                raise LookupFailed(f"'{host}' has no address")
            for address in found:
                vet_address(address, self._allow, host=host)
        except RefusedAddress as refusal:
            problem = RefusedAddress(f"'{host}' leads to {refusal.reason}")
        except LookupFailed as failure:
            problem, keep_seconds = failure, min(keep_seconds, KEEP_FAILURE_SECONDS)
        except (OSError, ValueError) as failure:
            problem = LookupFailed(f"'{host}' could not be looked up: {failure}")
            keep_seconds = min(keep_seconds, KEEP_FAILURE_SECONDS)
        entry = _Entry(time.monotonic() + keep_seconds, () if problem else found, problem)
        self._entries.pop(host, None)
        self._entries[host] = entry
        if len(self._entries) > REMEMBERED_HOSTS:
            del self._entries[next(iter(self._entries))]
        return entry


class _SystemLookup:
    """The system's resolver on short-lived daemon threads: a silent name server blocks neither a pool nor the exit."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def __call__(self, host: str) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        async with self._room:
            answer: asyncio.Future[Sequence[str]] = loop.create_future()

            def settle(found: Sequence[str] | None, problem: OSError | None) -> None:
                if answer.done():
                    return
                if problem is not None:
                    answer.set_exception(problem)
                else:
                    answer.set_result(found or ())

            def ask() -> None:
                found: Sequence[str] | None = None
                problem: OSError | None = None
                try:
                    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                    found = [str(row[4][0]) for row in rows]
                except (OSError, UnicodeError) as failure:
                    problem = failure if isinstance(failure, OSError) else OSError(str(failure))
                with suppress(RuntimeError):  # the loop closed while the name server was still silent
                    loop.call_soon_threadsafe(settle, found, problem)

            threading.Thread(target=ask, name="lookup", daemon=True).start()
            return await answer
