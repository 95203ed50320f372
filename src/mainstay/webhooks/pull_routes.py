"""Pulling over HTTP: by the company's own people and keys, and by the credential of the endpoint itself."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.security import HTTPBearer

from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid, Unauthenticated, Unavailable
from mainstay.web.callers import Caller, Guards, bearer_of
from mainstay.web.json import Answer, refuse_unknown_query
from mainstay.webhooks import pulling
from mainstay.webhooks.answers import NO_ENDPOINT, NOT_VALID, PulledMessages, told
from mainstay.webhooks.parts import NOT_KEPT, Parts, limit_of, time_of, whole_number
from mainstay.webhooks.pulling import Place, Pulled, Source

WAIT_SECONDS_AT_MOST: Final = 20
WAITERS_AT_MOST: Final = 200
WAITERS_OF_ONE: Final = 5
_PAUSE_SECONDS: Final = 0.25
_PAUSE_SECONDS_AT_MOST: Final = 1.0
_QUERY: Final = frozenset({"cursor", "limit", "since", "wait"})
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {"name": "cursor", "in": "query", "schema": {"type": "string"}, "description": "`meta.nextCursor`"},
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": pulling.PULLED_AT_MOST}},
    {"name": "since", "in": "query", "schema": {"type": "string", "format": "date-time"}},
    {"name": "wait", "in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": WAIT_SECONDS_AT_MOST}},
]

_NOT_READ: Final = {409: "The webhook is switched off, or is of the kind push."}

_OWN: Final = Depends(
    HTTPBearer(
        scheme_name="endpointCredential", description="The secret of a pull endpoint: whpull_…", auto_error=False
    )
)
"""Describes the credential; it is read and checked by the route itself."""


class Waiters:
    """Counts the readers of this process that wait for something to come; one that finds no place does not wait."""

    def __init__(self, most: int = WAITERS_AT_MOST, of_one: int = WAITERS_OF_ONE) -> None:
        self._most = most
        self._of_one = of_one
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def place(self, endpoint_id: str) -> Iterator[bool]:
        """Whether there is a place to wait, which is kept for as long as the block lasts."""
        if self._waiting.total() >= self._most or self._waiting[endpoint_id] >= self._of_one:
            yield False
            return
        self._waiting[endpoint_id] += 1
        try:
            yield True
        finally:
            self._waiting[endpoint_id] -= 1
            self._waiting += Counter()


def add(router: APIRouter, parts: Parts, guards: Guards, waiters: Waiters) -> None:
    """The router lets the company's people and keys read what an endpoint would pull."""

    @router.get(
        "/{pull_id}/messages",
        openapi_extra={"parameters": _PARAMETERS},
        **told(PulledMessages, 200, NOT_VALID, NO_ENDPOINT, _NOT_READ),
    )
    async def read_messages(pull_id: str, request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """The next messages after the cursor; with `wait`, waits up to 20 s for one to come."""
        return await _answer(request, parts, parts.db_of(caller), waiters, caller.company_id, pull_id)


def add_own(router: APIRouter, parts: Parts, waiters: Waiters) -> None:
    """The router lets whoever holds an endpoint's own credential read its messages."""

    @router.get(
        "/{pull_id}",
        dependencies=[_OWN],
        openapi_extra={"parameters": _PARAMETERS},
        **told(PulledMessages, 200, NOT_VALID, _NOT_READ),
    )
    async def pull(pull_id: str, request: Request) -> Answer:
        """The next messages after the cursor, for `Authorization: Bearer whpull_…`."""
        credential = bearer_of(request.scope["headers"])
        if credential is None:
            raise Unauthenticated("Send this webhook's own credential as 'Authorization: Bearer whpull_…'.")
        db, company_id = await _admit(parts, pull_id, credential)
        return await _answer(request, parts, db, waiters, company_id, pull_id)


async def _admit(parts: Parts, endpoint_id: str, credential: str) -> tuple[Database, str]:
    """The database where that endpoint is, and its company; Unavailable where one that does not answer may have it."""
    away: Unavailable | None = None
    for _, db in parts.regions.all():
        try:
            return db, await pulling.admit(db, endpoint_id, credential)
        except Unauthenticated as refusal:
            unknown = refusal
        except Unavailable as error:
            away = error
    raise away or unknown


async def _answer(
    request: Request, parts: Parts, db: Database, waiters: Waiters, company_id: str, endpoint_id: str
) -> Answer:
    refuse_unknown_query(request, _QUERY)
    source = await pulling.open_source(db, company_id=company_id, endpoint_id=endpoint_id)
    limit = limit_of(request, most=pulling.PULLED_AT_MOST)
    wait_seconds = whole_number(request, "wait", 0)
    if wait_seconds > WAIT_SECONDS_AT_MOST:
        raise Invalid(faults=[Fault(f"must be from 0 to {WAIT_SECONDS_AT_MOST}", "wait")])
    scope = f"pull:{source.company_id}:{source.endpoint_id}"
    place = _place_of(request, parts, scope)
    pulled = await pulling.read(db, source, place, limit=limit)
    if pulled.place == place and wait_seconds:
        with waiters.place(source.endpoint_id) as may_wait:
            if may_wait:
                pulled = await _wait(parts, db, source, place, limit, wait_seconds)
    after = pulled.place
    cursor = parts.cursors.seal(scope, [after.txid, after.item_id, after.floor])
    return Answer({"data": pulled.messages, "meta": {"nextCursor": cursor, "done": pulled.done}}, 200, NOT_KEPT)


def _place_of(request: Request, parts: Parts, scope: str) -> Place:
    cursor, since = request.query_params.get("cursor"), request.query_params.get("since")
    if cursor is None:
        return Place.since(time_of(since, "since"))
    if since is not None:
        raise Invalid(faults=[Fault("is for the first request: the cursor knows where to go on", "since")])
    txid, item_id, floor = parts.cursors.open(scope, cursor)
    return Place(int(str(txid)), str(item_id), str(floor))


async def _wait(parts: Parts, db: Database, source: Source, place: Place, limit: int, wait_seconds: int) -> Pulled:
    """What came within that time; each look holds a connection for its own statement only."""
    until, pause = parts.clock.monotonic() + wait_seconds, _PAUSE_SECONDS
    while True:
        await asyncio.sleep(min(pause, max(0.0, until - parts.clock.monotonic())))
        pulled = await pulling.read(db, source, place, limit=limit)
        if pulled.place != place or parts.clock.monotonic() >= until:
            return pulled
        pause = min(pause * 1.5, _PAUSE_SECONDS_AT_MOST)
