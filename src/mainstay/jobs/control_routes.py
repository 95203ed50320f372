"""HTTP by which operators stop queues and kinds of jobs, let them go on, and set their slots."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from mainstay.jobs import kinds, queues
from mainstay.jobs.answers import NO_KIND, NO_QUEUE, KindPaused, QueueShown, told
from mainstay.jobs.desk import queue_named
from mainstay.jobs.parts import REGION, Parts, kind_named
from mainstay.jobs.schemas import Concurrency, Share
from mainstay.jobs.shown import queue_shown
from mainstay.jobs.stats import stats
from mainstay.kernel.db import Tx
from mainstay.web.callers import Operator
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query

_IN_REGION = frozenset({"region"})
_Concurrency = Annotated[Concurrency, Depends(json_body(Concurrency, most=1_024))]
_Share = Annotated[Share, Depends(json_body(Share, most=1_024))]


def add(router: APIRouter, parts: Parts) -> None:
    """The router pauses and resumes queues and kinds, and sets slots."""

    async def settle(request: Request, queue: str, act: Callable[[Tx, str], Awaitable[None]]) -> Answer:
        refuse_unknown_query(request, _IN_REGION)
        db = parts.db_of(request)
        async with db.begin() as tx:
            name, _ = await queue_named(tx, queue)
            await act(tx, name)
        return Answer(queue_shown((await stats(db))[name]))

    @router.post("/queues/{queue}/pause", openapi_extra={"parameters": [REGION]}, **told(QueueShown, 200, NO_QUEUE))
    async def pause_queue(queue: str, request: Request, caller: Operator) -> Answer:
        """Nothing of the queue starts from now on; what runs now runs to its end."""
        return await settle(request, queue, lambda tx, name: queues.pause(tx, caller.actor, name))

    @router.post("/queues/{queue}/resume", openapi_extra={"parameters": [REGION]}, **told(QueueShown, 200, NO_QUEUE))
    async def resume_queue(queue: str, request: Request, caller: Operator) -> Answer:
        """The queue's jobs start again."""
        return await settle(request, queue, lambda tx, name: queues.resume(tx, caller.actor, name))

    @router.put(
        "/queues/{queue}/concurrency",
        openapi_extra={**openapi_body(Concurrency), "parameters": [REGION]},
        **told(QueueShown, 200, NO_QUEUE),
    )
    async def set_concurrency(queue: str, request: Request, caller: Operator, given: _Concurrency) -> Answer:
        """Each worker has so many slots for the queue within about a second; null is as it is configured."""
        return await settle(
            request, queue, lambda tx, name: queues.set_concurrency(tx, caller.actor, name, given.concurrency)
        )

    _add_kinds(router, parts)


def _add_kinds(router: APIRouter, parts: Parts) -> None:
    @router.post("/kinds/{kind}/pause", openapi_extra={"parameters": [REGION]}, **told(KindPaused, 200, NO_KIND))
    async def pause_kind(kind: str, request: Request, caller: Operator) -> Answer:
        """No job of the kind starts from now on; the others of its queue run."""
        refuse_unknown_query(request, _IN_REGION)
        async with parts.db_of(request).begin() as tx:
            await kinds.pause_kind(tx, caller.actor, kind_named(kind))
        return Answer({"kind": kind, "share": 0})

    @router.post(
        "/kinds/{kind}/resume",
        openapi_extra={**openapi_body(Share), "parameters": [REGION]},
        **told(KindPaused, 200, NO_KIND),
    )
    async def resume_kind(kind: str, request: Request, caller: Operator, given: _Share) -> Answer:
        """Jobs of the kind start again: all of them, or `share` of a hundred, always the same ones."""
        refuse_unknown_query(request, _IN_REGION)
        async with parts.db_of(request).begin() as tx:
            await kinds.resume_kind(tx, caller.actor, kind_named(kind), given.share)
        return Answer({"kind": kind, "share": given.share})
