"""The company's archive: each day outside the window, what is proven of it, and what to do about it."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import StreamingResponse

from mainstay import archive, identity, jobs, plans
from mainstay.console.frame import HEADERS, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import OperatorPage, Page, PageMay, pages
from mainstay.console.trail import trail_of
from mainstay.kernel import ids
from mainstay.kernel.clock import iso
from mainstay.kernel.errors import Conflict, Fault, Invalid, NotFound

_View = Annotated[Page, Depends(PageMay("archive.read"))]
_Edit = Annotated[Page, Depends(PageMay("archive.change"))]

PATH = "/console/archive"
AREA = Area("Archive", PATH, "archive", "Audit log", act="archive.read")
ONE = PATH + "/days/{archive_day}"
STEPS = {
    "mark": "Mark what left the window",
    "archive": "Archive what is marked",
    "verify": "Verify every object",
    "cut": "Cut what is archived from the table",
}
_SHOWN = 50
_MOST_WORKSPACES = 200
_QUEUE = "mainstay:archive"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The days outside the window, newest first."""
        return page.show("archive.html", one=None, **await _listed(page))

    @router.get(PATH + "/export.json")
    async def export(page: _View) -> Response:
        """Archived events of days from one to another, both included, with their proofs."""
        since, until = (_date_of(page, name) for name in ("from", "to"))
        if since and until and since > until:
            raise Invalid(faults=[Fault("must not lie after 'to'", "from")])
        wanted = archive.Range(
            company_id=page.company_id,
            workspace_id=page.workspace_id or None,
            since=None if since is None else datetime.combine(since, time.min, UTC),
            until=None if until is None else datetime.combine(until, time.max, UTC),
        )
        return await _download(archive.export(page.db, archive.Stores(ground.settings), wanted))

    @router.get(ONE)
    async def show_one(page: _View, archive_day: str) -> Response:
        """One day, beside the list."""
        day = await archive.get_day(page.db, _day_of(page, archive_day))
        workspace = await identity.find_workspace(ground.home, page.company_id, day.workspace_id)
        listed = {} if page.wanted == "panel" else await _listed(page)
        name = workspace.name if workspace else day.workspace_id
        return page.show("archive.html", one=day, here=_address(day), workspace_name=name, **listed)

    router.include_router(_acts(ground))
    return router


def _acts(ground: Ground) -> APIRouter:
    router = pages()

    @router.post(ONE + "/verify")
    async def verify(page: _Edit, archive_day: str) -> Response:
        """The day's object is verified as soon as a worker is free."""
        day = await archive.get_day(page.db, _day_of(page, archive_day))
        if not day.archived_events:
            raise Conflict("Nothing of this day is archived yet.")
        async with page.db.begin() as tx:
            await archive.ask_verification(tx, archive.Day(day.company_id, day.workspace_id, day.day))
        await jobs.wake(page.db, _QUEUE)
        return page.go(_address(day), said="The object is being read to its end; load the page again in a moment.")

    @router.post(ONE + "/archive")
    async def archive_now(page: _Edit, archive_day: str) -> Response:
        """The day is archived as soon as a worker is free."""
        day = await archive.get_day(page.db, _day_of(page, archive_day))
        standing = await ground.usage.book.standing(ground.home, page.company_id)
        if not standing.has(plans.RETENTION_S3_ARCHIVE):
            raise Conflict("The company does not hold the archive add-on.")
        async with page.db.begin() as tx:
            await archive.ask_day(tx, archive.Day(day.company_id, day.workspace_id, day.day))
        await jobs.wake(page.db, _QUEUE)
        return page.go(_address(day), said="The day is being archived; load the page again in a moment.")

    @router.post(PATH + "/runs")
    async def run(page: OperatorPage) -> Response:
        """A step runs on every database as soon as a worker is free."""
        step = page.form.get("step", "")
        if step not in STEPS:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(STEPS)}", "step")])
        for _, db in ground.regions.all():
            async with db.begin() as tx:
                await archive.ask(tx, step)
            await jobs.wake(db, _QUEUE)
        return page.go(PATH, said=f"{STEPS[step]}: it runs as soon as a worker is free.")

    return router


async def _listed(page: Page) -> dict[str, Any]:
    ground = page.ground
    standing = await ground.usage.book.standing(ground.home, page.company_id)
    trail = trail_of(PATH, {}, page.request.query_params)
    scope = f"console:archive:{page.company_id}:{page.workspace_id}"
    found = await archive.list_days(
        page.db,
        page.company_id,
        workspace_id=page.workspace_id or None,
        before=None if trail.cursor is None else _position(ground.cursors.open(scope, trail.cursor)),
        limit=_SHOWN + 1,
    )
    shown = found[:_SHOWN]
    more = len(found) > _SHOWN
    older = ground.cursors.seal(scope, [shown[-1].day.isoformat(), shown[-1].workspace_id]) if more else None
    workspaces = await identity.list_workspaces(ground.home, page.company_id, limit=_MOST_WORKSPACES)
    figures = await archive.figures(page.db, page.company_id)
    return {
        "days": [(day, _address(day)) for day in shown],
        "unsound": [(day, _address(day)) for day in await archive.list_unsound(page.db, page.company_id, limit=10)],
        "figures": figures,
        "least_verified": _moment(figures["leastVerifiedAt"]),
        "standing": standing,
        "grace_days": await archive.grace_days_of(ground.home, page.company_id),
        "is_archived": standing.has(plans.RETENTION_S3_ARCHIVE),
        "workspaces": {one.id: one.name for one in workspaces},
        "newer": trail.newer,
        "older": trail.older(older),
        "steps": STEPS,
    }


async def _download(pieces: AsyncIterator[bytes]) -> Response:
    """The pieces as a file; what goes wrong before the first is told as a page."""
    first = await anext(pieces)

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    headers = {**HEADERS, "content-disposition": f'attachment; filename="archive-{iso(datetime.now(UTC))[:10]}.json"'}
    return StreamingResponse(whole(), media_type="application/json", headers=headers)


def _day_of(page: Page, text: str) -> archive.Day:
    """The day that an address names: its date and workspace. NotFound."""
    day, _, workspace_id = text.partition(".")
    try:
        found = date.fromisoformat(day)
    except ValueError:
        raise NotFound("There is no such day.") from None
    if not ids.is_uuid(workspace_id):
        raise NotFound("There is no such day.")
    return archive.Day(page.company_id, workspace_id, found)


def _address(day: archive.ArchiveDay) -> str:
    return f"{PATH}/days/{day.day.isoformat()}.{day.workspace_id}"


def _date_of(page: Page, name: str) -> date | None:
    text = page.request.query_params.get(name)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise Invalid(faults=[Fault("must be a date such as 2026-01-02", name)]) from None


def _position(opened: list[Any]) -> tuple[date, str]:
    return date.fromisoformat(str(opened[0])), str(opened[1])


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
