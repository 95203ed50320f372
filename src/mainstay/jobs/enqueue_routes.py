"""HTTP by which jobs are put in line from outside, and by which an operator starts one by hand."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from mainstay.jobs import public
from mainstay.jobs.answers import (
    NO_KIND,
    NO_QUEUE,
    ONCE,
    EnqueuedShown,
    KindList,
    TestRunShown,
    told,
)
from mainstay.jobs.dead import attempts_of_job
from mainstay.jobs.desk import queue_named
from mainstay.jobs.enqueueing import MAX_PAYLOAD_BYTES, Enqueued
from mainstay.jobs.parts import REGION, OnceKey, Parts, claim, job_numbered, kind_named
from mainstay.jobs.schemas import MOST_AT_ONCE, NewJob, NewJobs, TestRun
from mainstay.jobs.shown import job_shown
from mainstay.kernel import ids
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.web.callers import Operator
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query

MOST_BYTES = 8 * 1_048_576
"""The most that a batch may hold; each payload may have 256 KiB."""
_BATCH_NOTE = f"One job, or a list of up to {MOST_AT_ONCE:,}."
_SHAPE: Any = NewJobs
_IN_REGION = frozenset({"region"})
_NewJobs = Annotated[NewJob | list[NewJob], Depends(json_body(_SHAPE, most=MOST_BYTES))]
_TestRun = Annotated[TestRun, Depends(json_body(TestRun, most=2 * MAX_PAYLOAD_BYTES))]


def add(router: APIRouter, parts: Parts) -> None:
    """The router takes jobs from outside and by hand, and lists kinds."""
    enqueueing = told(EnqueuedShown, 201, NO_QUEUE, ONCE)
    enqueueing["responses"][200] = {"description": "An unfinished job has the dedupe key.", "model": EnqueuedShown}
    body = {**openapi_body(_SHAPE)["requestBody"], "description": _BATCH_NOTE}

    @router.post("/queues/{queue}/jobs", openapi_extra={"requestBody": body, "parameters": [REGION]}, **enqueueing)
    async def enqueue_jobs(
        queue: str, request: Request, caller: Operator, given: _NewJobs, once_key: OnceKey = None
    ) -> Answer:
        """Puts a job of a public kind in line, or a batch of up to 1,000: all of them or none.

        A batch is answered with `data`, in its order. 200 where no job is new: an unfinished one has the dedupe key, or
        the request was made before under its idempotency key.
        """
        refuse_unknown_query(request, _IN_REGION)
        wanted, under = ([given], "#") if isinstance(given, NewJob) else (given, "#/")
        async with (await parts.db_for(request, _companies(wanted, under))).begin() as tx:
            name, is_set = await queue_named(tx, queue)
            if is_set:
                raise Invalid("Jobs are not put into a set of failed jobs.", faults=[Fault("names a set", "queue")])
            claimed = await claim(tx, caller, once_key, "jobs.enqueue", name, given)
            if claimed.earlier is None:
                made = await public.enqueue_public(tx, name, wanted, under=under)
                await claimed.made([one.id for one in made])
            else:
                made = [Enqueued(job_id, deduplicated=True) for job_id in claimed.earlier]
        shown = [{"id": str(one.id), "deduplicated": one.deduplicated} for one in made]
        status = 200 if all(one.deduplicated for one in made) else 201
        return Answer(shown[0] if isinstance(given, NewJob) else {"data": shown}, status)

    @router.get("/kinds", openapi_extra={"parameters": [REGION]}, **told(KindList))
    async def list_kinds(request: Request, _: Operator) -> Answer:
        """Every kind of job that a worker ever had a task for."""
        refuse_unknown_query(request, _IN_REGION)
        return Answer({"data": await public.list_kinds(parts.db_of(request))})

    _add_runs(router, parts)


def _add_runs(router: APIRouter, parts: Parts) -> None:
    @router.post(
        "/kinds/{kind}/test-runs",
        openapi_extra={**openapi_body(TestRun), "parameters": [REGION]},
        **told(TestRunShown, 201, NO_KIND, ONCE),
    )
    async def run_by_hand(
        kind: str, request: Request, caller: Operator, given: _TestRun, once_key: OnceKey = None
    ) -> Answer:
        """Starts one job of the kind by hand, with a single attempt; ask for it again to see how it ended."""
        refuse_unknown_query(request, _IN_REGION)
        faults = public.payload_faults(given)
        if given.company_id is not None and not ids.is_uuid(given.company_id):
            faults.append(Fault("must be the id of a company", "#/companyId"))
        if faults:
            raise Invalid(faults=faults)
        companies = {} if given.company_id is None else {"#/companyId": given.company_id}
        async with (await parts.db_for(request, companies)).begin() as tx:
            claimed = await claim(tx, caller, once_key, "jobs.run-by-hand", kind, given)
            if claimed.earlier is None:
                payload = public.payload_of(given)
                job_id = await public.run_by_hand(
                    tx, caller.actor, kind_named(kind), payload, company_id=given.company_id
                )
                await claimed.made([job_id])
            else:
                (job_id,) = claimed.earlier
            return Answer(await _run_shown(tx, kind, job_id), 201)

    @router.get(
        "/kinds/{kind}/test-runs/{test_run}",
        openapi_extra={"parameters": [REGION]},
        **told(TestRunShown, 200, {404: "There is no such run by hand."}),
    )
    async def show_run(kind: str, test_run: str, request: Request, _: Operator) -> Answer:
        """A job that was started by hand, and how it ended."""
        refuse_unknown_query(request, _IN_REGION)
        async with parts.db_of(request).begin(readonly=True) as tx:
            return Answer(await _run_shown(tx, kind_named(kind), job_numbered(test_run)))


async def _run_shown(tx: Tx, kind: str, job_id: int) -> dict[str, Any]:
    run = await public.get_run(tx, kind, job_id)
    attempts = await attempts_of_job(tx, job_id)
    failed = attempts[-1].error if attempts else None
    return {
        "jobId": str(job_id),
        "kind": run.kind,
        "askedBy": run.asked_by,
        "askedAt": iso(run.asked_at),
        "outcome": run.outcome,
        "error": failed if run.outcome != "completed" else None,
        "durationMs": attempts[-1].duration_ms if attempts else (run.job and run.job.duration_ms),
        "job": None if run.job is None else job_shown(run.job, attempts),
    }


def _companies(wanted: list[NewJob], under: str) -> dict[str, str]:
    """The companies that the jobs name, by the pointer to the first that names each."""
    found: dict[str, str] = {}
    for index, one in enumerate(wanted[: MOST_AT_ONCE + 1]):
        if one.company_id is not None and ids.is_uuid(one.company_id):
            at = f"{under}{index}" if under.endswith("/") else under
            found.setdefault(one.company_id.lower(), f"{at}/companyId")
    return {pointer: company_id for company_id, pointer in found.items()}
