"""Departments over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from mainstay import identity
from mainstay.kernel import ids
from mainstay.kernel.cache import Cache
from mainstay.kernel.db import Database
from mainstay.kernel.paging import Cursors
from mainstay.members import departments, members
from mainstay.members.listing import DEFAULT, Cursor, Limit, page_of
from mainstay.members.members import Wanted
from mainstay.members.schemas import DepartmentRequest
from mainstay.members.shown import department_shown, member_shown
from mainstay.web.callers import Caller, May
from mainstay.web.json import Answer, Json, json_body, openapi_body

_AT = "/api/v1/departments"
_ONE = _AT + "/{department_id}"
_Reader = Annotated[Caller, Depends(May("members.read"))]
_Changer = Annotated[Caller, Depends(May("departments.change"))]
_Body = Annotated[DepartmentRequest, Depends(json_body(DepartmentRequest, most=4_096))]


def add_department_routes(routes: APIRouter, db: Database, cursors: Cursors, cache: Cache) -> None:
    """The routes of departments are there."""
    _add_reading(routes, db, cursors)
    _add_members(routes, db, cursors, cache)
    _add_changing(routes, db)
    _add_joining(routes, db)


def _add_reading(routes: APIRouter, db: Database, cursors: Cursors) -> None:
    @routes.get(_AT, tags=["members"])
    async def list_departments(
        request: Request, caller: _Reader, limit: Limit = DEFAULT, cursor: Cursor = None
    ) -> Answer:
        """The company's departments, oldest first, with how many are in each."""
        page = page_of(request, cursors, f"departments:{caller.company_id}", limit, cursor)
        found, total = await departments.list_departments(
            db, caller.company_id, after=page.position, limit=page.one_more
        )
        return page.answer(found, total, department_shown, lambda one: one.id)

    @routes.get(_ONE, tags=["members"])
    async def read_department(caller: _Reader, department_id: str) -> Answer:
        """One department."""
        return Answer(department_shown(await departments.get_department(db, caller.company_id, department_id)))


def _add_members(routes: APIRouter, db: Database, cursors: Cursors, cache: Cache) -> None:
    @routes.get(_ONE + "/members", tags=["members"])
    async def list_members(
        request: Request, caller: _Reader, department_id: str, limit: Limit = DEFAULT, cursor: Cursor = None
    ) -> Response:
        """Who is in the department: as it is after every act here. `lastSeenAt` of the first page may be five minutes
        old."""
        company_id = caller.company_id
        page = page_of(request, cursors, f"department:{company_id}:{department_id}", limit, cursor)

        async def load() -> bytes:
            wanted = Wanted(department_id=department_id)
            found, total = await members.list_members(db, company_id, wanted, after=page.position, limit=page.one_more)
            return bytes(page.answer(found, total, member_shown, lambda one: one.id).body)

        if not (page.is_first and ids.is_uuid(department_id)):
            return Json(await load())
        return Json(await cache.get(identity.cached.DEPARTMENT_MEMBERS, department_id, load, scope=company_id))


def _add_changing(routes: APIRouter, db: Database) -> None:
    @routes.post(_AT, tags=["members"], status_code=201, openapi_extra=dict(openapi_body(DepartmentRequest)))
    async def open_department(caller: _Changer, body: _Body) -> Answer:
        """Opens a department; nobody is in it yet."""
        async with db.begin() as tx:
            return Answer(department_shown(await departments.open_department(tx, caller, name=body.name)), 201)

    @routes.patch(_ONE, tags=["members"], openapi_extra=dict(openapi_body(DepartmentRequest)))
    async def rename_department(caller: _Changer, department_id: str, body: _Body) -> Answer:
        """Gives the department another name."""
        async with db.begin() as tx:
            changed = await departments.rename_department(tx, caller, department_id, name=body.name)
        return Answer(department_shown(changed))

    @routes.delete(_ONE, tags=["members"], status_code=204)
    async def close_department(caller: _Changer, department_id: str) -> Response:
        """Closes the department; who was in it stays a member of the company."""
        async with db.begin() as tx:
            await departments.close_department(tx, caller, department_id)
        return Response(status_code=204)


def _add_joining(routes: APIRouter, db: Database) -> None:
    at = _ONE + "/members/{person_id}"

    @routes.put(at, tags=["members"], status_code=204)
    async def join_department(caller: _Changer, department_id: str, person_id: str) -> Response:
        """The member is in the department; one may be in several."""
        async with db.begin() as tx:
            await departments.join_department(tx, caller, department_id, person_id)
        return Response(status_code=204)

    @routes.delete(at, tags=["members"], status_code=204)
    async def leave_department(caller: _Changer, department_id: str, person_id: str) -> Response:
        """The member is not in the department."""
        async with db.begin() as tx:
            await departments.leave_department(tx, caller, department_id, person_id)
        return Response(status_code=204)
