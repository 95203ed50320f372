"""The queues: what each is for, how many of its jobs run at once in one worker, and stopping one by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mainstay.jobs.errors import FigureRefused, QueueNotFound
from mainstay.jobs.queries import queues as queue_rows
from mainstay.kernel import outbox
from mainstay.kernel.db import Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.retry import Backoff
from mainstay.kernel.work import Task

EMAIL, WEBHOOK, WORKFLOW, REPORT, UPKEEP, ARCHIVE, STREAMS, FUNCTIONS = (
    "nova:email",
    "nova:webhook",
    "nova:workflow",
    "nova:report",
    "mainstay:upkeep",
    "mainstay:archive",
    "mainstay:streams",
    "mainstay:functions",
)


MOST_SLOTS = 10_000
_EXPONENTIAL = Backoff("exponential", timedelta(seconds=2))
_FIXED = Backoff("fixed", timedelta(seconds=5))


@dataclass(frozen=True, slots=True)
class QueueRule:
    """The rule of a queue: place among the queues (lower is served first), slots a worker, share of QUEUE_CONCURRENCY,
    total attempts and the gaps between them."""

    priority: int = 5
    concurrency: int = 10
    ratio: float | None = None
    attempts: int = 3
    backoff: Backoff = _EXPONENTIAL


RULES: Mapping[str, QueueRule] = {
    EMAIL: QueueRule(priority=1, concurrency=20, ratio=1, attempts=5),
    WEBHOOK: QueueRule(priority=5, concurrency=200, ratio=2),
    WORKFLOW: QueueRule(priority=5, concurrency=10, ratio=0.6),
    REPORT: QueueRule(priority=10, concurrency=2, ratio=0.4, attempts=2, backoff=_FIXED),
    UPKEEP: QueueRule(concurrency=4),
    ARCHIVE: QueueRule(priority=10, concurrency=2),
    STREAMS: QueueRule(concurrency=50),
    FUNCTIONS: QueueRule(concurrency=200),
}
"""C-14, C-15, G-15, G-16."""


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """A queue as one worker serves it: how many of its jobs it holds at once, and its place among the queues."""

    name: str
    concurrency: int
    priority: int = 5

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > 100 or self.concurrency < 1:
            raise ValueError(f"queue {self.name!r} needs a name of 1 to 100 characters and a concurrency of 1 or more")


def rule_of(queue: str) -> QueueRule:
    """The queue's rule; a queue that is not documented has the default one."""
    return RULES.get(queue, QueueRule())


def attempts_of(task: Task) -> int:
    """How many starts a job of this task has."""
    return rule_of(task.queue).attempts if task.attempts is None else task.attempts


def backoff_of(task: Task) -> Backoff:
    """The gaps between the attempts of a job of this task."""
    return rule_of(task.queue).backoff if task.backoff is None else task.backoff


def concurrency_of(queue: str, base: int | None, overrides: Mapping[str, int]) -> int:
    """Slots of a queue in one worker: its override, else its share of QUEUE_CONCURRENCY, else its default (C-14)."""
    rule = rule_of(queue)
    if queue in overrides:
        return overrides[queue]
    if base is None or rule.ratio is None:
        return rule.concurrency
    return max(1, round(base * rule.ratio))


def queue_configs(
    base: int | None = None, overrides: Mapping[str, int] | None = None, *, extra: Sequence[str] = ()
) -> list[QueueConfig]:
    """Every documented queue, and the `extra` ones, as a worker with these settings serves them."""
    names = [*RULES, *(name for name in extra if name not in RULES)]
    return [QueueConfig(name, concurrency_of(name, base, overrides or {}), rule_of(name).priority) for name in names]


async def pause(tx: Tx, actor: Actor, queue: str) -> None:
    """From the commit on nobody claims a job of the queue; what was claimed before runs to its end. QueueNotFound.

    It waits for claims under way, which take milliseconds. Announced as `queue.paused`, unless it was paused already.
    """
    if await queue_rows.pause_queue_everywhere(tx, queue, actor.name or actor.email or actor.id):
        await outbox.announce(tx, "queue.paused", company_id=None, actor=actor, data={"queue": queue})
    elif not await queue_rows.queue_exists_everywhere(tx, queue):
        raise QueueNotFound(f"There is no queue {queue!r}.")


async def resume(tx: Tx, actor: Actor, queue: str) -> None:
    """The queue's jobs start again, and workers are told with the commit. QueueNotFound.

    Announced as `queue.resumed`, unless it was not paused.
    """
    if await queue_rows.resume_queue_everywhere(tx, queue):
        await outbox.announce(tx, "queue.resumed", company_id=None, actor=actor, data={"queue": queue})
    elif not await queue_rows.queue_exists_everywhere(tx, queue):
        raise QueueNotFound(f"There is no queue {queue!r}.")


async def set_concurrency(tx: Tx, actor: Actor, queue: str, slots: int | None) -> None:
    """Each worker has so many slots for the queue, 1 to 10,000, within about a second; None: as it is configured.

    Jobs that run beyond fewer slots run to their end. QueueNotFound; FigureRefused. Announced as
    `queue.concurrency_changed`, when something changes. What bounds all queues of a worker together goes on to hold.
    """
    if slots is not None and not 1 <= slots <= MOST_SLOTS:
        raise FigureRefused(f"A queue has 1 to {MOST_SLOTS:,} slots a worker.")
    if await queue_rows.set_concurrency_everywhere(tx, queue, slots, actor.name or actor.email or actor.id):
        data = {"queue": queue, "concurrency": slots}
        await outbox.announce(tx, "queue.concurrency_changed", company_id=None, actor=actor, data=data)
    elif not await queue_rows.queue_exists_everywhere(tx, queue):
        raise QueueNotFound(f"There is no queue {queue!r}.")
