"""What the engine's routes answer, as the description of the API tells it; answers are written without passing here."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from mainstay.web import problem

_ALWAYS: Final = {401: "The operators' token is missing or wrong."}
NOT_VALID: Final[dict[int, str]] = {400: "The request is not valid; `errors` names every fault."}
NO_QUEUE: Final[dict[int, str]] = {404: "There is no such queue."}
NO_JOB: Final[dict[int, str]] = {404: "There is no such job in a state that allows this."}
NO_KIND: Final[dict[int, str]] = {404: "There is no such kind of job."}
ONCE: Final[dict[int, str]] = {422: "The idempotency key was used for another request within 24 hours."}


def told(model: type[BaseModel], status: int = 200, *more: Mapping[int, str]) -> dict[str, Any]:
    """What a route says about its answers: its model, its status and why it refuses."""
    why = {**_ALWAYS, **NOT_VALID}
    for one in more:
        why |= one
    return {
        "status_code": status,
        "response_model": model,
        "response_class": JSONResponse,  # the description shows models of answers of this class only
        "responses": problem.responses(dict(sorted(why.items()))),
    }


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class EnqueuedShown(_Answer):
    """The job that stands for the request: a new one, or the unfinished one that has the same dedupe key."""

    id: str
    deduplicated: bool


class EnqueuedList(_Answer):
    """The jobs of a batch, in its order."""

    data: list[EnqueuedShown]


class QueueShown(_Answer):
    """A queue with its jobs by state; `failed` is another name of `dead`, and a count of `bound` is a floor.

    `completed` is of the last 30 days. `failedSet` is the name under which the dead jobs are listed and cleared.
    `concurrency`: slots of each worker as an operator set them, null where they are as configured.
    """

    queue: str
    priority: int
    waiting: int
    delayed: int
    active: int
    retrying: int
    completed: int
    dead: int
    failed: int
    paused: bool
    paused_at: str | None
    paused_by: str | None
    failed_set: str
    concurrency: int | None
    concurrency_by: str | None
    concurrency_at: str | None
    oldest_ready_seconds: float | None
    bound: int


class QueueFigures(_Answer):
    """Every queue, over all databases that regions have; `away` names regions whose database did not answer."""

    queues: list[QueueShown]
    away: list[str]
    at: str


class QueueList(_Answer):
    """Every queue of one database."""

    data: list[QueueShown]


class KindShown(_Answer):
    """A kind that a worker had a task for at `seenAt`; outsiders may ask for jobs of a public one.

    `share` of a hundred of its jobs start: 100, unless it is paused or resumed in part.
    """

    kind: str
    queue: str
    priority: int
    attempts: int
    is_public: bool
    share: int
    seen_at: str


class KindPaused(_Answer):
    """How many of a hundred jobs of the kind start; 0 is none."""

    kind: str
    share: int


class KindList(_Answer):
    """Every kind of one database."""

    data: list[KindShown]


class Done(_Answer):
    """The job, and what was done to it."""

    id: str
    done: Literal["retried", "redriven", "cleared", "cancelled"]


class JobListed(_Answer):
    """A job as a list shows it; what its state does not have is null."""

    id: str
    kind: str
    state: str
    lane: str
    priority: int | None
    attempt: int
    max_attempts: int | None
    company_id: str | None
    trace_id: str
    enqueued_at: str
    due_at: str | None
    started_at: str | None
    ended_at: str | None
    duration_ms: float | None
    worker_id: str | None
    reason: str | None
    error: str | None


class PageMeta(_Answer):
    """How much was asked for, and the `cursor` of what comes next; null at the end. A filtered page may be short."""

    limit: int
    next_cursor: str | None
    has_more: bool


class JobList(_Answer):
    """One page of a queue's jobs in one state, newest first. `set` is the name of a set of failed jobs."""

    queue: str
    state: str
    set: str | None
    data: list[JobListed]
    meta: PageMeta


class AttemptShown(_Answer):
    """One failed start: `outcome` is failed, timeout, lost or discarded."""

    attempt: int
    outcome: str
    error: str
    worker_id: str | None
    started_at: str
    finished_at: str
    duration_ms: float | None


class JobShown(JobListed):
    """A job with its payload and its failed attempts, oldest first."""

    queue: str
    dedupe_key: str | None
    backoff: str | None
    payload: Any
    attempts: list[AttemptShown]


class ReasonShown(_Answer):
    """One reason: a stable code, a sentence, and the facts that it rests on."""

    code: str
    sentence: str
    facts: dict[str, Any]


class ReasonsShown(_Answer):
    """Why a job is not running now: `answer` is the first of the reasons that hold."""

    job_id: str
    answer: ReasonShown
    reasons: list[ReasonShown]


class FindingShown(ReasonShown):
    """A pattern in the failures of a kind: same_failure, last_rung, exhausted or memory_timeouts."""

    queue: str
    kind: str


class FindingList(_Answer):
    """What stands out in the failures of the last hour."""

    data: list[FindingShown]


class TestRunShown(_Answer):
    """A job that was started by hand, and how it ended. `outcome` is null while it has not ended; `job` is null where
    nothing is kept of it any more."""

    __test__ = False

    job_id: str
    kind: str
    asked_by: dict[str, str]
    asked_at: str
    outcome: Literal["completed", "failed", "cancelled", "cleared"] | None
    error: str | None
    duration_ms: float | None
    job: JobShown | None


class BulkActShown(_Answer):
    """A bulk act. `counted` is exact unless `isFloor`; `done` is how many jobs it has reached."""

    id: str
    act: Literal["redrive", "clear", "cancel", "promote"]
    queue: str
    filter: dict[str, Any]
    asked_by: dict[str, str]
    state: Literal["waiting", "running", "done", "cancelled", "failed"]
    counted: int
    is_floor: bool
    done: int
    created_at: str
    started_at: str | None
    finished_at: str | None
    error: str | None


class BulkActList(_Answer):
    """The newest bulk acts."""

    data: list[BulkActShown]


class BulkCount(_Answer):
    """How many jobs match; a floor where `isFloor`."""

    dry_run: bool
    matched: int
    is_floor: bool
