"""Pulling: customers who cannot receive read their messages in order, none skipped, from where they left off."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from mainstay.kernel import ids
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.errors import Unauthenticated
from mainstay.webhooks import endpoints, versions
from mainstay.webhooks.errors import EndpointInactive, NothingToPull
from mainstay.webhooks.queries import pulling as rows

PULLED_AT_MOST: Final = 100
NIL: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader is: after the item of that transaction and id, and among items not older than the floor."""

    txid: int = 0
    item_id: str = NIL
    floor: str = NIL

    @classmethod
    def since(cls, moment: datetime | None) -> "Place":
        """The place before everything, or before what came since."""
        return cls() if moment is None else cls(floor=ids.lowest_id(moment))


@dataclass(frozen=True, slots=True)
class Pulled:
    """Messages as their reader sees them, the place after them, and whether there was nothing more just now."""

    messages: list[dict[str, Any]]
    place: Place
    done: bool


@dataclass(frozen=True, slots=True)
class Source:
    """An endpoint that is read from."""

    company_id: str
    endpoint_id: str
    payload_version: int


async def open_source(connection: Connection, *, company_id: str, endpoint_id: str) -> Source:
    """The company's endpoint to read from; EndpointNotFound, NothingToPull, EndpointInactive."""
    row = await endpoints.get(connection, company_id=company_id, endpoint_id=endpoint_id)
    if row["kind"] != "pull":
        raise NothingToPull
    if not row["is_active"]:
        raise EndpointInactive
    return Source(company_id, str(row["id"]), row["payload_version"])


async def admit(connection: Connection, endpoint_id: str, credential: str) -> str:
    """The company of the endpoint whose own credential this is; Unauthenticated for any other, and for no endpoint."""
    row = None
    if ids.is_uuid(endpoint_id):
        row = await rows.find_pull_endpoint_everywhere(connection, endpoint_id)
    shown = digest_of(credential)
    known = [one for one in (row["digest"], row["previous_digest"]) if one is not None] if row is not None else [b""]
    matches = [hmac.compare_digest(shown, digest) for digest in known]
    if row is None or not any(matches):
        raise Unauthenticated("Send this webhook's own credential as 'Authorization: Bearer whpull_…'.")
    return str(row["company_id"])


async def read(db: Database, source: Source, place: Place, *, limit: int) -> Pulled:
    """The next messages after the place; those that are no longer kept are passed over."""
    found = await rows.read_items(
        db,
        company_id=source.company_id,
        endpoint_id=source.endpoint_id,
        after=(place.txid, place.item_id),
        floor=place.floor,
        limit=limit,
    )
    messages = [
        {"id": row["message_id"], **_body(row["body"], source.payload_version)}
        for row in found
        if row["body"] is not None
    ]
    if found:
        place = Place(found[-1]["txid"], found[-1]["id"], place.floor)
    return Pulled(messages, place, len(found) < limit)


def _body(stored: str, version: int) -> dict[str, Any]:
    body = orjson.loads(versions.render(stored.encode(), version))
    return body if isinstance(body, dict) else {"data": body}
