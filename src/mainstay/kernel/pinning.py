"""Connections of the outbound client: pinned to vetted addresses, bounded in reading, reused only while sound."""

from __future__ import annotations

import asyncio
import functools
import socket
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from mainstay.kernel.addresses import AllowList, RefusedAddress, vet_address
from mainstay.kernel.lookup import VettedLookup

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.tracing import Trace

ErrorCode = Literal[
    "refused_address", "dns", "connect", "tls", "timeout", "closed", "protocol", "too_large_headers"
]  # fmt: skip

HEAD_MAX_BYTES: Final = 64 * 1024
CONNECTION_MAX_AGE_SECONDS: Final = 60.0
_UNREAD_SLACK_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Exchange:
    """What is known so far about one request."""

    fresh_connection: bool = False
    wire: Wire | None = None
    status: int | None = None
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    truncated: bool = False


current_exchange: ContextVar[Exchange] = ContextVar("outbound_exchange")


class PinnedResolver(AbstractResolver):
    """Gives the connector the addresses vetted for this request and nothing else."""

    def __init__(self, lookup: VettedLookup) -> None:
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._lookup.pinned(host)
        ]

    async def close(self) -> None:
        return None


class Wire(ResponseHandler):
    """One connection: knows its peer, how often it was used, and gives up on a head or a stream without end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, unread_max_bytes: int) -> None:
        super().__init__(loop)
        self.peer = ""
        self.born = loop.time()
        self.exchanges = 0
        self.received_bytes = 0
        self.head_complete = False
        self.fault: tuple[ErrorCode, str] | None = None
        self.reader: aiohttp.StreamReader | None = None
        self._unread_max_bytes = unread_max_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""

    def begin(self) -> None:
        self.exchanges += 1
        self.received_bytes = 0
        self.head_complete = False
        self.fault = None
        self.reader = None

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        # The library tells only who waits for a head; who waits for the rest of a body must hear of it too.
        if self.reader is not None and not self.reader.is_eof() and self.reader.exception() is None:
            self.reader.set_exception(aiohttp.ClientPayloadError(str(exc)))

    def feed_data(self, data: Any, size: int = 0) -> None:
        self.head_complete = self.head_complete or not 100 <= data[0].code <= 199 or data[0].code == 101
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        super().data_received(data)
        if not self.head_complete and self.received_bytes > HEAD_MAX_BYTES:
            self._give_up("too_large_headers", f"no complete head within {HEAD_MAX_BYTES:,} bytes")
        elif self.received_bytes > self._unread_max_bytes:
            self._give_up("protocol", "data without end")

    def _give_up(self, code: ErrorCode, detail: str) -> None:
        if self.fault is None:
            self.fault = (code, detail)
        if self.transport is not None:
            self.transport.abort()


class PinnedConnector(aiohttp.TCPConnector):
    """Connects to vetted addresses only and hands out a kept connection only while it is young and silent."""

    def __init__(self, allow: AllowList, max_response_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self._allow = allow
        unread_max_bytes = HEAD_MAX_BYTES + max_response_bytes + _UNREAD_SLACK_BYTES
        # aiohttp offers no public hook for the class of its connections; the tests of endless heads guard this line.
        self._factory = cast(
            "functools.partial[ResponseHandler]",
            functools.partial(Wire, loop=self._loop, unread_max_bytes=unread_max_bytes),
        )

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the signature is the library's
    ) -> Connection:
        exchange = current_exchange.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            wire = cast(Wire, connection.protocol)
            if wire.exchanges == 0:
                try:
                    vet_address(wire.peer, self._allow, host=req.url.raw_host)
                except RefusedAddress:
                    connection.close()
                    raise
                break
            old = self._loop.time() - wire.born > CONNECTION_MAX_AGE_SECONDS
            if not (exchange.fresh_connection or old or wire.should_close):
                break
            connection.close()
        wire.begin()
        exchange.wire = wire
        return connection
