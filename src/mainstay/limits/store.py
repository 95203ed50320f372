"""What a store of limits is: it counts hits in a sliding window, and says whether one more fits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol

MOST_EXACT = 128
"""Up to this allowance each hit is kept with its own time; above, hits share slots of the window's 128th part."""

MOST_ALLOWANCE = 1_000_000_000


CHECK_KEY = "throttle:check"
"""Under which stores count while they are tried."""


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `allowance` in any window of that length; `name` is the policy's, in metrics and messages."""

    name: str
    allowance: int
    window: timedelta
    window_us: int = field(init=False, repr=False, compare=False)
    slot_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_window = timedelta(milliseconds=1) <= self.window <= timedelta(days=366)
        if not (0 <= self.allowance <= MOST_ALLOWANCE and is_window):
            raise ValueError("a rule allows 0 to 1,000,000,000 in a window of 1 ms to 366 days")
        window_us = self.window // timedelta(microseconds=1)
        object.__setattr__(self, "window_us", window_us)
        object.__setattr__(self, "slot_us", 0 if self.allowance <= MOST_EXACT else -(-window_us // MOST_EXACT))


CHECK = Rule("check", 1, timedelta(milliseconds=1))


class Taken(NamedTuple):
    """How a call ended.

    `remaining` is what fits after it, never below zero. `retry_after_seconds` is when a call of this cost would pass:
    0.0 where this one did, the whole window where its cost is above the allowance and it never would. `reset_seconds`
    is when the whole allowance is there again if nobody takes more. `is_counted` is false where the store was away and
    the call passed unseen.
    """

    allowed: bool
    allowance: int
    remaining: int
    retry_after_seconds: float
    reset_seconds: float
    is_counted: bool = True


class Counted(NamedTuple):
    """What one store counted for a key, as another can take it over: how long ago, and how many."""

    key: str
    window_us: int
    hits: Sequence[tuple[int, int]]
    """(age in microseconds, number), oldest first; hits of a shared slot may lie up to a slot ahead of now."""


class Store(Protocol):
    """Counts by key. Whatever happens at once and wherever a window begins, no more than the allowance passes in it.

    A refused call takes nothing and keeps nothing alive. A store that cannot answer raises.
    """

    kind: str

    async def take(self, key: str, rule: Rule, cost: int = 1, *, peek: bool = False) -> Taken:
        """`cost` (1 or more) is taken where it fits; with `peek` nothing is, and `remaining` is what is there now."""
        ...

    async def give_back(self, key: str, rule: Rule, cost: int, *, held_seconds: float) -> None:
        """That many of what was taken `held_seconds` ago, measured from before the call, were not needed.

        Nothing happens once their window is over. The oldest hits go, so that nothing frees early.
        """
        ...

    async def check(self) -> None:
        """The store answers and can be written to, else it raises."""
        ...

    async def close(self) -> None:
        """What it holds open is closed."""
        ...
