"""Webhooks over HTTP: the same acts for owners and managers by token, and for a company's key."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, params
from fastapi.responses import Response

from mainstay import jobs
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import DEFAULT_LIMIT, MAX_LIMIT, Cursors, check_limit
from mainstay.kernel.settings import Settings
from mainstay.web.callers import Caller, KeyGuard, PersonGuard
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query
from mainstay.webhooks import deliveries, endpoints, schemas
from mainstay.webhooks.endpoints import FindWorkspace
from mainstay.webhooks.queries import endpoints as endpoint_rows
from mainstay.webhooks.schemas import EndpointChange, NewEndpoint, Rotation

LOG_LIMIT = 100
STATUSES = ("PENDING", "RETRYING", "DELIVERED", "FAILED", "DISCARDED")
_PAGE_QUERY = frozenset({"limit", "cursor"})
_FAMILIES = {
    "/api/v1/webhooks": Depends(PersonGuard(("owner", "manager"))),
    "/v1/key/company/webhooks": Depends(KeyGuard("company_key")),
}
_NOT_KEPT = {"cache-control": "no-store"}
_PAGING: list[dict[str, Any]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}},
    {
        "name": "cursor",
        "in": "query",
        "schema": {"type": "string"},
        "description": "`meta.nextCursor`",
    },
]
_STATUS = {"name": "status", "in": "query", "schema": {"type": "string", "enum": list(STATUSES)}}


@dataclass(frozen=True, slots=True)
class _Parts:
    db: Database
    keyring: Keyring
    cursors: Cursors
    allow: AllowList
    find_workspace: FindWorkspace
    clock: Clock


def router(
    db: Database,
    settings: Settings,
    keyring: Keyring,
    cursors: Cursors,
    find_workspace: FindWorkspace,
    *,
    clock: Clock | None = None,
) -> APIRouter:
    """`/api/v1/webhooks` for owners and managers, and the same below `/v1/key/company/webhooks` for company keys."""
    parts = _Parts(db, keyring, cursors, settings.outbound_allow, find_workspace, clock or SystemClock())
    both = APIRouter(tags=["webhooks"], default_response_class=Answer)
    for prefix, guard in _FAMILIES.items():
        one = APIRouter(prefix=prefix)
        _add_endpoint_routes(one, parts, guard)
        _add_delivery_routes(one, parts, guard)
        both.include_router(one)
    return both


def _add_endpoint_routes(router: APIRouter, parts: _Parts, guard: params.Depends) -> None:
    @router.post("", status_code=201, openapi_extra=dict(openapi_body(NewEndpoint)))
    async def create(
        caller: Annotated[Caller, guard], wanted: Annotated[NewEndpoint, Depends(json_body(NewEndpoint))]
    ) -> Answer:
        """Makes a webhook; the answer shows its secret for the only time."""
        await endpoints.require_workspace(
            parts.db, parts.find_workspace, company_id=caller.company_id, workspace_id=wanted.workspace_id
        )
        async with parts.db.begin() as tx:
            row, secret = await endpoints.register(
                tx, caller.actor, wanted, company_id=caller.company_id, keyring=parts.keyring, allow=parts.allow
            )
        return Answer({**schemas.show_endpoint(row), "secret": secret}, 201, _NOT_KEPT)

    @router.get("", openapi_extra={"parameters": _PAGING})
    async def list_all(request: Request, caller: Annotated[Caller, guard]) -> Answer:
        """The company's webhooks, oldest first."""
        page = _page_of(request, parts, f"webhooks:{caller.company_id}", most=MAX_LIMIT)
        found = await endpoint_rows.list_endpoints(
            parts.db, company_id=caller.company_id, after_id=page.position, limit=page.limit + 1
        )
        shown = [schemas.show_endpoint(row) for row in found[: page.limit]]
        return page.answer(shown, shown[-1]["id"] if len(found) > page.limit else None)

    @router.get("/{endpoint_id}")
    async def read(endpoint_id: str, caller: Annotated[Caller, guard]) -> Answer:
        """One webhook, without its secret."""
        row = await endpoints.get(parts.db, company_id=caller.company_id, endpoint_id=endpoint_id)
        return Answer(schemas.show_endpoint(row))

    @router.patch("/{endpoint_id}", openapi_extra=dict(openapi_body(EndpointChange)))
    async def change(
        endpoint_id: str,
        caller: Annotated[Caller, guard],
        wanted: Annotated[EndpointChange, Depends(json_body(EndpointChange))],
    ) -> Answer:
        """Changes the given fields; what is pending goes to the new address."""
        await endpoints.require_workspace(
            parts.db, parts.find_workspace, company_id=caller.company_id, workspace_id=wanted.workspace_id
        )
        async with parts.db.begin() as tx:
            row = await endpoints.change(
                tx, caller.actor, wanted, company_id=caller.company_id, endpoint_id=endpoint_id, allow=parts.allow
            )
        return Answer(schemas.show_endpoint(row))

    @router.delete("/{endpoint_id}", status_code=204, response_class=Response)
    async def delete(endpoint_id: str, caller: Annotated[Caller, guard]) -> Response:
        """Deletes the webhook; what is pending is discarded, its logs stay readable for 30 days."""
        async with parts.db.begin() as tx:
            await endpoints.delete(tx, caller.actor, company_id=caller.company_id, endpoint_id=endpoint_id)
        return Response(status_code=204)

    @router.post("/{endpoint_id}/rotate-secret", openapi_extra=dict(openapi_body(Rotation)))
    async def rotate_secret(
        endpoint_id: str,
        caller: Annotated[Caller, guard],
        wanted: Annotated[Rotation, Depends(json_body(Rotation))],
    ) -> Answer:
        """Gives a new secret, shown once; the old one signs beside it for the overlap (0 to 7 days, default 1)."""
        async with parts.db.begin() as tx:
            row, secret = await endpoints.rotate_secret(
                tx,
                caller.actor,
                company_id=caller.company_id,
                endpoint_id=endpoint_id,
                keyring=parts.keyring,
                overlap_seconds=wanted.overlap_seconds,
            )
        return Answer({**schemas.show_endpoint(row), "secret": secret}, 200, _NOT_KEPT)


def _add_delivery_routes(router: APIRouter, parts: _Parts, guard: params.Depends) -> None:
    @router.post("/{endpoint_id}/test", status_code=202)
    async def send_test(endpoint_id: str, caller: Annotated[Caller, guard]) -> Answer:
        """Sends a message of type `webhook.test` to this webhook alone."""
        async with parts.db.begin() as tx:
            delivery_id = await deliveries.send_test(
                tx, company_id=caller.company_id, endpoint_id=endpoint_id, now=parts.clock
            )
        await jobs.wake(parts.db, jobs.WEBHOOK)
        return Answer({"deliveryId": delivery_id}, 202)

    @router.get("/{endpoint_id}/logs", openapi_extra={"parameters": [*_PAGING, _STATUS]})
    async def read_logs(endpoint_id: str, request: Request, caller: Annotated[Caller, guard]) -> Answer:
        """Deliveries newest first with every try: status, duration, answer's head and body (first 4,096 bytes)."""
        scope = f"webhook-logs:{caller.company_id}:{endpoint_id.lower()}"
        page = _page_of(request, parts, scope, most=LOG_LIMIT, filters=frozenset({"status"}))
        status = request.query_params.get("status")
        if status is not None and status not in STATUSES:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(STATUSES)}", "status")])
        log = await deliveries.read_log(
            parts.db,
            company_id=caller.company_id,
            endpoint_id=endpoint_id,
            before_id=page.position,
            status=status,
            limit=page.limit,
        )
        return page.answer(log.deliveries, log.next_before)

    @router.post("/{endpoint_id}/deliveries/{delivery_id}/replay", status_code=202)
    async def replay(endpoint_id: str, delivery_id: str, caller: Annotated[Caller, guard]) -> Answer:
        """Sends the delivery's message again, under the same `webhook-id`."""
        async with parts.db.begin() as tx:
            made = await deliveries.replay(
                tx,
                caller.actor,
                company_id=caller.company_id,
                endpoint_id=endpoint_id,
                delivery_id=delivery_id,
            )
        await jobs.wake(parts.db, jobs.WEBHOOK)
        return Answer({"deliveryId": made, "replayOf": delivery_id.lower()}, 202)


@dataclass(frozen=True, slots=True)
class _Page:
    limit: int
    position: str | None
    scope: str
    cursors: Cursors

    def answer(self, shown: list[dict[str, Any]], last: str | None) -> Answer:
        cursor = None if last is None else self.cursors.seal(self.scope, [last])
        return Answer({"data": shown, "meta": {"limit": self.limit, "nextCursor": cursor}})


def _page_of(request: Request, parts: _Parts, scope: str, *, most: int, filters: frozenset[str] = frozenset()) -> _Page:
    refuse_unknown_query(request, _PAGE_QUERY | filters)
    given = request.query_params
    limit, cursor = given.get("limit", str(DEFAULT_LIMIT)), given.get("cursor")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    position = None if cursor is None else str(parts.cursors.open(scope, cursor)[0])
    return _Page(check_limit(int(limit), most=most), position, scope, parts.cursors)
