"""What the room's routes take and give."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class EventIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An event as an operator sends it by hand."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    data: dict[str, Any] = {}
    user: dict[str, Any] = {}
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class FunctionAnswer(_Answer):
    """A function as it is declared, and how many of its runs are in each state; 10,000 is a floor."""

    id: str
    group: str
    triggers: list[str]
    attempts: int
    controls: dict[str, str]
    runs: dict[str, int]


class FunctionsAnswer(_Answer):
    """Every function, by group and id."""

    data: list[FunctionAnswer]


class RunAnswer(_Answer):
    """A run; `state` is queued, running, waiting, completed, failed, cancelled or skipped."""

    id: str
    function_id: str
    state: str
    event_name: str
    company_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    error: dict[str, Any] | None
    job_id: int | None
    rerun_of: str | None


class PageAnswer(_Answer):
    """Where the next page begins."""

    limit: int
    next_cursor: str | None
    has_more: bool


class RunsAnswer(_Answer):
    """Runs, newest first."""

    data: list[RunAnswer]
    meta: PageAnswer


class StepAnswer(_Answer):
    """A step in the timeline of its run; `kind` is run, sleep, wait, send or invoke, `state` done, retrying, failed,
    waiting or cancelled."""

    id: str
    kind: str
    state: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    wake_at: datetime | None
    event_name: str | None
    output: Any
    error: dict[str, Any] | None


class WholeRunAnswer(RunAnswer):
    """A run with its events, its output and its steps in the order in which they began."""

    events: list[dict[str, Any]]
    output: Any
    parent_id: str | None
    steps: list[StepAnswer]


class RerunAnswer(_Answer):
    """The new run."""

    id: str
    rerun_of: str


class RegisteredAnswer(BaseModel):
    """An application is registered; `modified` where that changed anything."""

    ok: bool = True
    modified: bool


class SentAnswer(BaseModel):
    """The ids of events that were taken, as Inngest answers."""

    ids: list[str]
    status: int = 200
