"""One open tail: how far its client is, what waits for it within bounds, and why it ends."""

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Final, Literal

from mainstay.events import shape
from mainstay.events.filters import Filters
from mainstay.kernel import ids
from mainstay.kernel.db import Record
from mainstay.kernel.paging import Cursors
from mainstay.web.callers import Caller

BUFFER_BYTES: Final = 256 * 1024
CHUNK_BYTES: Final = 16 * 1024
FIRST_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
Reason = Literal["stopping", "key", "ended", "age"]
WHY: Final[dict[Reason, str]] = {
    "stopping": "This process stops; connect again and go on from the last id.",
    "key": "The API key does not work any more.",
    "ended": "The tail was ended from outside, or was not seen alive for too long; connect again to go on.",
    "age": "A tail ends after an hour; connect again and go on from the last id.",
}


class Event:
    """An event on its way to many tails: its frame is written once, and only if somebody wants it."""

    __slots__ = ("_cursors", "_frame", "row", "seq")

    def __init__(self, row: Record, cursors: Cursors) -> None:
        self.row = row
        self.seq: int = row["seq"]
        self._cursors = cursors
        self._frame: bytes | None = None

    def frame(self) -> bytes:
        if self._frame is None:
            scope = scope_of(str(self.row["company_id"]), str(self.row["workspace_id"]))
            name = self._cursors.seal(scope, [self.seq]).encode()
            self._frame = b"id: " + name + b"\ndata: " + shape.flat(self.row) + b"\n\n"
        return self._frame


class Tail:
    """One open stream: how far it was told, and a bounded buffer of what comes next."""

    __slots__ = (
        "buffer", "buffered", "caller", "changed", "end", "ends_at", "filters", "id", "is_behind", "offered",
        "position", "received_at", "written_at",
    )  # fmt: skip

    def __init__(self, caller: Caller, filters: Filters, ends_at: float) -> None:
        self.id = ids.new_id()
        self.caller = caller
        self.filters = filters
        self.position = self.offered = 0
        self.received_at = FIRST_TIME
        self.is_behind = True
        self.buffer: deque[tuple[int, bytes]] = deque()
        self.buffered = 0
        self.changed = asyncio.Event()
        self.end: Reason | None = None
        self.ends_at = ends_at
        self.written_at = asyncio.get_running_loop().time()

    def offer(self, event: Event) -> None:
        """The event waits in the buffer, unless the tail knows it or does not want it."""
        if event.seq <= self.offered:
            return
        self.offered, self.received_at = event.seq, event.row["received_at"]
        if not self.filters.admits(event.row):
            return
        self.buffer.append((event.seq, event.frame()))
        self.buffered += len(self.buffer[-1][1])
        self.changed.set()

    def fall_behind(self) -> None:
        """What waits is forgotten; it will be read again from where the client stands."""
        self.buffer.clear()
        self.buffered = 0
        self.offered, self.received_at, self.is_behind = self.position, FIRST_TIME, True

    def take(self) -> bytes:
        """The next frames, about 16 KiB of them at most; nothing where nothing waits."""
        taken, size = [], 0
        while self.buffer and size < CHUNK_BYTES:
            self.position, frame = self.buffer.popleft()
            taken.append(frame)
            size += len(frame)
        self.buffered -= size
        if not self.buffer:
            self.position = self.offered
        return b"".join(taken)

    def over(self, reason: Reason) -> None:
        """The tail ends, for the first reason given."""
        self.end = self.end or reason
        self.changed.set()


def scope_of(company_id: str, workspace_id: str) -> str:
    """The scope of a tail's ids: that of the workspace's list in ascending order, which can go on from each."""
    return f"events/{company_id}/{workspace_id}/up"
