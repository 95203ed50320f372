"""Following all chains of a company by a mark in each: what a reader needs that must pass over no late commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from mainstay.events.queries import following as rows
from mainstay.events.queries import lists, tails
from mainstay.kernel.db import Connection, Record

Mark: TypeAlias = tuple[int, datetime]
"""A place in one chain: behind the event of that seq, which was stored then or earlier."""

START: Mark = (0, datetime(1970, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Read:
    """The next events, each workspace's in order, and where each stands behind them; whole: all are at their ends."""

    rows: list[Record]
    marks: dict[str, Mark]
    is_whole: bool


class Following:
    """All chains of one company."""

    def __init__(self, db: Connection, company_id: str) -> None:
        self._db = db
        self._company_id = company_id

    async def heads(self) -> dict[str, Mark]:
        """Where every chain of the company stands now."""
        found = await rows.heads_of(self._db, self._company_id)
        return {str(row["workspace_id"]): (row["seq"], row["received_at"]) for row in found}

    async def marks_before(self, moment: datetime) -> dict[str, Mark]:
        """The place in every chain of the company before its first event of that moment or later."""
        found = {}
        for workspace_id in await self.heads():
            first = await lists.first_seq_from(self._db, self._company_id, workspace_id, moment)
            found[workspace_id] = (first - 1, START[1])
        return found

    async def read_on(
        self, marks: Mapping[str, Mark], ends: Mapping[str, Mark], *, limit: int, most_bytes: int
    ) -> Read:
        """Up to `limit` events behind the marks, up to `ends` (heads read before), to the first past the bytes.

        Each workspace has an equal share of them. Where nothing lies between mark and end any more, because it is not
        kept, the mark moves to the end.
        """
        behind = {name: marks.get(name, START) for name, end in ends.items() if marks.get(name, START)[0] < end[0]}
        found = await tails.newer_everywhere(
            self._db,
            list(behind),
            [seq for seq, _ in behind.values()],
            [received_at for _, received_at in behind.values()],
            limit=limit,
            most_bytes=most_bytes,
        )
        is_cut = len(found) > limit or (bool(found) and found[-1]["bytes_until"] >= most_bytes)
        kept: list[Record] = []
        moved: dict[str, Mark] = {}
        at_end = set[str]() if is_cut else set(behind)
        for row in found[:limit]:
            name = str(row["workspace_id"])
            if row["seq"] <= ends[name][0]:
                kept.append(row)
                moved[name] = (row["seq"], row["received_at"])
            if row["number"] >= row["share"]:
                at_end.discard(name)
            if row["seq"] >= ends[name][0]:
                at_end.add(name)
        return Read(kept, moved | {name: ends[name] for name in at_end}, at_end == set(behind))

    async def lag(self, marks: Mapping[str, Mark]) -> tuple[int, datetime | None]:
        """How many events of the company lie behind the marks, and when the first of them was stored."""
        return await rows.behind(self._db, self._company_id, list(marks), [seq for seq, _ in marks.values()])
