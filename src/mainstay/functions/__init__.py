"""Functions: handlers of several steps that an event or the clock starts, and that remember what they have done.

    event --route, once--> skipped (idempotency, rate limit, filter failed) | gathered (debounce, batch) --due, full--+
       |                                                                                                              |
       +---> queued <-------------------------------------------------------------------------------------------------+
               |  its job is claimed; a place under every concurrency limit, else it stands in line
               v            a step failed, attempts left; a sleep; a wait: its place is given up with the same commit
            running ------------------------------------------------------------------------------> waiting
               ^  |                                                                                    |
               |  |  the time has come, the event has arrived (its job is put in line by the same commit)
               |  +--> completed | failed (on_failure runs, job dead) | cancelled <-------------------+
               +------- redrive of its dead job: the step that failed has its attempts anew
    step: (called) --> done | retrying --> done | failed;  sleep, wait: waiting --> done (an event, or nothing in time)

Guarantees: an event starts a function once, as the event's job ends in the transaction that makes the runs. A step's
result is committed before the handler goes on, under the epoch of the claim, so a late worker writes nothing; a crash
repeats the step at hand at most. What a run waits for is committed by the acknowledgement that puts its job off, so no
event slips between. A run that waits holds neither worker nor connection. Limits are kept in PostgreSQL, exactly.
Refuses: events over 256,000 bytes, over 1,000 steps, 4 MB a step, 32 MB a run; an event id or an idempotency key seen
in the last 24 hours does nothing again.

Tables: function_runs, function_steps, function_holds, function_paces, function_gathers, function_keys, function_apps.
Ended runs are kept for 30 days. `declaring` has the words, `routing` starts, `running` and `stepping` run, `limits`
lets in, `serving` and `calling` speak with applications that serve functions over Inngest's SDKs.
"""

from mainstay.functions.declaring import (
    BatchEvents,
    CancelOn,
    Concurrency,
    Debounce,
    Event,
    Function,
    RateLimit,
    Received,
    Throttle,
)
from mainstay.functions.errors import (
    AppError,
    AppRefused,
    EventKeyRefused,
    EventRefused,
    EventTooLarge,
    FunctionError,
    FunctionNotFound,
    RunEnded,
    RunNotFound,
    SignatureRefused,
    SigningKeyRefused,
    StepError,
)
from mainstay.functions.operating import (
    ListedFunction,
    ListedRun,
    RunCounts,
    RunShown,
    cancel_run,
    count_runs,
    get_run,
    list_functions,
    list_runs,
    rerun,
)
from mainstay.functions.registry import Registry
from mainstay.functions.routes import router
from mainstay.functions.sending import send
from mainstay.functions.serving import Serving
from mainstay.functions.stepping import Steps
from mainstay.functions.tasks import schedules, tasks
from mainstay.kernel.work import Cron

__all__ = [
    "AppError",
    "AppRefused",
    "BatchEvents",
    "CancelOn",
    "Concurrency",
    "Cron",
    "Debounce",
    "Event",
    "EventKeyRefused",
    "EventRefused",
    "EventTooLarge",
    "Function",
    "FunctionError",
    "FunctionNotFound",
    "ListedFunction",
    "ListedRun",
    "RateLimit",
    "Received",
    "Registry",
    "RunCounts",
    "RunEnded",
    "RunNotFound",
    "RunShown",
    "Serving",
    "SignatureRefused",
    "SigningKeyRefused",
    "StepError",
    "Steps",
    "Throttle",
    "cancel_run",
    "count_runs",
    "get_run",
    "list_functions",
    "list_runs",
    "rerun",
    "router",
    "schedules",
    "send",
    "tasks",
]
