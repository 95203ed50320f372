r"""Events that a destination refused for what they hold: put aside, shown, and sent again or forgotten on request.

refused alone --stop--> the stream stands before it --skip, by its owner--> aside
      \--skip, after 3 tries--> aside --asked for, and taken--> sent      aside --forgotten--> gone
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from mainstay.kernel import ids
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.streams import queries as rows
from mainstay.streams import schemas, streams
from mainstay.streams.errors import TooMuchAside

ASIDE_AT_MOST: Final = 1_000
_SKIPPING: Final = Actor(kind="rule", id="streams.skipping", name="Streams that skip what is refused")


async def read(connection: Connection, company_id: str, stream_id: str) -> list[dict[str, Any]]:
    """The stream's events that are put aside, in the order of their receipt; StreamNotFound."""
    row = await streams.get(connection, company_id, stream_id)
    return [schemas.show_aside(one) for one in await rows.list_aside(connection, company_id, str(row["id"]))]


async def is_full(connection: Connection, row: Record) -> bool:
    """Whether no more events of the stream may be put aside."""
    return await rows.count_aside(connection, str(row["company_id"]), str(row["id"])) >= ASIDE_AT_MOST


def tries_of(row: Record, event_id: str) -> int:
    """How often the event was refused alone, as the last one that the stream stood before."""
    blocked = None if row["blocked"] is None else orjson.loads(row["blocked"])
    return int(blocked["tries"]) if blocked is not None and blocked["eventId"] == event_id else 0


def blocked(event: Mapping[str, Any], part: str, *, before: Record, now: datetime) -> str:
    """What a stream keeps of the event that it stands before, as text."""
    event_id = str(event["id"])
    tries = tries_of(before, event_id)
    known = orjson.loads(before["blocked"]) if tries else {"since": iso(now)}
    kept = {
        "eventId": event_id,
        "workspaceId": str(event["workspace_id"]),
        "seq": event["seq"],
        "receivedAt": event["received_at"].isoformat(),
        "part": part,
        "tries": tries + 1,
        "since": known["since"],
    }
    return orjson.dumps(kept).decode()


def passed(row: Record, part: str, marks: Mapping[str, tuple[int, datetime]], whole_batch: int) -> dict[str, Any]:
    """What changes of a stream when nothing of a batch was wanted: batches grow back to whole ones just the same, and a
    refused event that is behind the mark by now, because the filter changed, is none that the stream stands before."""
    values: dict[str, Any] = {}
    if (most := row["batch_at_most"]) is not None:
        values["batch_at_most"] = most * 2 if most * 2 < whole_batch else None
    if row["blocked"] is not None:
        found = orjson.loads(row["blocked"])
        if found["part"] == part and marks.get(found["workspaceId"], (0,))[0] >= found["seq"]:
            values["blocked"] = None
    return values


async def put(tx: Tx, before: Record, event: Mapping[str, Any], reason: str, actor: Actor = _SKIPPING) -> Record:
    """The event is put aside, and the stream works; its mark is the caller's to move."""
    company_id, stream_id = str(before["company_id"]), str(before["id"])
    place = (str(event["workspace_id"]), event["seq"], event["received_at"])
    await rows.put_aside(tx, company_id, stream_id, str(event["id"]), place, reason)
    values: dict[str, Any] = {"blocked": None, "batch_at_most": None, "next_turn_at": await rows.now_everywhere(tx)}
    if before["state"] in ("active", "failing"):
        values |= {"state": "active", "failures": 0, "failing_since": None, "reason": None}
    row = await rows.change_stream(tx, company_id, stream_id, values)
    told = {"eventId": str(event["id"]), "workspaceId": place[0], "seq": place[1], "reason": reason}
    await streams.tell(tx, actor, "stream.event_put_aside", row, **told)
    return row


async def skip(tx: Tx, actor: Actor, company_id: str, stream_id: str) -> Record:
    """The refused event that the stream stands before is put aside, and what is behind it goes on; without
    one nothing changes. TooMuchAside."""
    row = await streams.get(tx, company_id, stream_id, lock=True)
    if row["blocked"] is None:
        return row
    if await is_full(tx, row):
        raise TooMuchAside(f"At most {ASIDE_AT_MOST:,} events of a stream are put aside: send or forget them first.")
    found = orjson.loads(row["blocked"])
    received_at = datetime.fromisoformat(found["receivedAt"])
    event = {
        "id": found["eventId"], "workspace_id": found["workspaceId"], "seq": found["seq"], "received_at": received_at,
    }  # fmt: skip
    marks = {found["workspaceId"]: (found["seq"], received_at)}
    await rows.move(tx, company_id, str(row["id"]), found["part"], marks)
    return await put(tx, row, event, row["reason"] or "refused", actor)


async def send(tx: Tx, actor: Actor, company_id: str, stream_id: str, event_ids: Sequence[str] | None) -> Record:
    """These, or all events that are put aside, go out again within seconds, each alone. StreamNotFound, Invalid."""
    row = await streams.get(tx, company_id, stream_id, lock=True)
    asked = await rows.ask_aside(tx, company_id, str(row["id"]), _checked(event_ids))
    await streams.tell(tx, actor, "stream.aside_sent_again", row, events=asked)
    return row


async def forget(tx: Tx, actor: Actor, company_id: str, stream_id: str, event_ids: Sequence[str] | None) -> Record:
    """These, or all events that are put aside, are on record no more; the log keeps them. StreamNotFound, Invalid."""
    row = await streams.get(tx, company_id, stream_id, lock=True)
    gone = await rows.forget_aside(tx, company_id, str(row["id"]), _checked(event_ids))
    await streams.tell(tx, actor, "stream.aside_forgotten", row, events=gone)
    return row


def _checked(event_ids: Sequence[str] | None) -> Sequence[str] | None:
    wrong = [n for n, one in enumerate(event_ids or ()) if not ids.is_uuid(one)]
    if wrong:
        raise Invalid(faults=[Fault("must be the id of an event", f"#/eventIds/{n}") for n in wrong])
    return event_ids
