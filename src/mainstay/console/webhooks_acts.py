"""What the owner of a webhook does with it: pause, a new secret, a test, the end."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import jobs, webhooks
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.webhooks_one import ONE, OVERLAPS, PATH, endpoint_of
from mainstay.console.webhooks_samples import samples_of
from mainstay.console.webhooks_words import confirmation_of, moments, name_of
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.errors import Fault, Invalid

_View = Annotated[Page, Depends(PageMay("webhooks.read"))]
_Edit = Annotated[Page, Depends(PageMay("webhooks.change"))]


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(ONE + "/checking")
    async def show_samples(page: _View, endpoint_id: str) -> Response:
        """How a receiver checks what this webhook sends."""
        return show_secret(page, await endpoint_of(ground, page, endpoint_id), "")

    @router.post(ONE + "/switch")
    async def switch(page: _Edit, endpoint_id: str) -> Response:
        """The webhook is paused, or goes on."""
        is_on = page.form.get("on") == "1"
        async with page.db.begin() as tx:
            await webhooks.change(
                tx,
                page.caller.actor,
                webhooks.EndpointChange(is_active=is_on),
                company_id=page.company_id,
                endpoint_id=endpoint_id,
                allow=ground.settings.outbound_allow,
                brand=ground.settings.brand,
            )
        said = "Messages go out again." if is_on else "Paused: nothing is sent until you resume it."
        return page.go(f"{PATH}/{endpoint_id}", said=said)

    @router.post(ONE + "/rotate")
    async def rotate(page: _Edit, endpoint_id: str) -> Response:
        """A new secret is in force, shown for the only time."""
        await endpoint_of(ground, page, endpoint_id)
        overlap = page.form.get("overlap", "86400")
        if overlap not in OVERLAPS:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(OVERLAPS)}", "overlap")])
        async with page.db.begin() as tx:
            _, secret = await webhooks.rotate_secret(
                tx,
                page.caller.actor,
                company_id=page.company_id,
                endpoint_id=endpoint_id,
                keyring=ground.keyring,
                overlap_seconds=int(overlap),
            )
        endpoint = await endpoint_of(ground, page, endpoint_id)
        return show_secret(page, endpoint, secret)

    @router.post(ONE + "/test")
    async def send_test(page: _Edit, endpoint_id: str) -> Response:
        """A test message is on its way; on to its delivery."""
        async with page.db.begin() as tx:
            delivery_id = await webhooks.send_test(
                tx,
                company_id=page.company_id,
                endpoint_id=endpoint_id,
                kind=page.form.get("type") or None,
                now=SystemClock(),
            )
        await jobs.wake(page.db, webhooks.QUEUE)
        return page.go(f"{PATH}/{endpoint_id}/deliveries/{delivery_id}", said="A test event is on its way.")

    @router.post(ONE + "/delete")
    async def delete(page: _Edit, endpoint_id: str) -> Response:
        """The webhook is deleted, where its host was typed."""
        endpoint = await endpoint_of(ground, page, endpoint_id)
        if page.form.get("confirm", "").strip() != confirmation_of(endpoint):
            raise Invalid(f"Type {confirmation_of(endpoint)} to delete this webhook.")
        async with page.db.begin() as tx:
            await webhooks.delete(tx, page.caller.actor, company_id=page.company_id, endpoint_id=endpoint_id)
        return page.go(PATH, said=f"{name_of(endpoint)} is deleted.")

    return router


def show_secret(
    page: Page, endpoint: Mapping[str, Any], secret: str, *, is_new: bool = False, status: int = 200
) -> Response:
    """The secret, where it is shown, and how a receiver checks a signature with it."""
    return page.show(
        "webhooks_secret.html",
        status=status,
        endpoint=moments(endpoint),
        name=name_of(endpoint),
        secret=secret,
        is_new=is_new,
        samples=samples_of(endpoint["signing"] or "hmac"),
        base=page.ground.settings.base_url,
    )
