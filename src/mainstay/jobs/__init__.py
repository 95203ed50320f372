"""Jobs: work that is put in line within a transaction and done later, at least once, by any worker.

                      enqueue, due            claim (attempt + 1, epoch + 1)
      enqueue --> delayed ------> waiting -------------------------------> active --completed--> finished_jobs
      later          ^  promote     ^  ^                                    | | |
                     |              |  |  hand back at a stop (attempt - 1) | | |
                     |              |  |  Hold: its own place (attempt - 1) | | |
                     |              |  +------------------------------------+ | |
                     |              |     lease lost (a start counts)         | |
                     +--------------|--- Snooze (attempt - 1) ----------------+ |
                                    |                                         | |
                                    +--promote-- retrying <-- failed, tries left|
      waiting, delayed, retrying --cancel--> finished_jobs                      |
      dead_jobs --redrive--> waiting, --clear--> gone   <-- failed for good ----+

Guarantees: a job commits or rolls back with its caller; every start counts, so a job that kills its worker ends dead;
an acknowledgement under an old epoch changes nothing, and the database effects made with it roll back (`run` handlers
fence their own by `confirm`); dead jobs keep payload, error and every attempt for 14 days; a lane's backlog delays
another lane by one turn at most; a paused queue or kind starts nothing once the pause has committed. What left the
machine may happen twice: use idempotency keys.
A waiting job of a paused kind is set aside (`parked`) by the claim that meets it; publicly it waits.
Refuses: payloads over 256 KiB, priorities outside 0 to 10, more than 1000 attempts; from outside, kinds not public.
`desk` is what operators and outsiders do: looking, one by one, by a filter in steps that no crash repeats, by name.
"""

from mainstay.jobs import desk, kinds, recurring
from mainstay.jobs.dead import (
    Match,
    attempts_of_job,
    cancel,
    clear,
    clear_matching,
    list_dead,
    redrive,
    redrive_matching,
)
from mainstay.jobs.enqueueing import Enqueued, enqueue, enqueue_many, wake
from mainstay.jobs.errors import (
    FigureRefused,
    JobNotFound,
    JobRefused,
    KindNotFound,
    LeaseLost,
    QueueNotFound,
    RedriveRefused,
    ScheduleNotFound,
)
from mainstay.jobs.leases import confirm
from mainstay.jobs.queues import (
    EMAIL,
    FUNCTIONS,
    REPORT,
    STREAMS,
    UPKEEP,
    WEBHOOK,
    WORKFLOW,
    QueueConfig,
    pause,
    queue_configs,
    resume,
    set_concurrency,
)
from mainstay.jobs.routes import router
from mainstay.jobs.stats import QueueStats, depths, kind_figures, list_jobs, stats
from mainstay.jobs.tasks import PARTITIONED, schedules, tasks
from mainstay.jobs.worker import Timing, Worker

__all__ = [
    "EMAIL",
    "FUNCTIONS",
    "PARTITIONED",
    "REPORT",
    "STREAMS",
    "UPKEEP",
    "WEBHOOK",
    "WORKFLOW",
    "Enqueued",
    "FigureRefused",
    "JobNotFound",
    "JobRefused",
    "KindNotFound",
    "LeaseLost",
    "Match",
    "QueueConfig",
    "QueueNotFound",
    "QueueStats",
    "RedriveRefused",
    "ScheduleNotFound",
    "Timing",
    "Worker",
    "attempts_of_job",
    "cancel",
    "clear",
    "clear_matching",
    "confirm",
    "depths",
    "desk",
    "enqueue",
    "enqueue_many",
    "kind_figures",
    "kinds",
    "list_dead",
    "list_jobs",
    "pause",
    "queue_configs",
    "recurring",
    "redrive",
    "redrive_matching",
    "resume",
    "router",
    "schedules",
    "set_concurrency",
    "stats",
    "tasks",
    "wake",
]
