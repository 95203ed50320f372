"""Departments: parts of the company, and who is in them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import members
from mainstay.console.drafts import Draft
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.people_words import SHOWN, address, cut, position
from mainstay.kernel.errors import MainstayError

_View = Annotated[Page, Depends(PageMay("members.read"))]
_Edit = Annotated[Page, Depends(PageMay("departments.change"))]

PATH = "/console/departments"
ONE = PATH + "/{department_id}"
AREA = Area("Departments", PATH, "folder", "People", act="members.read")
_NAME = {"name-taken": "name", "too-many-departments": "name"}


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The departments, oldest first, with how many are in each."""
        return page.show("departments.html", one=None, draft=Draft.of(("name",)), **await _listed(page))

    @router.post(PATH)
    async def open_department(page: _Edit) -> Response:
        """The company has one department more."""
        draft = Draft.of(("name",), page.form)
        try:
            async with ground.home.begin() as tx:
                made = await members.departments.open_department(tx, page.caller, name=draft.typed["name"])
        except MainstayError as refusal:
            if not draft.take(refusal, _NAME):
                raise
            context = {"one": None, "draft": draft, **await _listed(page)}
            return page.show("departments.html", status=refusal.status, **context)
        return page.go(f"{PATH}/{made.id}", said=f"{made.name} is open. Nobody is in it yet.")

    @router.get(ONE)
    async def show_one(page: _View, department_id: str) -> Response:
        """One department with who is in it, beside the list."""
        one = await members.departments.get_department(ground.home, page.company_id, department_id)
        return await _show_one(page, one)

    _add_changing(router, ground)
    _add_joining(router, ground)
    return router


def _add_changing(router: APIRouter, ground: Ground) -> None:
    @router.post(ONE + "/name")
    async def rename(page: _Edit, department_id: str) -> Response:
        """The department has that name."""
        one = await members.departments.get_department(ground.home, page.company_id, department_id)
        named = Draft.of(("renamed",), page.form)
        try:
            async with ground.home.begin() as tx:
                changed = await members.departments.rename_department(
                    tx, page.caller, one.id, name=named.typed["renamed"]
                )
        except MainstayError as refusal:
            if refusal.status not in (400, 409):
                raise
            named.wrong["renamed"] = _words(refusal)
            return await _show_one(page, one, named=named, status=refusal.status)
        return page.go(f"{PATH}/{one.id}", said=f"It is called {changed.name} now.")

    @router.post(ONE + "/close")
    async def close(page: _Edit, department_id: str) -> Response:
        """The department is gone; who was in it stays a member of the company."""
        one = await members.departments.get_department(ground.home, page.company_id, department_id)
        async with ground.home.begin() as tx:
            await members.departments.close_department(tx, page.caller, one.id)
        return page.go(PATH, said=f"{one.name} is closed. Who was in it stays a member of the company.")


def _add_joining(router: APIRouter, ground: Ground) -> None:
    @router.post(ONE + "/join")
    async def join(page: _Edit, department_id: str) -> Response:
        """The member of that address is in the department."""
        one = await members.departments.get_department(ground.home, page.company_id, department_id)
        joining = Draft.of(("email",), page.form)
        found = await _find(page, joining.typed["email"])
        if found is None:
            joining.wrong["email"] = "No member of the company has this address."
            return await _show_one(page, one, joining=joining, status=400)
        async with ground.home.begin() as tx:
            await members.departments.join_department(tx, page.caller, one.id, found.id)
        return page.go(f"{PATH}/{one.id}", said=f"{found.name} is in {one.name}.")

    @router.post(ONE + "/leave")
    async def leave(page: _Edit, department_id: str) -> Response:
        """The member is not in the department any more."""
        one = await members.departments.get_department(ground.home, page.company_id, department_id)
        member = await members.members.get_member(ground.home, page.company_id, page.form.get("person", ""))
        async with ground.home.begin() as tx:
            await members.departments.leave_department(tx, page.caller, one.id, member.id)
        return page.go(f"{PATH}/{one.id}", said=f"{member.name} is not in {one.name} any more.")


async def _find(page: Page, email: str) -> members.members.Member | None:
    """The member of that address, letter case aside."""
    if not 1 <= len(email) <= members.members.SEARCH_CHARACTERS or "\0" in email:
        return None
    wanted = members.members.Wanted(search=email)
    found, _ = await members.members.list_members(page.ground.home, page.company_id, wanted, after=None, limit=SHOWN)
    return next((one for one in found if one.email.casefold() == email.casefold()), None)


async def _show_one(
    page: Page,
    one: members.departments.Department,
    *,
    named: Draft | None = None,
    joining: Draft | None = None,
    status: int = 200,
) -> Response:
    cursors, scope = page.ground.cursors, f"console department {page.company_id} {one.id}"
    after = position(cursors, scope, page.request.query_params.get("people", ""))
    wanted = members.members.Wanted(department_id=one.id)
    found, _ = await members.members.list_members(
        page.ground.home, page.company_id, wanted, after=after, limit=SHOWN + 1
    )
    people, following = cut(cursors, scope, found)
    here = f"{PATH}/{one.id}"
    listed = {} if page.wanted == "panel" else await _listed(page)
    return page.show(
        "departments.html", status=status, one=one, people=people, draft=Draft.of(("name",)),
        named=named or Draft({"renamed": one.name}), joining=joining or Draft({"email": ""}),
        people_first=here if after else "", people_next=address(here, people=following) if following else "",
        **listed,
    )  # fmt: skip


async def _listed(page: Page) -> dict[str, Any]:
    cursors, scope = page.ground.cursors, f"console departments {page.company_id}"
    after = position(cursors, scope, page.request.query_params.get("after", ""))
    found, total = await members.departments.list_departments(
        page.ground.home, page.company_id, after=after, limit=SHOWN + 1
    )
    rows, following = cut(cursors, scope, found)
    return {
        "departments": rows,
        "total": total,
        "first": PATH if after else "",
        "following": address(PATH, after=following) if following else "",
    }


def _words(refusal: MainstayError) -> str:
    words = refusal.faults[0].detail if refusal.faults else refusal.detail
    return words[:1].upper() + words[1:]
