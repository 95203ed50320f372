"""HTTP: `POST /e/{event key}`, which takes events in Inngest's wire format from applications with Inngest's SDKs."""

import hmac
from typing import Any

import orjson
from fastapi import APIRouter, Request

from mainstay.functions import protocol, schemas
from mainstay.functions.errors import (
    AppRefused,
    EventKeyRefused,
    EventRefused,
    SignatureRefused,
    SigningKeyRefused,
)
from mainstay.functions.registry import Registry
from mainstay.functions.sending import MAX_EVENTS, send
from mainstay.functions.serving import register
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, MainstayError
from mainstay.kernel.settings import Settings
from mainstay.web import bodies

MAX_BODY_BYTES = 4_194_304
_SEED_CHARACTERS = 200
_EVENT = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 256},
        "data": {"type": "object"},
        "user": {"type": "object"},
        "id": {"type": "string", "maxLength": 256},
        "ts": {"type": "integer", "minimum": 0, "description": "Milliseconds since 1970; now unless given."},
        "v": {"type": "string"},
    },
}
_MANY = {"type": "array", "items": _EVENT, "maxItems": MAX_EVENTS}
_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": [_EVENT, _MANY]}}}}
}


_REGISTRATION: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["appname", "url", "functions"],
                    "properties": {
                        "appname": {"type": "string", "minLength": 1, "maxLength": 80},
                        "url": {"type": "string", "format": "uri"},
                        "sdk": {"type": "string"},
                        "functions": {"type": "array", "items": {"type": "object"}, "minItems": 1, "maxItems": 1_000},
                    },
                }
            }
        },
    }
}


def add_event_routes(routes: APIRouter, settings: Settings, db: Database) -> None:
    """The intake of events."""

    @routes.post("/e/{event_key}", tags=["functions"], openapi_extra=_BODY)
    async def take_events(request: Request, event_key: str) -> schemas.SentAnswer:
        """Takes one event or an array: `name`, `data`, `user`, `id`, `ts` (ms), `v`; at most 4 MiB, 5,000 events,
        256,000 bytes an event.

        All are taken or none is. An `id` that was sent in the last 24 hours does nothing again. A request that carries
        a signature must carry a right one.
        """
        try:
            _let_in(settings, event_key)
            body = await _body_of(settings, request)
            events = _events_of(body)
            _identify(events, request.headers.get("x-inngest-event-id-seed"))
            async with db.begin() as tx:
                return schemas.SentAnswer(ids=await send(tx, events))
        except MainstayError as error:
            # SDKs tell a refusal by this member.
            error.extra["error"] = "; ".join([error.detail, *(f"{one.pointer}: {one.detail}" for one in error.faults)])
            raise


def add_register_route(routes: APIRouter, settings: Settings, db: Database, registry: Registry) -> None:
    """The registration of applications that serve functions."""

    @routes.post("/fn/register", tags=["functions"], openapi_extra=_REGISTRATION)
    async def register_app(request: Request) -> schemas.RegisteredAnswer:
        """Registers the functions that an application serves, as Inngest's SDKs describe them.

        The credential is the hash of INNGEST_SIGNING_KEY as a bearer token, as SDKs send it.
        """
        key = settings.inngest_signing_key
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        right = None if key is None else protocol.hashed_key(key)
        if (
            right is None
            or kind != "Bearer"
            or not hmac.compare_digest(right.encode(), token.encode("utf-8", "replace"))
        ):
            raise SigningKeyRefused
        bodies.require_json(request.scope["headers"])
        body = await bodies.read(request.scope, request.receive, most=bodies.MAX_BODY_BYTES)
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise AppRefused("The body is not valid JSON.", faults=[Fault(str(error))]) from None
        if not isinstance(given, dict):
            raise AppRefused(faults=[Fault("an object is expected")])
        async with db.begin() as tx:
            return schemas.RegisteredAnswer(modified=await register(tx, registry, given))


def _let_in(settings: Settings, event_key: str) -> None:
    known = settings.inngest_event_key
    if known is None or not hmac.compare_digest(known.encode(), event_key.encode("utf-8", "replace")):
        raise EventKeyRefused


async def _body_of(settings: Settings, request: Request) -> bytes:
    bodies.require_json(request.scope["headers"])
    body = await bodies.read(request.scope, request.receive, most=MAX_BODY_BYTES)
    signature = request.headers.get(protocol.SIGNATURE)
    if signature is not None and not protocol.is_signed(settings.inngest_signing_key, body, signature):
        raise SignatureRefused
    return body


def _events_of(body: bytes) -> list[Any]:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise EventRefused("The body is not valid JSON.", faults=[Fault(str(error))]) from None
    if isinstance(given, list):
        return given
    if isinstance(given, dict):
        return [given]
    raise EventRefused(faults=[Fault("an event or an array of events is expected")])


def _identify(events: list[Any], seed: str | None) -> None:
    """A request that an SDK repeats says so by its seed: its events have the ids then that they had before."""
    if seed is None or not 0 < len(seed) <= _SEED_CHARACTERS:
        return
    for index, event in enumerate(events):
        if isinstance(event, dict) and not event.get("id"):
            event["id"] = f"{seed}:{index}"
