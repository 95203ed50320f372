"""The company's webhooks: the list, and the ways to all that is done with them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import webhooks
from mainstay.console import (
    webhooks_acts,
    webhooks_deliveries,
    webhooks_one,
    webhooks_replays,
    webhooks_settings,
    webhooks_types,
)
from mainstay.console.frame import Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.trail import trail_of
from mainstay.console.webhooks_words import moments, name_of, percent, state_of

_View = Annotated[Page, Depends(PageMay("webhooks.read"))]

PATH = "/console/webhooks"
AREA = Area(
    "Webhooks",
    PATH,
    "webhook",
    "Delivery",
    (Action("New webhook", f"{PATH}/new", "webhooks.change"), Action("Event types", f"{PATH}/types")),
    act="webhooks.read",
)
SHOWN = 25


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The webhooks, the oldest first."""
        return page.show("webhooks.html", **await _listed(ground, page))

    # Types first: their names may be those of parts of a webhook's address.
    for module in (
        webhooks_types,
        webhooks_settings,
        webhooks_deliveries,
        webhooks_replays,
        webhooks_acts,
        webhooks_one,
    ):
        router.include_router(module.routes(ground))
    return router


async def _listed(ground: Ground, page: Page) -> dict[str, Any]:
    trail = trail_of(PATH, {}, page.request.query_params)
    scope = f"console:webhooks:{page.company_id}"
    after = None if trail.cursor is None else str(ground.cursors.open(scope, trail.cursor)[0])
    async with page.db.begin(readonly=True) as tx:
        found = await webhooks.read_endpoints(
            tx, company_id=page.company_id, keyring=ground.keyring, after_id=after, limit=SHOWN
        )
        days = await webhooks.read_day_of_each(
            tx, company_id=page.company_id, endpoint_ids=[one["id"] for one in found.endpoints]
        )
    rows = [
        {
            "endpoint": moments(one),
            "state": state_of(one),
            "name": name_of(one),
            "day": moments(days[one["id"]]),
            "success": percent(days[one["id"]]["successShare"]),
        }
        for one in found.endpoints
    ]
    older = None if found.next_after is None else ground.cursors.seal(scope, [found.next_after])
    return {"rows": rows, "trail": trail, "older": trail.older(older)}
