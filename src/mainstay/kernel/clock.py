"""Time as Python sees it: injected, so that rules can be tested at any moment. SQL reads `mainstay.now()` instead."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day, and a monotonic reading for measuring."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class MovableClock:
    """A clock that stands still until it is moved, for tests of rules and for reproducible demonstrations."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def move(self, by: timedelta) -> None:
        """The clock reads `by` later than before."""
        self._now += by


def iso(moment: datetime) -> str:
    """The canonical text of a time: UTC with exactly six digits, `2026-01-02T03:04:05.000006Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
