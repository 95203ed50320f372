"""Templates: rules that workspaces have, who has them, and what the daily check found."""

from typing import Annotated, Any

import msgspec
import orjson
from fastapi import APIRouter, Depends, Response

from mainstay import identity, templates
from mainstay.console import templates_form
from mainstay.console.frame import Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.templates_form import Draft
from mainstay.kernel.errors import Conflict, Fault, MainstayError, NotFound
from mainstay.web.json import fault_of

_View = Annotated[Page, Depends(PageMay("templates.read"))]
_Edit = Annotated[Page, Depends(PageMay("templates.change"))]

PATH = "/console/templates"
AREA = Area(
    "Templates",
    PATH,
    "list-checks",
    "Audit log",
    (Action("New template", f"{PATH}/new", "templates.change"),),
    act="templates.read",
)
ONE = PATH + "/{template_id}"
_MOST_WORKSPACES = 200
_REPORTS = 20


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The templates by name."""
        return page.show("templates.html", one=None, **await _listed(page))

    @router.get(f"{PATH}/new")
    async def ask_new(page: _Edit) -> Response:
        """The form of a new template."""
        return _form(page, None, Draft(dict(templates_form.TEMPLATE)))

    @router.post(PATH)
    async def create(page: _Edit) -> Response:
        """The template is made; no workspace has it yet."""
        draft = templates_form.read_template(page.form)
        made = await _save(page, None, draft)
        if made is None:
            return _form(page, None, draft, status=400)
        return page.go(f"{PATH}/{made}", said="The template is made. Give it to workspaces below.")

    @router.get(ONE)
    async def show_one(page: _View, template_id: str) -> Response:
        """One template with its workspaces and the newest reports, beside the list."""
        row = await templates.get(page.db, page.company_id, template_id)
        listed = {} if page.wanted == "panel" else await _listed(page)
        return page.show("templates.html", one=row, **await _detail(ground, page, row), **listed)

    @router.get(ONE + "/edit")
    async def ask(page: _Edit, template_id: str) -> Response:
        """The form of the template as it is."""
        row = await templates.get(page.db, page.company_id, template_id)
        return _form(page, row, templates_form.template_of(row))

    @router.post(ONE + "/edit")
    async def change(page: _Edit, template_id: str) -> Response:
        """The template is as the form says, for events that arrive from a second later on."""
        row = await templates.get(page.db, page.company_id, template_id)
        draft = templates_form.read_template(page.form)
        if await _save(page, str(row["id"]), draft) is None:
            return _form(page, row, draft, status=400)
        return page.go(f"{PATH}/{row['id']}", said="Saved. It holds for events that arrive from now on.")

    router.include_router(_acts(ground))
    return router


def _acts(ground: Ground) -> APIRouter:
    router = pages()

    @router.post(ONE + "/assign")
    async def assign(page: _Edit, template_id: str) -> Response:
        """The workspace has the template, or does not have it any more."""
        row = await templates.get(page.db, page.company_id, template_id)
        workspace = await identity.find_workspace(ground.home, page.company_id, page.form.get("workspace", ""))
        if workspace is None:
            raise NotFound("There is no such workspace.")
        if workspace.system:
            raise Conflict("This is the company's own log, which has no templates.")
        has = page.form.get("has") == "1"
        do = templates.assign if has else templates.unassign
        async with page.db.begin() as tx:
            await do(tx, page.caller.actor, page.company_id, str(row["id"]), workspace.id)
        said = f"{workspace.name} has the template." if has else f"{workspace.name} does not have it any more."
        return page.go(f"{PATH}/{row['id']}", said=said)

    @router.post(ONE + "/delete")
    async def delete(page: _Edit, template_id: str) -> Response:
        """The template is gone; reports about it stay."""
        row = await templates.get(page.db, page.company_id, template_id)
        async with page.db.begin() as tx:
            await templates.delete(tx, page.caller.actor, page.company_id, str(row["id"]))
        return page.go(PATH, said=f"{row['name']} is deleted.")

    return router


async def _save(page: Page, template_id: str | None, draft: Draft) -> str | None:
    """The id of the template that is now as the draft says; None where something is wrong, which the draft says."""
    if draft.wrong:
        return None
    actor, company_id = page.caller.actor, page.company_id
    try:
        async with page.db.begin() as tx:
            if template_id is None:
                wanted = msgspec.convert(draft.given, templates.NewTemplate)
                row = await templates.create(tx, actor, company_id, wanted)
            else:
                change = msgspec.convert(draft.given, templates.TemplateChange)
                row = await templates.change(tx, actor, company_id, template_id, change)
        return str(row["id"])
    except msgspec.ValidationError as error:
        draft.take_faults([fault_of(error)])
    except MainstayError as refusal:
        if refusal.status >= 500 or refusal.status == 404:
            raise
        draft.take_faults(refusal.faults or [Fault(refusal.detail, "#/name")])
    return None


def _form(page: Page, row: Any, draft: Draft, *, status: int = 200) -> Response:
    return page.show("templates_form.html", status=status, row=row, draft=draft)


async def _listed(page: Page) -> dict[str, Any]:
    found = await templates.list_all(page.db, page.company_id)
    reports = await templates.list_reports(
        page.db, page.ground.cursors, page.company_id, workspace_id=None, template_id=None, cursor=None, limit=1
    )
    return {"templates": [(row, words_of(orjson.loads(row["rules"]))) for row in found], "checked": reports["data"]}


async def _detail(ground: Ground, page: Page, row: Any) -> dict[str, Any]:
    template_id = str(row["id"])
    assigned = {str(one["workspace_id"]) for one in await templates.assignments(page.db, page.company_id, template_id)}
    found = await identity.list_workspaces(ground.home, page.company_id, limit=_MOST_WORKSPACES)
    reports = await templates.list_reports(
        page.db,
        ground.cursors,
        page.company_id,
        workspace_id=None,
        template_id=template_id,
        cursor=None,
        limit=_REPORTS,
    )
    return {
        "rules": words_of(orjson.loads(row["rules"])),
        "places": [(one, one.id in assigned) for one in found if not one.system],
        "names": {one.id: one.name for one in found},
        "reports": reports["data"],
    }


def words_of(rules: dict[str, Any]) -> list[tuple[str, str]]:
    """Each rule that asks for something, in words."""
    categories = ", ".join(f"{pattern} → {one}" for pattern, one in (rules.get("defaultCategories") or {}).items())
    days = rules.get("retentionDays")
    every = [
        ("The actor needs", ", ".join(rules.get("requiredActorFields") or ())),
        ("Metadata needs", ", ".join(rules.get("requiredMetadataKeys") or ())),
        ("A project", "is required" if rules.get("projectRequired") else ""),
        ("Category, where none is sent", categories),
        ("Events are kept", f"{days:,} days" if days else ""),
    ]
    return [one for one in every if one[1]]
