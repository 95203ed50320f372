"""Whether a store counts as away: from its first failure until it has answered for a while without another. Pure."""

from typing import Literal


class Standing:
    """A store that fails now and then is away once, not with each failure; `passed` calls went uncounted meanwhile."""

    def __init__(self, settled_seconds: float) -> None:
        self.is_away = False
        self.passed = 0
        self._settled_seconds = settled_seconds
        self._failed_at = 0.0

    def after(self, answered: bool, now: float) -> Literal["away", "back"] | None:
        """What changed with this answer, or with none, at `now` (monotonic seconds)."""
        if not answered:
            self._failed_at = now
            if not self.is_away:
                self.is_away = True
                return "away"
        elif self.is_away and now - self._failed_at >= self._settled_seconds:
            self.is_away = False
            return "back"
        return None
