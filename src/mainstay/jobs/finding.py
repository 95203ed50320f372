"""Looking at jobs: one by its id wherever it is, and a queue's jobs in one state, page by page."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, cast, get_args

from mainstay.jobs.dead import Attempt, Match, attempts_of_job, readable
from mainstay.jobs.errors import JobNotFound
from mainstay.jobs.queries import finding as rows
from mainstay.kernel.db import Connection, Record, Tx

ListState = Literal["waiting", "delayed", "active", "retrying", "completed", "dead", "parked"]
LIST_STATES: Final[tuple[ListState, ...]] = get_args(ListState)
SET_SUFFIX: Final = ":failed"
"""What the name of a queue's set of failed jobs ends with (NP's `nova:email:failed`)."""
LOOKED_AT_MOST: Final = 50_000
"""So many jobs are looked at for one page where the list is filtered; a page may then be short and have a next one."""
_MOST_NAME: Final = 200
_HIGHEST_ID: Final = 2**63 - 1
_WINDOW: Final = timedelta(seconds=1)
_WINDOW_GROWS: Final = 8
_WINDOW_SECONDS: Final = 0.2
_KEPT: Final = timedelta(days=42)
"""No finished job is older: thirty days are kept, in partitions of a week."""


@dataclass(frozen=True, slots=True)
class JobView:
    """One job wherever it is. `state` is waiting, parked, delayed, active, retrying, dead, completed or cancelled.

    What a finished job no longer has (priority, total attempts, key, backoff) is None.
    """

    id: int
    queue: str
    kind: str
    state: str
    lane: str
    priority: int | None
    attempt: int
    max_attempts: int | None
    company_id: str | None
    trace_id: str
    dedupe_key: str | None
    backoff: str | None
    enqueued_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None
    worker_id: int | None
    reason: str | None
    error: str | None
    payload: Any


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs of a queue in one state, newest first, and where the next page begins (None at the end)."""

    rows: list[Mapping[str, Any]]
    following: list[object] | None


def queue_of(name: str) -> tuple[str, bool]:
    """The queue that a name speaks of, and whether it speaks of the set of its failed jobs."""
    return (name.removesuffix(SET_SUFFIX), True) if name.endswith(SET_SUFFIX) else (name, False)


def state_named(given: str | None, *, is_set: bool) -> ListState | None:
    """The state whose list is asked for, `failed` being another name of dead; None for what there is no list of.

    Unless one is given: waiting, or dead where a set of failed jobs is asked for, which holds nothing else.
    """
    wanted = {"failed": "dead", None: "dead" if is_set else "waiting"}.get(given, given)
    if is_set and wanted != "dead":
        return None
    return next((one for one in LIST_STATES if one == wanted), None)


def is_name(text: str) -> bool:
    """Whether a queue or a kind can have this name."""
    return 0 < len(text) <= _MOST_NAME and "\0" not in text


async def find(tx: Connection, job_id: int) -> JobView | None:
    """The job wherever it is; None where it was cleared, its history has ended, or there never was one."""
    row = await rows.find_job_everywhere(tx, job_id) or await rows.find_finished_everywhere(tx, job_id)
    return None if row is None else _view(row)


async def get(tx: Connection, job_id: int) -> JobView:
    """The same; JobNotFound."""
    found = await find(tx, job_id)
    if found is None:
        raise JobNotFound("There is no such job: it may be cleared, or have completed and its kind keep no history.")
    return found


async def get_with_attempts(tx: Tx, job_id: int) -> tuple[JobView, list[Attempt]]:
    """The job with its failed attempts, oldest first; JobNotFound."""
    return await get(tx, job_id), await attempts_of_job(tx, job_id)


async def read_page(
    tx: Connection, state: ListState, match: Match, *, position: list[object] | None = None, limit: int = 50
) -> JobPage:
    """One page of the queue's jobs in that state that match. Waiting jobs are told from the end of the line."""
    if state == "completed":
        return await _completed(tx, match, position, limit)
    if state == "dead":
        return await _dead(tx, match, position, limit)
    before = None if position is None else cast(int, position[0])
    if state in ("active", "parked"):
        found = await rows.few_everywhere(tx, state, match.unfinished, before, limit + 1)
        following: list[object] | None = [found[limit - 1]["place"]] if len(found) > limit else None
        return JobPage([_plain(row) for row in found[:limit]], following)
    looked = LOOKED_AT_MOST if any(match.unfinished[1:]) else limit + 1
    found = await rows.page_everywhere(tx, state, match.unfinished, before, limit + 1, looked)
    jobs = [row for row in found if row["id"] is not None]
    following = None
    if len(jobs) > limit:
        following = [jobs[limit - 1]["place"]]
    elif found[0]["looked_at"] == looked:
        following = [found[0]["last"]]
    return JobPage([_plain(row) for row in jobs[:limit]], following)


async def _dead(tx: Connection, match: Match, position: list[object] | None, limit: int) -> JobPage:
    before = (None, None) if position is None else (datetime.fromisoformat(str(position[0])), position[1])
    looked = LOOKED_AT_MOST if any(match.unfinished[1:]) or match.error else limit + 1
    found = await rows.dead_page_everywhere(tx, match.unfinished, match.error, before, limit + 1, looked)
    jobs = [row for row in found if row["id"] is not None]
    following: list[object] | None = None
    if len(jobs) > limit:
        following = [jobs[limit - 1]["died_at"].isoformat(), jobs[limit - 1]["id"]]
    elif found[0]["looked_at"] == looked:
        following = [found[0]["last_at"].isoformat(), found[0]["last_id"]]
    return JobPage([_plain(row) for row in jobs[:limit]], following)


async def _completed(tx: Connection, match: Match, position: list[object] | None, limit: int) -> JobPage:
    """Finished jobs lie in the order of their end: windows of time are read backwards, each longer than the last.

    A page that took long ends early and says where to go on.
    """
    now = await rows.now_everywhere(tx)
    oldest, span = now - _KEPT, _WINDOW
    until, last_id = now + timedelta(days=1), _HIGHEST_ID
    if position is not None:
        until, last_id = datetime.fromisoformat(str(position[0])).astimezone(UTC), cast(int, position[1])
    before, jobs = (until, last_id), list[Record]()
    since = min(until, now) - span
    while True:
        started = time.monotonic()
        jobs += await rows.completed_everywhere(tx, match.unfinished, (since, until), before, limit + 1 - len(jobs))
        if len(jobs) > limit:
            last = jobs[limit - 1]
            return JobPage([_plain(row) for row in jobs[:limit]], [last["finished_at"].isoformat(), last["id"]])
        if since <= oldest:
            return JobPage([_plain(row) for row in jobs], None)
        if time.monotonic() - started > _WINDOW_SECONDS:
            return JobPage([_plain(row) for row in jobs], [since.isoformat(), _HIGHEST_ID])
        span *= _WINDOW_GROWS
        until, since = since, max(since - span, oldest)


_OF_PAGE = ("looked_at", "last", "last_at", "last_id", "place")


def _plain(row: Record) -> dict[str, Any]:
    found = {name: value for name, value in row.items() if name not in _OF_PAGE}
    return {**found, "company_id": None if row["company_id"] is None else str(row["company_id"])}


def _view(row: Record) -> JobView:
    return JobView(**{**_plain(row), "payload": readable(row["payload"])})
