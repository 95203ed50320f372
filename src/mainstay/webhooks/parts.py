"""What every route of this room needs: its two families, its parts, pages of lists, and what a query may hold."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from fastapi import Request

from mainstay.kernel.addresses import AllowList
from mainstay.kernel.clock import Clock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import DEFAULT_LIMIT, Cursors, check_limit
from mainstay.kernel.regions import Regions
from mainstay.web import bodies
from mainstay.web.callers import Caller, Guards
from mainstay.web.json import Answer, json_body, refuse_unknown_query
from mainstay.webhooks.endpoints import FindWorkspace

T = TypeVar("T")
FAMILIES: Final = {
    "/api/v1": Guards.of_people("webhooks.read", "webhooks.change"),
    "/v1/key/company": Guards.of_keys("company_key"),
}
"""Where everything of this room stands, and who may call it there."""

NOT_KEPT: Final = {"cache-control": "no-store"}
PAGING: Final[list[dict[str, Any]]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": DEFAULT_LIMIT}},
    {"name": "cursor", "in": "query", "schema": {"type": "string"}, "description": "`meta.nextCursor`"},
]
_PAGE_QUERY: Final = frozenset({"limit", "cursor"})


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes stand on."""

    regions: Regions
    keyring: Keyring
    allow: AllowList
    brand: str
    cursors: Cursors
    find_workspace: FindWorkspace
    clock: Clock

    def db_of(self, caller: Caller) -> Database:
        """Where the webhooks of the caller's company are."""
        return self.regions.of(caller.region)


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a caller asked for: how much, and from where (None: the beginning)."""

    limit: int
    position: str | None
    scope: str
    cursors: Cursors

    def answer(self, shown: list[dict[str, Any]], last: str | None) -> Answer:
        """The page as an answer; `last` is where the next one begins, None at the end."""
        cursor = None if last is None else self.cursors.seal(self.scope, [last])
        return Answer({"data": shown, "meta": {"limit": self.limit, "nextCursor": cursor}})


def page_of(request: Request, parts: Parts, scope: str, *, most: int, filters: frozenset[str] = frozenset()) -> Page:
    """The page that the query asks for; Invalid for unknown parameters, limits and cursors."""
    refuse_unknown_query(request, _PAGE_QUERY | filters)
    cursor = request.query_params.get("cursor")
    position = None if cursor is None else str(parts.cursors.open(scope, cursor)[0])
    return Page(limit_of(request, most=most), position, scope, parts.cursors)


def limit_of(request: Request, *, most: int) -> int:
    """The `limit` of the query, from 1 to `most`."""
    return check_limit(whole_number(request, "limit", DEFAULT_LIMIT), most=most)


def whole_number(request: Request, name: str, default: int) -> int:
    """A whole number of the query; Invalid for anything else."""
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", name)])
    return int(given)


def time_of(text: str | None, pointer: str) -> datetime | None:
    """The moment that an RFC 3339 text names; Invalid where it names none or has no offset."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or len(text) > 40:
            raise ValueError
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(faults=[Fault("must be a time with its offset, such as 2026-01-31T12:00:00Z", pointer)]) from None
    if not 1970 <= moment.year < 2100:
        raise Invalid(faults=[Fault("must lie between 1970 and 2099", pointer)])
    return moment


def optional_body(shape: type[T]) -> Callable[[Request], Awaitable[T]]:
    """A dependency that gives the body as `shape`, with its defaults where there is no body."""
    parse = json_body(shape)

    async def parse_or_default(request: Request) -> T:
        length = bodies.header(request.scope["headers"], b"content-length")
        chunked = bodies.header(request.scope["headers"], b"transfer-encoding")
        return shape() if length in (None, b"0") and chunked is None else await parse(request)

    return parse_or_default
