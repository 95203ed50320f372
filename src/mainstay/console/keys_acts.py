"""What is done with API keys: issued, rotated with an overlap, revoked. A secret is shown once."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from mainstay import identity
from mainstay.console import keys_form
from mainstay.console.drafts import Draft
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay
from mainstay.kernel.db import Connection
from mainstay.kernel.errors import Invalid, MainstayError
from mainstay.web.scopes import SCOPES

PATH = "/console/keys"
ONE = PATH + "/{key_id}"
_Edit = Annotated[Page, Depends(PageMay("keys.change"))]
_FreshEdit = Annotated[Page, Depends(PageMay("keys.change", fresh=True))]
_MOST_WORKSPACES = 200


def add_routes(router: APIRouter, ground: Ground) -> None:
    """The routes are there."""
    _add_issuing(router, ground)
    _add_rotating(router, ground)
    _add_revoking(router)


def _add_issuing(router: APIRouter, ground: Ground) -> None:
    @router.get(PATH + "/new")
    async def ask(page: _Edit) -> Response:
        """The form of a new key."""
        return await _form(page, keys_form.blank(page.workspace_id), [])

    @router.post(PATH)
    async def issue(page: _FreshEdit) -> Response:
        """The key works, and its secret is shown for the only time."""
        scopes = page.form.getlist("scopes")
        draft, given = keys_form.read(page.form, scopes, SCOPES)
        if draft.wrong:
            return await _form(page, draft, scopes, status=400)
        try:
            async with page.db.begin() as tx:
                issued = await identity.issue_key(
                    tx, page.caller.actor, page.company_id, home=_home_of(ground, page), **given
                )
        except MainstayError as refusal:
            if not keys_form.take(draft, refusal):
                raise
            return await _form(page, draft, scopes, status=400)
        return page.show("keys_secret.html", status=201, secret=issued.secret, key=issued.record, old=None)


def _add_rotating(router: APIRouter, ground: Ground) -> None:
    @router.get(ONE + "/rotate")
    async def ask(page: _Edit, key_id: str) -> Response:
        """For how long the key shall work beside its successor."""
        key = await identity.get_key(page.db, page.company_id, key_id)
        overlaps = [(name, words) for name, (words, _) in keys_form.OVERLAPS.items()]
        return page.show("keys_rotate.html", key=key, overlaps=overlaps)

    @router.post(ONE + "/rotate")
    async def rotate(page: _FreshEdit, key_id: str) -> Response:
        """A successor works, and its secret is shown for the only time; the old key does until the overlap ends."""
        old = await identity.get_key(page.db, page.company_id, key_id)
        _, overlap = keys_form.OVERLAPS.get(page.form.get("overlap", ""), keys_form.OVERLAPS["day"])
        async with page.db.begin() as tx:
            issued = await identity.rotate_key(
                tx, page.caller.actor, page.company_id, old.id, overlap=overlap, home=_home_of(ground, page)
            )
            old = await identity.get_key(tx, page.company_id, old.id)
        return page.show("keys_secret.html", status=201, secret=issued.secret, key=issued.record, old=old)


def _add_revoking(router: APIRouter) -> None:
    @router.post(ONE + "/revoke")
    async def revoke(page: _Edit, key_id: str) -> Response:
        """The key ends for good, where its name was typed."""
        key = await identity.get_key(page.db, page.company_id, key_id)
        if page.form.get("confirm", "").strip() != key.name:
            raise Invalid(f"Type {key.name} to revoke this key.")
        async with page.db.begin() as tx:
            await identity.revoke_key(tx, page.caller.actor, page.company_id, key.id)
        return page.go(f"{PATH}/{key.id}", said=f"{key.name} is revoked: no request succeeds with it any more.")


async def places_of(page: Page) -> dict[str, str]:
    """The company's workspaces by id, the system's one marked."""
    found = await identity.list_workspaces(page.ground.home, page.company_id, limit=_MOST_WORKSPACES)
    return {one.id: f"{one.name} (system, reading only)" if one.system else one.name for one in found}


async def _form(page: Page, draft: Draft, scopes: list[str], *, status: int = 200) -> Response:
    places = [("", "The whole company"), *(await places_of(page)).items()]
    return page.show("keys_form.html", status=status, draft=draft, places=places, scopes=SCOPES, chosen=set(scopes))


def _home_of(ground: Ground, page: Page) -> Connection | None:
    return None if ground.regions.is_home(page.region) else ground.home
