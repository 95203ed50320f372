"""Stopping a queue or a kind of jobs, its slots, letting it go on, and starting one job of a kind by hand."""

from typing import Any

import orjson
from fastapi import APIRouter, Response

from mainstay import jobs
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, pages
from mainstay.console.queues_one import kinds_of, show_queue
from mainstay.console.queues_words import PATH, address_of, kind_address
from mainstay.console.shown import plural
from mainstay.kernel import ids
from mainstay.kernel.errors import Fault, Invalid, NotFound

ONE = PATH + "/{queue}"
KIND = ONE + "/kinds/{kind:path}"
SHARES = (10, 50)
"""Shares at which a page offers to let a kind go on, of a hundred, beside all."""


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(ONE + "/pause")
    async def ask_pause(page: OperatorPage, queue: str) -> Response:
        """What pausing or resuming will do."""
        return await show_queue(page, queue, ask="pause")

    @router.post(ONE + "/pause")
    async def pause(page: OperatorPage, queue: str) -> Response:
        """The queue starts nothing from now on."""
        async with page.db.begin() as tx:
            await jobs.pause(tx, page.caller.actor, queue)
        return page.go(PATH, said=f"{queue} is paused. What runs now runs to its end.")

    @router.post(ONE + "/resume")
    async def resume(page: OperatorPage, queue: str) -> Response:
        """The queue's jobs start again."""
        async with page.db.begin() as tx:
            await jobs.resume(tx, page.caller.actor, queue)
        return page.go(PATH, said=f"{queue} runs again.")

    @router.get(ONE + "/slots")
    async def ask_slots(page: OperatorPage, queue: str) -> Response:
        """How many jobs of the queue each worker holds at once."""
        return await show_queue(page, queue, ask="slots")

    @router.post(ONE + "/slots")
    async def set_slots(page: OperatorPage, queue: str) -> Response:
        """Each worker has so many slots for the queue, or those that it is configured with."""
        given = page.form.get("slots", "").strip()
        if given and not (given.isascii() and given.isdigit() and len(given) <= 9):
            raise Invalid(faults=[Fault("must be a whole number from 1 to 10,000, or empty", "slots")])
        slots = int(given) if given else None
        async with page.db.begin() as tx:
            await jobs.set_concurrency(tx, page.caller.actor, queue, slots)
        told = "as many slots as configured" if slots is None else plural(slots, "slot")
        return page.go(address_of(queue), said=f"Each worker has {told} for {queue} within a second or so.")

    _add_kinds(router)
    return router


def _add_kinds(router: APIRouter) -> None:
    @router.post(KIND + "/pause")
    async def pause_kind(page: OperatorPage, queue: str, kind: str) -> Response:
        """No job of the kind starts from now on; the others of its queue run."""
        await get_kind(page, queue, kind)
        async with page.db.begin() as tx:
            await jobs.kinds.pause_kind(tx, page.caller.actor, kind)
        return page.go(address_of(queue), said=f"{kind} is paused. The other jobs of {queue} run.")

    @router.post(KIND + "/resume")
    async def resume_kind(page: OperatorPage, queue: str, kind: str) -> Response:
        """Jobs of the kind start again: all of them, or so many of a hundred."""
        await get_kind(page, queue, kind)
        given = page.form.get("share", "").strip()
        if not (given.isascii() and given.isdigit() and len(given) <= 3 and 1 <= int(given) <= jobs.kinds.WHOLE):
            raise Invalid(faults=[Fault("must be a whole number from 1 to 100", "share")])
        async with page.db.begin() as tx:
            await jobs.kinds.resume_kind(tx, page.caller.actor, kind, int(given))
        whole = int(given) == jobs.kinds.WHOLE
        said = f"{kind} runs again." if whole else f"{given} of 100 jobs of {kind} start; the others wait."
        return page.go(address_of(queue), said=said)

    @router.post(KIND + "/run")
    async def run_one(page: OperatorPage, queue: str, kind: str) -> Response:
        """One job of the kind is in line, with a single attempt."""
        await get_kind(page, queue, kind)
        payload, company_id = _payload_of(page)
        async with page.db.begin() as tx:
            job_id = await jobs.desk.public.run_by_hand(tx, page.caller.actor, kind, payload, company_id=company_id)
        await jobs.wake(page.db, queue)
        return page.go(f"{address_of(queue)}/jobs/{job_id}", said=f"Job {job_id} is in line, with a single attempt.")

    # Last: the name of a kind may hold what looks like the end of the addresses above.
    @router.get(KIND)
    async def show_kind(page: OperatorPage, queue: str, kind: str) -> Response:
        """One kind of jobs, and what can be done with it."""
        found = await get_kind(page, queue, kind)
        return await show_queue(
            page, queue, ask="kind", kind=found, pause=found["pause"], at=kind_address(queue, kind), shares=SHARES
        )


async def get_kind(page: Page, queue: str, kind: str) -> dict[str, Any]:
    """The kind of that queue; NotFound."""
    found = next((one for one in await kinds_of(page.db, queue) if one["kind"] == kind), None)
    if found is None:
        raise NotFound(f"{queue} has no jobs of a kind {kind}.")
    return found


def _payload_of(page: Page) -> tuple[Any, str | None]:
    text, company_id = page.form.get("payload", "").strip(), page.form.get("company", "").strip()
    try:
        payload = orjson.loads(text) if text else None
    except orjson.JSONDecodeError as error:
        raise Invalid(faults=[Fault(f"must be JSON: {error}", "payload")]) from None
    if company_id and not ids.is_uuid(company_id):
        raise Invalid(faults=[Fault("must be the id of a company, or empty", "company")])
    return payload, company_id or None
