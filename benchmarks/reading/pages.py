"""One client that asks for pages, one after another, and what they cost."""

import http.client
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson

PAGE = 50


@dataclass(frozen=True, slots=True)
class List:
    """A list to be read: where it is, who may read it, and the most rows that it gives at once."""

    name: str
    path: str
    key: str
    most: int


@dataclass(slots=True)
class Case:
    """Pages of one kind, and the milliseconds that each of them took."""

    name: str
    of: List
    queries: Sequence[dict[str, str]]
    rows: int = 0
    taken_ms: list[float] = field(default_factory=list)


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def page(self, of: List, query: dict[str, str]) -> tuple[float, dict[str, Any]]:
        """Milliseconds until the whole answer was there, and the answer."""
        target = f"{of.path}?{urlencode(query)}"
        started = time.perf_counter()
        self._connection.request("GET", target, headers={"Authorization": f"Bearer {of.key}"})
        answer = self._connection.getresponse()
        body = answer.read()
        taken = time.perf_counter() - started
        if answer.status != 200:
            raise SystemExit(f"{target}: {answer.status} {body[:300].decode()}")
        return taken * 1_000, orjson.loads(body)

    def walk(self, of: List, rows: int, filters: Mapping[str, str] | None = None) -> list[dict[str, str]]:
        """Queries for the last of the pages that lie that many rows deep, in the list under these filters."""
        queries: list[dict[str, str]] = []
        cursor: str | None = None
        for _ in range(max(1, rows // of.most)):
            query = {"limit": str(of.most), **(filters or {}), **({"cursor": cursor} if cursor else {})}
            _, answer = self.page(of, query)
            cursor = _cursor(answer)
            if cursor is None:
                break
            queries.append({"limit": str(PAGE), "cursor": cursor})
        return queries[-20:]

    def measure(self, cases: Sequence[Case], *, requests: int) -> None:
        """Every case has been asked that often, in turns, after a few requests that only warm."""
        turns = {case.name: itertools.cycle(case.queries) for case in cases}
        for number in range(-5, requests):
            for case in cases:
                taken, answer = self.page(case.of, next(turns[case.name]))
                if number >= 0:
                    case.taken_ms.append(taken)
                    case.rows = len(answer["data"])


def _cursor(answer: dict[str, Any]) -> str | None:
    found = answer.get("meta", answer).get("nextCursor")
    return None if found is None else str(found)
