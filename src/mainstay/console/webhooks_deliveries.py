"""One delivery of a webhook: its message, every try, and sending it again."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import jobs, webhooks
from mainstay.console import webhooks_one
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.trail import address
from mainstay.console.webhooks_words import moments, sent_headers
from mainstay.kernel.db import Database

_View = Annotated[Page, Depends(PageMay("webhooks.read"))]
_Edit = Annotated[Page, Depends(PageMay("webhooks.change"))]

PATH = webhooks_one.ONE + "/deliveries/{delivery_id}"
_LIVE = "/console/live/webhooks/{endpoint_id}/deliveries/{delivery_id}"
_PARTS = "webhooks_delivery.html"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View, endpoint_id: str, delivery_id: str) -> Response:
        """The delivery, beside the list that it was opened from."""
        endpoint = await webhooks_one.endpoint_of(ground, page, endpoint_id)
        delivery = await _find(page.db, page.company_id, endpoint_id, delivery_id)
        kept = webhooks_one.kept_of(page.request.query_params)
        detail: dict[str, Any] = {
            "endpoint": moments(endpoint),
            "delivery": delivery,
            "sent": sent_headers(endpoint, delivery, ground.settings.brand),
            "close": address(f"{webhooks_one.PATH}/{endpoint['id']}", kept),
            "follow": _LIVE.format(endpoint_id=endpoint["id"], delivery_id=delivery["id"]),
        }
        if page.wanted != "panel":
            # Its webhook as the list has it: health and state of one reading.
            detail |= {**await webhooks_one.read(ground, page, endpoint_id), "delivery": delivery}
        return page.show("webhooks_one.html", **detail)

    @router.get(_LIVE)
    async def follow(page: _View, endpoint_id: str, delivery_id: str) -> Response:
        """What becomes of the delivery."""
        company_id, db = page.company_id, page.db
        await _find(db, company_id, endpoint_id, delivery_id)

        async def load() -> Parts:
            delivery = await _find(db, company_id, endpoint_id, delivery_id)
            return {
                "delivery-state": ground.frame.piece(_PARTS, "standing", delivery),
                "delivery-tries": ground.frame.piece(_PARTS, "tries", delivery),
            }

        subject = Subject("delivery", company_id, f"{endpoint_id}/{delivery_id}".lower())
        return ground.live.stream(subject, page.session.id, load)

    @router.post(PATH + "/replay")
    async def replay(page: _Edit, endpoint_id: str, delivery_id: str) -> Response:
        """The same message is on its way again; on to that delivery."""
        async with page.db.begin() as tx:
            made = await webhooks.replay(
                tx,
                page.caller.actor,
                company_id=page.company_id,
                endpoint_id=endpoint_id,
                delivery_id=delivery_id,
            )
        await jobs.wake(page.db, webhooks.QUEUE)
        href = f"{webhooks_one.PATH}/{endpoint_id}/deliveries/{made}"
        return page.go(href, said="Sent again, under the same webhook-id.")

    return router


async def _find(db: Database, company_id: str, endpoint_id: str, delivery_id: str) -> dict[str, Any]:
    found = await webhooks.read_delivery(db, company_id=company_id, endpoint_id=endpoint_id, delivery_id=delivery_id)
    shown: dict[str, Any] = moments(found)
    return shown
