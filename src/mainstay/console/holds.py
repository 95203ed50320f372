"""Legal holds: what is kept from erasure and retention, set with a reason and lifted again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response

from mainstay import erasure, identity
from mainstay.console import erasures_form
from mainstay.console.erasures_form import Draft
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.kernel.errors import Invalid, NotFound
from mainstay.web.json import fault_of

_Edit = Annotated[Page, Depends(PageMay("erasures.change"))]

PATH = "/console/holds"
AREA = Area("Legal holds", PATH, "lock", "Audit log", act="erasures.change")
ONE = PATH + "/{hold_id}"
_MOST_WORKSPACES = 200


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _Edit) -> Response:
        """The holds, those that stand first."""
        return page.show("holds.html", one=None, draft=erasures_form.blank(), **await _listed(page))

    @router.post(PATH)
    async def set_hold(page: _Edit) -> Response:
        """From now on nothing that the hold covers is erased, cut or deleted."""
        draft = erasures_form.read_hold(page.form)
        made = None if draft.wrong else await _set(page, draft)
        if made is None:
            return page.show("holds.html", status=400, one=None, draft=draft, **await _listed(page))
        return page.go(f"{PATH}/{made['id']}", said="The hold stands.")

    @router.get(ONE)
    async def show_one(page: _Edit, hold_id: str) -> Response:
        """One hold, beside the list."""
        one = await erasure.read_hold(ground.regions, ground.keyring, page.company_id, hold_id)
        workspaces = await _workspaces(page)
        listed = {"workspaces": workspaces} if page.wanted == "panel" else await _listed(page)
        return page.show("holds.html", one=_shown(one, workspaces), draft=erasures_form.blank(), **listed)

    @router.post(ONE + "/lift")
    async def lift(page: _Edit, hold_id: str) -> Response:
        """The hold stands no more, and whom it was on is forgotten."""
        await erasure.lift_hold(ground.regions, ground.keyring, page.caller.actor, page.company_id, hold_id)
        return page.go(f"{PATH}/{hold_id}", said="The hold is lifted.")

    return router


async def _set(page: Page, draft: Draft) -> dict[str, Any] | None:
    ground = page.ground
    try:
        wanted = msgspec.convert(draft.given, erasure.HoldIn)
        return await erasure.set_hold(ground.regions, ground.keyring, page.caller.actor, page.company_id, wanted)
    except msgspec.ValidationError as error:
        draft.take_faults([fault_of(error)])
    except Invalid as refusal:
        draft.take_faults(refusal.faults)
    except NotFound as refusal:
        draft.wrong["workspaceId"] = refusal.detail
    return None


async def _listed(page: Page) -> dict[str, Any]:
    workspaces = await _workspaces(page)
    found = await erasure.read_holds(page.ground.regions, page.ground.keyring, page.company_id)
    holds = [_shown(one, workspaces) for one in found]
    return {
        "holds": sorted(holds, key=lambda one: one["word"] != "stands"),
        "workspaces": workspaces,
        "scopes": erasures_form.SCOPES,
    }


async def _workspaces(page: Page) -> dict[str, str]:
    found = await identity.list_workspaces(page.ground.home, page.company_id, limit=_MOST_WORKSPACES)
    return {one.id: one.name for one in found}


def _shown(one: Mapping[str, Any], workspaces: Mapping[str, str]) -> dict[str, Any]:
    """The hold with its times as moments, and what it is on in words."""
    person = " · ".join(text for text in (one["actorId"], one["actorEmail"]) if text)
    on = {
        "company": "The whole company",
        "workspace": workspaces.get(one["workspaceId"] or "", one["workspaceId"] or ""),
        "subject": person or "A person, forgotten since",
    }[one["scope"]]
    return {
        **one,
        "word": "lifted" if one["liftedAt"] else "stands",
        "on": on,
        "setAt": datetime.fromisoformat(one["setAt"]),
        "liftedAt": None if one["liftedAt"] is None else datetime.fromisoformat(one["liftedAt"]),
    }
