"""Days of archives as they are shown: a page of them, and figures over all."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import orjson
from prometheus_client import Gauge

from mainstay.archive import queries
from mainstay.archive.archiving import Day
from mainstay.archive.errors import DayNotFound
from mainstay.archive.names import object_name
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Database, Record
from mainstay.kernel.telemetry import REGISTRY

_PER_DATABASE = ["database"]
WAITING = Gauge("archive_days_waiting", "Days with events that wait for the archive", _PER_DATABASE, registry=REGISTRY)
FAILING = Gauge("archive_days_failing", "Waiting days whose last try failed", _PER_DATABASE, registry=REGISTRY)
UNSOUND = Gauge(
    "archive_days_unsound", "Archived days whose object is damaged or missing", _PER_DATABASE, registry=REGISTRY
)
OLDEST = Gauge(
    "archive_oldest_candidate_seconds",
    "Age of the oldest day that waits for the archive",
    _PER_DATABASE,
    registry=REGISTRY,
)
EVENTS = Gauge("archive_events", "Events in archives", _PER_DATABASE, registry=REGISTRY)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveDay:
    """One workspace's day outside the retention window, and how its archive stands."""

    company_id: str
    workspace_id: str
    day: date
    object: str | None
    events: int
    archived_events: int
    bytes: int | None
    archived_at: datetime | None
    verified_at: datetime | None
    outcome: str | None
    finding: dict[str, Any] | None
    failure: str | None
    cut_at: datetime | None

    @property
    def state(self) -> str:
        """waiting, failing, archived, damaged, missing, or deleted (gone without an archive)."""
        if self.outcome in ("damaged", "missing"):
            return self.outcome
        if self.archived_events:
            return "archived" if self.archived_events == self.events else "waiting"
        if self.cut_at is not None:
            return "deleted"
        return "failing" if self.failure else "waiting"

    def shown(self) -> dict[str, Any]:
        """The day in an answer."""
        return {
            "workspaceId": self.workspace_id,
            "day": self.day.isoformat(),
            "state": self.state,
            "object": self.object,
            "events": self.events,
            "archivedEvents": self.archived_events,
            "bytes": self.bytes,
            "archivedAt": _iso(self.archived_at),
            "verifiedAt": _iso(self.verified_at),
            "outcome": self.outcome,
            "finding": self.finding,
            "failure": self.failure,
            "cutAt": _iso(self.cut_at),
        }


async def list_days(
    db: Connection,
    company_id: str,
    *,
    workspace_id: str | None = None,
    archived_only: bool = False,
    since: date | None = None,
    until: date | None = None,
    before: tuple[date, str] | None = None,
    limit: int = 50,
) -> list[ArchiveDay]:
    """The company's days outside the window, newest first, before the given (day, workspace)."""
    rows = await queries.list_days(
        db,
        company_id,
        workspace_id,
        archived_only=archived_only,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
    return [_day(row) for row in rows]


async def get_day(db: Connection, day: Day) -> ArchiveDay:
    """How the archive of one day of the company stands. DayNotFound."""
    row = await queries.find_day(db, day.company_id, day.workspace_id, day.day)
    if row is None:
        raise DayNotFound
    return _day(row)


async def list_unsound(db: Connection, company_id: str, *, limit: int = 50) -> list[ArchiveDay]:
    """The company's days whose object is damaged or missing, newest first."""
    return [_day(row) for row in await queries.unsound_days(db, company_id, limit=limit)]


async def figures(db: Connection, company_id: str | None = None) -> dict[str, Any]:
    """How much waits and how much is archived, in one company or everywhere."""
    row = await queries.figures_of(db, company_id)
    return {
        "daysWaiting": row["waiting"],
        "eventsWaiting": int(row["waiting_events"]),
        "daysFailing": row["failing"],
        "oldestCandidateSeconds": max(0, int(row["oldest_seconds"])),
        "daysArchived": row["archived"],
        "eventsArchived": int(row["archived_events"]),
        "bytes": int(row["bytes"]),
        "daysDamaged": row["damaged"],
        "daysMissing": row["missing"],
        "leastVerifiedAt": _iso(row["least_verified_at"]),
    }


async def measure(db: Database, name: str) -> None:
    """The gauges tell how this database's archives stand."""
    found = await queries.totals_everywhere(db)
    WAITING.labels(name).set(found["waiting"])
    FAILING.labels(name).set(found["failing"])
    UNSOUND.labels(name).set(found["unsound"])
    OLDEST.labels(name).set(max(0, int(found["oldest_seconds"])))
    EVENTS.labels(name).set(found["archived_events"])


def _day(row: Record) -> ArchiveDay:
    is_archived = row["archived_seq"] > 0
    return ArchiveDay(
        company_id=str(row["company_id"]),
        workspace_id=str(row["workspace_id"]),
        day=row["day"],
        object=object_name(str(row["company_id"]), str(row["workspace_id"]), row["day"]) if is_archived else None,
        events=row["last_seq"] - row["first_seq"] + 1,
        archived_events=row["archived_seq"] - row["first_seq"] + 1 if is_archived else 0,
        bytes=row["bytes"],
        archived_at=row["archived_at"],
        verified_at=row["verified_at"],
        outcome=row["outcome"],
        finding=None if row["finding"] is None else orjson.loads(row["finding"]),
        failure=row["failure"],
        cut_at=row["cut_at"],
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
