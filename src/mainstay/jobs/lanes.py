"""What one worker knows of the lines of one queue, and whose turn it is: pure, no database."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

LINES_KNOWN = 50_000
LINES_PER_PLAN = 250
_LOOKED_PAST_SECONDS = 0.1
_SAMPLES = 256
_ASK_AGAIN_SECONDS = 0.25
_SOON_SECONDS, _WINDOW_SECONDS = 0.03, 0.05

NONE_PARKED: Final[Mapping[tuple[int, str], int]] = MappingProxyType({})
LaneLimit: TypeAlias = int | Callable[[str], int] | None
"""How many jobs of a lane one worker runs at once: for every lane the same, asked by lane, or as many as there are."""


class Take(NamedTuple):
    """Claim up to `jobs` jobs of one line (a lane at one priority) from its place `pos` on."""

    priority: int
    lane: str
    pos: int
    jobs: int


class LaneBook:
    """The lines known to have waiting jobs, each with its lowest place, served in rotation within a priority.

    Bound: a line that has become known waits for at most one turn of every other line of its priority. A lane at its
    limit is set aside until one of its jobs ends (a limit that is asked for is asked again four times a second), and a
    lane on hold until its time, so both cost the others nothing. Lane '' has no limit. Times are monotonic seconds.
    """

    def __init__(self, lane_limit: LaneLimit = None) -> None:
        self.lane_limit = lane_limit
        self._lines: dict[int, dict[str, int]] = {}
        self._aside: dict[str, dict[int, int]] = {}
        self._running: Counter[str] = Counter()
        self._count = 0
        self._holds: dict[str, float] = {}
        self._hold_ends: list[tuple[float, str]] = []
        self._asks: deque[tuple[float, str]] = deque()
        self._asked: set[str] = set()

    def __len__(self) -> int:
        return self._count

    @property
    def has_turn(self) -> bool:
        """Whether a line is known that is not set aside."""
        return any(self._lines.values())

    def learn(self, priority: int, lane: str, pos: int) -> None:
        """The line has a waiting job at `pos`, and perhaps more behind; beyond 50,000 lines a new one waits unknown."""
        lines, key = self._shelf(priority, lane)
        if key in lines:
            lines[key] = min(pos, lines[key])
        elif self._count < LINES_KNOWN:
            self._count += 1
            lines[key] = pos

    def hold(self, lane: str, until: float) -> None:
        """Nothing of the lane is planned before that time; a later hold replaces this one."""
        self._holds[lane] = until
        if len(self._hold_ends) > 2 * len(self._holds) + 100:
            self._hold_ends = [(end, held) for held, end in self._holds.items()]
            heapq.heapify(self._hold_ends)
        else:
            heapq.heappush(self._hold_ends, (until, lane))
        aside = self._aside.setdefault(lane, {})
        for priority, lines in self._lines.items():
            if lane in lines:
                self._put(aside, priority, lines.pop(lane))

    def end_holds(self, now: float) -> float:
        """Lanes whose hold is over are in line again; seconds until the next one's is, 0 if one was now."""
        is_over = False
        while self._hold_ends and self._hold_ends[0][0] <= now:
            until, lane = heapq.heappop(self._hold_ends)
            if self._holds.get(lane) == until:
                del self._holds[lane]
                self._put_back(lane)
                is_over = True
        while self._asks and self._asks[0][0] <= now:
            _, lane = self._asks.popleft()
            if lane not in self._aside or lane in self._holds:
                self._asked.discard(lane)
            elif self._room(lane) > 0:
                self._asked.discard(lane)
                self._put_back(lane)
            else:
                self._asks.append((now + _ASK_AGAIN_SECONDS, lane))
        if is_over:
            return 0.0
        return self._hold_ends[0][0] - now if self._hold_ends else float("inf")

    def plan(self, free: int, now: float = 0.0) -> list[Take]:
        """Whose turn it is for `free` slots: the lowest priority number first, equal shares, limits and holds kept."""
        self.end_holds(now)
        takes: list[Take] = []
        planned: Counter[str] = Counter()
        for priority in sorted(self._lines):
            if free <= 0 or len(takes) >= LINES_PER_PLAN:
                break
            lines = self._lines[priority]
            self._set_aside(priority, list(islice(lines, LINES_PER_PLAN)), planned, now)
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

    def claimed(
        self,
        takes: Iterable[Take],
        got: Mapping[tuple[int, str], tuple[int, int]],
        parked: Mapping[tuple[int, str], int] = NONE_PARKED,
    ) -> None:
        """What the takes brought, as (jobs, highest place) by (priority, lane): short lines leave, others go last.

        So many of the jobs as are `parked` do not run.
        """
        for take in takes:
            key = (take.priority, take.lane)
            count, last = got.get(key, (0, 0))
            lines = self._lines.get(take.priority, {})
            pos = lines.pop(take.lane, None)
            started = count - parked[key] if key in parked else count
            if started:
                self._running[take.lane] += started
            if pos is None:
                continue
            if pos < take.pos:
                lines[take.lane] = pos
            elif count < take.jobs:
                self._count -= 1
            else:
                lines[take.lane] = last + 1

    def pass_over(self, priority: int, lane: str, start: int, place: int) -> None:
        """In that line nothing waits from `start` up to `place`."""
        lines, key = self._shelf(priority, lane)
        if start <= lines.get(key, -1) < place:
            lines[key] = place

    def ended(self, lane: str, count: int = 1) -> None:
        """Jobs of the lane have left this worker."""
        left = self._running[lane] - count
        if left > 0:
            self._running[lane] = left
        else:
            del self._running[lane]
        if lane not in self._holds:
            self._put_back(lane)

    def running(self, lane: str) -> int:
        """How many jobs of the lane this worker holds."""
        return self._running[lane]

    def _shelf(self, priority: int, lane: str) -> tuple[dict[Any, int], Any]:
        aside = self._aside.get(lane)
        return (self._lines.setdefault(priority, {}), lane) if aside is None else (aside, priority)

    def _room(self, lane: str) -> int:
        limit = self.lane_limit
        if limit is None or not lane:
            return 1_000_000
        return (limit if isinstance(limit, int) else limit(lane)) - self._running[lane]

    def _set_aside(self, priority: int, lanes: Iterable[str], planned: Counter[str], now: float) -> None:
        for lane in lanes:
            if planned[lane] or self._room(lane) > 0:
                continue
            self._put(self._aside.setdefault(lane, {}), priority, self._lines[priority].pop(lane))
            if not isinstance(self.lane_limit, int) and lane not in self._asked:
                self._asked.add(lane)
                self._asks.append((now + _ASK_AGAIN_SECONDS, lane))

    def _put_back(self, lane: str) -> None:
        for priority, pos in self._aside.pop(lane, {}).items():
            self._put(self._lines.setdefault(priority, {}), lane, pos)

    def _put(self, lines: dict[Any, int], key: Any, pos: int) -> None:
        """A line that is moved to where it is known already is one line."""
        if key in lines:
            self._count -= 1
            pos = min(pos, lines[key])
        lines[key] = pos


class Pace:
    """How many jobs leave in a moment, by the last tenth of a second or less. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._counts = (0, 0)
        self._until = 0.0

    def left(self, count: int, now: float) -> None:
        """So many more jobs have left."""
        self._turn(now)
        self._counts = (self._counts[0], self._counts[1] + count)

    def soon(self, now: float) -> int:
        """How many will leave in the next 30 ms if it goes on as it did."""
        self._turn(now)
        return round(max(self._counts) * _SOON_SECONDS / _WINDOW_SECONDS)

    def _turn(self, now: float) -> None:
        if now >= self._until:
            self._counts = (self._counts[1] if now < self._until + _WINDOW_SECONDS else 0, 0)
            self._until = now + _WINDOW_SECONDS


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
