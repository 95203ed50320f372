"""The catalogue of event types: what there is, with schema and example of each."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import webhooks
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.trail import trail_of
from mainstay.console.webhooks_words import moments

_View = Annotated[Page, Depends(PageMay("webhooks.read"))]

PATH = "/console/webhooks/types"
SHOWN = 50


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The types by name."""
        return page.show("webhooks_types.html", one=None, **await _listed(ground, page))

    @router.get(PATH + "/{type_name}")
    async def show_one(page: _View, type_name: str) -> Response:
        """One type, beside the list."""
        one = moments(await webhooks.get_type(page.db, company_id=page.company_id, name=type_name))
        listed = {} if page.wanted == "panel" else await _listed(ground, page)
        return page.show("webhooks_types.html", one=one, **listed)

    return router


async def _listed(ground: Ground, page: Page) -> dict[str, Any]:
    trail = trail_of(PATH, {}, page.request.query_params)
    scope = f"console:types:{page.company_id}"
    after = None if trail.cursor is None else str(ground.cursors.open(scope, trail.cursor)[0])
    found = await webhooks.read_types(page.db, company_id=page.company_id, after=after, limit=SHOWN)
    older = None if found.next_after is None else ground.cursors.seal(scope, [found.next_after])
    return {"types": moments(found.types), "newer": trail.newer, "older": trail.older(older)}
