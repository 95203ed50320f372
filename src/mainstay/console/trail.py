"""Newer and older by position: the address of a page of a list carries the positions of the pages before it. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

MOST_STEPS = 20
"""Further back than that, newer leads to the newest page."""
_BETWEEN = "~"
_POSITION = re.compile(r"[\w-]{1,1024}", re.ASCII)


def address(path: str, query: Mapping[str, str]) -> str:
    """The path with those parameters."""
    return f"{path}?{urlencode(query)}" if query else path


@dataclass(frozen=True, slots=True)
class Trail:
    """Where in a list a page stands: `kept` are its filters, `cursor` its own position, `passed` those before it."""

    path: str
    kept: Mapping[str, str]
    cursor: str | None = None
    passed: tuple[str, ...] = ()

    @property
    def newer(self) -> str | None:
        """The page before this one; None on the newest."""
        if self.cursor is None:
            return None
        if not self.passed:
            return address(self.path, self.kept)
        return self._at(self.passed[-1], self.passed[:-1])

    def older(self, cursor: str | None) -> str | None:
        """The page behind this one, where the list gave a position to go on from."""
        if cursor is None:
            return None
        passed = self.passed if self.cursor is None else (*self.passed, self.cursor)
        return self._at(cursor, passed[-MOST_STEPS:])

    def _at(self, cursor: str, passed: tuple[str, ...]) -> str:
        steps = {"trail": _BETWEEN.join(passed)} if passed else {}
        return address(self.path, {**self.kept, "cursor": cursor, **steps})


def trail_of(path: str, kept: Mapping[str, str], query: Mapping[str, str]) -> Trail:
    """The trail of a request; steps that cannot be positions are left out."""
    passed = [step for step in query.get("trail", "").split(_BETWEEN) if _POSITION.fullmatch(step)]
    return Trail(path, kept, query.get("cursor") or None, tuple(passed[-MOST_STEPS:]))
