"""HyreLog's routes for a person's own data: asking for the export, how far it is, and its file."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from mainstay.erasure import company_jobs, gdpr
from mainstay.erasure.ground import Ground
from mainstay.erasure.schemas import GdprExportIn
from mainstay.web.callers import CompanyKey
from mainstay.web.json import Answer, json_body, openapi_body

_NOT_KEPT = {"cache-control": "no-store"}


def key_router(ground: Ground) -> APIRouter:
    """The routes of company keys."""
    routes = APIRouter(tags=["erasure"], default_response_class=Answer)
    regions = ground.regions

    @routes.post("/v1/key/company/gdpr/export", status_code=202, openapi_extra=dict(openapi_body(GdprExportIn)))
    async def request_export(
        caller: CompanyKey, wanted: Annotated[GdprExportIn, Depends(json_body(GdprExportIn))]
    ) -> Answer:
        """Gathers every event of a person, stored and archived, into one file."""
        made = await gdpr.request(regions.of(caller.region), ground.keyring, caller, wanted)
        return Answer(made, 202, {**_NOT_KEPT, "location": f"{company_jobs.PATH}/{made['id']}"})

    @routes.get(company_jobs.PATH + "/{job_id}")
    async def read_job(caller: CompanyKey, job_id: str) -> Answer:
        """A job of the company and what came of it."""
        return Answer(await company_jobs.read(regions.of(caller.region), caller.company_id, job_id), headers=_NOT_KEPT)

    @routes.get(company_jobs.PATH + "/{job_id}/file", response_class=StreamingResponse)
    async def download(caller: CompanyKey, job_id: str) -> StreamingResponse:
        """The job's file, for seven days after it was completed."""
        size, pieces = await company_jobs.open_file(regions.of(caller.region), ground.stores, caller.company_id, job_id)
        headers = {
            **_NOT_KEPT,
            "content-length": str(size),
            "content-disposition": f'attachment; filename="gdpr-{job_id}.ndjson.gz"',
        }
        return StreamingResponse(pieces, media_type="application/gzip", headers=headers)

    return routes
