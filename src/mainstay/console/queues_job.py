"""One job, wherever it is: what it holds, what became of every attempt, why it is not running, and what to do."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Response

from mainstay import jobs, webhooks
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, pages
from mainstay.console.queues_one import kinds_of, show_queue
from mainstay.console.queues_words import PATH, address_of, first_line, kind_address
from mainstay.kernel import ids
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import NotFound
from mainstay.kernel.outbox import Actor

JobView = jobs.desk.finding.JobView
ONE = PATH + "/{queue}/jobs/{job}"
_HIGHEST_ID = 2**63 - 1

ENDED = ("completed", "cancelled", "dead")
"""States that say themselves why a job does not run."""

Act = Callable[[Tx, Actor, int], Awaitable[None]]
ACTS: dict[str, tuple[Act, str, str]] = {
    "retry": (jobs.desk.retry, "is in line now", "waiting"),
    "redrive": (jobs.desk.redrive, "is in line again", "dead"),
    "clear": (jobs.desk.clear, "is cleared", "dead"),
    "cancel": (jobs.desk.cancel, "is cancelled", ""),
}
"""What can be done with one job: the engine's verb, what is said afterwards, and the list on which that leaves one."""


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(ONE)
    async def show(page: OperatorPage, queue: str, job: str) -> Response:
        """One job."""
        async with page.db.begin(readonly=True) as tx:
            found = await find(tx, queue, job)
            attempts = await jobs.attempts_of_job(tx, found.id)
        why = () if found.state in ENDED else (await jobs.desk.reasons.why(page.db, found.id)).reasons
        reasons = [(reason, advice_of(reason.code, found)) for reason in why]
        told = {"job": found, "attempts": attempts, "reasons": reasons, "alike": _alike(found)}
        told["endpoint"] = endpoint_of(found, page.company_id)
        state: Any = "completed" if found.state == "cancelled" else found.state
        is_known = any(one["kind"] == found.kind for one in await kinds_of(page.db, queue))
        kind = kind_address(queue, found.kind) if is_known else ""
        return await show_queue(page, queue, state=state, ask="job", kind_address=kind, **told)

    for name in ACTS:
        _add_act(router, name)
    return router


def _add_act(router: APIRouter, name: str) -> None:
    doing, said, state = ACTS[name]

    @router.post(f"{ONE}/{name}", name=f"{name}_job")
    async def act(page: OperatorPage, queue: str, job: str) -> Response:
        async with page.db.begin() as tx:
            found = await find(tx, queue, job)
            await doing(tx, page.caller.actor, found.id)
        query = f"?{urlencode({'state': state or found.state})}"
        return page.go(address_of(queue) + query, said=f"Job {found.id} {said}.")


async def find(tx: Tx, queue: str, job: str) -> JobView:
    """The queue's job of that id; NotFound where it was cleared, its history has ended, or it is of another queue."""
    number = _number_of(job)
    found = await jobs.desk.finding.find(tx, number)
    if found is None or found.queue != queue:
        raise NotFound(
            f"{queue} has no job {number}. It may be cleared, or have completed and its kind keep no history."
        )
    return found


def advice_of(code: str, job: JobView) -> tuple[str, str]:
    """What to do about a reason why the job does not run, and where; '' where there is nothing to do, or nowhere."""
    here = address_of(job.queue)
    active, waiting = (urlencode({"state": state, "lane": job.lane}) for state in ("active", "waiting"))
    advice = {
        "queue_paused": ("Resume the queue", f"{here}/pause"),
        "kind_paused": ("Resume the kind", kind_address(job.queue, job.kind)),
        "kind_at_share": ("Resume all of the kind", kind_address(job.queue, job.kind)),
        "no_worker_for_queue": ("Start a worker: mainstay worker", ""),
        "no_worker_for_kind": ("Start a worker of a release that has it, or name its module in MODULES", ""),
        "slots_taken": ("Set more slots", f"{here}/slots"),
        "lane_busy": ("See what runs of its lane", f"{here}?{active}"),
        "lane_held": ("See what waits in its lane", f"{here}?{waiting}"),
        "behind": ("See what waits", f"{here}?state=waiting"),
        "lease": ("Look again in some seconds", ""),
    }
    return advice.get(code, ("", ""))


def endpoint_of(job: JobView, company_id: str) -> str:
    """The page of the webhook whose lane the job stands in, if that is the company's; else ''.

    One that fails is held back by the workers, which no row tells of: its page says so.
    """
    is_of_webhook = job.queue == webhooks.QUEUE and job.company_id == company_id and ids.is_uuid(job.lane)
    return f"/console/webhooks/{job.lane}" if is_of_webhook else ""


def _alike(job: JobView) -> str:
    """The list of dead jobs of its kind that failed with the same first line; '' where it is not dead."""
    if job.state != "dead" or not first_line(job.error):
        return ""
    query = {"state": "dead", "kind": job.kind, "error": first_line(job.error)}
    return f"{address_of(job.queue)}?{urlencode(query)}"


def _number_of(job: str) -> int:
    if not (job.isascii() and job.isdigit()) or len(job) > 19 or int(job) > _HIGHEST_ID:
        raise NotFound("There is no such job.")
    return int(job)
