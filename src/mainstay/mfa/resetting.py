"""The way back for somebody who lost app and recovery codes: others reset the factor, and every session ends."""

from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Forbidden
from mainstay.kernel.outbox import Actor
from mainstay.mfa.announcing import announce
from mainstay.mfa.errors import InOtherCompanies, NotOn, OwnFactor, PersonNotFound
from mainstay.mfa.queries import factors as factor_rows
from mainstay.mfa.queries import people as rows
from mainstay.web.callers import Caller
from mainstay.web.roles import ACTS

_LONGEST_NAME = 320


async def reset_member(db: Database, caller: Caller, person_id: str) -> int:
    """The member has no second factor and is signed out everywhere; how many sessions ended. `mfa.reset` is announced.

    PersonNotFound, OwnFactor, InOtherCompanies, NotOn; Forbidden for an owner's where the caller is none.
    """
    if not ids.is_uuid(person_id):
        raise PersonNotFound
    if person_id.lower() == caller.id:
        raise OwnFactor
    async with db.begin() as tx:
        member = await rows.find_member(tx, caller.company_id, person_id)
        if member is None:
            raise PersonNotFound
        if member["role"] == "owner" and not ACTS["owners.change"].allows(caller.role, caller.features):
            raise Forbidden("Only an owner may reset the second factor of an owner.")
        if member["has_others"]:
            raise InOtherCompanies
        return await _reset(tx, caller.actor, member)


async def reset_by_operator(db: Database, actor: Actor, person_id: str) -> int:
    """The same for anybody, whatever their companies; PersonNotFound, NotOn."""
    if not ids.is_uuid(person_id):
        raise PersonNotFound
    async with db.begin() as tx:
        person = await rows.find_person_everywhere(tx, person_id)
        if person is None:
            raise PersonNotFound
        return await _reset(tx, actor, person)


async def find_person_id(db: Connection, wanted: str) -> str | None:
    """The person of that id, or of that email whatever its case."""
    if len(wanted) > _LONGEST_NAME or "\0" in wanted:
        return None
    person_id = wanted if ids.is_uuid(wanted) else None
    found = await rows.find_person_named_everywhere(db, person_id=person_id, email=wanted.strip())
    return None if found is None else str(found["id"])


async def _reset(tx: Tx, actor: Actor, person: Record) -> int:
    person_id = str(person["id"])
    if not await factor_rows.drop_factor_everywhere(tx, person_id):
        raise NotOn
    ended = await rows.end_sessions_everywhere(tx, person_id)
    await announce(tx, "mfa.reset", actor=actor, person=person, data={"sessionsEnded": ended})
    return ended
