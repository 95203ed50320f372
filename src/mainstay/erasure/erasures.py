"""Erasures as they are asked for and shown: a request, how far it is, which events it touched."""

import hmac
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
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
_NIL = "00000000-0000-0000-0000-000000000000"
_STATES = ("held", "failed", "running", "waiting", "completed")
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
        row = await queries.find(tx, company_id, erasure_id)
        assert row is not None
        shown = {**_shown([row]), "progress": await _progress([tx], [row])}
    return shown


def is_of(keyring: Keyring, shown: Mapping[str, Any], wanted: ErasureIn) -> bool:
    """Whether an erasure that is shown was of the person that the request names by the same id and email."""
    told = subjects.digest(keyring, subjects.named(wanted.actorId, wanted.actorEmail))
    return hmac.compare_digest(told.hex(), shown["subjectDigest"])


async def enqueue(tx: Tx, company_id: str, erasure_id: str, *, leads: bool = True) -> None:
    """The erasure goes on as soon as a worker is free; the one that leads also sees to the other databases."""
    payload = {"companyId": company_id, "erasureId": erasure_id, "leads": leads}
    await jobs.enqueue(
        tx, RUN, payload, queue=QUEUE, lane=company_id, company_id=company_id, dedupe_key=f"erasure {erasure_id}"
    )


async def resume(regions: Regions, keyring: Keyring, actor: Actor, company_id: str, erasure_id: str) -> dict[str, Any]:
    """An erasure that a hold stopped, or that failed, goes on where it was; `erasure.resumed`. Held, Conflict."""
    own = await holds.own_database(regions, company_id)
    found = await _find(regions, company_id, erasure_id)
    stopped = [db for db, row in found if row["state"] in ("held", "failed")]
    if not stopped:
        state = _shown([row for _, row in found])["state"]
        raise Conflict(f"The erasure is {state}: only one that is held or failed goes on.")
    async with AsyncExitStack() as commits:
        # Entered last, committed first: where the rest is cut off, it is told, and can be asked for again.
        others = [await commits.enter_async_context(db.begin()) for db in stopped if db is not own]
        here = await commits.enter_async_context(own.begin())
        for tx in [*others, *([here] if own in stopped else [])]:
            await _resume_here(tx, keyring, company_id, erasure_id, leads=tx is here)
        data = {"erasureId": erasure_id, "subjectDigest": bytes(found[0][1]["subject_digest"]).hex()}
        await outbox.announce(here, "erasure.resumed", company_id=company_id, actor=actor, data=data)
    return await read(regions, company_id, erasure_id)


async def _resume_here(tx: Tx, keyring: Keyring, company_id: str, erasure_id: str, *, leads: bool) -> None:
    await holds.share(tx, company_id)
    row = await queries.lock(tx, company_id, erasure_id)
    if row is None or row["state"] not in ("held", "failed"):
        return
    eraser = subjects.opened(keyring, erasure_id, row["subject_sealed"], row["parts"])
    if not row["is_dry_run"] and (hold := await holds.blocking(tx, keyring, company_id, eraser)) is not None:
        raise holds.refusal(hold)
    await queries.set_state(tx, company_id, erasure_id, "waiting")
    await enqueue(tx, company_id, erasure_id, leads=leads)


async def read(regions: Regions, company_id: str, erasure_id: str) -> dict[str, Any]:
    """One erasure as it is shown, of all databases together; ErasureNotFound."""
    found = await _find(regions, company_id, erasure_id)
    dbs, rows = [db for db, _ in found], [row for _, row in found]
    return {**_shown(rows), "progress": await _progress(dbs, rows)}


async def read_all(regions: Regions, company_id: str) -> list[dict[str, Any]]:
    """The company's erasures, newest first: the record of what was erased, when, and by whom."""
    found: dict[str, list[Record]] = {}
    for _, db in regions.all():
        for row in await queries.list_some(db, company_id, before=None, limit=SHOWN):
            found.setdefault(str(row["id"]), []).append(row)
    return [_shown(found[key]) for key in sorted(found, reverse=True)[:SHOWN]]


async def read_events(
    regions: Regions, company_id: str, erasure_id: str, *, after: tuple[str, str, int] | None, limit: int
) -> list[dict[str, Any]]:
    """The events that lost parts by it, by database, workspace and seq; after one of them, or from the first."""
    shown: list[dict[str, Any]] = []
    names = [name for name, _ in regions.all()]
    for name, db in regions.all():
        if after is not None and names.index(name) < names.index(after[0]):
            continue
        position = after[1:] if after is not None and after[0] == name else (_NIL, 0)
        left = limit - len(shown)
        rows = await queries.events_of(db, company_id, erasure_id, after=position, limit=left) if left else []
        shown += [
            {
                "workspaceId": str(row["workspace_id"]),
                "seq": row["seq"],
                "eventId": str(row["id"]),
                "parts": row["parts"],
                "erasedAt": iso(row["at"]),
                "storedIn": name,
            }
            for row in rows
        ]
    return shown


async def _find(regions: Regions, company_id: str, erasure_id: str) -> list[tuple[Database, Record]]:
    """The erasure in each database in which it runs or ran; ErasureNotFound."""
    rows = [
        (db, await queries.find(db, company_id, erasure_id) if ids.is_uuid(erasure_id) else None)
        for _, db in regions.all()
    ]
    found = [(db, row) for db, row in rows if row is not None]
    if not found:
        raise ErasureNotFound
    return found


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


def _shown(rows: Sequence[Record]) -> dict[str, Any]:
    """The erasure by its rows of all databases: it is as far as the one that is least far, and found what all found."""
    row = min(rows, key=lambda one: (_STATES.index(one["state"]), one["id"]))
    ended = [one["completed_at"] for one in rows]
    counts = [counts_of(one) for one in rows]
    found = {name: sum(one[name] for one in counts) for name in counts[0] if name != "parts"}
    parts = {part: sum(one["parts"][part] for one in counts) for part in counts[0]["parts"]}
    return {
        "id": str(row["id"]),
        "state": row["state"],
        "dryRun": row["is_dry_run"],
        "subjectDigest": bytes(row["subject_digest"]).hex(),
        "parts": row["parts"],
        "reason": row["reason"],
        "requestedBy": orjson.loads(row["requested_by"]),
        "requestedAt": iso(min(one["requested_at"] for one in rows)),
        "completedAt": None if None in ended else iso(max(ended)),
        "holdId": None if row["hold_id"] is None else str(row["hold_id"]),
        "failure": row["failure"],
        "found": {**found, "parts": parts},
    }


async def _progress(connections: Sequence[Connection], rows: Sequence[Record]) -> dict[str, int]:
    names = {"workspaces": "workspaces", "workspacesDone": "done", "events": "total", "eventsLookedAt": "looked_at"}
    shown = dict.fromkeys(names, 0)
    for connection, row in zip(connections, rows, strict=True):
        found = await queries.progress_of(connection, str(row["company_id"]), str(row["id"]))
        for name, column in names.items():
            shown[name] += found[column]
    return shown


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
