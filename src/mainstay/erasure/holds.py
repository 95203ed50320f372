"""Legal holds: set, lifted, and asked before anything of a company is erased.

A hold stands in every database that has events of the company, or will have them next, under one id, and in no other.
"""

from typing import Any

import msgspec
import orjson

from mainstay import events, identity
from mainstay.erasure import subjects
from mainstay.erasure.errors import Held, HoldNotFound
from mainstay.erasure.queries import holds as queries
from mainstay.erasure.schemas import HoldIn
from mainstay.kernel import ids, outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Fault, Invalid, NotFound
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Regions

SHOWN = 200
"""So many holds are listed, the newest."""


async def set_hold(regions: Regions, keyring: Keyring, actor: Actor, company_id: str, wanted: HoldIn) -> dict[str, Any]:
    """The hold stands; once this has returned nothing that it covers is erased, cut or deleted. `hold.set`.

    Unavailable where one of the databases does not answer; then it may stand in some, which keeps more, never less.
    """
    hold_id = ids.new_id()
    is_subject = wanted.actorId is not None or wanted.actorEmail is not None
    if is_subject and wanted.workspaceId is not None:
        raise Invalid(faults=[Fault("a hold is on a workspace or on a person, not on both", "#/workspaceId")])
    await _check_workspace(regions, company_id, wanted.workspaceId)
    scope = "subject" if is_subject else "workspace" if wanted.workspaceId else "company"
    kept = None
    if is_subject:
        person = subjects.named(wanted.actorId, wanted.actorEmail)
        if person.subject.is_in(wanted.reason):
            raise Invalid(faults=[Fault("the reason is recorded for ever: do not name the person in it", "#/reason")])
        kept = subjects.sealed(keyring, hold_id, person)
    by = msgspec.json.encode(actor).decode()
    values = (scope, wanted.workspaceId, kept, wanted.reason, by)
    own = await own_database(regions, company_id)
    places = await _places(regions, own, company_id)
    for db in places:
        async with db.begin() as tx:
            await queries.lock(tx, company_id)
            await queries.add(tx, company_id, hold_id, values)
            if db is own:
                data = {"holdId": hold_id, "scope": scope, "workspaceId": wanted.workspaceId, "reason": wanted.reason}
                await outbox.announce(tx, "hold.set", company_id=company_id, actor=actor, data=data)
    # A move that ended meanwhile copied the holds before this one stood.
    if (now_own := await own_database(regions, company_id)) not in places:
        async with now_own.begin() as tx:
            await queries.lock(tx, company_id)
            await queries.add(tx, company_id, hold_id, values)
    return await read(regions, keyring, company_id, hold_id)


async def carry(left: Tx, there: Tx, company_id: str) -> None:
    """The company's holds of the database that it leaves stand in the other too; none is set before the commit."""
    await queries.lock(left, company_id)
    await queries.put(there, company_id, await queries.copies_of(left, company_id))


async def lift(regions: Regions, keyring: Keyring, actor: Actor, company_id: str, hold_id: str) -> dict[str, Any]:
    """The hold stands nowhere any more, and whom it was on is forgotten; again changes nothing. `hold.lifted`."""
    await read(regions, keyring, company_id, hold_id)
    by = msgspec.json.encode(actor).decode()
    own = await own_database(regions, company_id)
    for _, db in sorted(regions.all(), key=lambda one: one[1] is own):
        async with db.begin() as tx:
            lifted = await queries.lift(tx, company_id, hold_id, by)
            if lifted is not None and db is own:
                data = {"holdId": hold_id, "scope": lifted["scope"], "reason": lifted["reason"]}
                await outbox.announce(tx, "hold.lifted", company_id=company_id, actor=actor, data=data)
    return await read(regions, keyring, company_id, hold_id)


async def read(regions: Regions, keyring: Keyring, company_id: str, hold_id: str) -> dict[str, Any]:
    """One hold as it is shown; HoldNotFound."""
    if ids.is_uuid(hold_id):
        for _, db in regions.all():
            if (row := await queries.find(db, company_id, hold_id)) is not None:
                return _shown(row, keyring)
    raise HoldNotFound


async def read_all(regions: Regions, keyring: Keyring, company_id: str) -> list[dict[str, Any]]:
    """The company's holds, newest first."""
    found: dict[str, Record] = {}
    for _, db in regions.all():
        for row in await queries.list_some(db, company_id, limit=SHOWN):
            found.setdefault(str(row["id"]), row)
    return [_shown(found[key], keyring) for key in sorted(found, reverse=True)[:SHOWN]]


async def blocking(connection: Connection, keyring: Keyring, company_id: str, eraser: events.Eraser) -> Record | None:
    """The oldest hold under which this person may not be erased from the company."""
    for row in await queries.standing(connection, company_id):
        if row["scope"] != "subject" or subjects.are_same(_person(row, keyring), eraser):
            return row
    return None


async def held_people(connection: Connection, keyring: Keyring, company_id: str) -> list[tuple[str, events.Eraser]]:
    """Everybody whose events are held, each with the hold's id."""
    rows = await queries.standing(connection, company_id)
    return [(str(row["id"]), _person(row, keyring)) for row in rows if row["scope"] == "subject"]


async def share(tx: Tx, company_id: str) -> None:
    """No hold of the company is set until the transaction ends."""
    await queries.share(tx, company_id)


def refusal(row: Record) -> Held:
    """Says which hold is in the way."""
    what = {"company": "the company", "workspace": f"workspace {row['workspace_id']}", "subject": "this person"}
    detail = f"The legal hold {row['id']} on {what[row['scope']]}, set {iso(row['set_at'])}, keeps this data."
    return Held(detail, extra={"holdId": str(row["id"]), "reason": row["reason"]})


def _person(row: Record, keyring: Keyring) -> events.Eraser:
    return subjects.opened(keyring, str(row["id"]), row["subject_sealed"])


def _shown(row: Record, keyring: Keyring) -> dict[str, Any]:
    person = None if row["subject_sealed"] is None else _person(row, keyring).subject
    return {
        "id": str(row["id"]),
        "scope": row["scope"],
        "workspaceId": None if row["workspace_id"] is None else str(row["workspace_id"]),
        "actorId": person and person.actor_id,
        "actorEmail": person and person.actor_email,
        "reason": row["reason"],
        "setAt": iso(row["set_at"]),
        "setBy": orjson.loads(row["set_by"]),
        "liftedAt": None if row["lifted_at"] is None else iso(row["lifted_at"]),
        "liftedBy": None if row["lifted_by"] is None else orjson.loads(row["lifted_by"]),
    }


async def _check_workspace(regions: Regions, company_id: str, workspace_id: str | None) -> None:
    if workspace_id is None:
        return
    if not ids.is_uuid(workspace_id):
        raise NotFound("There is no such workspace.")
    if await identity.find_workspace(regions.home, company_id, workspace_id) is None:
        raise NotFound("There is no such workspace.")


async def company_of(regions: Regions, company_id: str) -> str:
    """The company's id where there is one; NotFound."""
    if not ids.is_uuid(company_id):
        raise NotFound("There is no such company.")
    return (await identity.get_company(regions.home, company_id)).id


async def own_database(regions: Regions, company_id: str) -> Database:
    """Where new events of the company are stored."""
    company = await identity.get_company(regions.home, company_id)
    return regions.of(company.data_region)


async def _places(regions: Regions, own: Database, company_id: str) -> list[Database]:
    """Every database with events of the company, its own last."""
    eraser = events.Eraser.of(actor_id="")
    return [
        *[db for _, db in regions.all() if db is not own and await eraser.heads(db, company_id)],
        own,
    ]
