"""Limits counted in this process: for one node, with nothing asked of anybody."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

from prometheus_client import Counter

from mainstay.kernel.logs import logger
from mainstay.kernel.telemetry import REGISTRY
from mainstay.limits.store import Counted, Rule, Taken

_log = logger(__name__)
MOST_KEYS = 100_000
_ROOM_MADE = 10
_BOUNDED = ("throttle:user:", "throttle:key:")

EVICTED = Counter("rate_limit_evictions_total", "Counters dropped unexpired as memory held too many", registry=REGISTRY)


class _Window:
    """The hits of one key as [when, number, when, number, …], oldest first, and their sum."""

    __slots__ = ("hits", "total", "window_us")

    def __init__(self) -> None:
        self.hits: list[int] = []
        self.total = 0
        self.window_us = 0

    def forget(self, until_us: int) -> None:
        """Hits up to that moment are gone."""
        hits, gone = self.hits, 0
        while gone < len(hits) and hits[gone] <= until_us:
            self.total -= hits[gone + 1]
            gone += 2
        del hits[:gone]

    def add(self, at_us: int, number: int) -> None:
        """So many more, not before the last."""
        hits = self.hits
        self.total += number
        if hits and at_us <= hits[-2]:
            hits[-1] += number
        else:
            hits += (at_us, number)

    def remove(self, number: int) -> None:
        """So many fewer, the oldest first."""
        hits = self.hits
        while number > 0 and hits:
            some = min(number, hits[1])
            hits[1] -= some
            self.total -= some
            number -= some
            if hits[1] == 0:
                del hits[:2]

    def frees_at(self, number: int) -> int:
        """The hit with which so many are free."""
        hits, freed = self.hits, 0
        for place in range(0, len(hits), 2):
            freed += hits[place + 1]
            if freed >= number:
                return hits[place]
        return hits[-2] if hits else 0


class Memory:
    """The store of one process, for up to that many keys; past them expired ones go, then those hit longest ago.

    Counters of people and API keys stay longer than those of addresses: whoever calls from ever new addresses pushes
    out no guesses at somebody's codes.
    """

    kind = "memory"

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic, most_keys: int = MOST_KEYS) -> None:
        self._monotonic = monotonic
        self._most_keys = most_keys
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    async def take(self, key: str, rule: Rule, cost: int = 1, *, peek: bool = False) -> Taken:
        """As `Store.take`."""
        now = int(self._monotonic() * 1_000_000 + 0.5)
        window = self._windows.get(key)
        if window is None:
            window = _Window()
        elif window.hits and window.hits[0] <= now - rule.window_us:
            window.forget(now - rule.window_us)
        free = rule.allowance - window.total
        if cost > free:
            return self._refused(window, rule, cost, now)
        if not peek:
            free -= cost
            self._count(key, window, rule, cost, now)
        reset = window.hits[-2] + rule.window_us - now if window.hits else 0
        return Taken(True, rule.allowance, free, 0.0, reset / 1_000_000)

    def _count(self, key: str, window: _Window, rule: Rule, cost: int, now: int) -> None:
        slot = rule.slot_us
        window.add((now // slot + 1) * slot if slot else now, cost)
        window.window_us = rule.window_us
        if key in self._windows:
            self._windows.move_to_end(key)
        else:
            if len(self._windows) >= self._most_keys:
                self._make_room(now)
            self._windows[key] = window

    @staticmethod
    def _refused(window: _Window, rule: Rule, cost: int, now: int) -> Taken:
        wait = rule.window_us
        reset = window.hits[-2] + wait - now if window.hits else 0
        if cost <= rule.allowance:
            wait += window.frees_at(window.total + cost - rule.allowance) - now
        return Taken(False, rule.allowance, max(rule.allowance - window.total, 0), wait / 1_000_000, reset / 1_000_000)

    async def give_back(self, key: str, rule: Rule, cost: int, *, held_seconds: float) -> None:
        """As `Store.give_back`."""
        window = self._windows.get(key)
        if window is None or held_seconds >= rule.window.total_seconds():
            return
        window.forget(int(self._monotonic() * 1_000_000 + 0.5) - rule.window_us)
        window.remove(cost)
        if not window.hits:
            del self._windows[key]

    async def check(self) -> None:
        """It always answers."""

    async def close(self) -> None:
        """It holds nothing open."""

    def counted(self, most: int = MOST_KEYS) -> list[Counted]:
        """What has not expired, for a store that takes over; past so many what was hit longest ago is left out."""
        now = int(self._monotonic() * 1_000_000 + 0.5)
        found: list[Counted] = []
        keys = [key for key in self._windows if key.startswith(_BOUNDED)]
        keys += [key for key in reversed(self._windows) if not key.startswith(_BOUNDED)]
        for place, key in enumerate(keys):
            if len(found) == most:
                EVICTED.inc(len(keys) - place)
                _log.warning("too many counters of limits to take along; some begin anew", dropped=len(keys) - place)
                break
            window = self._windows[key]
            pairs = zip(window.hits[::2], window.hits[1::2], strict=True)
            live = [(now - at, number) for at, number in pairs if at > now - window.window_us]
            if live:
                found.append(Counted(key, window.window_us, live))
        return found

    def forget(self) -> None:
        """Nothing is counted any more."""
        self._windows.clear()

    def carry(self, counted: Iterable[Counted]) -> None:
        """What another store counted counts here; for keys that this one does not hold."""
        now = int(self._monotonic() * 1_000_000 + 0.5)
        for one in counted:
            window = self._windows[one.key] = _Window()
            window.window_us = one.window_us
            for age_us, number in one.hits:
                window.add(now - age_us, number)

    def _make_room(self, now: int) -> None:
        """A tenth of the room is free: what expired goes, then what was hit longest ago, of addresses first."""
        windows = self._windows
        for key in [key for key, one in windows.items() if not one.hits or one.hits[-2] <= now - one.window_us]:
            del windows[key]
        room = max(self._most_keys // _ROOM_MADE, 1)
        spare = len(windows) - (self._most_keys - room)
        if spare > 0:
            for key in list(islice((key for key in windows if not key.startswith(_BOUNDED)), spare)):
                del windows[key]
            while len(windows) > self._most_keys - room:
                windows.popitem(last=False)
            EVICTED.inc(spare)
            _log.warning("memory holds too many counters of limits; some began anew", dropped=spare)
