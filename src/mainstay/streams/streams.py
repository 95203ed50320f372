"""Streams: made, changed, paused, resumed and deleted by their owners; each change is announced."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from msgspec import UNSET

from mainstay import events, webhooks
from mainstay.kernel import ids, outbox
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.streams import queries as rows
from mainstay.streams import schemas
from mainstay.streams.errors import SecretsLost, StreamNotFound, TooManyStreams
from mainstay.streams.schemas import Destination, NewStream, StreamChange

STREAMS_AT_MOST: Final = 10
LIVE, BACKFILL = "live", "backfill"
_SIGNING: Final = "signing"


async def create(
    tx: Tx, actor: Actor, company_id: str, wanted: NewStream, *, keyring: Keyring, allow: AllowList
) -> tuple[Record, str | None]:
    """The stream begins with what is stored from now on; with the secret that signs, where its destination has one.

    TooManyStreams past 10 of the company, Invalid.
    """
    schemas.check_destination(wanted.destination, allow)
    schemas.check_filter(wanted.filter)
    if await rows.lock_company(tx, company_id) >= STREAMS_AT_MOST:
        raise TooManyStreams(f"A company has at most {STREAMS_AT_MOST} streams.")
    stream_id = ids.new_id()
    shown, secrets = schemas.parted(wanted.destination)
    signing = webhooks.new_secret() if isinstance(wanted.destination, schemas.Https) else None
    row = await rows.add_stream(
        tx,
        company_id,
        {
            "id": stream_id,
            "name": wanted.name,
            "destination": _text(shown),
            "secrets_sealed": _seal(keyring, stream_id, {**secrets, **({_SIGNING: signing} if signing else {})}),
            "form": wanted.form,
            "filter": _text(_builtins(wanted.filter)),
            "on_refusal": wanted.on_refusal,
        },
    )
    heads = await events.Following(tx, company_id).heads()
    await rows.place(tx, company_id, stream_id, LIVE, heads, {})
    await tell(tx, actor, "stream.created", row)
    return row, signing


async def change(
    tx: Tx, actor: Actor, company_id: str, stream_id: str, wanted: StreamChange, *, keyring: Keyring, allow: AllowList
) -> Record:
    """The stream as it is from its next batch on; it is tried at once. StreamNotFound, Invalid."""
    row = await get(tx, company_id, stream_id, lock=True)
    values: dict[str, Any] = {}
    if wanted.name is not UNSET:
        values["name"] = wanted.name
    if wanted.form is not UNSET:
        values["form"] = wanted.form
    if wanted.on_refusal is not UNSET:
        values["on_refusal"] = wanted.on_refusal
    if wanted.filter is not UNSET:
        schemas.check_filter(wanted.filter)
        values["filter"] = _text(_builtins(wanted.filter))
    if wanted.destination is not UNSET:
        schemas.check_destination(wanted.destination, allow)
        shown, secrets = schemas.parted(wanted.destination)
        before = orjson.loads(row["destination"])
        if shown["type"] != before["type"]:
            raise Invalid(faults=[Fault(f"stays {before['type']}; make another stream", "#/destination/type")])
        kept = _kept(keyring, row, wanted.destination)
        values |= {
            "destination": _text(shown),
            "secrets_sealed": _seal(keyring, str(row["id"]), {**kept, **secrets}),
        }
    changed = await rows.change_stream(tx, company_id, str(row["id"]), {**values, **await _now(tx)})
    await tell(tx, actor, "stream.changed", changed, changed=sorted(values.keys() - {"secrets_sealed"}))
    return changed


async def pause(tx: Tx, actor: Actor, company_id: str, stream_id: str) -> Record:
    """Nothing goes out after the batch under way; what is stored meanwhile waits in the log."""
    row = await get(tx, company_id, stream_id, lock=True)
    if row["state"] == "paused":
        return row
    paused = await rows.change_stream(tx, company_id, str(row["id"]), {"state": "paused"})
    await tell(tx, actor, "stream.paused", paused)
    return paused


async def resume(tx: Tx, actor: Actor, company_id: str, stream_id: str) -> Record:
    """A paused or disabled stream goes on from where it stood, and a failing one is tried at once."""
    row = await get(tx, company_id, stream_id, lock=True)
    if row["state"] == "active":
        return row
    fresh = {"state": "active", "failures": 0, "failing_since": None, "reason": None}
    resumed = await rows.change_stream(tx, company_id, str(row["id"]), {**fresh, **await _now(tx)})
    await tell(tx, actor, "stream.resumed", resumed)
    return resumed


async def delete(tx: Tx, actor: Actor, company_id: str, stream_id: str) -> None:
    """The stream is gone, with its secrets and positions."""
    row = await get(tx, company_id, stream_id, lock=True)
    await rows.delete_stream(tx, company_id, str(row["id"]))
    await tell(tx, actor, "stream.deleted", row)


async def get(connection: Connection, company_id: str, stream_id: str, *, lock: bool = False) -> Record:
    """The company's stream of that id; StreamNotFound."""
    row = await rows.find_stream(connection, company_id, stream_id, lock=lock) if ids.is_uuid(stream_id) else None
    if row is None:
        raise StreamNotFound
    return row


async def read(connection: Connection, company_id: str, stream_id: str) -> dict[str, Any]:
    """The stream as its owner reads it, with its lag and its backfill."""
    return await shown(connection, await get(connection, company_id, stream_id))


async def read_all(connection: Connection, company_id: str) -> list[dict[str, Any]]:
    """The company's streams, oldest first, each with its lag."""
    return [await shown(connection, row) for row in await rows.list_streams(connection, company_id)]


async def shown(connection: Connection, row: Record) -> dict[str, Any]:
    """The stream with how far behind it is (in events, and in seconds by its oldest unsent one) and its backfill."""
    company_id = str(row["company_id"])
    places = await rows.positions(connection, company_id, str(row["id"]))
    live = {str(place["workspace_id"]): _mark(place) for place in places if place["part"] == LIVE}
    count, oldest = await events.Following(connection, company_id).lag(live)
    seconds = 0.0 if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds())
    lag = {"events": count, "seconds": round(seconds, 3)}
    return schemas.show(
        row,
        aside=await rows.count_aside(connection, company_id, str(row["id"])),
        lag=lag,
        backfill=_backfill(row, [one for one in places if one["part"] == BACKFILL]),
    )


def destination_of(row: Record, keyring: Keyring) -> tuple[Destination, str]:
    """The destination with its secrets, and the secret that signs (empty where nothing is signed)."""
    secrets = _open(keyring, row)
    return schemas.joined(orjson.loads(row["destination"]), secrets), secrets.get(_SIGNING, "")


def marks_of(places: list[Record], part: str) -> dict[str, "tuple[int, datetime]"]:
    """Where that part of a stream stands in each workspace."""
    return {str(place["workspace_id"]): _mark(place) for place in places if place["part"] == part}


async def tell(tx: Tx, actor: Actor, name: str, row: Record, **more: Any) -> None:
    """The act is announced, without anything that is secret."""
    data = {"streamId": str(row["id"]), "name": row["name"], "type": orjson.loads(row["destination"])["type"], **more}
    await outbox.announce(tx, name, company_id=str(row["company_id"]), actor=actor, data=data)


def _mark(place: Record) -> "tuple[int, datetime]":
    return place["seq"], place["received_at"]


def _backfill(row: Record, places: list[Record]) -> dict[str, Any] | None:
    if row["backfill_state"] is None:
        return None
    total = sum(place["last_seq"] - place["first_seq"] for place in places)
    done = sum(place["seq"] - place["first_seq"] for place in places)
    is_done = row["backfill_state"] == "done"
    ended_at = row["backfill_ended_at"]
    return {
        "state": row["backfill_state"],
        "since": iso(row["backfill_since"]),
        "beganAt": iso(row["backfill_began_at"]),
        "endedAt": None if ended_at is None else iso(ended_at),
        "sent": row["backfill_sent"],
        "progress": 1.0 if is_done or total == 0 else round(done / total, 4),
    }


async def _now(tx: Tx) -> Mapping[str, Any]:
    """Changed at this moment, and due at once."""
    moment = await rows.now_everywhere(tx)
    return {"changed_at": moment, "next_turn_at": moment}


def _seal(keyring: Keyring, stream_id: str, secrets: Mapping[str, str]) -> bytes:
    return keyring.seal(orjson.dumps(secrets), f"stream:{stream_id}".encode())


def _open(keyring: Keyring, row: Record) -> dict[str, str]:
    found: dict[str, str] = orjson.loads(keyring.open(bytes(row["secrets_sealed"]), f"stream:{row['id']}".encode()))
    return found


def _kept(keyring: Keyring, row: Record, wanted: Destination) -> dict[str, str]:
    """The secret that signs, which a change of the destination leaves as it is; the others are given anew."""
    if not isinstance(wanted, schemas.Https):
        return {}
    try:
        return {_SIGNING: _open(keyring, row)[_SIGNING]}
    except Unsealable:
        raise SecretsLost from None


def _text(value: Any) -> str:
    return orjson.dumps(value).decode()


def _builtins(value: schemas.Filter) -> dict[str, Any]:
    return {"actions": value.actions, "categories": value.categories, "workspaceIds": value.workspace_ids}
