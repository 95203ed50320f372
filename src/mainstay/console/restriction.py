"""Restricted mode: people's routes closed and opened again by those who operate the service."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from mainstay import incidents
from mainstay.console.drafts import Draft
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, PageMay, pages
from mainstay.kernel.errors import MainstayError

PATH = "/console/restriction"
AREA = Area("Restricted mode", PATH, "lock", "Incidents", operators_only=True)
_FreshOperator = Annotated[Page, Depends(PageMay("account.use", operators_only=True, fresh=True))]


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: OperatorPage) -> Response:
        """Whether people's routes are closed, and what that closes."""
        return page.show("restriction.html", draft=Draft.of(("reason",)))

    @router.post(PATH)
    async def close(page: _FreshOperator) -> Response:
        """People's routes are closed in every process within a second."""
        draft = Draft.of(("reason",), page.form)
        try:
            async with ground.home.begin() as tx:
                await incidents.restrict(tx, page.caller.actor, reason=draft.typed["reason"])
        except MainstayError as refusal:
            if not draft.take(refusal):
                raise
            return page.show("restriction.html", status=400, draft=draft)
        ground.mode.forget()
        return page.go(PATH, said="People's routes are closed, in every process within a second.")

    @router.post(PATH + "/lift")
    async def lift(page: OperatorPage) -> Response:
        """People's routes are open again; no proof is asked for, as the page that takes one is closed meanwhile."""
        async with ground.home.begin() as tx:
            await incidents.lift(tx, page.caller.actor)
        ground.mode.forget()
        return page.go(PATH, said="People's routes are open again, in every process within a second.")

    return router
