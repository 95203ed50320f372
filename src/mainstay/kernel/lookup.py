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
KEEP_SILENCE_SECONDS: Final = 30.0
ADDRESSES_AT_MOST: Final = 64
LOOKUPS_AT_ONCE: Final = 64
LOOKUPS_PER_DOMAIN: Final = 8
PLACE_SECONDS: Final = 3.0
THREADS_AT_MOST: Final = 512
_REGISTERED_BELOW: Final = frozenset({"ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"})


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
        started = time.monotonic()
        try:
            found = tuple(dict.fromkeys(await self._lookup(host)))[:ADDRESSES_AT_MOST]
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
            was_silent = time.monotonic() - started >= PLACE_SECONDS
            keep_seconds = min(keep_seconds, KEEP_SILENCE_SECONDS if was_silent else KEEP_FAILURE_SECONDS)
        entry = _Entry(time.monotonic() + keep_seconds, () if problem else found, problem)
        self._entries.pop(host, None)
        self._entries[host] = entry
        if len(self._entries) > REMEMBERED_HOSTS:
            del self._entries[next(iter(self._entries))]
        return entry


class _SystemLookup:
    """The system's resolver on daemon threads: a silent name server blocks neither a pool nor the exit.

    A name holds one of the 64 places for at most 3 s and goes on without it, and a domain has at most 8 names under
    way. So the silent names of D domains delay another host's question by at most 3 s for every 8 domains among them;
    those of up to 7 domains do not delay it at all.
    """

    def __init__(self, ask: Callable[[str], Sequence[str]] | None = None) -> None:
        self._ask = ask or _ask_system
        self._room = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._domains: dict[str, _Domain] = {}
        self._threads = 0

    async def __call__(self, host: str) -> Sequence[str]:
        domain = self._domains.setdefault(domain_of(host), _Domain())
        domain.users += 1
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await domain.room.acquire()
        except BaseException as problem:
            self._leave(host, domain)
            if isinstance(problem, TimeoutError):
                raise LookupFailed(f"the name servers of '{host}' keep too many questions waiting") from None
            raise
        answer: asyncio.Future[Sequence[str]] | None = None
        try:
            async with self._room:
                if self._threads >= THREADS_AT_MOST:
                    raise LookupFailed("too many name servers keep silent")
                answer = self._start(host, domain)
                with suppress(TimeoutError, OSError):
                    await asyncio.wait_for(asyncio.shield(answer), PLACE_SECONDS)
            return await answer
        finally:
            if answer is None:
                domain.room.release()
                self._leave(host, domain)
            else:
                answer.cancel()

    def _start(self, host: str, domain: _Domain) -> asyncio.Future[Sequence[str]]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def settle(found: Sequence[str], problem: OSError | None) -> None:
            self._threads -= 1
            domain.room.release()
            self._leave(host, domain)
            if answer.done():
                return
            if problem is None:
                answer.set_result(found)
            else:
                answer.set_exception(problem)

        def ask() -> None:
            found: Sequence[str] = ()
            problem: OSError | None = None
            try:
                found = self._ask(host)
            except (OSError, UnicodeError) as failure:
                problem = failure if isinstance(failure, OSError) else OSError(str(failure))
            with suppress(RuntimeError):  # the loop closed while the name server was still silent
                loop.call_soon_threadsafe(settle, found, problem)

        self._threads += 1
        threading.Thread(target=ask, name="lookup", daemon=True).start()
        return answer

    def _leave(self, host: str, domain: _Domain) -> None:
        domain.users -= 1
        if not domain.users:
            self._domains.pop(domain_of(host), None)


class _Domain:
    """The room that one domain's names share, while any of them is asked for."""

    def __init__(self) -> None:
        self.room = asyncio.Semaphore(LOOKUPS_PER_DOMAIN)
        self.users = 0


def domain_of(host: str) -> str:
    """About what one owner registers: the last two labels, or three under the likes of co.uk and com.au."""
    labels = host.rsplit(".", 3)
    is_below = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _REGISTERED_BELOW
    return ".".join(labels[-3 if is_below else -2 :])


def _ask_system(host: str) -> Sequence[str]:
    return [str(row[4][0]) for row in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
