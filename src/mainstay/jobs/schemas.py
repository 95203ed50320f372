"""What the engine's routes take."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

MOST_ATTEMPTS = 1_000
MOST_DELAY_MS = 315_360_000_000
"""Ten years."""
MOST_BACKOFF_MS = 86_400_000
"""A day, which no gap is longer than."""
MOST_AT_ONCE = 1_000
"""So many jobs are taken in one request."""
_MOST_KEY = 200


def _shown(**limits: Any) -> Meta:
    """Limits that are told here and checked by name elsewhere, so that a refusal names every fault at once."""
    return Meta(extra_json_schema=limits)


class _In(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    pass


class NewBackoff(_In):
    """The gaps between attempts: `fixed` is `delay`, `exponential` is `delay` times 2 to the power of tries before."""

    type: Literal["fixed", "exponential"]
    delay: Annotated[int, _shown(minimum=0, maximum=MOST_BACKOFF_MS)]
    jitter: Annotated[float, _shown(minimum=0, maximum=1)] = 0.0


class NewJob(_In):
    """A job as outsiders ask for it; times in milliseconds. `data` is another name of `payload`.

    What is left out is as its kind has it. A backoff that is a number is a fixed one.
    """

    kind: Annotated[str, _shown(minLength=1, maxLength=_MOST_KEY)]
    payload: Any = UNSET
    data: Any = UNSET
    attempts: Annotated[int, _shown(minimum=1, maximum=MOST_ATTEMPTS)] | None = None
    backoff: NewBackoff | Annotated[int, _shown(minimum=0, maximum=MOST_BACKOFF_MS)] | None = None
    delay: Annotated[int, _shown(minimum=0, maximum=MOST_DELAY_MS)] | None = None
    run_at: Annotated[str, _shown(format="date-time")] | None = None
    priority: Annotated[int, _shown(minimum=0, maximum=10)] | None = None
    dedupe_key: Annotated[str, _shown(minLength=1, maxLength=_MOST_KEY)] | None = None
    lane: Annotated[str, _shown(maxLength=_MOST_KEY)] | None = None
    company_id: Annotated[str, _shown(format="uuid")] | None = None


NewJobs = NewJob | list[NewJob]
"""One job or a batch."""


class TestRun(_In):
    """A job of a kind, once and by hand."""

    __test__ = False

    payload: Any = UNSET
    data: Any = UNSET
    company_id: Annotated[str, _shown(format="uuid")] | None = None


class Filter(_In):
    """Which jobs of a queue a bulk act means; what is left out means any. Times are RFC 3339.

    `error` is a text that the error holds; it, `diedSince` and `diedUntil` speak of dead jobs alone.
    """

    kind: Annotated[str, Meta(max_length=_MOST_KEY)] | None = None
    lane: Annotated[str, Meta(max_length=_MOST_KEY)] | None = None
    company_id: Annotated[str, _shown(format="uuid")] | None = None
    error: Annotated[str, Meta(min_length=1, max_length=_MOST_KEY)] | None = None
    died_since: Annotated[str, _shown(format="date-time")] | None = None
    died_until: Annotated[str, _shown(format="date-time")] | None = None


class NewBulkAct(_In):
    """A bulk act: which jobs, whether they are only counted, and for clearing the queue's name in `confirm`."""

    filter: Filter = msgspec.field(default_factory=Filter)
    dry_run: bool = False
    confirm: str = ""


class Concurrency(_In):
    """Slots of each worker for a queue; null is as workers are configured."""

    concurrency: Annotated[int, Meta(ge=1, le=10_000)] | None


class Share(_In):
    """How many of a hundred jobs of a kind start."""

    share: Annotated[int, Meta(ge=1, le=100)] = 100
