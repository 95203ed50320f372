"""Replays: deliveries, messages, or what was never tried, sent again in steps that neither lose nor double.

running --nothing left--> done
   |  \\--cancelled by its owner--> cancelled
   \\--the webhook was switched off or deleted--> failed
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import orjson

from mainstay import jobs
from mainstay.kernel import ids, outbox
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.kernel.work import Job, Outcome, Snooze
from mainstay.webhooks import deliveries, endpoints, operational, schemas
from mainstay.webhooks.errors import ReplayNotFound, ReplayOver, TooManyReplays
from mainstay.webhooks.queries import replays as rows
from mainstay.webhooks.queries.replays import Choice
from mainstay.webhooks.schemas import NewReplay

KIND: Final = "webhooks.replay"
MADE_A_STEP: Final = 500
LOOKED_A_STEP: Final = 2_000
COUNTED_AT_MOST: Final = 100_000
LOOKED_TO_COUNT: Final = 500_000
RUNNING_AT_MOST: Final = 5
JOB_ATTEMPTS: Final = 20
FIRST_DELIVERY_WITHIN: Final = timedelta(minutes=10)
"""How far apart the ids of a message and of its first deliveries may be: they are made within one intake."""

ENDED_EARLY: Final = "the webhook was switched off or deleted"
_RULE: Final = Actor(kind="rule", id="webhooks.replays", name="Replays")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AGAIN: Final = ("FAILED", "DISCARDED")


@dataclass(frozen=True, slots=True)
class Count:
    """How many match; a floor where counting ended early."""

    matched: int
    is_floor: bool


@dataclass(frozen=True, slots=True)
class ReplayPage:
    """Replays newest first as their owner reads them, and the id to go on before (None at the end)."""

    replays: list[dict[str, Any]]
    next_before: str | None


async def count(
    connection: Connection,
    wanted: NewReplay,
    *,
    company_id: str,
    endpoint_id: str,
    since: datetime,
    until: datetime | None,
) -> Count:
    """How many would be sent again; nothing is written. Exact to 100,000 among the first 500,000 rows looked at."""
    endpoint = await deliveries.get_active(connection, company_id=company_id, endpoint_id=endpoint_id)
    choice = _choice(endpoint["id"], endpoint["kind"], company_id, _kept(wanted, since, until), ids.new_id())
    return await _count(connection, choice, company_id)


async def start(
    tx: Tx,
    actor: Actor,
    wanted: NewReplay,
    *,
    company_id: str,
    endpoint_id: str,
    since: datetime,
    until: datetime | None,
) -> dict[str, Any]:
    """The replay runs as soon as a worker takes it; what it is. EndpointInactive, TooManyReplays, Invalid."""
    endpoint = await deliveries.get_active(tx, company_id=company_id, endpoint_id=endpoint_id)
    endpoint_id = str(endpoint["id"])
    if await rows.count_running(tx, company_id=company_id, endpoint_id=endpoint_id) >= RUNNING_AT_MOST:
        raise TooManyReplays
    kept, replay_id = _kept(wanted, since, until), ids.new_id()
    found = await _count(tx, _choice(endpoint_id, endpoint["kind"], company_id, kept, replay_id), company_id)
    row = await rows.add_replay(
        tx,
        company_id=company_id,
        values=(
            replay_id,
            endpoint_id,
            wanted.scope,
            orjson.dumps(kept).decode(),
            found.matched,
            found.is_floor,
            msgspec.json.encode(actor).decode(),
        ),
    )
    await jobs.enqueue(
        tx,
        KIND,
        replay_id,
        queue=jobs.WEBHOOK,
        lane=f"replay:{endpoint_id}",
        company_id=company_id,
        priority=rows.REPLAY_PRIORITY,
        attempts=JOB_ATTEMPTS,
        dedupe_key=replay_id,
    )
    await _announce(tx, actor, "endpoint.replay_started", row)
    return _show(row)


async def step(tx: Tx, job: Job) -> Outcome:
    """The next up to 500 of a replay are on their way, and how far it looked is kept in the same transaction."""
    company_id = str(job.company_id)
    row = await rows.lock_replay(tx, company_id=company_id, replay_id=job.payload)
    if row is None or row["state"] != "running":
        return None
    if not row["is_wanted"]:
        await _end(tx, _RULE, row, "failed", ENDED_EARLY)
        return None
    endpoint_id, replay_id = str(row["endpoint_id"]), str(row["id"])
    choice = _choice(endpoint_id, row["kind"], company_id, orjson.loads(row["wanted"]), replay_id)
    if row["looked_to"] is not None:
        choice = replace(choice, after=str(row["looked_to"]))
    looked, last = await rows.look(tx, choice, company_id=company_id, limit=LOOKED_A_STEP)
    if last is None:
        await _end(tx, _RULE, row, "done")
        return None
    choice = replace(choice, tried=_around(choice.after, last))
    chosen = await rows.choose(tx, choice, company_id=company_id, upto=last, limit=MADE_A_STEP)
    is_cut = len(chosen) == MADE_A_STEP
    made = await _make(tx, row, chosen) if chosen else 0
    looked_to = chosen[-1]["id"] if is_cut else last
    await rows.move_replay(tx, company_id=company_id, replay_id=replay_id, made=made, looked_to=looked_to)
    if looked < LOOKED_A_STEP and not is_cut:
        await _end(tx, _RULE, row, "done")
        return None
    return Snooze(timedelta(0))


async def _make(tx: Tx, row: Record, chosen: Sequence[Record]) -> int:
    """A message that was chosen twice within a step is sent once."""
    by_message = {one["message_id"]: one["id"] for one in chosen}
    is_of_deliveries = row["scope"] == "deliveries"
    return await rows.make(
        tx,
        company_id=str(row["company_id"]),
        endpoint_id=str(row["endpoint_id"]),
        message_ids=list(by_message),
        replay_of=list(by_message.values()) if is_of_deliveries else [str(row["id"])] * len(by_message),
        apart=row["kind"] == "pull" or row["is_fifo"],
    )


async def get(connection: Connection, *, company_id: str, endpoint_id: str, replay_id: str) -> dict[str, Any]:
    """The replay as its owner reads it; ReplayNotFound where the endpoint has none of that id."""
    return _show(await _find(connection, company_id, endpoint_id, replay_id))


async def read(
    connection: Connection, *, company_id: str, endpoint_id: str, before_id: str | None = None, limit: int = 50
) -> ReplayPage:
    """One page of the replays of an endpoint."""
    endpoint = await endpoints.get(connection, company_id=company_id, endpoint_id=endpoint_id)
    found = await rows.list_replays(
        connection, company_id=company_id, endpoint_id=str(endpoint["id"]), before_id=before_id, limit=limit + 1
    )
    page = found[:limit]
    return ReplayPage([_show(row) for row in page], str(page[-1]["id"]) if len(found) > limit else None)


async def cancel(tx: Tx, actor: Actor, *, company_id: str, endpoint_id: str, replay_id: str) -> dict[str, Any]:
    """Nothing more of the replay is sent; what it made stays on its way. ReplayOver where it had ended."""
    row = await _find(tx, company_id, endpoint_id, replay_id)
    ended = await _end(tx, actor, row, "cancelled")
    if ended is None:
        raise ReplayOver
    return _show(ended)


async def _find(connection: Connection, company_id: str, endpoint_id: str, replay_id: str) -> Record:
    endpoint = await endpoints.get(connection, company_id=company_id, endpoint_id=endpoint_id)
    row = None
    if ids.is_uuid(replay_id):
        row = await rows.find_replay(
            connection, company_id=company_id, endpoint_id=str(endpoint["id"]), replay_id=replay_id
        )
    if row is None:
        raise ReplayNotFound
    return row


async def _end(tx: Tx, actor: Actor, row: Record, state: str, error: str | None = None) -> Record | None:
    ended = await rows.end_replay(
        tx, company_id=str(row["company_id"]), replay_id=str(row["id"]), state=state, error=error
    )
    if ended is not None:
        name = "endpoint.replay_cancelled" if state == "cancelled" else "endpoint.replay_finished"
        await _announce(tx, actor, name, ended)
    return ended


async def _count(connection: Connection, choice: Choice, company_id: str) -> Count:
    looked, last = await rows.look(connection, choice, company_id=company_id, limit=LOOKED_TO_COUNT)
    if last is None:
        return Count(0, is_floor=False)
    choice = replace(choice, tried=_around(choice.after, last))
    found = await rows.count(connection, choice, company_id=company_id, upto=last, limit=COUNTED_AT_MOST + 1)
    return Count(min(found, COUNTED_AT_MOST), is_floor=found > COUNTED_AT_MOST or looked == LOOKED_TO_COUNT)


def _kept(wanted: NewReplay, since: datetime, until: datetime | None) -> dict[str, Any]:
    """What is wanted as it is kept; Invalid where it makes no sense."""
    faults = schemas.event_faults(wanted.types, "#/types")
    if until is not None and until <= since:
        faults.append(Fault("must be later than `since`", "#/until"))
    if wanted.status is not None and (wanted.scope != "deliveries" or not wanted.status):
        faults.append(Fault("must name at least one status, and only with the scope deliveries", "#/status"))
    if faults:
        raise Invalid(faults=faults)
    status = sorted(set(wanted.status or _AGAIN)) if wanted.scope == "deliveries" else None
    return {
        "scope": wanted.scope,
        "since": iso(since),
        "until": until and iso(until),
        "status": status,
        "types": wanted.types,
    }


def _choice(endpoint_id: Any, kind: str, company_id: str, kept: dict[str, Any], replay_id: str) -> Choice:
    """The rows between `since` and `until`, at most those that were there when the replay was asked for."""
    if kept["scope"] == "deliveries" and kind == "pull":
        raise Invalid(faults=[Fault("a pull endpoint has no deliveries: use messages or missed", "#/scope")])
    before = replay_id
    if kept["until"] is not None:
        before = min(before, ids.lowest_id(datetime.fromisoformat(kept["until"])))
    return Choice(
        scope=kept["scope"],
        company_id=company_id,
        endpoint_id=str(endpoint_id),
        after=ids.lowest_id(datetime.fromisoformat(kept["since"])),
        before=before,
        types=kept["types"],
        marks=kept["status"] or operational.DEAD_PATTERNS,
        tried=("", ""),
    )


def _around(first: str, last: str) -> tuple[str, str]:
    """Ids between which the first deliveries of these messages lie."""
    low = max(ids.time_of(first) - FIRST_DELIVERY_WITHIN, _EPOCH)
    high = ids.time_of(last) + FIRST_DELIVERY_WITHIN
    return ids.lowest_id(low), ids.lowest_id(high)


def _show(row: Record) -> dict[str, Any]:
    wanted = orjson.loads(row["wanted"])
    known = row["matched"] if not row["is_floor"] else None
    progress = 1.0 if row["state"] == "done" else min(row["made"] / known, 1.0) if known else None
    return {
        "id": str(row["id"]),
        "endpointId": str(row["endpoint_id"]),
        **wanted,
        "state": row["state"],
        "matched": row["matched"],
        "isFloor": row["is_floor"],
        "made": row["made"],
        "progress": None if progress is None else round(progress, 4),
        "error": row["error"],
        "createdAt": iso(row["created_at"]),
        "createdBy": orjson.loads(row["created_by"]),
        "finishedAt": schemas.time_text(row["finished_at"]),
    }


async def _announce(tx: Tx, actor: Actor, name: str, row: Record) -> None:
    shown = _show(row)
    told = ("endpointId", "scope", "since", "until", "status", "types", "state", "matched", "isFloor", "made", "error")
    await outbox.announce(
        tx,
        name,
        company_id=str(row["company_id"]),
        actor=actor,
        data={"replayId": shown["id"], **{field: shown[field] for field in told}},
    )
