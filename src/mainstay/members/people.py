"""Whole people, whatever companies they are in: for operators."""

from dataclasses import dataclass
from datetime import datetime

from mainstay import accounts, identity
from mainstay.kernel import ids, outbox
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.members.errors import PersonNotFound
from mainstay.members.queries import people as rows
from mainstay.web.roles import Role


@dataclass(frozen=True, slots=True)
class Belonging:
    """A company of a person, and whether it has no owner who can act."""

    company_id: str
    company_name: str
    role: Role
    is_suspended: bool
    has_no_owner: bool


@dataclass(frozen=True, slots=True)
class Person:
    """A person as operators see them."""

    id: str
    email: str
    name: str
    created_at: datetime
    suspended_at: datetime | None
    is_confirmed: bool
    has_mfa: bool
    companies: tuple[Belonging, ...]


async def read_person(db: Connection, person_id: str) -> Person:
    """The person with their companies; PersonNotFound."""
    row = await rows.find_person_everywhere(db, person_id) if ids.is_uuid(person_id) else None
    if row is None:
        raise PersonNotFound
    return await _person_of(db, row)


async def find_person(db: Connection, email: str) -> Person | None:
    """The person with that address, in any letter case and form, or None."""
    key = identity.names.find_email_key(email)
    row = None if key is None else await rows.find_by_email_everywhere(db, key)
    return None if row is None else await _person_of(db, row)


async def suspend_person(tx: Tx, keyring: Keyring, actor: Actor, person_id: str) -> Person:
    """The person may do nothing in any company from the next request on, all their sessions are over, they are told by
    letter, and `member.suspended` is announced in each of their companies; again changes nothing. PersonNotFound.

    `has_no_owner` of the answer tells which companies nobody administers now.
    """
    row = await _locked(tx, person_id)
    if await rows.suspend_person_everywhere(tx, person_id):
        ended = await rows.end_sessions_everywhere(tx, person_id, "suspended")
        words = {"name": row["name"], "company": "every company"}
        await accounts.write_letter(tx, keyring, to=row["email"], kind="suspended", data=words, person_id=person_id)
        await _announce(tx, actor, person_id, "member.suspended", sessionsEnded=ended)
    return await read_person(tx, person_id)


async def restore_person(tx: Tx, actor: Actor, person_id: str) -> Person:
    """The person may sign in again, save into companies that suspended them, and `member.restored` is announced in each
    of their companies; again changes nothing. PersonNotFound."""
    await _locked(tx, person_id)
    if await rows.restore_person_everywhere(tx, person_id):
        await _announce(tx, actor, person_id, "member.restored")
    return await read_person(tx, person_id)


async def _announce(tx: Tx, actor: Actor, person_id: str, name: str, **more: object) -> None:
    await identity.cached.clear_person(tx, person_id)
    for one in await rows.companies_of_person_everywhere(tx, person_id):
        data = {"personId": person_id, "role": one["role"], "everywhere": True, **more}
        await outbox.announce(tx, name, company_id=str(one["id"]), actor=actor, data=data)


async def _locked(tx: Tx, person_id: str) -> Record:
    row = await rows.lock_person_everywhere(tx, person_id) if ids.is_uuid(person_id) else None
    if row is None:
        raise PersonNotFound
    return row


async def _person_of(db: Connection, row: Record) -> Person:
    found = await rows.companies_of_person_everywhere(db, str(row["id"]))
    return Person(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        created_at=row["created_at"],
        suspended_at=row["suspended_at"],
        is_confirmed=row["is_confirmed"],
        has_mfa=row["has_mfa"],
        companies=tuple(
            Belonging(str(one["id"]), one["name"], one["role"], one["suspended_at"] is not None, one["has_no_owner"])
            for one in found
        ),
    )
