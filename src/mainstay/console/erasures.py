"""People taken out of the log: what was erased, when and by whom; counting first; and what is stored about a person."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse

from mainstay import archive, erasure, identity, jobs
from mainstay.console import erasures_form
from mainstay.console.erasures_form import Draft
from mainstay.console.frame import HEADERS, Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.kernel.errors import Conflict, Fault, Invalid
from mainstay.web.json import fault_of

_Edit = Annotated[Page, Depends(PageMay("erasures.change"))]

PATH = "/console/erasures"
AREA = Area("Erasure", PATH, "eraser", "Audit log", (Action("Erase a person", f"{PATH}/new"),), act="erasures.change")
ONE = PATH + "/{erasure_id}"
T = TypeVar("T")
_QUEUE = "mainstay:archive"
_EVENTS_SHOWN = 50
_MOST_WORKSPACES = 200


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _Edit) -> Response:
        """The record of erasures, newest first, and the exports of people's data."""
        return page.show("erasures.html", one=None, **await _listed(page))

    @router.get(f"{PATH}/new")
    async def ask_new(page: _Edit) -> Response:
        """The form of an erasure, which is counted first."""
        return page.show("erasures_form.html", draft=erasures_form.blank(), parts=erasures_form.PARTS)

    @router.post(PATH)
    async def count(page: _Edit) -> Response:
        """What the erasure would touch is counted as soon as a worker is free; nothing changes."""
        draft = erasures_form.read_count(page.form, page.form.getlist("parts"))
        wanted = _meant(draft, erasure.ErasureIn)
        made = None if wanted is None else await _request(page, draft, wanted)
        if made is None:
            return page.show("erasures_form.html", status=400, draft=draft, parts=erasures_form.PARTS)
        return page.go(f"{PATH}/{made['id']}", said="It is being counted; load the page again in a moment.")

    @router.get(ONE)
    async def show_one(page: _Edit, erasure_id: str) -> Response:
        """One erasure, beside the list: how far it is, what was erased and where."""
        return await _show_one(page, erasure_id, erasures_form.blank())

    @router.post(ONE + "/erase")
    async def erase(page: _Edit, erasure_id: str) -> Response:
        """The person that was counted is erased, where they were typed once more."""
        counted = await erasure.read_erasure(ground.regions, page.company_id, erasure_id)
        if not counted["dryRun"] or counted["state"] != "completed":
            raise Conflict("Only what was counted to the end is erased from here.")
        draft = erasures_form.read_person(page.form, counted["parts"])
        draft.given |= {"reason": counted["reason"], "parts": counted["parts"]}
        wanted = _meant(draft, erasure.ErasureIn)
        if wanted is not None and not erasure.is_of(ground.keyring, counted, wanted):
            draft.wrong["actorId"] = "This is not whom the count was of. Type the same id and email as there."
            wanted = None
        made = None if wanted is None else await _request(page, draft, wanted)
        if made is None:
            return await _show_one(page, erasure_id, draft, status=400)
        return page.go(f"{PATH}/{made['id']}", said="The person is being erased; load the page again in a moment.")

    @router.post(ONE + "/resume")
    async def resume(page: _Edit, erasure_id: str) -> Response:
        """An erasure that was held or failed goes on where it was."""
        await erasure.resume(ground.regions, ground.keyring, page.caller.actor, page.company_id, erasure_id)
        await jobs.wake(page.db, _QUEUE)
        return page.go(f"{PATH}/{erasure_id}", said="It goes on where it was.")

    router.include_router(_exports(ground))
    return router


def _exports(ground: Ground) -> APIRouter:
    router = pages()

    @router.post(f"{PATH}/exports")
    async def request_export(page: _Edit) -> Response:
        """Every event of a person is gathered into a file as soon as a worker is free."""
        draft = erasures_form.read_person(page.form, also=False)
        wanted = _meant(draft, erasure.GdprExportIn)
        if wanted is None:
            return page.show("erasures.html", status=400, one=None, **{**await _listed(page), "draft": draft})
        await erasure.request_export(page.db, ground.keyring, page.caller, wanted)
        await jobs.wake(page.db, _QUEUE)
        return page.go(PATH, said="The events are being gathered; load the page again in a moment.")

    @router.get(PATH + "/exports/{export_id}/file")
    async def download(page: _Edit, export_id: str) -> Response:
        """The file of an export, for seven days."""
        size, pieces = await erasure.open_export(page.db, archive.Stores(ground.settings), page.company_id, export_id)
        name = f'attachment; filename="person-{export_id}.ndjson.gz"'
        headers = {**HEADERS, "content-disposition": name, "content-length": str(size)}
        return StreamingResponse(pieces, media_type="application/gzip", headers=headers)

    return router


def _meant(draft: Draft, shape: type[T]) -> T | None:
    """What the form means; None where something is wrong, which the draft then says."""
    if draft.wrong:
        return None
    try:
        return msgspec.convert(draft.given, shape)
    except msgspec.ValidationError as error:
        draft.take_faults([fault_of(error)])
        return None


async def _request(page: Page, draft: Draft, wanted: erasure.ErasureIn) -> dict[str, Any] | None:
    try:
        made = await erasure.request_erasure(page.db, page.ground.keyring, page.caller.actor, page.company_id, wanted)
    except (Invalid, Conflict) as refusal:
        draft.take_faults(refusal.faults or [Fault(refusal.detail, "#/actorId")])
        return None
    await jobs.wake(page.db, _QUEUE)
    return made


async def _show_one(page: Page, erasure_id: str, draft: Draft, *, status: int = 200) -> Response:
    regions = page.ground.regions
    one = await erasure.read_erasure(regions, page.company_id, erasure_id)
    found = await erasure.read_erased_events(regions, page.company_id, erasure_id, after=None, limit=_EVENTS_SHOWN + 1)
    here = next(name for name, db in regions.all() if db is page.db)
    events = [{**event, "isHere": event["storedIn"] == here} for event in found[:_EVENTS_SHOWN]]
    listed = {} if page.wanted == "panel" else await _listed(page)
    context = {
        **listed, "one": _shown(one), "draft": draft, "events": events, "more": len(found) > _EVENTS_SHOWN,
        "workspaces": await _workspaces(page), "part_names": erasures_form.PARTS,
    }  # fmt: skip
    return page.show("erasures.html", status=status, **context)


async def _listed(page: Page) -> dict[str, Any]:
    erasures = await erasure.read_erasures(page.ground.regions, page.company_id)
    exports = await erasure.read_exports(page.db, page.company_id)
    return {
        "erasures": [_shown(one) for one in erasures],
        "exports": [_export(one) for one in exports],
        "draft": erasures_form.blank(),
    }


async def _workspaces(page: Page) -> dict[str, str]:
    found = await identity.list_workspaces(page.ground.home, page.company_id, limit=_MOST_WORKSPACES)
    return {one.id: one.name for one in found}


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    """The erasure with its times as moments and its state as people call it."""
    called = {"completed": "counted", "waiting": "waiting", "running": "running"}
    word = called.get(one["state"], one["state"]) if one["dryRun"] else one["state"]
    return {
        **one,
        "word": word,
        "requestedAt": _moment(one["requestedAt"]),
        "completedAt": _moment(one["completedAt"]),
        "percent": _percent(one.get("progress")),
    }


def _export(one: Mapping[str, Any]) -> dict[str, Any]:
    """The export with its times as moments, and whether its file is there."""
    result = one["result"] or {"downloadUrl": None, "rows": 0, "expiresAt": None}
    is_gone = one["status"] == "completed" and result["downloadUrl"] is None
    return {
        **one,
        "word": "expired" if is_gone else one["status"],
        "createdAt": _moment(one["createdAt"]),
        "rows": result["rows"],
        "expiresAt": _moment(result["expiresAt"]),
        "href": f"{PATH}/exports/{one['id']}/file" if result["downloadUrl"] else None,
    }


def _percent(progress: Mapping[str, int] | None) -> int:
    """How far an erasure is by the events that it looked at; 100 only where it has ended."""
    if not progress or not progress["events"]:
        return 0
    return min(99, progress["eventsLookedAt"] * 100 // progress["events"])


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
