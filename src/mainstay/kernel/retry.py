"""How long to wait before the next try: pure, with the randomness handed in."""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

MAX_DELAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The gap after each failed attempt: `fixed`, or `exponential` (delay times 2 to the power of tries before).

    `jitter` from 0 to 1 spreads a gap over [gap * (1 - jitter), gap]; 0 gives the gap itself.
    """

    kind: Literal["fixed", "exponential"] = "exponential"
    delay: timedelta = timedelta(seconds=2)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.delay < timedelta(0) or not 0 <= self.jitter <= 1:
            raise ValueError("a backoff needs a delay of zero or more and a jitter from 0 to 1")

    def after(self, attempts_made: int, rng: random.Random | None = None) -> timedelta:
        """The gap once `attempts_made` attempts have failed (1 or more), never over a day."""
        factor = 1 if self.kind == "fixed" else 2 ** min(attempts_made - 1, 40)
        gap = MAX_DELAY if self.delay >= MAX_DELAY / factor else self.delay * factor
        if not self.jitter:
            return gap
        return gap * (1 - self.jitter * (rng or random).random())

    @property
    def text(self) -> str:
        """The rule in one word, as a job row keeps it: `exponential:2000:0.0` (milliseconds, jitter)."""
        return f"{self.kind}:{round(self.delay / timedelta(milliseconds=1))}:{self.jitter}"

    @classmethod
    def parse(cls, text: str) -> "Backoff":
        """The rule that `text` gave."""
        kind, delay_ms, jitter = text.split(":")
        return cls("fixed" if kind == "fixed" else "exponential", timedelta(milliseconds=int(delay_ms)), float(jitter))
