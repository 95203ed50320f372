"""Rate limits of the company: how often may somebody do something, and what was refused today."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from mainstay import limits
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages

_View = Annotated[Page, Depends(PageMay("usage.read"))]

PATH = "/console/limits"
AREA = Area("Rate limits", PATH, "activity", "Limits and plans", act="usage.read")


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    policies = limits.policies_of(ground.settings)

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The limits that count the company's calls, with what they refused today."""
        found = await limits.of_company(ground.home, policies, page.company_id)
        return page.show("limits.html", limits=found)

    return router
