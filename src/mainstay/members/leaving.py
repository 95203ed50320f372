"""Members who may act no more: for a while, or for good."""

from typing import Any

from mainstay import accounts, identity
from mainstay.kernel import outbox
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Tx
from mainstay.members import members
from mainstay.members.errors import MemberNotFound
from mainstay.members.queries import company as company_rows
from mainstay.members.queries import members as rows
from mainstay.web.callers import Caller


async def suspend(tx: Tx, keyring: Keyring, caller: Caller, person_id: str) -> None:
    """The member may do nothing in this company from the next request on, wherever it arrives: their sessions in it
    are over, they are told by letter, and `member.suspended` is announced. Again changes nothing. What `admit_change`
    refuses, LastOwner. Keys that they made go on: those are the company's."""
    row = await members.admit_change(tx, caller, person_id)
    person_id, company_id = str(row["person_id"]), caller.company_id
    await members.keep_an_owner(tx, company_id, person_id, row["role"])
    if not await rows.suspend_member(tx, company_id, person_id, members.text_of(caller.actor)):
        return
    ended = await rows.end_sessions(tx, company_id, person_id, "suspended")
    company = await company_rows.find_company(tx, company_id)
    assert company is not None
    told = {"name": row["name"], "company": company["name"]}
    await accounts.write_letter(
        tx, keyring, to=row["email"], kind="suspended", data=told, person_id=person_id, company_id=company_id
    )
    data = {"personId": person_id, "role": row["role"], "sessionsEnded": ended, "everywhere": False}
    await outbox.announce(tx, "member.suspended", company_id=company_id, actor=caller.actor, data=data)
    await identity.cached.clear_person(tx, person_id)


async def restore(tx: Tx, caller: Caller, person_id: str) -> None:
    """The member may act again after the next sign-in, and `member.restored` is announced; again changes nothing. What
    `admit_change` refuses."""
    row = await members.admit_change(tx, caller, person_id)
    if await rows.restore_member(tx, caller.company_id, str(row["person_id"])):
        data = {"personId": str(row["person_id"]), "role": row["role"], "everywhere": False}
        await outbox.announce(tx, "member.restored", company_id=caller.company_id, actor=caller.actor, data=data)
        await identity.cached.clear_person(tx, str(row["person_id"]))


async def remove(tx: Tx, caller: Caller, person_id: str) -> None:
    """The person is no member any more and in none of the company's departments, their sessions in it are over, and
    `member.removed` is announced. What `admit_change` refuses, LastOwner."""
    row = await members.admit_change(tx, caller, person_id)
    await _part(tx, caller, row, left=False)


async def leave(tx: Tx, caller: Caller) -> None:
    """The caller is no member any more, as above; LastOwner."""
    await rows.lock_company(tx, caller.company_id)
    found = await rows.lock_members(tx, caller.company_id, [caller.id])
    if not found:
        raise MemberNotFound
    await _part(tx, caller, found[caller.id], left=True)


async def count_keys_of(db: Connection, company_id: str, person_id: str) -> int:
    """How many working keys of the company the person made; asked where its keys are."""
    return await rows.count_keys(db, company_id, made_by=person_id.lower())


async def _part(tx: Tx, caller: Caller, row: Any, *, left: bool) -> None:
    person_id, company_id = str(row["person_id"]), caller.company_id
    await members.keep_an_owner(tx, company_id, person_id, row["role"])
    await identity.cached.clear_person(tx, person_id)
    await rows.delete_member(tx, company_id, person_id)
    ended = await rows.end_sessions(tx, company_id, person_id, "removed")
    data = {"personId": person_id, "email": row["email"], "role": row["role"], "sessionsEnded": ended, "left": left}
    await outbox.announce(tx, "member.removed", company_id=company_id, actor=caller.actor, data=data)
