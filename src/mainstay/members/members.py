"""Members as their company sees them, and who may change whom."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import orjson

from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Forbidden, Invalid, StepUpRequired
from mainstay.kernel.outbox import Actor
from mainstay.members.errors import DepartmentNotFound, LastOwner, MemberNotFound, OwnersOnly, OwnMembership
from mainstay.members.gains import Rights
from mainstay.members.queries import departments as department_rows
from mainstay.members.queries import members as rows
from mainstay.web.callers import Caller
from mainstay.web.roles import ACTS, Role

MOST_MEMBERS = 10_000
"""A company's members and open invitations together."""
SEARCH_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Member:
    """A person as one company sees them. Suspended by the company, or everywhere by the operators."""

    id: str
    email: str
    name: str
    rights: Rights
    joined_at: datetime
    invited_by: dict[str, Any] | None
    suspended_at: datetime | None
    suspended_by: dict[str, Any] | None
    is_suspended_everywhere: bool
    has_mfa: bool
    is_confirmed: bool
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which members are asked for; None is any."""

    role: Role | None = None
    suspended: bool | None = None
    search: str | None = None
    department_id: str | None = None
    has_mfa: bool | None = None


async def list_members(
    db: Connection, company_id: str, wanted: Wanted, *, after: str | None, limit: int
) -> tuple[list[Member], int]:
    """Up to `limit` members so wanted after the given id, in the order in which their accounts were made, and how many
    there are in all; DepartmentNotFound, Invalid."""
    if wanted.department_id is not None:
        known = ids.is_uuid(wanted.department_id)
        if not known or await department_rows.find_department(db, company_id, wanted.department_id) is None:
            raise DepartmentNotFound
    given = (wanted.role, wanted.suspended, _pattern(wanted.search), wanted.department_id, wanted.has_mfa)
    found = await rows.list_members(db, company_id, given, after, limit)
    return [_member_of(row) for row in found], await rows.count_members(db, company_id, given)


async def get_member(db: Connection, company_id: str, person_id: str) -> Member:
    """The member; MemberNotFound, also for people who are in other companies alone."""
    row = await rows.find_member(db, company_id, person_id) if ids.is_uuid(person_id) else None
    if row is None:
        raise MemberNotFound
    return _member_of(row)


async def admit_change(
    tx: Tx, caller: Caller, person_id: str, *, makes_owner: bool = False, is_tried: bool = False
) -> Record:
    """The row of the member whom the caller may change; until the end of the transaction nobody else changes who
    belongs to the company, or either of the two.

    MemberNotFound, Forbidden where the caller may do so no more, OwnMembership, OwnersOnly, and StepUpRequired where an
    owner is made or changed without a recent proof (not where it is only tried).
    """
    if not ids.is_uuid(person_id):
        raise MemberNotFound
    await rows.lock_company(tx, caller.company_id)
    found = await rows.lock_members(tx, caller.company_id, [caller.id, person_id])
    own, other = found.get(caller.id), found.get(person_id.lower())
    if own is None or own["suspended_at"] is not None:
        raise Forbidden("You are no member of this company any more.")
    if not ACTS["members.change"].allows(own["role"], own["features"]):
        raise Forbidden(f"Your role may not do this: {ACTS['members.change'].title}.")
    if other is None:
        raise MemberNotFound
    if own["person_id"] == other["person_id"]:
        raise OwnMembership
    if makes_owner or other["role"] == "owner":
        check_owners_change(caller, own["role"], is_tried=is_tried)
    return other


def check_owners_change(caller: Caller, role: Role | None, *, is_tried: bool = False) -> None:
    """Passes a caller of that role who may make and change owners; OwnersOnly, StepUpRequired."""
    if not ACTS["owners.change"].allows(role, ()):
        raise OwnersOnly
    if not is_tried and not caller.is_fresh:
        raise StepUpRequired


async def keep_an_owner(tx: Tx, company_id: str, person_id: str, role: Role) -> None:
    """Passes where the company has an owner who can act without that person; LastOwner. The company is locked."""
    if role == "owner" and not await rows.count_other_owners(tx, company_id, person_id):
        raise LastOwner


def text_of(actor: Actor) -> str:
    """An actor as a column keeps it."""
    return msgspec.json.encode(actor).decode()


def _pattern(search: str | None) -> str | None:
    if search is None:
        return None
    if not 1 <= len(search) <= SEARCH_CHARACTERS or "\0" in search:
        raise Invalid(faults=[Fault(f"must be 1 to {SEARCH_CHARACTERS} characters", "search")])
    for special in "\\%_":
        search = search.replace(special, "\\" + special)
    return f"%{search}%"


def _member_of(row: Record) -> Member:
    return Member(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        rights=Rights(row["role"], tuple(row["features"])),
        joined_at=row["created_at"],
        invited_by=_actor_of(row["invited_by"]),
        suspended_at=row["suspended_at"],
        suspended_by=_actor_of(row["suspended_by"]),
        is_suspended_everywhere=row["is_suspended_everywhere"],
        has_mfa=row["has_mfa"],
        is_confirmed=row["is_confirmed"],
        last_seen_at=row["last_seen_at"],
    )


def _actor_of(text: str | None) -> dict[str, Any] | None:
    return None if text is None else orjson.loads(text)
