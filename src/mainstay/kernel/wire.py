"""One connection of the outbound client: a request at a time, everything that is read bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Final, Literal, cast

import httptools

ErrorCode = Literal[
    "refused_address", "dns", "connect", "tls", "timeout", "closed", "protocol", "too_large_headers"
]  # fmt: skip

HEAD_MAX_BYTES: Final = 64 * 1024
HEAD_MAX_FIELDS: Final = 100
HEAD_LINE_MAX_BYTES: Final = 16 * 1024
_UNREAD_SLACK_BYTES: Final = 1024 * 1024


class Wire(asyncio.Protocol):
    """One connection, one request at a time; what is known of the newest request's answer stands in its attributes."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: str, max_body_bytes: int, gone: Callable[[Wire], None]
    ) -> None:
        self.address = address
        self.peer = ""
        self.born = self.idle_since = loop.time()
        self.exchanges = 0
        self.is_sound = True
        self.status: int | None = None
        self.reason = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.truncated = False
        self.received_bytes = 0
        self.fault: tuple[ErrorCode, str] | None = None
        self._loop = loop
        self._gone = gone
        self._max_body_bytes = max_body_bytes
        self._unread_max_bytes = HEAD_MAX_BYTES + max_body_bytes + _UNREAD_SLACK_BYTES
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._is_waiting = self._is_bodiless = self._is_lost = False
        self._ended: asyncio.Future[None]
        self._timer: asyncio.TimerHandle

    @property
    def met_closed_connection(self) -> bool:
        """Whether the newest request went out on a kept connection that ended without a byte of an answer."""
        return self._is_lost and self.exchanges > 1 and not self.received_bytes and self.fault is not None

    def exchange(self, data: Sequence[bytes], seconds: float, *, is_bodiless: bool = False) -> asyncio.Future[None]:
        """Done once the answer to these bytes is whole, cut off or given up, within that many seconds."""
        transport = self._transport
        assert transport is not None
        self.exchanges += 1
        self.received_bytes = 0
        self.status = self.fault = None
        self.truncated = False
        self.body = bytearray()
        self._is_bodiless = is_bodiless
        self._is_waiting = True
        self._ended = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self._expire)
        for piece in data:
            transport.write(piece)
        return self._ended

    def close(self) -> None:
        """The connection is never used again."""
        self.is_sound = False
        if self._transport is not None:
            # Never a polite end: who does not read on, or does not end TLS, would keep a place in the pool.
            self._transport.abort()

    def fail(self, code: ErrorCode, detail: str) -> None:
        """The request under way ends with this error, and the connection with it."""
        if self._is_waiting:
            self._end((code, detail))
        self.close()

    def _end(self, fault: tuple[ErrorCode, str] | None = None) -> None:
        self._is_waiting = False
        self._timer.cancel()
        self.fault = fault
        if fault is not None:
            self.is_sound = False
        if not self._ended.done():
            self._ended.set_result(None)

    def _expire(self) -> None:
        began = self.status is not None
        self.fail("timeout", "the answer's body did not end in time" if began else "no complete answer in time")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self.is_sound = False
        if self._is_waiting:
            if isinstance(exc, ssl.SSLError):
                self._end(("tls", str(exc)))
            elif exc is None and self.status is not None and self._ends_with_connection():
                self._end()
            else:
                self._end(("closed", "the connection was closed before the answer was complete"))
        self._gone(self)

    def _ends_with_connection(self) -> bool:
        coding = b""
        for name, value in self.fields:
            field = name.lower()
            if field == b"content-length":
                return False
            if field == b"transfer-encoding":
                coding = value
        return coding.rpartition(b",")[2].strip().lower() != b"chunked"

    def data_received(self, data: bytes) -> None:
        if not self._is_waiting:
            self.close()
            return
        self.received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_sound = False
        except httptools.HttpParserError as problem:
            what = "not an HTTP answer" if self.status is None else "the body broke off"
            self.is_sound = False
            self.fail("protocol", f"{what}: {problem}")
        if self._is_waiting:
            if self.status is None:
                if self.received_bytes > HEAD_MAX_BYTES:
                    self.fail("too_large_headers", f"no complete head within {HEAD_MAX_BYTES:,} bytes")
            elif self.received_bytes > self._unread_max_bytes:
                self.fail("protocol", "data without end")

    def on_message_begin(self) -> None:
        if self._is_waiting:
            self.reason = b""
            self.fields = []
        else:
            self.is_sound = False

    def on_status(self, piece: bytes) -> None:
        self.reason += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status is None:
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not self._is_waiting or (100 <= status <= 199 and status != 101):
            return
        if self._has_too_large_head():
            self.fail("too_large_headers", "a line or the number of fields of the answer's head is over the limit")
            return
        self.status = status
        if status == 101 or self._is_bodiless:
            self.is_sound = False
            self._end()

    def _has_too_large_head(self) -> bool:
        if len(self.fields) > HEAD_MAX_FIELDS:
            return True
        if self.received_bytes <= HEAD_LINE_MAX_BYTES:
            return False
        lines = [len(self.reason), *(len(name) + len(value) for name, value in self.fields)]
        return max(lines) > HEAD_LINE_MAX_BYTES or sum(lines) > HEAD_MAX_BYTES

    def on_body(self, piece: bytes) -> None:
        if not self._is_waiting:
            return
        room = self._max_body_bytes - len(self.body)
        if len(piece) <= room:
            self.body += piece
        else:
            self.body += piece[:room]
            self.truncated = True
            self.is_sound = False
            self._end()

    def on_message_complete(self) -> None:
        if self._is_waiting and self.status is not None:
            if not self._parser.should_keep_alive():
                self.is_sound = False
            self._end()
