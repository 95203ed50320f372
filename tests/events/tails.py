"""A tail as its client reads it: the application called in this process, its frames parsed as the standard says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson

PATH = "/v1/key/workspace/events/tail"
PATIENCE_SECONDS = 20


@dataclass
class Frame:
    """One frame of the stream, or a comment."""

    event: str = "message"
    data: str = ""
    id: str | None = None
    retry: int | None = None
    comment: str | None = None

    @property
    def json(self) -> Any:
        """Its data."""
        return orjson.loads(self.data)


@dataclass
class Stream:
    """An open answer; `last_id` is what a browser would send when it connects again."""

    status: int
    headers: dict[str, str]
    arrived: "asyncio.Queue[bytes | None]"
    may_send: asyncio.Event
    last_id: str | None = None
    is_over: bool = False
    _rest: bytes = b""
    _frames: list[Frame] = field(default_factory=list)

    async def frame(self) -> Frame | None:
        """The next frame; None at the end of the answer."""
        while not self._frames and not self.is_over:
            part = await asyncio.wait_for(self.arrived.get(), PATIENCE_SECONDS)
            self.is_over = part is None
            *whole, self._rest = (self._rest + (part or b"")).split(b"\n\n")
            self._frames += [parsed(text.decode()) for text in whole]
        if not self._frames:
            return None
        found = self._frames.pop(0)
        self.last_id = self.last_id if found.id is None else found.id
        return found

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next events, whatever else comes between them."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found) < count:
                frame = await self.frame()
                assert frame is not None, f"the stream ended after {len(found)} events"
                assert frame.event == "message", frame
                if frame.data:
                    found.append(frame.json)
        return found

    async def end(self) -> dict[str, Any]:
        """What the stream says at its end; events before it are passed over."""
        told: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (frame := await self.frame()) is not None:
                if frame.event == "end":
                    told = frame.json
        return told


def parsed(text: str) -> Frame:
    """One frame, by the rules of the standard."""
    frame = Frame()
    data = []
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "":
            frame.comment = value
        elif name == "event":
            frame.event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            frame.id = value
        elif name == "retry":
            frame.retry = int(value)
        else:
            raise AssertionError(f"no field of an event stream: {line}")
    frame.data = "\n".join(data)
    return frame


@asynccontextmanager
async def open_tail(
    api: httpx.AsyncClient, headers: dict[str, str], path: str = PATH, **query: str
) -> AsyncIterator[Stream]:
    """A stream of the application behind that client; at the end of the block the client is gone."""
    app: Any = api._transport.app  # type: ignore[attr-defined]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": urlencode(query).encode(), "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("test", 80),
    }  # fmt: skip
    gone, may_send, started = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop().create_future()
    arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
    may_send.set()
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if asked:
            await gone.wait()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        await may_send.wait()
        if message["type"] == "http.response.start":
            started.set_result(message)
            return
        arrived.put_nowait(message.get("body", b""))
        if not message.get("more_body"):
            arrived.put_nowait(None)

    call = asyncio.create_task(app(scope, receive, send))
    try:
        message = await asyncio.wait_for(started, PATIENCE_SECONDS)
        told = {name.decode(): value.decode() for name, value in message["headers"]}
        yield Stream(message["status"], told, arrived, may_send)
    finally:
        gone.set()
        await asyncio.wait_for(call, PATIENCE_SECONDS)
