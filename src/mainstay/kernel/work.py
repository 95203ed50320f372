"""The words for work: how a room declares its tasks and schedules without importing the engine that runs them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Literal, NamedTuple

from mainstay.kernel import cron
from mainstay.kernel.db import Tx
from mainstay.kernel.retry import Backoff


class Retry(Exception):
    """This attempt failed; try again after the given time, or after the task's backoff."""

    def __init__(self, reason: str = "", *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Snooze(Exception):
    """Not yet: run again after the given time, and do not count this attempt."""

    def __init__(self, after: timedelta, reason: str = "") -> None:
        super().__init__(reason)
        self.after = after
        self.reason = reason


class Hold(Exception):
    """Not here, not yet: back to its own place in line, the attempt given back, and this worker leaves the lane alone.

    Until the given time has passed this worker claims nothing of the lane (a claim under way aside); a later Hold for
    the lane replaces an earlier one; other workers find out by claims of their own. In lane '' it is a Snooze.
    """

    def __init__(self, after: timedelta, reason: str = "") -> None:
        super().__init__(reason)
        self.after = after
        self.reason = reason


class Discard(Exception):
    """Never: the job is dead at once, with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Job(NamedTuple):
    """One claimed job as its handler sees it. `epoch` is the fencing token of this claim."""

    id: int
    queue: str
    kind: str
    payload: Any
    attempt: int
    max_attempts: int
    epoch: int
    lane: str
    company_id: str | None
    trace_id: str
    enqueued_at: datetime


Outcome = None | Retry | Snooze | Hold | Discard
"""How a handler ended: None is success; the four words may be returned or raised."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A handler for hot work: claimed jobs are loaded together, acted on with no connection held, recorded together.

    `load(jobs)` gives a context per job id (a job without one is discarded); `act(job, context)` gives the outcome and
    a result; `record(tx, results)` writes the results of those jobs whose lease still held, in the transaction that
    acknowledges them.
    """

    load: Callable[[Sequence[Job]], Awaitable[Mapping[int, Any]]]
    act: Callable[[Job, Any], Awaitable[tuple[Outcome, Any]]]
    record: Callable[[Tx, Sequence[tuple[Job, Any, Outcome]]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A kind of job. Exactly one of `run`, `run_in_tx` and `batch` is its body.

    `attempts` counts every start, so 1 means no second try; None, as for `backoff`, is the queue's rule. `lane_limit`
    bounds how many jobs of one lane one worker runs at once (a queue takes the smallest of its tasks); as a function
    it is asked by lane whenever a claim is planned (so it answers from memory), and under 1 means none for now.
    `history` 'failures' writes no row for a job that succeeded (for work with a ledger of its own). `is_public`:
    outsiders may enqueue it, over HTTP, by SQL and by the command line.
    """

    kind: str
    queue: str
    run: Callable[[Job], Awaitable[Outcome]] | None = None
    run_in_tx: Callable[[Tx, Job], Awaitable[Outcome]] | None = None
    batch: Batch | None = None
    attempts: int | None = None
    backoff: Backoff | None = None
    priority: int = 5
    timeout: timedelta = timedelta(minutes=5)
    lane_limit: int | Callable[[str], int] | None = None
    history: Literal["all", "failures"] = "all"
    is_public: bool = False

    def __post_init__(self) -> None:
        if sum(body is not None for body in (self.run, self.run_in_tx, self.batch)) != 1:
            raise ValueError(f"task {self.kind!r} needs exactly one of run, run_in_tx and batch")


_LONGEST_PERIOD = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Every:
    """Slots at every multiple of a period since 1970 in UTC."""

    period: timedelta

    def __post_init__(self) -> None:
        if not timedelta(seconds=1) <= self.period <= _LONGEST_PERIOD:
            raise ValueError("a period is a second or more, up to ten years")


def _check_zone(at: time) -> None:
    if at.tzinfo is not None:
        raise ValueError("a time of day is in UTC, and is given without a zone")


@dataclass(frozen=True, slots=True)
class Daily:
    """One slot a day at a time of day in UTC."""

    at: time

    def __post_init__(self) -> None:
        _check_zone(self.at)


@dataclass(frozen=True, slots=True)
class Weekly:
    """One slot a week on a day (0 is Monday) at a time of day in UTC."""

    weekday: int
    at: time

    def __post_init__(self) -> None:
        _check_zone(self.at)
        if not 0 <= self.weekday <= 6:
            raise ValueError("a weekday is 0 (Monday) to 6 (Sunday)")


@dataclass(frozen=True, slots=True)
class Cron:
    """Slots at the minutes that five cron fields allow in UTC; `kernel.cron.parse` says what may be written."""

    text: str
    fields: cron.Fields = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", cron.parse(self.text))


Slots = Every | Daily | Weekly | Cron
"""When the runs of a schedule are due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A recurring job: one run per slot over any number of nodes.

    A slot that comes while the run of an earlier one has not ended is covered by that run, so runs never pile up.
    `missed` says what happens to slots that passed while nothing ran: 'latest' runs the newest only, 'skip' none.
    A run that began later than `late_after` its slot is late. `title` and `family` are for people; without them the
    name serves, and what stands before its first dot. `after` names a schedule whose run goes first: while that is
    unfinished, the slot waits for it, up to 30 s.
    """

    name: str
    slots: Slots
    kind: str
    payload: Any = None
    missed: Literal["latest", "skip"] = "latest"
    late_after: timedelta = timedelta(minutes=1)
    title: str = ""
    family: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        told = self.name + self.title + self.family
        if not 0 < len(self.name) <= 100 or "/" in self.name or " " in self.name or not told.isprintable():
            raise ValueError("the name of a schedule has 1 to 100 printable characters, without spaces and slashes")
        if self.missed not in ("latest", "skip") or self.late_after <= timedelta(0):
            raise ValueError(f"schedule {self.name!r}: missed is 'latest' or 'skip', and late_after is over zero")
