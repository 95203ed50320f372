"""Webhooks over HTTP: the same acts for owners and managers by token, and for a company's key."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from mainstay import jobs
from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import MAX_LIMIT, Cursors
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.web.callers import Caller, Guards
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query
from mainstay.webhooks import catalogue_routes, deliveries, endpoints, figures, pull_routes, repeats, replay_routes
from mainstay.webhooks.answers import (
    NO_ENDPOINT,
    NOT_VALID,
    DeliveryLog,
    DeliveryMade,
    DeliveryRepeated,
    EndpointIssued,
    EndpointList,
    EndpointShown,
    FiguresShown,
    FilterVerdict,
    told,
)
from mainstay.webhooks.endpoints import FindWorkspace
from mainstay.webhooks.parts import FAMILIES, NOT_KEPT, PAGING, Parts, optional_body, page_of
from mainstay.webhooks.queries import endpoints as endpoint_rows
from mainstay.webhooks.repeats import ONCE, SECRET_ONCE, OnceKey
from mainstay.webhooks.schemas import EndpointChange, FilterTrial, NewEndpoint, Rotation, SampleWanted

LOG_LIMIT = 100
STATUSES = ("PENDING", "RETRYING", "DELIVERED", "FAILED", "DISCARDED")
_STATUS = {"name": "status", "in": "query", "schema": {"type": "string", "enum": list(STATUSES)}}
_WINDOW = {
    "name": "window",
    "in": "query",
    "schema": {"type": "string", "enum": ["hour", "day", "month"], "default": "day"},
}
_Sample = Annotated[SampleWanted, Depends(optional_body(SampleWanted))]
_BUSY = {409: "The order of delivery changes only while nothing is on its way."}
_INACTIVE = {409: "The webhook is switched off."}
_NO_DELIVERY = {404: "There is no such webhook, or no such delivery at it."}
_MAKING = {**SECRET_ONCE, 409: f"The company has as many webhooks as it may have. {SECRET_ONCE[409]}"}


def router(
    regions: Regions,
    settings: Settings,
    keyring: Keyring,
    cursors: Cursors,
    find_workspace: FindWorkspace,
    *,
    clock: Clock | None = None,
) -> APIRouter:
    """Webhooks and event types for owners and managers, the same for company keys, and pulling by an own credential."""
    parts = Parts(
        regions, keyring, settings.outbound_allow, settings.brand, cursors, find_workspace, clock or SystemClock()
    )
    whole = APIRouter(tags=["webhooks"], default_response_class=Answer)
    waiters = pull_routes.Waiters()
    for prefix, guards in FAMILIES.items():
        one = APIRouter(prefix=f"{prefix}/webhooks")
        _add_company_routes(one, parts, guards)
        _add_endpoint_routes(one, parts, guards)
        _add_delivery_routes(one, parts, guards)
        replay_routes.add(one, parts, guards)
        pull_routes.add(one, parts, guards, waiters)
        whole.include_router(one)
        types = APIRouter(prefix=f"{prefix}/event-types")
        catalogue_routes.add(types, parts, guards)
        whole.include_router(types)
    own = APIRouter(prefix="/v1/pull")
    pull_routes.add_own(own, parts, waiters)
    whole.include_router(own)
    return whole


async def _shown(parts: Parts, caller: Caller, row: Record, **more: Any) -> dict[str, Any]:
    company_id = str(row["company_id"])
    (shown,) = await endpoints.show(parts.db_of(caller), [row], company_id=company_id, keyring=parts.keyring)
    return {**shown, **more}


async def _shown_again(parts: Parts, caller: Caller, tx: Tx, endpoint_id: str, status: int) -> Answer:
    """The first answer once more; SecretShownBefore where that one held a secret."""
    row = await endpoints.get(tx, company_id=caller.company_id, endpoint_id=endpoint_id, deleted_too=True)
    if row["signing"] != "ed25519" or row["kind"] == "pull":
        raise repeats.secret_shown_before(endpoint_id)
    (shown,) = await endpoints.show(tx, [row], company_id=caller.company_id, keyring=parts.keyring)
    return Answer({**shown, "secret": None}, status, NOT_KEPT)


def _optional(shape: type[Any]) -> dict[str, Any]:
    return {"requestBody": {**openapi_body(shape)["requestBody"], "required": False}}


def _window_of(request: Request) -> figures.Window:
    refuse_unknown_query(request, frozenset({"window"}))
    window = figures.WINDOWS.get(request.query_params.get("window", "day"))
    if window is None:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(figures.WINDOWS)}", "window")])
    return window


def _add_company_routes(router: APIRouter, parts: Parts, guards: Guards) -> None:
    @router.get("/stats", openapi_extra={"parameters": [_WINDOW]}, **told(FiguresShown, 200, NOT_VALID))
    async def company_stats(request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """Tries of the whole company: a series, share of success, p50 and p99, by status."""
        window = _window_of(request)
        return Answer(await figures.read(parts.db_of(caller), company_id=caller.company_id, window=window))

    @router.post("/filter-test", openapi_extra=dict(openapi_body(FilterTrial)), **told(FilterVerdict, 200, NOT_VALID))
    async def try_filter(
        caller: Annotated[Caller, guards.reading], wanted: Annotated[FilterTrial, Depends(json_body(FilterTrial))]
    ) -> Answer:
        """Says whether a message like the example passes the filter."""
        return Answer({"matches": await endpoints.try_filter(parts.db_of(caller), wanted.filter, wanted.example)})


def _add_endpoint_routes(router: APIRouter, parts: Parts, guards: Guards) -> None:
    @router.post("", openapi_extra=dict(openapi_body(NewEndpoint)), **told(EndpointIssued, 201, NOT_VALID, _MAKING))
    async def create(
        caller: Annotated[Caller, guards.changing],
        wanted: Annotated[NewEndpoint, Depends(json_body(NewEndpoint))],
        once_key: OnceKey = None,
    ) -> Answer:
        """Makes a webhook; the answer shows its secret for the only time."""
        await endpoints.require_workspace(
            parts.regions.home, parts.find_workspace, company_id=caller.company_id, workspace_id=wanted.workspace_id
        )
        async with parts.db_of(caller).begin() as tx:
            claimed = await repeats.claim(tx, caller, once_key, "webhooks.create", wanted)
            if claimed.earlier is not None:
                return await _shown_again(parts, caller, tx, claimed.earlier, 201)
            row, secret = await endpoints.register(
                tx,
                caller.actor,
                wanted,
                company_id=caller.company_id,
                keyring=parts.keyring,
                allow=parts.allow,
                brand=parts.brand,
            )
            await claimed.made(str(row["id"]))
        return Answer(await _shown(parts, caller, row, secret=secret or None), 201, NOT_KEPT)

    @router.get("", openapi_extra={"parameters": PAGING}, **told(EndpointList, 200, NOT_VALID))
    async def list_all(request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """The company's webhooks, oldest first."""
        page = page_of(request, parts, f"webhooks:{caller.company_id}", most=MAX_LIMIT)
        found = await endpoint_rows.list_endpoints(
            parts.db_of(caller), company_id=caller.company_id, after_id=page.position, limit=page.limit + 1
        )
        shown = await endpoints.show(
            parts.db_of(caller), found[: page.limit], company_id=caller.company_id, keyring=parts.keyring
        )
        return page.answer(shown, shown[-1]["id"] if len(found) > page.limit else None)

    @router.get(
        "/{endpoint_id}/stats",
        openapi_extra={"parameters": [_WINDOW]},
        **told(FiguresShown, 200, NOT_VALID, NO_ENDPOINT),
    )
    async def read_stats(endpoint_id: str, request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """Tries at this webhook: a series, share of success, p50 and p99, by status."""
        window = _window_of(request)
        row = await endpoints.get(parts.db_of(caller), company_id=caller.company_id, endpoint_id=endpoint_id)
        shown = await figures.read(
            parts.db_of(caller), company_id=caller.company_id, endpoint_id=str(row["id"]), window=window
        )
        return Answer(shown)

    @router.get("/{endpoint_id}", **told(EndpointShown, 200, NO_ENDPOINT))
    async def read(endpoint_id: str, caller: Annotated[Caller, guards.reading]) -> Answer:
        """One webhook, without its secret."""
        row = await endpoints.get(parts.db_of(caller), company_id=caller.company_id, endpoint_id=endpoint_id)
        return Answer(await _shown(parts, caller, row))

    @router.patch(
        "/{endpoint_id}",
        openapi_extra=dict(openapi_body(EndpointChange)),
        **told(EndpointShown, 200, NOT_VALID, NO_ENDPOINT, _BUSY),
    )
    async def change(
        endpoint_id: str,
        caller: Annotated[Caller, guards.changing],
        wanted: Annotated[EndpointChange, Depends(json_body(EndpointChange))],
    ) -> Answer:
        """Changes the given fields; what is pending goes to the new address."""
        await endpoints.require_workspace(
            parts.regions.home, parts.find_workspace, company_id=caller.company_id, workspace_id=wanted.workspace_id
        )
        async with parts.db_of(caller).begin() as tx:
            row = await endpoints.change(
                tx,
                caller.actor,
                wanted,
                company_id=caller.company_id,
                endpoint_id=endpoint_id,
                allow=parts.allow,
                keyring=parts.keyring,
                brand=parts.brand,
            )
        return Answer(await _shown(parts, caller, row))

    @router.delete("/{endpoint_id}", status_code=204, response_class=Response)
    async def delete(endpoint_id: str, caller: Annotated[Caller, guards.changing]) -> Response:
        """Deletes the webhook; what is pending is discarded, its logs stay readable for 30 days."""
        async with parts.db_of(caller).begin() as tx:
            await endpoints.delete(tx, caller.actor, company_id=caller.company_id, endpoint_id=endpoint_id)
        return Response(status_code=204)

    @router.post(
        "/{endpoint_id}/rotate-secret",
        openapi_extra=dict(openapi_body(Rotation)),
        **told(EndpointIssued, 200, NOT_VALID, NO_ENDPOINT, SECRET_ONCE),
    )
    async def rotate_secret(
        endpoint_id: str,
        caller: Annotated[Caller, guards.changing],
        wanted: Annotated[Rotation, Depends(json_body(Rotation))],
        once_key: OnceKey = None,
    ) -> Answer:
        """Gives a new secret, shown once; the old one signs beside it for the overlap (0 to 7 days, default 1)."""
        async with parts.db_of(caller).begin() as tx:
            claimed = await repeats.claim(tx, caller, once_key, "webhooks.rotate", endpoint_id.lower(), wanted)
            if claimed.earlier is not None:
                return await _shown_again(parts, caller, tx, claimed.earlier, 200)
            row, secret = await endpoints.rotate_secret(
                tx,
                caller.actor,
                company_id=caller.company_id,
                endpoint_id=endpoint_id,
                keyring=parts.keyring,
                overlap_seconds=wanted.overlap_seconds,
            )
            await claimed.made(str(row["id"]))
        return Answer(await _shown(parts, caller, row, secret=secret or None), 200, NOT_KEPT)


def _add_delivery_routes(router: APIRouter, parts: Parts, guards: Guards) -> None:
    @router.post(
        "/{endpoint_id}/test",
        openapi_extra=_optional(SampleWanted),
        **told(DeliveryMade, 202, NOT_VALID, NO_ENDPOINT, _INACTIVE, ONCE),
    )
    async def send_test(
        endpoint_id: str,
        caller: Annotated[Caller, guards.changing],
        wanted: _Sample,
        once_key: OnceKey = None,
    ) -> Answer:
        """Sends to this webhook alone the example of a `type` of the catalogue, or a message of `webhook.test`."""
        async with parts.db_of(caller).begin() as tx:
            claimed = await repeats.claim(tx, caller, once_key, "webhooks.test", endpoint_id.lower(), wanted)
            if claimed.earlier is not None:
                return Answer({"deliveryId": claimed.earlier}, 202)
            delivery_id = await deliveries.send_test(
                tx, company_id=caller.company_id, endpoint_id=endpoint_id, kind=wanted.type, now=parts.clock
            )
            await claimed.made(delivery_id)
        await jobs.wake(parts.db_of(caller), jobs.WEBHOOK)
        return Answer({"deliveryId": delivery_id}, 202)

    @router.get(
        "/{endpoint_id}/logs",
        openapi_extra={"parameters": [*PAGING, _STATUS]},
        **told(DeliveryLog, 200, NOT_VALID, NO_ENDPOINT),
    )
    async def read_logs(endpoint_id: str, request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """Deliveries newest first with every try: status, duration, answer's head and body (first 4,096 bytes)."""
        scope = f"webhook-logs:{caller.company_id}:{endpoint_id.lower()}"
        page = page_of(request, parts, scope, most=LOG_LIMIT, filters=frozenset({"status"}))
        status = request.query_params.get("status")
        if status is not None and status not in STATUSES:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(STATUSES)}", "status")])
        log = await deliveries.read_log(
            parts.db_of(caller),
            company_id=caller.company_id,
            endpoint_id=endpoint_id,
            before_id=page.position,
            status=status,
            limit=page.limit,
        )
        return page.answer(log.deliveries, log.next_before)

    @router.post(
        "/{endpoint_id}/deliveries/{delivery_id}/replay",
        **told(DeliveryRepeated, 202, NOT_VALID, _NO_DELIVERY, _INACTIVE, ONCE),
    )
    async def replay(
        endpoint_id: str, delivery_id: str, caller: Annotated[Caller, guards.changing], once_key: OnceKey = None
    ) -> Answer:
        """Sends the delivery's message again, under the same `webhook-id`."""
        asked = (endpoint_id.lower(), delivery_id.lower())
        async with parts.db_of(caller).begin() as tx:
            claimed = await repeats.claim(tx, caller, once_key, "webhooks.replay", *asked)
            if claimed.earlier is not None:
                return Answer({"deliveryId": claimed.earlier, "replayOf": asked[1]}, 202)
            made = await deliveries.replay(
                tx,
                caller.actor,
                company_id=caller.company_id,
                endpoint_id=endpoint_id,
                delivery_id=delivery_id,
            )
            await claimed.made(made)
        await jobs.wake(parts.db_of(caller), jobs.WEBHOOK)
        return Answer({"deliveryId": made, "replayOf": asked[1]}, 202)
