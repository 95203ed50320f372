"""The outbound client's pool: connects to vetted addresses only and reuses a connection only while it is sound."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from mainstay.kernel.addresses import AllowList, RefusedAddress, vet_address
from mainstay.kernel.wire import HEAD_MAX_BYTES, ErrorCode, Wire

__all__ = ["HEAD_MAX_BYTES", "ErrorCode", "NoAnswer", "Place", "Pool", "Wire", "dial"]

Place = tuple[str, str, int]
"""Scheme, host and port: what a connection may be reused for."""

CONNECTION_MAX_AGE_SECONDS: Final = 60.0
# Just under the 5 s after which common servers drop an idle connection.
KEEP_ALIVE_SECONDS: Final = 4.0
NEXT_ADDRESS_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0


class NoAnswer(Exception):
    """No connection, for this reason."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code: ErrorCode = code
        self.detail = detail


class Pool:
    """Connects to vetted addresses only and hands out a kept connection only while it is young and silent."""

    def __init__(self, allow: AllowList, *, tls: ssl.SSLContext, max_body_bytes: int, connections: int) -> None:
        self._allow = allow
        self._tls = tls
        self._max_body_bytes = max_body_bytes
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._wires: set[Wire] = set()
        self._idle: dict[Place, list[Wire]] = {}
        self._resting: OrderedDict[Wire, Place] = OrderedDict()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_gone: asyncio.Future[None] | None = None

    def take(self, place: Place, addresses: Sequence[str]) -> Wire | None:
        """A kept connection to one of these addresses, the one used last."""
        idle = self._idle.get(place)
        now = self._loop.time()
        while idle:
            wire = idle.pop()
            del self._resting[wire]
            if (
                wire.is_sound
                and now - wire.idle_since < KEEP_ALIVE_SECONDS
                and now - wire.born <= CONNECTION_MAX_AGE_SECONDS
                and wire.address in addresses
            ):
                return wire
            wire.close()
        return None

    async def acquire(self, place: Place, addresses: Sequence[str], *, is_fresh: bool) -> Wire:
        """A connection for one request, a new one if it must be; waits for room, in turn."""
        is_first = False
        while True:
            wire = None if is_fresh else self.take(place, addresses)
            if wire is not None:
                return wire
            if len(self._wires) + self._opening < self._connections:
                break
            if not self._close_an_idle_one():
                await self._room(is_first=is_first)
                is_first = True
        self._opening += 1
        try:
            wire = await self._connect(place, addresses)
        finally:
            self._opening -= 1
            if wire is None:
                self._wake()
        return wire

    def release(self, place: Place, wire: Wire) -> None:
        """The request is over; a sound connection is kept for the next."""
        if wire.is_sound and self._all_gone is None:
            wire.idle_since = self._loop.time()
            self._resting[wire] = place
            idle = self._idle.get(place)
            if idle is None:
                self._idle[place] = [wire]
            else:
                idle.append(wire)
            if self._waiting:
                self._wake()
        else:
            wire.close()

    async def close(self) -> None:
        """No connection is open; requests under way ended with 'closed'."""
        self._all_gone = self._loop.create_future()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for wire in list(self._wires):
            wire.fail("closed", "this client was closed")
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(NoAnswer("closed", "this client was closed"))
        if self._wires:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone, _CLOSE_SECONDS)

    async def _connect(self, place: Place, addresses: Sequence[str]) -> Wire:
        """A connection to the first address that takes it; one that stays silent soon gives way to the next."""
        scheme, host, port = place
        tls = (self._tls, host) if scheme == "https" else (None, None)
        problem: OSError | None = None
        for address in addresses:
            wire = Wire(self._loop, address, self._max_body_bytes, self._drop)
            patience = None if address == addresses[-1] else NEXT_ADDRESS_SECONDS
            try:
                async with asyncio.timeout(patience):
                    await self._loop.create_connection(
                        lambda w=wire: w, address, port, ssl=tls[0], server_hostname=tls[1]
                    )
            except ssl.SSLError as refusal:
                raise NoAnswer("tls", _tls_detail(refusal)) from None
            except OSError as failure:
                problem = failure
                continue
            return self._admit(wire, host)
        if scheme == "https" and isinstance(problem, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
            raise NoAnswer("tls", "the connection was closed during the TLS handshake")
        number = problem.errno if problem is not None else None
        raise NoAnswer("connect", os.strerror(number) if number else str(problem or "") or "no connection")

    def _admit(self, wire: Wire, host: str) -> Wire:
        self._wires.add(wire)
        try:
            if self._all_gone is not None:
                raise NoAnswer("closed", "this client was closed")
            vet_address(wire.peer, self._allow, host=host)
        except (NoAnswer, RefusedAddress):
            wire.close()
            raise
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        return wire

    def _drop(self, wire: Wire) -> None:
        self._wires.discard(wire)
        self._wake()
        if self._all_gone is not None and not self._wires and not self._all_gone.done():
            self._all_gone.set_result(None)

    def _sweep(self) -> None:
        oldest = self._loop.time() - KEEP_ALIVE_SECONDS
        for place, idle in list(self._idle.items()):
            kept = [wire for wire in idle if wire.is_sound and wire.idle_since > oldest]
            for wire in set(idle).difference(kept):
                del self._resting[wire]
                wire.close()
            if kept:
                self._idle[place] = kept
            else:
                del self._idle[place]
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep) if self._wires else None

    def _close_an_idle_one(self) -> bool:
        if not self._resting:
            return False
        wire, place = self._resting.popitem(last=False)
        self._idle[place].remove(wire)
        self._wires.discard(wire)
        wire.close()
        return True

    async def _room(self, *, is_first: bool) -> None:
        """There may be room now; who was woken in vain waits before the others."""
        waiter = self._loop.create_future()
        if is_first:
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


async def dial(
    host: str, port: int, addresses: Sequence[str], *, tls: ssl.SSLContext | None, allow: AllowList
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first of these vetted addresses that takes it, for what is not HTTP; NoAnswer."""
    problem: OSError | None = None
    for address in addresses:
        patience = None if address == addresses[-1] else NEXT_ADDRESS_SECONDS
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=tls, server_hostname=host if tls is not None else None
                )
        except ssl.SSLError as refusal:
            raise NoAnswer("tls", _tls_detail(refusal)) from None
        except OSError as failure:
            problem = failure
            continue
        try:
            vet_address(writer.get_extra_info("peername")[0], allow, host=host)
        except RefusedAddress:
            writer.close()
            raise
        return reader, writer
    number = problem.errno if problem is not None else None
    raise NoAnswer("connect", os.strerror(number) if number else str(problem or "") or "no connection")


def _tls_detail(problem: ssl.SSLError) -> str:
    why = getattr(problem, "verify_message", "")
    return f"the certificate was refused: {why}" if why else str(problem)
