"""Erasures as they are asked for and shown: a request, how far it is, which events it touched."""

from typing import Any

import msgspec
import orjson

from mainstay import events, jobs
from mainstay.erasure import holds, subjects
from mainstay.erasure.errors import ErasureNotFound, TooMany
from mainstay.erasure.queries import erasures as queries
from mainstay.erasure.schemas import ErasureIn
from mainstay.erasure.tables import COUNTS
from mainstay.kernel import ids, outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Conflict, Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Regions

QUEUE = "mainstay:archive"
RUN = "erasure.run"
MOST_UNDER_WAY = 20
SHOWN = 100
"""So many erasures are listed, the newest."""


async def request(db: Database, keyring: Keyring, actor: Actor, company_id: str, wanted: ErasureIn) -> dict[str, Any]:
    """The erasure runs as soon as a worker is free, over all that is stored by now; `erasure.requested`.

    Held where a legal hold is in the way, Invalid for a reason that names the person, TooMany over 20 under way.
    """
    eraser = subjects.named(wanted.actorId, wanted.actorEmail, wanted.alsoKnownAs, wanted.parts or ())
    if eraser.subject.is_in(wanted.reason):
        raise Invalid(faults=[Fault("the reason is recorded for ever: do not name the person in it", "#/reason")])
    erasure_id = ids.new_id()
    sealed, told = subjects.sealed(keyring, erasure_id, eraser), subjects.digest(keyring, eraser)
    by = msgspec.json.encode(actor).decode()
    async with db.begin() as tx:
        await holds.share(tx, company_id)
        if not wanted.dryRun and (row := await holds.blocking(tx, keyring, company_id, eraser)) is not None:
            raise holds.refusal(row)
        if await queries.count_under_way(tx, company_id) >= MOST_UNDER_WAY:
            raise TooMany(f"{MOST_UNDER_WAY} erasures are under way.")
        values = (wanted.dryRun, wanted.reason, list(eraser.parts), told, sealed, by)
        await queries.add(tx, company_id, erasure_id, values)
        await enqueue(tx, company_id, erasure_id)
        data = {
            "erasureId": erasure_id,
            "subjectDigest": told.hex(),
            "parts": list(eraser.parts),
            "dryRun": wanted.dryRun,
            "reason": wanted.reason,
        }
        await outbox.announce(tx, "erasure.requested", company_id=company_id, actor=actor, data=data)
    return await read(db, company_id, erasure_id)


async def enqueue(tx: Tx, company_id: str, erasure_id: str, *, leads: bool = True) -> None:
    """The erasure goes on as soon as a worker is free; the one that leads also sees to the other databases."""
    payload = {"companyId": company_id, "erasureId": erasure_id, "leads": leads}
    await jobs.enqueue(
        tx, RUN, payload, queue=QUEUE, lane=company_id, company_id=company_id, dedupe_key=f"erasure {erasure_id}"
    )


async def resume(db: Database, keyring: Keyring, actor: Actor, company_id: str, erasure_id: str) -> dict[str, Any]:
    """An erasure that a hold stopped, or that failed, goes on where it was; `erasure.resumed`. Held, Conflict."""
    async with db.begin() as tx:
        await holds.share(tx, company_id)
        row = await queries.lock(tx, company_id, erasure_id) if ids.is_uuid(erasure_id) else None
        if row is None:
            raise ErasureNotFound
        if row["state"] not in ("held", "failed"):
            raise Conflict(f"The erasure is {row['state']}: only one that is held or failed goes on.")
        eraser = subjects.opened(keyring, erasure_id, row["subject_sealed"], row["parts"])
        if not row["is_dry_run"] and (hold := await holds.blocking(tx, keyring, company_id, eraser)) is not None:
            raise holds.refusal(hold)
        await queries.set_state(tx, company_id, erasure_id, "waiting")
        await enqueue(tx, company_id, erasure_id)
        data = {"erasureId": erasure_id, "subjectDigest": bytes(row["subject_digest"]).hex()}
        await outbox.announce(tx, "erasure.resumed", company_id=company_id, actor=actor, data=data)
    return await read(db, company_id, erasure_id)


async def read(db: Connection, company_id: str, erasure_id: str) -> dict[str, Any]:
    """One erasure as it is shown; ErasureNotFound."""
    row = await queries.find(db, company_id, erasure_id) if ids.is_uuid(erasure_id) else None
    if row is None:
        raise ErasureNotFound
    return {**_shown(row), "progress": await _progress(db, row)}


async def read_all(db: Connection, company_id: str) -> list[dict[str, Any]]:
    """The company's erasures, newest first: the record of what was erased, when, and by whom."""
    return [_shown(row) for row in await queries.list_some(db, company_id, before=None, limit=SHOWN)]


async def read_events(
    db: Connection, company_id: str, erasure_id: str, *, after: tuple[str, int], limit: int
) -> list[dict[str, Any]]:
    """The events that lost parts by it, by workspace and seq."""
    rows = await queries.events_of(db, company_id, erasure_id, after=after, limit=limit)
    return [
        {
            "workspaceId": str(row["workspace_id"]),
            "seq": row["seq"],
            "eventId": str(row["id"]),
            "parts": row["parts"],
            "erasedAt": iso(row["at"]),
        }
        for row in rows
    ]


def counts_of(row: Record) -> dict[str, Any]:
    """What was found, or taken out: events, their parts, archived objects, and copies elsewhere."""
    parts = dict(zip(events.PARTS, (row[name] for name in COUNTS[1:6]), strict=True))
    return {
        "events": row["events"],
        "parts": parts,
        "keptInActions": row["kept"],
        "unproven": row["unproven"],
        "objects": row["objects"],
        "copies": row["copies"],
    }


def _shown(row: Record) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "state": row["state"],
        "dryRun": row["is_dry_run"],
        "subjectDigest": bytes(row["subject_digest"]).hex(),
        "parts": row["parts"],
        "reason": row["reason"],
        "requestedBy": orjson.loads(row["requested_by"]),
        "requestedAt": iso(row["requested_at"]),
        "completedAt": None if row["completed_at"] is None else iso(row["completed_at"]),
        "holdId": None if row["hold_id"] is None else str(row["hold_id"]),
        "failure": row["failure"],
        "found": counts_of(row),
    }


async def _progress(db: Connection, row: Record) -> dict[str, int]:
    found = await queries.progress_of(db, str(row["company_id"]), str(row["id"]))
    return {
        "workspaces": found["workspaces"],
        "workspacesDone": found["done"],
        "events": found["total"],
        "eventsLookedAt": found["looked_at"],
    }


async def spread(regions: Regions, keyring: Keyring, own: Database, row: Record) -> list[Database]:
    """The erasure is under way in every other database in which the company has events, under the same id; these."""
    company_id, erasure_id = str(row["company_id"]), str(row["id"])
    spread_to = []
    for _, db in regions.all():
        if db is own or not await events.Eraser.of(actor_id="").heads(db, company_id):
            continue
        spread_to.append(db)
        if await queries.find(db, company_id, erasure_id) is None:
            values = (row["is_dry_run"], row["reason"], row["parts"], row["subject_digest"], row["subject_sealed"])
            async with db.begin() as tx:
                await queries.add(tx, company_id, erasure_id, (*values, row["requested_by"]))
                await enqueue(tx, company_id, erasure_id, leads=False)
    return spread_to
