"""What operators do with queues and jobs, the same over HTTP, on the command line and on pages: one by one, announced.

Its other parts are `bulk` (acts by a filter), `finding` (looking), `findings` (patterns in failures), `reasons` (why
a job is not running), `shown` (as JSON) and `public` (jobs from outside).
"""

from collections.abc import Awaitable, Callable

from mainstay.jobs import bulk, dead, finding, findings, public, reasons, shown
from mainstay.jobs.errors import QueueNotFound
from mainstay.jobs.queries import queues as queue_rows
from mainstay.kernel import outbox
from mainstay.kernel.db import Tx
from mainstay.kernel.outbox import Actor


async def queue_named(tx: Tx, name: str) -> tuple[str, bool]:
    """The queue of that name, and whether the name is that of its set of failed jobs; QueueNotFound."""
    queue, is_set = finding.queue_of(name)
    if not finding.is_name(queue) or not await queue_rows.queue_exists_everywhere(tx, queue):
        raise QueueNotFound(f"There is no queue {queue!r}.")
    return queue, is_set


async def retry(tx: Tx, actor: Actor, job_id: int) -> None:
    """The delayed or retrying job is in line now. Announced as `job.retried`; JobNotFound."""
    await _act(tx, actor, job_id, "job.retried", dead.promote)


async def cancel(tx: Tx, actor: Actor, job_id: int) -> None:
    """The job that has not begun will not run. Announced as `job.cancelled`; JobNotFound."""
    await _act(tx, actor, job_id, "job.cancelled", dead.cancel)


async def redrive(tx: Tx, actor: Actor, job_id: int) -> None:
    """The dead job is in line again with all its attempts ahead. Announced as `job.redriven`.

    JobNotFound; RedriveRefused if an unfinished job has its dedupe key.
    """
    await _act(tx, actor, job_id, "job.redriven", dead.redrive)


async def clear(tx: Tx, actor: Actor, job_id: int) -> None:
    """The dead job is gone. Announced as `job.cleared`; JobNotFound."""
    await _act(tx, actor, job_id, "job.cleared", dead.clear)


async def _act(tx: Tx, actor: Actor, job_id: int, name: str, doing: Callable[[Tx, int], Awaitable[None]]) -> None:
    job = await finding.get(tx, job_id)
    await doing(tx, job_id)
    data = {"id": job_id, "queue": job.queue, "kind": job.kind}
    await outbox.announce(tx, name, company_id=None, actor=actor, data=data)


__all__ = [
    "bulk",
    "cancel",
    "clear",
    "finding",
    "findings",
    "public",
    "queue_named",
    "reasons",
    "redrive",
    "retry",
    "shown",
]
