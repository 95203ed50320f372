"""Live parts of pages over server-sent events: one loop reads for all readers of a subject.

idle --first reader--> reading every 2 s --last reader leaves--> idle
                        | the database is away: readers are told, the pause doubles to 30 s
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from mainstay.kernel.errors import Unavailable
from mainstay.kernel.logs import logger

_log = logger(__name__)
EVERY_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
HEARTBEAT_SECONDS = 15.0
SESSIONS_EVERY_SECONDS = 10.0
MOST_READERS = 500
MOST_OF_A_SESSION = 8
"""A browser opens one for each page that it shows; more is a fault or an attack."""

Parts = Mapping[str, str]
Load = Callable[[], Awaitable[Parts]]
Working = Callable[[str, list[str]], Awaitable[set[str]]]
Closed = Callable[[], Awaitable[bool]]
OPERATORS_SUBJECTS = frozenset({"functions", "function-run", "queues", "queue", "bulk-act", "schedules"})
"""What operators follow, also while people's routes are closed."""


async def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Subject:
    """What is read, and for whom: everything on which the parts depend."""

    name: str
    company_id: str
    scope: str = ""


class Reader:
    """One open page; only the newest of each kind of news waits for it."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.is_over = False
        self.changed = asyncio.Event()
        self.news: dict[str, bytes] = {}

    def tell(self, kind: str, data: bytes) -> None:
        """The news will be sent next."""
        self.news[kind] = data
        self.changed.set()

    def end(self) -> None:
        """The reader is told that it is over, and leaves."""
        self.is_over = True
        self.changed.set()


class _Stream(StreamingResponse):
    """An answer that leaves its feed even where the browser was gone before the first of it was sent."""

    def __init__(self, content: AsyncIterator[bytes], leave: Callable[[], None], **more: Any) -> None:
        super().__init__(content, **more)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer, and its end."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


@dataclass(slots=True)
class _Feed:
    load: Load
    every_seconds: float
    readers: set[Reader] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class Live:
    """All readers of this process."""

    def __init__(
        self,
        working: Working,
        *,
        every_seconds: float = EVERY_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        sessions_every_seconds: float = SESSIONS_EVERY_SECONDS,
        are_closed: Closed = _never,
    ) -> None:
        """`working` tells which of a company's sessions are not over, `are_closed` whether people's routes are."""
        self._working = working
        self._are_closed = are_closed
        self._every = every_seconds
        self._heartbeat = heartbeat_seconds
        self._sessions_every = sessions_every_seconds
        self._feeds: dict[Subject, _Feed] = {}
        self._is_closed = False

    def stream(
        self, subject: Subject, session_id: str, load: Load, *, every_seconds: float | None = None
    ) -> StreamingResponse:
        """The parts (id of an element to its content) now and whenever they change, until the session is over.

        `every_seconds` is for subjects that change more slowly than every 2 s. Unavailable past 500 readers in all or 8
        of one session.
        """
        everybody = [reader for feed in self._feeds.values() for reader in feed.readers]
        own = sum(reader.session_id == session_id for reader in everybody)
        if self._is_closed or len(everybody) >= MOST_READERS or own >= MOST_OF_A_SESSION:
            raise Unavailable("Too many pages are followed live; this one renews itself when it is loaded again.")
        reader = Reader(session_id)
        feed = self._feeds.setdefault(subject, _Feed(load, every_seconds or self._every))
        feed.readers.add(reader)
        if feed.known:
            reader.tell("patch", orjson.dumps(feed.known))
        if feed.task is None or feed.task.done():
            feed.task = asyncio.create_task(self._read(subject, feed))
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return _Stream(
            self._told(feed, reader),
            lambda: feed.readers.discard(reader),
            media_type="text/event-stream",
            headers=headers,
        )

    def close(self) -> None:
        """Every reader is told to come again later, so that no open page holds up the end of the process."""
        self._is_closed = True
        for feed in self._feeds.values():
            for reader in feed.readers:
                reader.tell("away", b"")
                reader.end()
            if feed.task is not None:
                feed.task.cancel()

    async def _told(self, feed: _Feed, reader: Reader) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 3000\n\n"
            while True:
                try:
                    # Not by wait_for, which loses a cancellation that meets the news.
                    async with asyncio.timeout(self._heartbeat):
                        await reader.changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                reader.changed.clear()
                news, is_over, reader.news = reader.news, reader.is_over, {}
                for kind, data in news.items():
                    yield b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
                if is_over:
                    return
        finally:
            feed.readers.discard(reader)

    async def _read(self, subject: Subject, feed: _Feed) -> None:
        pause, sessions_due = feed.every_seconds, 0.0
        clock = asyncio.get_running_loop()
        while feed.readers:
            try:
                if subject.name not in OPERATORS_SUBJECTS and await self._are_closed():
                    for reader in list(feed.readers):
                        reader.tell("over", b"")
                        reader.end()
                    break
                parts = await feed.load()
                changed = {name: text for name, text in parts.items() if feed.known.get(name) != text}
                if changed:
                    feed.known.update(changed)
                    news = orjson.dumps(feed.known)
                    for reader in feed.readers:
                        reader.tell("patch", news)
                if clock.time() >= sessions_due:
                    await self._end_what_is_over(subject, feed)
                    sessions_due = clock.time() + self._sessions_every
                pause = feed.every_seconds
            except Exception as error:
                _log.warning("live parts wait", subject=subject.name, error=type(error).__name__)
                for reader in feed.readers:
                    reader.tell("away", b"")
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)
        if self._feeds.get(subject) is feed:
            del self._feeds[subject]

    async def _end_what_is_over(self, subject: Subject, feed: _Feed) -> None:
        ids = sorted({reader.session_id for reader in feed.readers})
        working = await self._working(subject.company_id, ids)
        for reader in list(feed.readers):
            if reader.session_id not in working:
                reader.tell("over", b"")
                reader.end()
