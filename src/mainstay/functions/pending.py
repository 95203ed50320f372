"""What an invocation begins with, and what it leaves to be written when its handler was stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from mainstay.functions.committing import Result
from mainstay.functions.declaring import Function, Received
from mainstay.functions.errors import StepError


class Known(NamedTuple):
    """A step as the database has it."""

    kind: str
    state: str
    attempt: int
    output: str | None
    error: str | None
    wait_seconds: float | None


class Wait(NamedTuple):
    """A step that waits from the end of this invocation on: until a moment or so long, and for which event."""

    step_id: str
    place: int
    kind: str
    at: datetime | None
    after: timedelta | None
    event_name: str | None = None
    match_path: str | None = None
    match_value: str | None = None
    condition: str | None = None


class Invocation(NamedTuple):
    """A run of another function that a step waits for."""

    step_id: str
    function_id: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Pending:
    """Why a handler was stopped: what it waits for, which steps are tried again and when, or what ends the run."""

    waits: list[Wait] = field(default_factory=list)
    invocations: list[Invocation] = field(default_factory=list)
    retries: list[Result] = field(default_factory=list)
    retry_after: timedelta | None = None
    retry_reason: str = ""
    wake_after: timedelta | None = None
    snooze_after: timedelta | None = None
    fatal: StepError | None = None
    is_lost: bool = False
    is_away: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoked:
    """What an invocation of a run begins with."""

    run_id: str
    epoch: int
    function: Function
    events: Sequence[Received]
    known: Mapping[str, Known]
    failures: int
    now: datetime
