"""The settings of a webhook: the form for a new one and for one that is there, and trying a filter."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import identity, webhooks
from mainstay.console import webhooks_acts, webhooks_form
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.webhooks_form import Draft
from mainstay.console.webhooks_one import ONE, PATH, endpoint_of
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Fault, Invalid, MainstayError

_Edit = Annotated[Page, Depends(PageMay("webhooks.change"))]

_MOST_WORKSPACES = 200
_MOST_TYPES = 12
_FILLER = {"events": ["*"]}


class _Undone(Exception):
    """Ends a transaction whose changes must not stay, after the room has told what else is wrong."""


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(f"{PATH}/new")
    async def ask_new(page: _Edit) -> Response:
        """The form of a new webhook."""
        return await _form(ground, page, None, webhooks_form.blank())

    @router.post(PATH)
    async def create(page: _Edit) -> Response:
        """The webhook is made, and its secret shown for the only time; or its filter is tried."""
        draft = webhooks_form.read(page.form)
        if page.form.get("do") == "try":
            return await _form(ground, page, None, draft, tried=await _try_filter(page.db, draft))
        made = await _register(ground, page, draft)
        if made is None:
            return await _form(ground, page, None, draft, status=400)
        endpoint_id, secret = made
        endpoint = await endpoint_of(ground, page, endpoint_id)
        return webhooks_acts.show_secret(page, endpoint, secret, is_new=True, status=201)

    @router.get(ONE + "/edit")
    async def ask(page: _Edit, endpoint_id: str) -> Response:
        """The form of the webhook as it is."""
        endpoint = await endpoint_of(ground, page, endpoint_id)
        return await _form(ground, page, endpoint, webhooks_form.draft_of_endpoint(endpoint))

    @router.post(ONE + "/edit")
    async def change(page: _Edit, endpoint_id: str) -> Response:
        """The webhook is as the form says; or its filter is tried."""
        endpoint = await endpoint_of(ground, page, endpoint_id)
        draft = webhooks_form.read(page.form, kind=endpoint["kind"])
        if page.form.get("do") == "try":
            return await _form(ground, page, endpoint, draft, tried=await _try_filter(page.db, draft))
        if not await _change(ground, page, endpoint["id"], draft):
            return await _form(ground, page, endpoint, draft, status=400)
        return page.go(f"{PATH}/{endpoint['id']}", said="Saved.")

    return router


async def _register(ground: Ground, page: Page, draft: Draft) -> tuple[str, str] | None:
    """The id of the webhook that was made, and its secret; None where something is wrong, which the draft then says."""
    await _check_workspace(ground, page, draft)
    wanted = draft.shaped(webhooks.NewEndpoint, _FILLER)
    settings = ground.settings
    try:
        async with page.db.begin() as tx:
            row, secret = await webhooks.register(
                tx,
                page.caller.actor,
                wanted,
                company_id=page.company_id,
                keyring=ground.keyring,
                allow=settings.outbound_allow,
                brand=settings.brand,
            )
            if draft.wrong:
                raise _Undone
    except (_Undone, MainstayError) as refusal:
        _take(draft, refusal)
        return None
    return str(row["id"]), secret


async def _change(ground: Ground, page: Page, endpoint_id: str, draft: Draft) -> bool:
    """Whether the webhook was changed; where not, the draft says why."""
    await _check_workspace(ground, page, draft)
    wanted = draft.shaped(webhooks.EndpointChange, {})
    settings = ground.settings
    try:
        async with page.db.begin() as tx:
            await webhooks.change(
                tx,
                page.caller.actor,
                wanted,
                company_id=page.company_id,
                endpoint_id=endpoint_id,
                allow=settings.outbound_allow,
                keyring=ground.keyring,
                brand=settings.brand,
            )
            if draft.wrong:
                raise _Undone
    except (_Undone, MainstayError) as refusal:
        _take(draft, refusal)
        return False
    return True


def _take(draft: Draft, refusal: Exception) -> None:
    """What was refused stands at its fields; what is no fault of the form goes on its way."""
    if not isinstance(refusal, MainstayError):
        return
    if refusal.status >= 500 or refusal.status == 404:
        raise refusal
    draft.take_faults(refusal.faults or [Fault(refusal.detail, "#")])


async def _try_filter(db: Database, draft: Draft) -> bool | None:
    """Whether the example that was typed passes the filter; None where one of them is wrong, which the draft says."""
    draft.wrong.clear()
    wanted, example = webhooks_form.json_of(draft, "filter"), webhooks_form.json_of(draft, "example")
    for name, value in (("filter", wanted), ("example", example)):
        if not isinstance(value, dict) and name not in draft.wrong:
            draft.refuse(name, "Must be a JSON object, such as {}")
    if draft.wrong:
        return None
    try:
        return await webhooks.try_filter(db, wanted, example)
    except Invalid as refusal:
        draft.take_faults(refusal.faults)
        return None


async def _check_workspace(ground: Ground, page: Page, draft: Draft) -> None:
    """The draft says so where it names a workspace that the company has not."""
    wanted = draft.given.get("workspaceId")
    if wanted is not None and await identity.find_workspace(ground.home, page.company_id, wanted) is None:
        draft.refuse("workspaceId", "The company has no such workspace")
        draft.given["workspaceId"] = None


async def _form(
    ground: Ground,
    page: Page,
    endpoint: dict[str, Any] | None,
    draft: Draft,
    *,
    status: int = 200,
    tried: bool | None = None,
) -> Response:
    types = await webhooks.read_types(page.db, company_id=page.company_id, limit=_MOST_TYPES)
    workspaces = await identity.list_workspaces(ground.home, page.company_id, limit=_MOST_WORKSPACES)
    here = PATH if endpoint is None else f"{PATH}/{endpoint['id']}"
    return page.show(
        "webhooks_form.html",
        status=status,
        draft=draft,
        tried=tried,
        endpoint=endpoint,
        action=here if endpoint is None else f"{here}/edit",
        back=here,
        types=[one["name"] for one in types.types],
        workspaces=[("", "All workspaces"), *((one.id, one.name) for one in workspaces)],
        labels=webhooks_form.LABELS,
    )
