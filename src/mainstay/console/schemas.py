"""Event schemas: the JSON Schema of an action, its versions, and what happens to events that break it."""

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
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault, MainstayError
from mainstay.web.json import fault_of

_View = Annotated[Page, Depends(PageMay("templates.read"))]
_Edit = Annotated[Page, Depends(PageMay("templates.change"))]

PATH = "/console/schemas"
AREA = Area(
    "Event schemas",
    PATH,
    "braces",
    "Audit log",
    (Action("New event schema", f"{PATH}/new", "templates.change"),),
    act="templates.read",
)
ONE = PATH + "/{schema_id}"
EXAMPLE = """{
  "type": "object",
  "required": ["payload"],
  "properties": {
    "payload": {
      "type": "object",
      "required": ["amount"],
      "properties": {"amount": {"type": "number", "minimum": 0}}
    }
  }
}"""
_MOST_WORKSPACES = 200


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The schemas by action."""
        return page.show("schemas.html", one=None, **await _listed(page))

    @router.get(f"{PATH}/new")
    async def ask_new(page: _Edit) -> Response:
        """The form of a new schema."""
        return await _form(page, None, Draft({**templates_form.SCHEMA, "schema": EXAMPLE}))

    @router.post(PATH)
    async def create(page: _Edit) -> Response:
        """Events of the action are checked from now on."""
        draft = templates_form.read_schema(page.form)
        draft.given["action"] = draft.typed["action"].strip()
        workspace_id = draft.typed["workspaceId"] or None
        if workspace_id and await identity.find_workspace(ground.home, page.company_id, workspace_id) is None:
            draft.refuse("workspaceId", "The company has no such workspace.")

        async def make(tx: Tx) -> dict[str, Any]:
            wanted = msgspec.convert(draft.given, templates.NewSchema)
            return await templates.create_schema(tx, page.caller.actor, page.company_id, workspace_id, wanted)

        made = await _try(page, draft, make)
        if made is None:
            return await _form(page, None, draft, status=400)
        return page.go(f"{PATH}/{made['id']}", said="Events of this action are checked from now on.")

    @router.get(ONE)
    async def show_one(page: _View, schema_id: str) -> Response:
        """One schema with its versions, beside the list; an older version where `version` names it."""
        wanted = page.request.query_params.get("version")
        one = await _read(page, schema_id, version=None if wanted is None else _number_of(wanted))
        listed = {} if page.wanted == "panel" else await _listed(page)
        return page.show("schemas.html", one=one, **listed)

    @router.get(ONE + "/edit")
    async def ask(page: _Edit, schema_id: str) -> Response:
        """The form of the next version."""
        one = await _read(page, schema_id)
        text = orjson.dumps(one["schema"], option=orjson.OPT_INDENT_2).decode()
        typed = {"mode": one["mode"], "description": one["description"] or "", "schema": text}
        return await _form(page, one, Draft({**templates_form.SCHEMA, **typed}))

    @router.post(ONE + "/edit")
    async def change(page: _Edit, schema_id: str) -> Response:
        """The schema is as the form says; another text is its next version."""
        one = await _read(page, schema_id)
        draft = templates_form.read_schema(page.form)

        async def save(tx: Tx) -> dict[str, Any]:
            wanted = msgspec.convert(draft.given, templates.SchemaChange)
            return await templates.change_schema(tx, page.caller.actor, page.company_id, None, schema_id, wanted)

        made = await _try(page, draft, save)
        if made is None:
            return await _form(page, one, draft, status=400)
        is_new = made["version"] != one["version"]
        said = f"Version {made['version']} is in force." if is_new else "Saved; the version stays."
        return page.go(f"{PATH}/{schema_id}", said=said)

    @router.post(ONE + "/delete")
    async def delete(page: _Edit, schema_id: str) -> Response:
        """The schema is gone with all versions."""
        one = await _read(page, schema_id)
        async with page.db.begin() as tx:
            await templates.delete_schema(tx, page.caller.actor, page.company_id, None, schema_id)
        return page.go(PATH, said=f"The schema of {one['action']} is deleted.")

    return router


async def _read(page: Page, schema_id: str, *, version: int | None = None) -> dict[str, Any]:
    """The schema with the text of that version, or of the one in force."""
    one = await templates.read_schema(page.db, page.company_id, None, schema_id, version=version)
    found: dict[str, Any] = orjson.loads(orjson.dumps(one))
    return found


def _number_of(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


async def _try(page: Page, draft: Draft, do: Any) -> dict[str, Any] | None:
    """What was made; None where something is wrong, which the draft then says."""
    if draft.wrong:
        return None
    try:
        async with page.db.begin() as tx:
            made: dict[str, Any] = await do(tx)
        return made
    except msgspec.ValidationError as error:
        draft.take_faults([fault_of(error)])
    except MainstayError as refusal:
        if refusal.status >= 500 or refusal.status == 404:
            raise
        draft.take_faults(refusal.faults or [Fault(refusal.detail, "#/action")])
    return None


async def _form(page: Page, one: dict[str, Any] | None, draft: Draft, *, status: int = 200) -> Response:
    workspaces = await identity.list_workspaces(page.ground.home, page.company_id, limit=_MOST_WORKSPACES)
    choices = [("", "All workspaces"), *((each.id, each.name) for each in workspaces if not each.system)]
    return page.show("schemas_form.html", status=status, schema=one, draft=draft, choices=choices)


async def _listed(page: Page) -> dict[str, Any]:
    found = await templates.list_schemas(page.db, page.company_id, None, action=None)
    workspaces = await identity.list_workspaces(page.ground.home, page.company_id, limit=_MOST_WORKSPACES)
    return {"schemas": found, "workspaces": {one.id: one.name for one in workspaces}}
