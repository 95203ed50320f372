"""Acts on many jobs over HTTP, and how they go."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from mainstay.jobs import bulk, public
from mainstay.jobs.answers import NO_QUEUE, BulkActList, BulkActShown, BulkCount, told
from mainstay.jobs.bulk import Act
from mainstay.jobs.dead import Match
from mainstay.jobs.desk import queue_named
from mainstay.jobs.parts import REGION, Parts
from mainstay.jobs.schemas import Filter, NewBulkAct
from mainstay.kernel import ids
from mainstay.kernel.errors import Fault, Invalid
from mainstay.web.callers import Operator
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query

_NewBulkAct = Annotated[NewBulkAct, Depends(json_body(NewBulkAct, most=65_536))]
_IN_REGION = frozenset({"region"})
_SENTENCES: dict[Act, str] = {
    "redrive": "Puts dead jobs that match in line again with all their attempts ahead.",
    "clear": "Clears dead jobs that match away; `confirm` must be the queue's name, since it cannot be undone.",
    "cancel": "Ends jobs that match and have not begun: waiting, delayed and retrying ones.",
    "promote": "Puts delayed and retrying jobs that match in line now.",
}
_NO_ACT = {404: "There is no such bulk act."}
_OVER = {409: "The bulk act has come to its end already."}


def add(router: APIRouter, parts: Parts) -> None:
    """The router begins, shows and cancels acts on many jobs."""
    for act, sentence in _SENTENCES.items():
        _add_act(router, parts, act, sentence)

    @router.get("/bulk-acts", openapi_extra={"parameters": [REGION]}, **told(BulkActList))
    async def list_bulk_acts(request: Request, _: Operator) -> Answer:
        """The newest hundred bulk acts."""
        refuse_unknown_query(request, _IN_REGION)
        return Answer({"data": await bulk.read(parts.db_of(request))})

    @router.get("/bulk-acts/{bulk_act}", openapi_extra={"parameters": [REGION]}, **told(BulkActShown, 200, _NO_ACT))
    async def show_bulk_act(bulk_act: str, request: Request, _: Operator) -> Answer:
        """One bulk act: its state, how many jobs matched when it was asked for, how many it has reached."""
        refuse_unknown_query(request, _IN_REGION)
        return Answer(await bulk.get(parts.db_of(request), bulk_act))

    @router.post(
        "/bulk-acts/{bulk_act}/cancel",
        openapi_extra={"parameters": [REGION]},
        **told(BulkActShown, 200, _NO_ACT, _OVER),
    )
    async def cancel_bulk_act(bulk_act: str, request: Request, caller: Operator) -> Answer:
        """Ends a bulk act where it stands; what it has done stays done."""
        refuse_unknown_query(request, _IN_REGION)
        async with parts.db_of(request).begin() as tx:
            return Answer(await bulk.cancel(tx, caller.actor, bulk_act))


def _add_act(router: APIRouter, parts: Parts, act: Act, sentence: str) -> None:
    acting: dict[str, Any] = told(BulkActShown, 200, NO_QUEUE)
    acting["response_model"] = BulkActShown | BulkCount
    acting["responses"][202] = {"description": "More than 10,000 jobs match: a job does it.", "model": BulkActShown}
    acting["description"] = (
        f"{sentence}\n\nUp to 10,000 are done before the answer (200); of more, a job takes care (202). With `dryRun` "
        "they are only counted, exactly up to 100,000."
    )

    @router.post(
        f"/queues/{{queue}}/{act}",
        name=f"{act}_jobs",
        openapi_extra={**openapi_body(NewBulkAct), "parameters": [REGION]},
        **acting,
    )
    async def begin(queue: str, request: Request, caller: Operator, wanted: _NewBulkAct) -> Answer:
        refuse_unknown_query(request, _IN_REGION)
        async with parts.db_of(request).begin() as tx:
            name, _ = await queue_named(tx, queue)
            match = match_of(name, wanted.filter)
            if wanted.dry_run:
                found = await bulk.count(tx, act, match)
                return Answer({"dryRun": True, "matched": found.matched, "isFloor": found.is_floor})
            if act == "clear" and wanted.confirm != name:
                raise Invalid(faults=[Fault(f"must be {name}: clearing cannot be undone", "#/confirm")])
            shown = await bulk.begin(tx, caller.actor, act, match)
        return Answer(shown, 200 if shown["state"] == "done" else 202)


def match_of(queue: str, given: Filter) -> Match:
    """The filter as the engine takes it; Invalid names what it cannot be."""
    faults = [
        Fault("must not hold the character NUL", f"#/filter/{name}")
        for name, text in (("kind", given.kind), ("lane", given.lane), ("error", given.error))
        if text is not None and "\0" in text
    ]
    if given.company_id is not None and not ids.is_uuid(given.company_id):
        faults.append(Fault("must be the id of a company", "#/filter/companyId"))
    since, until = (None if text is None else public.moment_of(text) for text in (given.died_since, given.died_until))
    for name, text, moment in (("diedSince", given.died_since, since), ("diedUntil", given.died_until, until)):
        if text is not None and moment is None:
            faults.append(Fault("must be a time with its offset, from 1970 to 2099", f"#/filter/{name}"))
    if faults:
        raise Invalid(faults=faults)
    return Match(queue, given.kind, given.lane, given.company_id, given.error, since, until)
