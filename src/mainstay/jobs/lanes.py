"""What one worker knows of the lines of one queue, and whose turn it is: pure, no database."""

from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

LINES_KNOWN = 50_000
LINES_PER_PLAN = 250
_LOOKED_PAST_SECONDS = 0.1
_SAMPLES = 256


class Take(NamedTuple):
    """Claim up to `jobs` jobs of one line (a lane at one priority) from its place `pos` on."""

    priority: int
    lane: str
    pos: int
    jobs: int


class LaneBook:
    """The lines known to have waiting jobs, each with its lowest place, served in rotation within a priority.

    Bound: a line that has become known waits for at most one turn of every other line of its priority. A lane at its
    limit is set aside until one of its jobs ends, so it costs the others nothing. Lane '' has no limit.
    """

    def __init__(self, lane_limit: int | None = None) -> None:
        self.lane_limit = lane_limit
        self._lines: dict[int, dict[str, int]] = {}
        self._aside: dict[str, dict[int, int]] = {}
        self._running: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def learn(self, priority: int, lane: str, pos: int) -> None:
        """The line has a waiting job at `pos`, and perhaps more behind; beyond 50,000 lines a new one waits unknown."""
        lines, key = self._shelf(priority, lane)
        if key in lines:
            lines[key] = min(pos, lines[key])
        elif self._count < LINES_KNOWN:
            self._count += 1
            lines[key] = pos

    def plan(self, free: int) -> list[Take]:
        """Whose turn it is for `free` slots: the lowest priority number first, equal shares, limits kept."""
        takes: list[Take] = []
        planned: Counter[str] = Counter()
        for priority in sorted(self._lines):
            if free <= 0 or len(takes) >= LINES_PER_PLAN:
                break
            lines = self._lines[priority]
            self._set_aside(priority, list(islice(lines, LINES_PER_PLAN)), planned)
            turn = list(islice(lines, min(free, LINES_PER_PLAN - len(takes))))
            left = free
            for index, lane in enumerate(turn):
                share = -(-left // (len(turn) - index))
                count = min(share, self._room(lane) - planned[lane])
                if count > 0:
                    takes.append(Take(priority, lane, lines[lane], count))
                    planned[lane] += count
                    left -= count
            free = left
        return takes

    def claimed(self, takes: Iterable[Take], got: dict[tuple[int, str], tuple[int, int]]) -> None:
        """What the takes brought, as (jobs, highest place) by (priority, lane): short lines leave, others go last."""
        for take in takes:
            count, last = got.get((take.priority, take.lane), (0, 0))
            lines = self._lines.get(take.priority, {})
            pos = lines.pop(take.lane, None)
            if count:
                self._running[take.lane] += count
            if pos is None:
                continue
            if count < take.jobs:
                self._count -= 1
            else:
                lines[take.lane] = last + 1

    def ended(self, lane: str, count: int = 1) -> None:
        """Jobs of the lane have left this worker."""
        left = self._running[lane] - count
        if left > 0:
            self._running[lane] = left
        else:
            del self._running[lane]
        for priority, pos in self._aside.pop(lane, {}).items():
            self._lines.setdefault(priority, {})[lane] = pos

    def running(self, lane: str) -> int:
        """How many jobs of the lane this worker holds."""
        return self._running[lane]

    def _shelf(self, priority: int, lane: str) -> tuple[dict[Any, int], Any]:
        aside = self._aside.get(lane)
        return (self._lines.setdefault(priority, {}), lane) if aside is None else (aside, priority)

    def _room(self, lane: str) -> int:
        return 1_000_000 if self.lane_limit is None or not lane else self.lane_limit - self._running[lane]

    def _set_aside(self, priority: int, lanes: Iterable[str], planned: Counter[str]) -> None:
        for lane in lanes:
            if self._room(lane) <= 0 and not planned[lane]:
                self._aside.setdefault(lane, {})[priority] = self._lines[priority].pop(lane)


class Horizon:
    """Where a look at new arrivals begins so that none is passed over, though places are drawn before commits.

    A place up to `head` was drawn before a sample was taken; once every transaction that ran at the sample after it has
    ended, all those places are visible or void, so a look that covers them need not be repeated. A writer that stays
    open holds the horizon back: then looks begin at the floor, and ten times a second at the places of the last second;
    what it commits in the end is found by the look that follows it.
    """

    def __init__(self, head: int) -> None:
        self.floor = self.horizon = max(head - 10_000, 0)
        self._safe = self.horizon
        self._samples: deque[tuple[int, int]] = deque()
        self._heads: deque[tuple[int, float]] = deque()
        self._moved_at = self._looked_at = self._windowed_at = float("-inf")
        self._truncated = False

    def start(self, now: float) -> int:
        """The place from which to look now (a monotonic reading in seconds)."""
        if self._truncated:
            return self.floor
        is_held_back = self._looked_at - self._moved_at > _LOOKED_PAST_SECONDS
        if self._safe > self.horizon or not is_held_back:
            return self.horizon
        if now - self._windowed_at >= _LOOKED_PAST_SECONDS:
            self._windowed_at = now
            return min(self.floor, max(self.horizon, self._heads[0][0] if self._heads else 0))
        return self.floor

    def looked(self, start: int, last: int | None, *, head: int, xmin: int, xmax: int, now: float) -> None:
        """A look from `start` saw all there is, or (`last` given) had to stop at that place."""
        reach = head + 1 if last is None else last + 1
        if start <= self.floor:
            self.floor = max(self.floor, reach)
        if self._heads and len(self._samples) < _SAMPLES:
            self._samples.append((self._heads[-1][0], xmax))
        if not self._samples:
            self._moved_at = now
        self._heads.append((head, now))
        while self._heads[0][1] < now - 1.0:
            self._heads.popleft()
        while self._samples and self._samples[0][1] <= xmin:
            self._safe, self._moved_at = self._samples.popleft()[0], now
        if start <= self.horizon:
            self.horizon = max(self.horizon, min(self._safe, reach))
        self._truncated, self._looked_at = last is not None, now
