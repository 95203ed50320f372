"""Departments: parts of a company that members are in."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime

from mainstay import identity
from mainstay.kernel import ids, outbox
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.members.errors import DepartmentNotFound, MemberNotFound, NameTaken, TooManyDepartments
from mainstay.members.queries import departments as rows
from mainstay.members.queries import members as member_rows
from mainstay.web.callers import Caller

MOST_DEPARTMENTS = 500


@dataclass(frozen=True, slots=True)
class Department:
    """A department, and how many are in it."""

    id: str
    name: str
    members: int
    opened_at: datetime


async def open_department(tx: Tx, caller: Caller, *, name: str) -> Department:
    """The company has that department, and `department.opened` is announced; Invalid, NameTaken (letter case and forms
    of letters aside), TooManyDepartments past 500."""
    name = identity.names.check_name(name)
    company_id, department_id = caller.company_id, ids.new_id()
    await member_rows.lock_company(tx, company_id)
    if await rows.count_departments(tx, company_id) >= MOST_DEPARTMENTS:
        raise TooManyDepartments
    if not await rows.insert_department(tx, company_id, department_id, name, _key_of(name)):
        raise NameTaken
    data = {"departmentId": department_id, "name": name}
    await outbox.announce(tx, "department.opened", company_id=company_id, actor=caller.actor, data=data)
    await identity.cached.clear_company(tx, company_id)
    return await get_department(tx, company_id, department_id)


async def list_departments(
    db: Connection, company_id: str, *, after: str | None, limit: int
) -> tuple[list[Department], int]:
    """Up to `limit` departments after the given id, oldest first, and how many the company has."""
    found = await rows.list_departments(db, company_id, after, limit)
    return [_department_of(row) for row in found], await rows.count_departments(db, company_id)


async def get_department(db: Connection, company_id: str, department_id: str) -> Department:
    """The department; DepartmentNotFound."""
    row = await rows.find_department(db, company_id, department_id) if ids.is_uuid(department_id) else None
    if row is None:
        raise DepartmentNotFound
    return _department_of(row)


async def rename_department(tx: Tx, caller: Caller, department_id: str, *, name: str) -> Department:
    """The department has that name, and `department.renamed` is announced; DepartmentNotFound, Invalid, NameTaken."""
    name = identity.names.check_name(name)
    await member_rows.lock_company(tx, caller.company_id)
    before = await _locked(tx, caller.company_id, department_id)
    if before.name == name:
        return before
    if not await rows.rename_department(tx, caller.company_id, before.id, name, _key_of(name)):
        raise NameTaken
    data = {"departmentId": before.id, "name": name, "nameBefore": before.name}
    await outbox.announce(tx, "department.renamed", company_id=caller.company_id, actor=caller.actor, data=data)
    return await get_department(tx, caller.company_id, before.id)


async def close_department(tx: Tx, caller: Caller, department_id: str) -> None:
    """The department is gone, nobody is in it any more, and `department.closed` is announced with its name and how many
    were in it: its history stays in the company's events. DepartmentNotFound."""
    department = await _locked(tx, caller.company_id, department_id)
    await rows.delete_department(tx, caller.company_id, department.id)
    data = {"departmentId": department.id, "name": department.name, "members": department.members}
    await outbox.announce(tx, "department.closed", company_id=caller.company_id, actor=caller.actor, data=data)
    await identity.cached.clear_department(tx, caller.company_id, department.id)


async def join_department(tx: Tx, caller: Caller, department_id: str, person_id: str) -> None:
    """The member is in the department, and `department.joined` is announced if they were not before;
    DepartmentNotFound, MemberNotFound."""
    department, person_id = await _both(tx, caller.company_id, department_id, person_id)
    if await rows.join_department(tx, caller.company_id, department.id, person_id):
        data = {"departmentId": department.id, "name": department.name, "personId": person_id}
        await outbox.announce(tx, "department.joined", company_id=caller.company_id, actor=caller.actor, data=data)
        await identity.cached.clear_department(tx, caller.company_id, department.id)


async def leave_department(tx: Tx, caller: Caller, department_id: str, person_id: str) -> None:
    """The member is not in the department, and `department.left` is announced if they were until now;
    DepartmentNotFound, MemberNotFound."""
    department, person_id = await _both(tx, caller.company_id, department_id, person_id)
    if await rows.leave_department(tx, caller.company_id, department.id, person_id):
        data = {"departmentId": department.id, "name": department.name, "personId": person_id}
        await outbox.announce(tx, "department.left", company_id=caller.company_id, actor=caller.actor, data=data)
        await identity.cached.clear_department(tx, caller.company_id, department.id)


async def _both(tx: Tx, company_id: str, department_id: str, person_id: str) -> tuple[Department, str]:
    """The department and the id of the member, neither of which goes away meanwhile."""
    department = await _locked(tx, company_id, department_id)
    found = await member_rows.lock_members(tx, company_id, [person_id]) if ids.is_uuid(person_id) else {}
    for member_id in found:
        return department, member_id
    raise MemberNotFound


async def _locked(tx: Tx, company_id: str, department_id: str) -> Department:
    row = await rows.lock_department(tx, company_id, department_id) if ids.is_uuid(department_id) else None
    if row is None:
        raise DepartmentNotFound
    return _department_of(row)


def _key_of(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _department_of(row: Record) -> Department:
    return Department(str(row["id"]), row["name"], row["members"], row["created_at"])
