"""Small charts of the last 60 minutes, as pages show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mainstay.console.shown import count

MINUTES = 60
Point = tuple[datetime, int | None]
"""A minute and what it had; None where nobody counted."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One small chart: its newest whole value, and the points of the window, oldest first."""

    id: str
    title: str
    unit: str
    points: Sequence[Point]
    meaning: Literal["accent", "good", "bad", "neutral"] = "accent"
    kind: Literal["line", "bars"] = "line"
    is_level: bool = False
    """Whether a point is how much there was, rather than how much came in its minute."""

    @property
    def values(self) -> list[int | None]:
        """The points without their times."""
        return [value for _, value in self.points]

    @property
    def now(self) -> str:
        """The newest value, for what comes by the minute that of the last whole one; a dash where nothing is known."""
        known = [value for value in (self.values if self.is_level else self.values[:-1]) if value is not None]
        return count(known[-1]) if known else "–"  # noqa: RUF001 - a dash for a missing number
