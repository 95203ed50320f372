"""Incidents over HTTP, for operators: closing people's routes and opening them, and the authentication log."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from mainstay.incidents import restricting
from mainstay.incidents.auth_log import Filters, read_log
from mainstay.incidents.kinds import KINDS
from mainstay.incidents.restricting import Mode
from mainstay.incidents.schemas import RestrictionWanted, entry_shown, restriction_shown
from mainstay.kernel import ids
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import DEFAULT_LIMIT, MAX_LIMIT, Cursors, check_limit
from mainstay.web.callers import Operator
from mainstay.web.json import Answer, json_body, openapi_body, refuse_unknown_query

_AT = "/internal/restriction"
_LOG = "/internal/auth-log"
_QUERY = frozenset({"kind", "personId", "companyId", "email", "address", "since", "until", "cursor", "limit"})
_TEXT = {"type": "string"}
_NOT_KEPT = {"cache-control": "no-store"}
_PARAMETERS: list[dict[str, Any]] = [
    {"name": "kind", "in": "query", "schema": {"type": "string", "enum": list(KINDS)}},
    {"name": "personId", "in": "query", "schema": {"type": "string", "format": "uuid"}},
    {"name": "companyId", "in": "query", "schema": {"type": "string", "format": "uuid"}},
    {"name": "email", "in": "query", "schema": _TEXT, "description": "What somebody typed, letter case aside."},
    {"name": "address", "in": "query", "schema": _TEXT},
    {"name": "since", "in": "query", "schema": {"type": "string", "format": "date-time"}},
    {"name": "until", "in": "query", "schema": {"type": "string", "format": "date-time"}},
    {"name": "cursor", "in": "query", "schema": _TEXT, "description": "`meta.nextCursor`"},
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    },
]


def router(db: Database, keyring: Keyring, cursors: Cursors, mode: Mode) -> APIRouter:
    """The room's routes."""
    routes = APIRouter(tags=["operators"], default_response_class=Answer)
    _add_restriction(routes, db, mode)

    @routes.get(_LOG, openapi_extra={"parameters": _PARAMETERS})
    async def list_entries(request: Request, _: Operator) -> Answer:
        """What was refused to whom, newest first; it is written a second later, and kept for 90 days."""
        refuse_unknown_query(request, _QUERY)
        limit = _limit_of(request)
        cursor = request.query_params.get("cursor")
        before = None if cursor is None else int(str(cursors.open(_LOG, cursor)[0]))
        found = await read_log(db, keyring, filters_of(request), before=before, limit=limit + 1)
        shown = [entry_shown(row) for row in found[:limit]]
        following = cursors.seal(_LOG, [shown[-1]["id"]]) if len(found) > limit else None
        return Answer({"data": shown, "meta": {"limit": limit, "nextCursor": following}}, 200, _NOT_KEPT)

    return routes


def _add_restriction(routes: APIRouter, db: Database, mode: Mode) -> None:
    @routes.get(_AT)
    async def read_restriction(_: Operator) -> Answer:
        """Whether people's routes are closed, and why, since when and by whom."""
        return Answer(restriction_shown(await restricting.find_restriction(db)), 200, _NOT_KEPT)

    @routes.put(_AT, openapi_extra=dict(openapi_body(RestrictionWanted)))
    async def close(
        caller: Operator, wanted: Annotated[RestrictionWanted, Depends(json_body(RestrictionWanted, most=4_096))]
    ) -> Answer:
        """Closes people's routes in every process within a second: signing in and out, the API of people, pages."""
        async with db.begin() as tx:
            held = await restricting.restrict(tx, caller.actor, reason=wanted.reason)
        mode.forget()
        return Answer(restriction_shown(held), 200, _NOT_KEPT)

    @routes.delete(_AT)
    async def open_again(caller: Operator) -> Answer:
        """Opens people's routes again, in every process within a second."""
        async with db.begin() as tx:
            await restricting.lift(tx, caller.actor)
        mode.forget()
        return Answer(restriction_shown(None), 200, _NOT_KEPT)


def filters_of(request: Request) -> Filters:
    """What the query asks for; Invalid for kinds, ids and times that are none."""
    given, faults = request.query_params, []
    if given.get("kind") not in (None, *KINDS):
        faults.append(Fault(f"must be one of {', '.join(KINDS)}", "kind"))
    faults += [
        Fault("must be a UUID", name)
        for name in ("personId", "companyId")
        if name in given and not ids.is_uuid(given[name])
    ]
    if faults:
        raise Invalid(faults=faults)
    return Filters(
        kind=given.get("kind"),
        person_id=given.get("personId"),
        company_id=given.get("companyId"),
        email=given.get("email"),
        address=_storable(given.get("address"), "address"),
        since=_moment(given.get("since"), "since"),
        until=_moment(given.get("until"), "until"),
    )


def _storable(text: str | None, name: str) -> str | None:
    if text is not None and not text.isprintable():
        raise Invalid(faults=[Fault("must hold printable characters only", name)])
    return text


def _moment(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        detail = "must be a time with its offset, such as 2026-01-31T12:00:00Z"
        raise Invalid(faults=[Fault(detail, name)]) from None


def _limit_of(request: Request) -> int:
    given = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    return check_limit(int(given))
