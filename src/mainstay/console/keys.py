"""API keys of the company: which there are, how each is used and refused, and which nobody needs any more."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Depends, Response

from mainstay import identity
from mainstay.console import keys_acts
from mainstay.console.frame import Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.keys_acts import ONE, PATH
from mainstay.console.people_words import SHOWN, address, cut, position

_View = Annotated[Page, Depends(PageMay("keys.read"))]
_State = Literal["working", "ending", "expired", "revoked"]

AREA = Area(
    "API keys", PATH, "key-round", "People", (Action("New API key", f"{PATH}/new", "keys.change"),), act="keys.read"
)
_STATES = {"": "All", "working": "Working", "ending": "Ending", "expired": "Expired", "revoked": "Revoked"}


def routes(ground: Ground) -> APIRouter:
    """The routes; the form of a new key first, as its path would fit an id."""
    router = pages()
    keys_acts.add_routes(router, ground)

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The keys, oldest first."""
        return page.show("keys.html", one=None, **await _listed(page))

    @router.get(ONE)
    async def show_one(page: _View, key_id: str) -> Response:
        """One key with how it is used and refused, beside the list."""
        key = await identity.get_key(page.db, page.company_id, key_id)
        places = await keys_acts.places_of(page)
        (one,) = await _rows(page, [key], places)
        listed = {} if page.wanted == "panel" else await _listed(page)
        return page.show("keys.html", one=one, **listed)

    return router


async def _rows(page: Page, found: Sequence[identity.ApiKey], places: dict[str, str]) -> list[dict[str, Any]]:
    """Keys with where they belong, their use, and what to think about."""
    health = await identity.key_health.health_of(page.db, page.company_id, [key.id for key in found])
    return [
        {
            "key": key,
            "place": places.get(key.workspace_id or "", "a workspace") if key.workspace_id else "the whole company",
            "health": health[key.id],
            "notes": notes_of(key, health[key.id]),
        }
        for key in found
    ]


def notes_of(key: identity.ApiKey, health: identity.key_health.KeyHealth) -> list[str]:
    """What is worth a thought about a key, in words; nothing of one that works no more. Pure."""
    notes = ["found in the open"] if key.leaked_at else []
    if key.state not in ("working", "ending"):
        return notes
    if health.use == "idle":
        notes.append(f"unused for {identity.key_health.IDLE_AFTER.days} days")
    if health.use == "never_used":
        notes.append("never used")
    refused = sum(health.refusals.values())
    if refused:
        notes.append(f"refused {refused:,} times" if refused > 1 else "refused once")
    if key.kind == "company" and key.scopes is None and not key.read_only and not key.allow_list:
        notes.append("may do all, from anywhere")
    return notes


async def _listed(page: Page) -> dict[str, Any]:
    query, cursors = page.request.query_params, page.ground.cursors
    state = next((one for one in get_args(_State) if one == query.get("state")), None)
    scope = f"console keys {page.company_id}"
    after = position(cursors, scope, query.get("after", ""))
    found = await identity.list_keys(page.db, page.company_id, state=state, after=after, limit=SHOWN + 1)
    rows, following = cut(cursors, scope, found)
    chosen = state or ""
    return {
        "keys": await _rows(page, rows, await keys_acts.places_of(page)),
        "is_filtered": bool(state),
        "choices": [(words, address(PATH, state=name), name == chosen) for name, words in _STATES.items()],
        "first": address(PATH, state=chosen) if after else "",
        "following": address(PATH, state=chosen, after=following) if following else "",
    }
