"""Streams over HTTP: the same acts for owners and managers by token, and for a company's key."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from mainstay.kernel.addresses import AllowList
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Record
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.streams import aside, backfills, probing, streams
from mainstay.streams.schemas import AsideChoice, NewBackfill, NewStream, StreamChange
from mainstay.web.callers import Caller, Guards
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query

_NOT_KEPT = {"cache-control": "no-store"}
_FAMILIES = {
    "/api/v1": Guards.of_people("streams.read", "streams.change"),
    "/v1/key/company": Guards.of_keys("company_key"),
}


def router(regions: Regions, settings: Settings, keyring: Keyring) -> APIRouter:
    """Streams for owners and managers, and the same for company keys."""
    whole = APIRouter(tags=["streams"], default_response_class=Answer)
    for prefix, guards in _FAMILIES.items():
        one = APIRouter(prefix=f"{prefix}/streams")
        _add_streams(one, regions, keyring, settings.outbound_allow, guards)
        _add_acts(one, regions, guards)
        _add_aside(one, regions, guards)
        whole.include_router(one)
    return whole


async def _answer(db: Database, row: Record, status: int = 200, **more: Any) -> Answer:
    return Answer({**await streams.shown(db, row), **more}, status, _NOT_KEPT)


async def _acted(
    regions: Regions, caller: Caller, act: Callable[..., Awaitable[Record]], *given: Any, status: int = 200, **more: Any
) -> Answer:
    """The stream as the act left it, which the caller's company has committed."""
    db = regions.of(caller.region)
    async with db.begin() as tx:
        row = await act(tx, caller.actor, caller.company_id, *given, **more)
    return await _answer(db, row, status)


def _add_streams(router: APIRouter, regions: Regions, keyring: Keyring, allow: AllowList, guards: Guards) -> None:
    @router.post("", status_code=201, openapi_extra=dict(openapi_body(NewStream)))
    async def create(
        caller: Annotated[Caller, guards.changing], wanted: Annotated[NewStream, Depends(json_body(NewStream))]
    ) -> Answer:
        """Makes a stream; where it signs, the answer shows the secret for the only time."""
        db = regions.of(caller.region)
        async with db.begin() as tx:
            row, secret = await streams.create(
                tx, caller.actor, caller.company_id, wanted, keyring=keyring, allow=allow
            )
        return await _answer(db, row, 201, **({} if secret is None else {"secret": secret}))

    @router.get("")
    async def list_all(request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """The company's streams, oldest first, each with its lag."""
        refuse_unknown_query(request, frozenset())
        return Answer({"data": await streams.read_all(regions.of(caller.region), caller.company_id)})

    @router.get("/{stream_id}")
    async def read(caller: Annotated[Caller, guards.reading], stream_id: str) -> Answer:
        """One stream."""
        return Answer(await streams.read(regions.of(caller.region), caller.company_id, stream_id))

    @router.patch("/{stream_id}", openapi_extra=dict(openapi_body(StreamChange)))
    async def change(
        caller: Annotated[Caller, guards.changing],
        stream_id: str,
        wanted: Annotated[StreamChange, Depends(json_body(StreamChange))],
    ) -> Answer:
        """Changes what is given."""
        return await _acted(regions, caller, streams.change, stream_id, wanted, keyring=keyring, allow=allow)

    @router.delete("/{stream_id}", status_code=204)
    async def delete(caller: Annotated[Caller, guards.changing], stream_id: str) -> Response:
        """Ends the stream for good."""
        async with regions.of(caller.region).begin() as tx:
            await streams.delete(tx, caller.actor, caller.company_id, stream_id)
        return Response(status_code=204)


def _add_acts(router: APIRouter, regions: Regions, guards: Guards) -> None:
    @router.post("/{stream_id}/pause")
    async def pause(caller: Annotated[Caller, guards.changing], stream_id: str) -> Answer:
        """Nothing goes out until it is resumed; the log keeps what comes meanwhile."""
        return await _acted(regions, caller, streams.pause, stream_id)

    @router.post("/{stream_id}/resume")
    async def resume(caller: Annotated[Caller, guards.changing], stream_id: str) -> Answer:
        """Goes on from where it stood."""
        return await _acted(regions, caller, streams.resume, stream_id)

    @router.post("/{stream_id}/probe", status_code=202)
    async def probe(caller: Annotated[Caller, guards.changing], stream_id: str) -> Answer:
        """Sends a test event; the stream's `probe` tells what came of it."""
        return await _acted(regions, caller, probing.start, stream_id, status=202)

    @router.post("/{stream_id}/backfill", status_code=202, openapi_extra=dict(openapi_body(NewBackfill)))
    async def backfill(
        caller: Annotated[Caller, guards.changing],
        stream_id: str,
        wanted: Annotated[NewBackfill, Depends(json_body(NewBackfill))],
    ) -> Answer:
        """Sends once more what was stored since then; the stream's `backfill` tells how far it is."""
        return await _acted(regions, caller, backfills.start, stream_id, wanted.since, status=202)

    @router.delete("/{stream_id}/backfill")
    async def cancel_backfill(caller: Annotated[Caller, guards.changing], stream_id: str) -> Answer:
        """Ends the backfill where it is."""
        return await _acted(regions, caller, backfills.cancel, stream_id)


def _add_aside(router: APIRouter, regions: Regions, guards: Guards) -> None:
    chosen = Depends(json_body(AsideChoice))
    described: dict[str, Any] = {"openapi_extra": dict(openapi_body(AsideChoice))}

    @router.post("/{stream_id}/skip")
    async def skip(caller: Annotated[Caller, guards.changing], stream_id: str) -> Answer:
        """Puts the refused event aside that the stream stands before, and goes on behind it."""
        return await _acted(regions, caller, aside.skip, stream_id)

    @router.get("/{stream_id}/aside")
    async def read_aside(caller: Annotated[Caller, guards.reading], stream_id: str) -> Answer:
        """The events that the destination refused and that are put aside, 1,000 at most."""
        return Answer({"data": await aside.read(regions.of(caller.region), caller.company_id, stream_id)})

    @router.post("/{stream_id}/aside/send", status_code=202, **described)
    async def send_aside(
        caller: Annotated[Caller, guards.changing], stream_id: str, wanted: Annotated[AsideChoice, chosen]
    ) -> Answer:
        """Sends the named events that are put aside again, or all of them."""
        return await _acted(regions, caller, aside.send, stream_id, wanted.event_ids, status=202)

    @router.post("/{stream_id}/aside/forget", **described)
    async def forget_aside(
        caller: Annotated[Caller, guards.changing], stream_id: str, wanted: Annotated[AsideChoice, chosen]
    ) -> Answer:
        """Takes the named events, or all of them, off the record; the log keeps them."""
        return await _acted(regions, caller, aside.forget, stream_id, wanted.event_ids)
