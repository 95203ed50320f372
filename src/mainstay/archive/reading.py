"""Reading archives back: the events of a range of time, from the object store, at the pace of whoever reads."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import orjson

from mainstay.archive import forms, queries
from mainstay.archive.archiving import Day
from mainstay.archive.errors import Damaged
from mainstay.archive.objects import Stores
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Database, Record
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.objects import ObjectNotFound

_PAGE = 100
_NIL = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which archived events: a company's, of one workspace or all, stored from one moment to another, both included."""

    company_id: str
    workspace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def is_within(self, day: date) -> bool:
        """Whether the whole day lies inside."""
        start = datetime.combine(day, datetime.min.time(), tzinfo=UTC)
        end = datetime.combine(day, datetime.max.time(), tzinfo=UTC)
        return (self.since is None or self.since <= start) and (self.until is None or end <= self.until)


async def export(db: Database, stores: Stores, wanted: Range) -> AsyncIterator[bytes]:
    """Yields `{"data": [...], "meta": {...}}`, an event a line as it stands in its archive, by day and workspace.

    The first piece comes when the first object was reached: Unavailable before it where the store does not answer.
    Later trouble does not stop the rest: `meta.incomplete` at the end names every object that is damaged, missing or
    out of reach, and from which line on; `meta.rows` counts the events.
    """
    trouble: list[dict[str, Any]] = []
    opening, rows = b'{"data":[\n', 0
    async for row in _days(db, wanted):
        day = Day(str(row["company_id"]), str(row["workspace_id"]), row["day"])
        if not rows and not trouble:
            await _reach(stores, row)
        lines = _events(stores, row, day)
        try:
            async for found in lines:
                kept = found if wanted.is_within(row["day"]) else [line for line in found if _is_in(line, wanted)]
                if kept:
                    yield opening + b",\n".join(kept)
                    opening = b",\n"
                    rows += len(kept)
        except (Damaged, MainstayError) as error:
            line = error.line if isinstance(error, Damaged) else None
            trouble.append({"object": day.name, "line": line, "detail": str(error)})
    meta = orjson.dumps({"rows": rows, "incomplete": trouble})
    yield (b"\n" if rows else opening) + b'],"meta":' + meta + b"}\n"


async def _reach(stores: Stores, row: Record) -> None:
    await stores.get(row["data_region"]).probe()


async def _days(db: Database, wanted: Range) -> AsyncIterator[Record]:
    since = None if wanted.since is None else wanted.since.astimezone(UTC).date()
    until = None if wanted.until is None else wanted.until.astimezone(UTC).date()
    after = (date.min, _NIL)
    while rows := await queries.days_to_export(
        db, wanted.company_id, wanted.workspace_id, since=since, until=until, after=after, limit=_PAGE
    ):
        for row in rows:
            yield row
        after = (rows[-1]["day"], str(rows[-1]["workspace_id"]))


async def _events(stores: Stores, row: Record, day: Day) -> AsyncIterator[list[bytes]]:
    """Yields the lines of one object, each valid JSON; Damaged at the first that is not, or at the end where the bytes
    are not those that were archived."""
    store = stores.get(row["data_region"])
    digest = hashlib.sha256()
    line = forms.FIRST_LINE

    async def seen() -> AsyncIterator[bytes]:
        async for piece in store.get(day.name):
            digest.update(piece)
            yield piece

    try:
        async for lines in forms.unpacked(seen()):
            for place, text in enumerate(lines):
                if not _is_event(text):
                    yield lines[:place]
                    raise Damaged(line + place, "not an event")
            yield lines
            line += len(lines)
    except ObjectNotFound:
        raise Damaged(1, "there is no object of this name") from None
    if digest.digest() != bytes(row["sha256"]):
        raise Damaged(1, "the bytes are not those that were archived: rely on none of its events unproven")


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _is_in(line: bytes, wanted: Range) -> bool:
    received_at = orjson.loads(line).get("receivedAt", "")
    return (wanted.since is None or received_at >= iso(wanted.since)) and (
        wanted.until is None or received_at <= iso(wanted.until)
    )
