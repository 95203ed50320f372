"""The API's HTTP protocol with bounds on what arrives before a request is whole: its head, in bytes and in time."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mainstay.web.asgi import ABORT
from mainstay.web.front import MAX_HEADER_BYTES

HEAD_SECONDS = 15.0
"""How long a connection may take to send a whole request head, once it is open or has begun one."""

_TOO_LARGE = (
    b'{"type":"https://mainstay.dev/problems/head-too-large","title":"The request head is too large.","status":431,'
    b'"detail":"The request line and headers may have at most 16384 bytes."}'
)
_ANSWER = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_TOO_LARGE), _TOO_LARGE)
)


class HeadTooLarge(Exception):
    """The request line and headers hold more bytes than are read."""


class BoundedHttp(HttpToolsProtocol):
    """Answers 431 to a head of more than 16 KiB and closes connections whose head does not come in time.

    Of an unfinished head at most 16 KiB and one read of the socket are kept.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._began = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += 0 if self._began else len(data)
        self._began = False
        if self._head_bytes > MAX_HEADER_BYTES:
            self._refuse()
        elif self._head_timer is None:
            self._watch_head()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        self._in_head = self._began = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._forget_head()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEADER_BYTES:
            self._refuse()
            raise HeadTooLarge
        super().on_headers_complete()

    def _refuse(self) -> None:
        self.transport.write(_ANSWER)
        self.transport.close()

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
